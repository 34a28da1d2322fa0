//! ToolEnvSecrets: sent at once, in one call, owned by one object, and never shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Effect, Fault, NewVersion, Operation, ToolEdit, Variable};
use serde_json::json;

use support::manifests::{acme, all, env, env_from, env_from_key, secret, tool, variables};
use support::{ACME, Setup, World, field, message};

/// How long a changed Secret may take to reach the service.
const ROTATION: Duration = Duration::from_secs(5);

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World) -> String {
    world.apply(&all([acme(world), tool("weather", "")]));
    field(&world.ready("Tool", "weather"), "toolId")
}

/// Changes a Secret, waits for the service to have the new value, and tells how long that took.
fn rotate(world: &World, data: &str, arrived: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    world.apply(&secret("credentials", data));
    world.until("the service has the new value", arrived);
    println!("a changed Secret was in the service after {} ms", began.elapsed().as_millis());
    began.elapsed()
}

#[test]
fn a_rotated_secret_is_in_the_service_at_once_in_one_call() {
    let world = World::new("rotate");
    let id = weather(&world);
    let (before, after) = (world.canary(), world.canary());
    world.apply(&all([
        secret("credentials", &format!("API_KEY: {before}, tls.crt: x")),
        variables("whole", &env_from("credentials")),
        variables("one", &env_from_key("TOKEN", "credentials", "API_KEY")),
        variables("plain", &env(&[("UNITS", "metric")])),
    ]));
    for name in ["whole", "one", "plain"] {
        world.ready("ToolEnvSecret", name);
    }
    assert_eq!(world.get("ToolEnvSecret", "whole").unwrap()["status"]["skippedKeys"], json!(["tls.crt"]));
    world.until("an Event names the key", || {
        world.events("whole").iter().any(|(reason, note)| reason == "KeysSkipped" && note.contains("tls.crt"))
    });
    let remote = world.tool(&id).variables;
    assert!(remote["API_KEY"].is_secret && remote["TOKEN"].is_secret && !remote["UNITS"].is_secret);
    let calls = world.sandbox.calls(Operation::ModifyVariables);
    let took = rotate(&world, &format!("API_KEY: {after}, tls.crt: x"), || {
        ["API_KEY", "TOKEN"].iter().all(|name| world.variable(&id, name).as_ref() == Some(&after))
    });
    assert!(took < ROTATION, "{took:?}");
    for name in ["whole", "one", "plain"] {
        world.request("ToolEnvSecret", name);
    }
    assert_eq!(world.sandbox.calls(Operation::ModifyVariables), calls + 1, "one call for the tool");
    world.patch("Secret", "credentials", &json!({"metadata": {"labels": {"a": "b"}}}));
    world.request("ToolEnvSecret", "whole");
    assert_eq!(world.sandbox.calls(Operation::ModifyVariables), calls + 1, "a label is no rotation");
    world.finish();
}

#[test]
fn secrets_are_watched_by_name_too() {
    let world = World::with("named", Setup { flags: vec!["--secret-access=named".into()], ..Setup::default() });
    let id = weather(&world);
    let (before, after) = (world.canary(), world.canary());
    world.apply(&variables("weather", &env_from("credentials")));
    world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    world.apply(&secret("credentials", &format!("API_KEY: {before}")));
    world.ready("ToolEnvSecret", "weather");
    let took = rotate(&world, &format!("API_KEY: {after}"), || world.variable(&id, "API_KEY").as_ref() == Some(&after));
    assert!(took < ROTATION, "{took:?}");
    world.finish();
}

#[test]
fn secrets_can_be_polled() {
    let flags = vec!["--secret-access=poll".into(), "--secret-poll-seconds=2".into()];
    let world = World::with("poll", Setup { flags, ..Setup::default() });
    let id = weather(&world);
    let (before, after) = (world.canary(), world.canary());
    world.apply(&all([secret("credentials", &format!("A: {before}")), variables("weather", &env_from("credentials"))]));
    world.ready("ToolEnvSecret", "weather");
    rotate(&world, &format!("A: {after}"), || world.variable(&id, "A").as_ref() == Some(&after));
    let listed = world.requests().into_iter().filter(|request| request.resource == "secrets" && request.verb != "get");
    assert_eq!(listed.count(), 0, "polling needs `get` alone");
    world.finish();
}

#[test]
fn only_labelled_secrets_are_read_where_that_is_asked_for() {
    for access in ["watch", "named"] {
        let flags = vec!["--only-labelled-secrets=true".into(), format!("--secret-access={access}")];
        let world = World::with("labelled", Setup { flags, ..Setup::default() });
        let label = |name: &str, label: &str| drop(world.kubectl(&["label", "secret", name, label]));
        world.apply(&all([acme(&world), tool("weather", "")]));
        let refused = world.reason("Organization", "acme", "SecretNotLabelled");
        assert!(message(&refused).contains("is not labelled `amigo.ai/sync: \"true\"`"), "{refused}");
        label("acme-api-key", "amigo.ai/sync=true");
        let id = field(&world.ready("Tool", "weather"), "toolId");
        let value = world.canary();
        world.apply(&all([
            secret("credentials", &format!("API_KEY: {value}")),
            variables("weather", &env_from("credentials")),
        ]));
        world.reason("ToolEnvSecret", "weather", "SecretNotLabelled");
        label("credentials", "amigo.ai/sync=true");
        world.ready("ToolEnvSecret", "weather");
        assert_eq!(world.variable(&id, "API_KEY"), Some(value.clone()));
        label("credentials", "amigo.ai/sync-");
        world.reason("ToolEnvSecret", "weather", "SecretNotLabelled");
        assert_eq!(world.variable(&id, "API_KEY"), Some(value), "what was there stays");
        world.finish();
    }
}

/// The operator's own role, but no Secrets.
const WITHOUT_SECRETS: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: amigo-operator}
rules:
- {apiGroups: [amigo.ai], resources: ['*'], verbs: [get, list, watch, patch, update]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}";

#[test]
fn a_secret_that_the_operator_may_not_read_is_told_of_with_what_grants_it() {
    let flags = vec!["--secret-access=poll".into(), "--secret-poll-seconds=1".into()];
    let mut world = World::without_operator("denied", Setup { flags, ..Setup::default() });
    world.expect_refusals();
    world.permit_instead(WITHOUT_SECRETS);
    world.start_operator();
    let grant = |secret: &str| {
        let (role, name) = (format!("{secret}-reader"), format!("--resource-name={secret}"));
        world.kubectl(&["create", "role", &role, "--verb=get", "--resource=secrets", &name]);
        world.bind_here(&role);
    };
    world.apply(&all([acme(&world), tool("weather", "")]));
    let denied = message(&world.reason("Organization", "acme", "SecretAccessDenied"));
    let (namespace, names) = (&world.namespace, format!("`secrets.names.{}`", world.namespace));
    for part in
        ["Secret acme-api-key", "`get`", &format!("in namespace {namespace} must"), &names, "cannot get resource"]
    {
        assert!(denied.contains(part), "{part} in {denied}");
    }
    world.until("an Event tells", || world.events("acme").iter().any(|(reason, _)| reason == "SecretAccessDenied"));
    assert_eq!(world.calls(), 0);
    grant("acme-api-key");
    let id = field(&world.ready("Tool", "weather"), "toolId");

    let value = world.canary();
    let spec = env_from_key("API_KEY", "credentials", "token").replace(']', ", {name: UNITS, value: metric}]");
    world.apply(&all([secret("credentials", &format!("token: {value}")), variables("weather", &spec)]));
    let denied = message(&world.reason("ToolEnvSecret", "weather", "SecretAccessDenied"));
    assert!(denied.contains("Secret credentials") && denied.contains(&names), "{denied}");
    assert_eq!(world.variable(&id, "UNITS").as_deref(), Some("metric"), "the rest is sent");
    grant("credentials");
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.variable(&id, "API_KEY"), Some(value.clone()));

    world.kubectl(&["delete", "role", "credentials-reader"]);
    world.edit("ToolEnvSecret", "weather", &json!({"deletionPolicy": "Retain"}));
    world.reason("ToolEnvSecret", "weather", "SecretAccessDenied");
    assert_eq!(world.variable(&id, "API_KEY"), Some(value), "what was there stays");
    world.finish();
}

#[test]
fn several_objects_are_sent_as_one_delta() {
    let world = World::new("delta");
    let id = weather(&world);
    let objects = ["a", "b", "c", "d"].map(|name| variables(name, &env(&[(&name.to_uppercase(), "1")])));
    world.apply(&all(objects));
    for name in ["a", "b", "c", "d"] {
        world.ready("ToolEnvSecret", name);
    }
    assert_eq!(world.tool(&id).variables.len(), 4);
    let calls = world.sandbox.calls(Operation::ModifyVariables);
    assert!(calls <= 2, "{calls} calls for one apply");
    world.finish();
}

#[test]
fn what_goes_from_the_spec_goes_from_the_service_unless_a_version_requires_it() {
    let world = World::new("remove");
    let id = weather(&world);
    let names = || world.tool(&id).variables.into_keys().collect::<Vec<_>>();
    world.apply(&variables("weather", &env(&[("A", "1"), ("B", "1"), ("C", "1")])));
    world.ready("ToolEnvSecret", "weather");
    let required_envvars = ["B".to_owned()].into();
    let requires_b = NewVersion { version: Some("1.0.0".into()), required_envvars, ..NewVersion::default() };
    world.sandbox.add_version(ACME, &id, requires_b).unwrap();
    world.apply(&variables("weather", &env(&[("C", "1")])));
    let in_use = world.reason("ToolEnvSecret", "weather", "VariableInUse");
    assert!(message(&in_use).contains("1.0.0") && message(&in_use).contains('B'), "{in_use}");
    assert_eq!(names(), ["B", "C"]);
    world.sandbox.deprecate_versions(ACME, &id, "==1.0.0").unwrap();
    world.request("ToolEnvSecret", "weather");
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(names(), ["C"]);
    world.delete("ToolEnvSecret", "weather");
    world.gone("ToolEnvSecret", "weather");
    assert_eq!(names(), [""; 0]);
    world.finish();
}

#[test]
fn variables_are_retained_when_the_manifest_says_so_and_those_of_others_always() {
    let world = World::new("retain");
    let id = weather(&world);
    let theirs = [("THEIRS".to_owned(), Variable { value: "x".into(), is_secret: false })].into();
    world.sandbox.edit_tool(ACME, &id, ToolEdit { variables: Some(theirs), ..ToolEdit::default() }).unwrap();
    let retained = |pairs| variables("weather", &format!("deletionPolicy: Retain, {}", env(pairs)));
    world.apply(&retained(&[("A", "1"), ("B", "1")]));
    world.ready("ToolEnvSecret", "weather");
    world.apply(&retained(&[("B", "1")]));
    world.ready("ToolEnvSecret", "weather");
    world.delete("ToolEnvSecret", "weather");
    world.gone("ToolEnvSecret", "weather");
    assert_eq!(world.tool(&id).variables.into_keys().collect::<Vec<_>>(), ["A", "B", "THEIRS"]);
    world.apply(&variables("weather", &env(&[("THEIRS", "ours")])));
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.variable(&id, "THEIRS").as_deref(), Some("ours"), "one that nobody has is taken over");
    world.finish();
}

#[test]
fn a_missing_or_unfit_source_is_named_and_what_was_there_stays() {
    let world = World::new("missing");
    let id = weather(&world);
    let canary = world.canary();
    world.apply(&variables("weather", &env_from_key("TOKEN", "credentials", "token")));
    let missing = world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    assert!(message(&missing).contains("credentials"), "{missing}");
    world.apply(&secret("credentials", "other: x"));
    let missing = world.reason("ToolEnvSecret", "weather", "SecretKeyNotFound");
    assert!(message(&missing).contains("token"), "{missing}");
    world.apply(&secret("credentials", &format!("token: {canary}")));
    world.ready("ToolEnvSecret", "weather");
    world.patch("Secret", "credentials", &json!({"data": {"token": "/w=="}}));
    let invalid = world.reason("ToolEnvSecret", "weather", "SecretValueInvalid");
    assert!(message(&invalid).contains("token"), "{invalid}");
    world.delete("Secret", "credentials");
    world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    assert_eq!(world.variable(&id, "TOKEN").as_deref(), Some(canary.as_str()));
    world.apply(&secret("credentials", "token: new"));
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.variable(&id, "TOKEN").as_deref(), Some("new"));
    world.finish();
}

#[test]
fn a_key_that_goes_from_a_whole_secret_goes_from_the_service() {
    let world = World::new("keys");
    let id = weather(&world);
    let spec = "envFrom: [{prefix: W_, visibility: Plain, secretRef: {name: credentials}}]";
    world.apply(&all([secret("credentials", "A: a, B: b"), variables("weather", spec)]));
    world.ready("ToolEnvSecret", "weather");
    assert!(world.tool(&id).variables.values().all(|variable| !variable.is_secret), "`visibility: Plain`");
    world.apply(&secret("credentials", "A: a"));
    world.until("the key is removed", || world.tool(&id).variables.keys().eq(["W_A"]));
    world.ready("ToolEnvSecret", "weather");
    world.patch("Secret", "credentials", &json!({"data": null}));
    world.wait_for("ToolEnvSecret", "weather", |object| !support::is_ready(object), "misses the keys");
    assert!(world.tool(&id).variables.keys().eq(["W_A"]), "a Secret without keys counts as missing");
    world.finish();
}

#[test]
fn one_variable_belongs_to_one_object_and_has_one_visibility() {
    let world = World::new("conflict");
    let id = weather(&world);
    world.apply(&variables("older", &env(&[("A", "older")])));
    world.ready("ToolEnvSecret", "older");
    world.apply(&variables("younger", &env(&[("A", "younger"), ("B", "younger")])));
    let conflict = world.reason("ToolEnvSecret", "younger", "VariableConflict");
    assert!(message(&conflict).contains("older"), "{conflict}");
    assert_eq!(world.variable(&id, "A").as_deref(), Some("older"));
    assert_eq!(world.variable(&id, "B").as_deref(), Some("younger"), "only the disputed one is left out");
    world.delete("ToolEnvSecret", "older");
    world.gone("ToolEnvSecret", "older");
    world.ready("ToolEnvSecret", "younger");
    assert_eq!(world.variable(&id, "A").as_deref(), Some("younger"));
    world.apply(&all([
        secret("credentials", &format!("a: {}", world.canary())),
        variables("younger", &env_from_key("A", "credentials", "a")),
    ]));
    world.reason("ToolEnvSecret", "younger", "VisibilityMismatch");
    assert_eq!(world.variable(&id, "A").as_deref(), Some("younger"));
    world.finish();
}

#[test]
fn a_secret_of_two_tools_is_sent_once_to_each() {
    let world = World::new("shared");
    let id = weather(&world);
    let of_other =
        variables("other", &env_from("credentials")).replace("toolRef: {name: weather}", "toolRef: {name: other}");
    let (before, after) = (world.canary(), world.canary());
    world.apply(&all([
        tool("other", ""),
        secret("credentials", &format!("A: {before}")),
        variables("weather", &env_from("credentials")),
        of_other,
    ]));
    world.ready("ToolEnvSecret", "weather");
    world.ready("ToolEnvSecret", "other");
    let calls = world.sandbox.calls(Operation::ModifyVariables);
    rotate(&world, &format!("A: {after}"), || {
        [id.as_str(), "other"].iter().all(|tool| world.variable(tool, "A").as_ref() == Some(&after))
    });
    world.request("ToolEnvSecret", "weather");
    world.request("ToolEnvSecret", "other");
    assert_eq!(world.sandbox.calls(Operation::ModifyVariables), calls + 2);
    world.finish();
}

#[test]
fn a_lost_answer_to_variables_is_made_good() {
    for effect in [Effect::LostAfterEffect { seconds: None }, Effect::LostBeforeEffect] {
        let world = World::new("lostvariables");
        let id = weather(&world);
        let (before, after) = (world.canary(), world.canary());
        world.sandbox.add_fault(Fault::once("modify-variables", effect.clone()));
        world.apply(&all([
            secret("credentials", &format!("A: {before}")),
            variables("weather", &env_from("credentials")),
        ]));
        world.ready("ToolEnvSecret", "weather");
        assert_eq!(world.variable(&id, "A"), Some(before));
        world.sandbox.add_fault(Fault::once("modify-variables", effect));
        rotate(&world, &format!("A: {after}"), || world.variable(&id, "A").as_ref() == Some(&after));
        world.request("ToolEnvSecret", "weather");
        world.ready("ToolEnvSecret", "weather");
        world.delete("ToolEnvSecret", "weather");
        world.gone("ToolEnvSecret", "weather");
        assert!(world.tool(&id).variables.is_empty());
        world.finish();
    }
}

#[test]
fn the_deletion_of_variables_waits_for_a_suspended_organization() {
    let world = World::new("blocked");
    let id = weather(&world);
    world.apply(&variables("weather", &env(&[("A", "1")])));
    world.ready("ToolEnvSecret", "weather");
    world.edit("Organization", "acme", &json!({"suspend": true}));
    world.reason("Organization", "acme", "Suspended");
    world.delete("ToolEnvSecret", "weather");
    world.reason("ToolEnvSecret", "weather", "DeletionBlocked");
    assert!(world.tool(&id).variables.contains_key("A"));
    world.edit("Organization", "acme", &json!({"suspend": false}));
    world.gone("ToolEnvSecret", "weather");
    assert!(world.tool(&id).variables.is_empty());
    world.finish();
}
