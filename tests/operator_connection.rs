//! Organizations: what may be missing, refused, suspended or not allowed, and what happens when that ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Effect, Fault, Operation, Project, Settings};
use serde_json::json;

use support::manifests::{
    DESCRIPTION, acme, all, credentials, credentials_with, env, env_from, organization, secret, tool, variables,
    version,
};
use support::{ACME, Setup, World, field, has_reason, is_ready, message, oracle, reason_of};

/// One object of each kind.
const EVERYTHING: [(&str, &str); 4] =
    [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")];

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World) -> String {
    world.apply(&all([acme(world), tool("weather", "")]));
    field(&world.ready("Tool", "weather"), "toolId")
}

fn all_ready(world: &World) {
    for (kind, name) in EVERYTHING {
        world.ready(kind, name);
    }
}

fn suspend(world: &World, kind: &str, name: &str, suspend: bool) {
    world.edit(kind, name, &json!({"suspend": suspend}));
}

#[test]
fn everything_can_be_applied_at_once_in_any_order() {
    for reversed in [false, true] {
        let world = World::without_operator("atonce", Setup::default());
        let mut manifests = vec![
            credentials(&world),
            secret("weather-credentials", &format!("API_KEY: {}", world.canary())),
            organization(&world, ""),
            tool("weather", ""),
            variables("weather", &env_from("weather-credentials")),
            version("1.0.0", ""),
        ];
        if reversed {
            manifests.reverse();
        }
        let mut world = world;
        world.start_operator();
        world.apply(&all(manifests));
        all_ready(&world);
        assert_eq!(world.versions("weather"), ["1.0.0"]);
        assert!(world.tool("weather").variables["API_KEY"].is_secret);
        world.finish();
    }
}

#[test]
fn each_missing_thing_is_named_and_its_arrival_seen() {
    let world = World::new("arrival");
    world.apply(&all([version("1.0.0", ""), variables("weather", &env(&[("A", "1")]))]));
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotFound");
    world.reason("ToolEnvSecret", "weather", "ToolNotFound");
    world.apply(&tool("weather", ""));
    world.reason("Tool", "weather", "OrganizationNotFound");
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotReady");
    world.reason("ToolEnvSecret", "weather", "ToolNotReady");
    world.apply(&organization(&world, ""));
    let missing = world.reason("Organization", "acme", "SecretNotFound");
    assert!(message(&missing).contains("acme-api-key"), "{missing}");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&secret("acme-api-key", "api-key: x, user-id: x"));
    let missing = world.reason("Organization", "acme", "SecretKeyNotFound");
    assert!(message(&missing).contains("api-key-id"), "{missing}");
    assert_eq!(oracle::compute(&missing), oracle::Kstatus::InProgress, "what is missing may come");
    world.apply(&credentials(&world));
    all_ready(&world);
    world.finish();
}

#[test]
fn refused_credentials_stop_all_calls_until_they_are_rotated() {
    let world = World::new("credentials");
    world.apply(&all([organization(&world, ""), credentials_with("wrong"), tool("weather", ""), tool("other", "")]));
    let refused = world.reason("Organization", "acme", "CredentialsRefused");
    assert_eq!(oracle::compute(&refused), oracle::Kstatus::Failed, "a person must act");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.reason("Tool", "other", "OrganizationNotReady");
    assert_eq!(world.sandbox.calls(Operation::SignIn), 1);
    world.apply(&credentials(&world));
    world.ready("Organization", "acme");
    world.ready("Tool", "weather");
    world.ready("Tool", "other");
    assert_eq!(world.sandbox.calls(Operation::SignIn), 2, "one sign-in for all");

    let rotated = world.canary();
    world.sandbox.put_key(ACME, "demo-key-id", &rotated, None).unwrap();
    world.sandbox.end_tokens(ACME);
    world.annotate("Tool", "weather", "reconcile-requested-at", "now");
    world.reason("Organization", "acme", "CredentialsRefused");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&credentials_with(&rotated));
    world.ready("Organization", "acme");
    world.ready("Tool", "weather");
    world.ready("Tool", "other");
    world.finish();
}

#[test]
fn the_end_of_a_key_is_told_in_time_and_its_rotation_ends_the_warning() {
    const DAY: f64 = 86_400.0;
    let mut world = World::without_operator("keyends", Setup::default());
    let put = |world: &World, id: &str, key: &str, age: f64| {
        world.sandbox.put_aged_key(ACME, id, key, age * DAY, Some((90.0 - age) * DAY)).unwrap();
    };
    put(&world, "demo-key-id", &world.api_key(), 80.0);
    world.start_operator();
    world.apply(&acme(&world));
    let expiring = world.reason("Organization", "acme", "CredentialExpiring");
    assert!(is_ready(&expiring), "it works: {expiring}");
    assert_eq!(oracle::compute(&expiring), oracle::Kstatus::Current);
    let ends = field(&expiring, "apiKeyExpiresAt");
    assert!(message(&expiring).contains(&ends) && message(&expiring).contains("Secret acme-api-key"), "{expiring}");
    world.until("an Event warns", || world.events("acme").iter().any(|(reason, _)| reason == "CredentialExpiring"));
    world.apply(&tool("weather", ""));
    world.ready("Tool", "weather");

    let next = world.canary();
    put(&world, "second-key", &next, 0.0);
    world.apply(&secret("acme-api-key", &format!("api-key: {next}, api-key-id: second-key, user-id: demo-user")));
    let fine = world.reason("Organization", "acme", "Succeeded");
    assert!(field(&fine, "apiKeyExpiresAt") > ends, "{fine}");

    world.sandbox.deny(ACME, "demo-user", &["Organization:GetAPIKey"]).unwrap();
    let asked = world.request("Organization", "acme");
    assert!(is_ready(&asked), "{asked}");
    assert!(asked["status"].get("apiKeyExpiresAt").is_none(), "who may not see keys is not told: {asked}");
    world.finish();
}

#[test]
fn credentials_are_rotated_without_losing_anything() {
    let world = World::new("rotated");
    let id = weather(&world);
    let next = world.canary();
    world.sandbox.put_key(ACME, "second-key", &next, None).unwrap();
    let signed_in = world.sandbox.calls(Operation::SignIn);
    world.apply(&secret("acme-api-key", &format!("api-key: {next}, api-key-id: second-key, user-id: demo-user")));
    world.until("the new key is used", || world.sandbox.calls(Operation::SignIn) > signed_in);
    world.sandbox.revoke_key(ACME, "demo-key-id").unwrap();
    world.edit("Tool", "weather", &json!({"description": "After the rotation."}));
    world.until("the edit is sent", || world.tool(&id).description == "After the rotation.");
    world.ready("Tool", "weather");
    assert!(!world.reasons("Organization", "acme").contains(&"CredentialsRefused".to_owned()));
    world.finish();
}

#[test]
fn a_missing_permission_is_named() {
    let world = World::new("permission");
    world.sandbox.deny(ACME, "demo-user", &["Tool:CreateTool"]).unwrap();
    world.apply(&all([acme(&world), tool("weather", "")]));
    let denied = world.reason("Tool", "weather", "PermissionDenied");
    assert!(message(&denied).contains("Tool:CreateTool"), "{denied}");
    world.sandbox.deny(ACME, "demo-user", &[]).unwrap();
    world.request("Tool", "weather");
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn a_suspended_tool_is_left_alone() {
    let world = World::new("suspend");
    let id = weather(&world);
    suspend(&world, "Tool", "weather", true);
    let kept = world.reason("Tool", "weather", "Suspended");
    assert_eq!(oracle::compute(&kept), oracle::Kstatus::Current, "what was true stays true");
    world.edit("Tool", "weather", &json!({"description": "While suspended."}));
    let edited = world.reason("Tool", "weather", "Suspended");
    assert_eq!(oracle::status(&edited, "Ready"), Some("False"), "nobody has applied the edit");
    assert_eq!(world.tool(&id).description, DESCRIPTION);
    suspend(&world, "Tool", "weather", false);
    world.ready("Tool", "weather");
    assert_eq!(world.tool(&id).description, "While suspended.");
    world.finish();
}

#[test]
fn under_a_suspended_organization_nothing_is_called() {
    let world = World::new("suspendall");
    weather(&world);
    suspend(&world, "Organization", "acme", true);
    world.reason("Organization", "acme", "Suspended");
    world.reason("Tool", "weather", "Suspended");
    let calls = world.sandbox.counters();
    world.apply(&all([tool("other", ""), variables("weather", &env(&[("A", "1")])), version("1.0.0", "")]));
    world.reason("Tool", "other", "Suspended");
    world.reason("ToolEnvSecret", "weather", "Suspended");
    world.reason("ToolVersion", "weather-1.0.0", "Suspended");
    assert_eq!(world.sandbox.counters(), calls);
    suspend(&world, "Organization", "acme", false);
    world.ready("Tool", "other");
    all_ready(&world);
    world.finish();
}

#[test]
fn what_is_under_way_when_an_organization_is_suspended_is_not_sent() {
    let world = World::new("suspendnow");
    weather(&world);
    world.sandbox.add_fault(Fault::once("list-tools", Effect::Delay { seconds: 10.0, after_effect: false }));
    world.apply(&tool("other", ""));
    world.until("its mark is looked for", || {
        let requests = world.sandbox.requests(1000);
        requests.iter().any(|request| request.operation == Operation::ListTools && request.status.is_none())
    });
    suspend(&world, "Organization", "acme", true);
    world.reason("Organization", "acme", "Suspended");
    world.reason("Tool", "other", "Suspended");
    assert_eq!(world.made(Operation::CreateTool), 1, "nothing but what was there before");
    suspend(&world, "Organization", "acme", false);
    world.ready("Tool", "other");
    world.finish();
}

#[test]
fn a_suspended_version_or_set_of_variables_waits_alone() {
    let world = World::new("suspendone");
    let id = weather(&world);
    world.apply(&all([
        version("1.0.0", "suspend: true"),
        variables("weather", &format!("suspend: true, {}", env(&[("A", "1")]))),
        variables("other", &env(&[("B", "1")])),
    ]));
    world.reason("ToolVersion", "weather-1.0.0", "Suspended");
    world.reason("ToolEnvSecret", "weather", "Suspended");
    world.ready("ToolEnvSecret", "other");
    assert!(world.tool(&id).variables.keys().eq(["B"]));
    suspend(&world, "ToolEnvSecret", "weather", false);
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.versions(&id), [""; 0]);
    suspend(&world, "ToolVersion", "weather-1.0.0", false);
    world.ready("ToolVersion", "weather-1.0.0");
    world.finish();
}

#[test]
fn an_organization_waits_until_nobody_uses_it() {
    let world = World::new("inuse");
    weather(&world);
    world.delete("Organization", "acme");
    let in_use = world.reason("Organization", "acme", "InUse");
    assert!(message(&in_use).contains("weather"), "{in_use}");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    world.gone("Organization", "acme");
    world.finish();
}

#[test]
fn an_organization_waits_for_what_is_deleted_after_it() {
    let world = World::new("lastinuse");
    let id = weather(&world);
    world.apply(&all([variables("weather", &env(&[("A", "1")])), version("1.0.0", "deletionPolicy: Deprecate")]));
    all_ready(&world);
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    world.delete("Organization", "acme");
    let in_use = world.reason("Organization", "acme", "InUse");
    assert!(message(&in_use).contains("ToolEnvSecret") && message(&in_use).contains("ToolVersion"), "{in_use}");
    world.delete("ToolEnvSecret", "weather");
    world.delete("ToolVersion", "weather-1.0.0");
    for (kind, name) in EVERYTHING {
        world.gone(kind, name);
    }
    assert!(world.tool(&id).variables.is_empty() && world.tool(&id).active_versions().is_empty());
    world.finish();
}

#[test]
fn only_allowed_endpoints_are_called() {
    let world = World::new("endpoint");
    let elsewhere = organization(&world, "").replace(world.endpoint(), "https://evil.example");
    world.apply(&all([credentials(&world), elsewhere, tool("weather", "")]));
    let refused = world.reason("Organization", "acme", "EndpointNotAllowed");
    assert!(message(&refused).contains("--allowed-endpoint"), "{refused}");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&organization(&world, ""));
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn other_namespaces_use_an_organization_only_as_it_allows() {
    let world = World::with("allowed", Setup { neighbour: true, ..Setup::default() });
    let other = world.neighbour.clone().unwrap();
    let reference = format!("organizationRef: {{name: acme, namespace: {}}}", world.namespace);
    let manifest = tool("weather", "").replace("organizationRef: {name: acme}", &reference);
    let reason = |reason: &str| {
        let holds = |object: &serde_json::Value| has_reason(object, reason);
        world.wait_in(&other, "Tool", "weather", holds, &format!("says {reason}"))
    };
    world.apply(&acme(&world));
    world.ready("Organization", "acme");
    world.apply_in(&other, &manifest);
    reason("NamespaceNotAllowed");
    let labels = "allowedNamespaces: {from: Selector, selector: {matchLabels: {amigo: 'yes'}}}";
    world.apply(&organization(&world, labels));
    world.ready("Organization", "acme");
    reason("NamespaceNotAllowed");
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 0);
    world.apply(&organization(&world, "allowedNamespaces: {from: All}"));
    world.wait_in(&other, "Tool", "weather", is_ready, "is Ready");
    world.kubectl(&["label", "namespace", &other, "amigo=yes"]);
    world.apply(&organization(&world, labels));
    world.ready("Organization", "acme");
    world.apply_in(&other, &manifest.replace(DESCRIPTION, "Allowed by its label."));
    world.until("the edit is sent", || world.tool("weather").description == "Allowed by its label.");
    world.apply(&organization(&world, ""));
    world.apply_in(&other, &manifest.replace(DESCRIPTION, "Not allowed any more."));
    reason("NamespaceNotAllowed");
    assert_eq!(world.tool("weather").description, "Allowed by its label.");
    world.finish();
}

#[test]
fn a_tool_without_a_reference_uses_the_default_organization() {
    // The operator's flags name the namespace, which is made with the world.
    let world = World::without_operator("default", Setup::default());
    let flag = format!("--default-organization={}/acme", world.namespace);
    let mut world = world.with_flag(&flag);
    world.start_operator();
    let manifest = tool("weather", "").replace("organizationRef: {name: acme},", "");
    world.apply(&all([acme(&world), manifest]));
    world.ready("Tool", "weather");
    world.delete("Organization", "acme");
    world.reason("Organization", "acme", "InUse");
    world.delete("Tool", "weather");
    world.gone("Organization", "acme");
    world.finish();
}

#[test]
fn an_organization_behind_a_cluster_name_is_reached() {
    let world = World::new("mongo");
    world.sandbox.set_mongo_cluster_name(ACME, Some("europe")).unwrap();
    world.apply(&all([acme(&world), tool("weather", "")]));
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&organization(&world, "mongoClusterName: europe"));
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn a_namespace_goes_whole() {
    let world = World::with("namespace", Setup { everywhere: true, ..Setup::default() });
    let id = weather(&world);
    let project = Project { required_envvars: ["A".to_owned()].into(), ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", project).unwrap();
    world.apply(&all([
        variables("weather", &env(&[("A", "1"), ("B", "1")])),
        version("1.0.0", ""),
        tool("other", "deletionPolicy: Deprecate"),
    ]));
    all_ready(&world);
    world.ready("Tool", "other");
    world.kubectl(&["delete", "namespace", &world.namespace, "--wait=false"]);
    for (kind, name) in EVERYTHING {
        world.gone(kind, name);
    }
    world.gone("Tool", "other");
    assert!(!world.tool(&id).deprecated);
    assert!(world.tool("other").deprecated, "that order stood in a manifest");
    assert!(world.tool(&id).variables.keys().eq(["A"]), "what the retained version requires stays");
    world.finish();
}

#[test]
fn tokens_that_expire_are_renewed_in_time() {
    let service = Settings { token_seconds: 20.0, ..Settings::default() };
    let world = World::with("expiry", Setup { service, ..Setup::default() });
    let id = weather(&world);
    let began = Instant::now();
    for n in 0.. {
        let description = format!("Edit {n}.");
        world.edit("Tool", "weather", &json!({"description": description}));
        world.until("the edit is sent", || world.tool(&id).description == description);
        world.ready("Tool", "weather");
        if world.sandbox.calls(Operation::SignIn) >= 3 {
            break;
        }
        // A pace that the limits allow.
        world.until("some time has passed", || began.elapsed() >= Duration::from_secs(5 * (n + 1)));
    }
    let refused = world.sandbox.counters()[&Operation::ModifyTool].answers.get(&401).copied().unwrap_or_default();
    println!("{refused} calls were refused for an expired token");
    assert_eq!(world.reasons("Organization", "acme"), ["Succeeded"]);
    world.finish();
}

#[test]
fn nothing_of_a_namespace_is_touched_once_it_is_not_allowed_any_more() {
    let world = World::with("withdrawn", Setup { neighbour: true, ..Setup::default() });
    let other = world.neighbour.clone().unwrap();
    let reference = format!("organizationRef: {{name: acme, namespace: {}}}", world.namespace);
    let manifest = tool("weather", "deletionPolicy: Deprecate").replace("organizationRef: {name: acme}", &reference);
    world.apply(&all([credentials(&world), organization(&world, "allowedNamespaces: {from: All}")]));
    let (before, after) = (world.canary(), world.canary());
    world.apply_in(
        &other,
        &all([
            manifest,
            secret("s", &format!("A: {before}")),
            variables("weather", &env_from("s")),
            version("1.0.0", ""),
        ]),
    );
    for kind in ["Tool", "ToolEnvSecret"] {
        world.wait_in(&other, kind, "weather", is_ready, "is Ready");
    }
    world.wait_in(&other, "ToolVersion", "weather-1.0.0", is_ready, "is Ready");
    world.apply(&organization(&world, ""));
    let withdrawn = |object: &serde_json::Value| has_reason(object, "NamespaceNotAllowed");
    world.wait_in(&other, "Tool", "weather", withdrawn, "is not allowed");
    world.apply_in(&other, &all([secret("s", &format!("A: {after}")), version("1.0.1", "")]));
    world.wait_in(
        &other,
        "ToolVersion",
        "weather-1.0.1",
        |object| !is_ready(object) && reason_of(object).is_some(),
        "waits",
    );
    let stays = |object: &serde_json::Value| {
        object["metadata"]["generation"] == object["status"]["observedGeneration"] && !is_ready(object)
    };
    world.wait_in(&other, "ToolEnvSecret", "weather", stays, "is not Ready any more");
    assert_eq!(world.variable("weather", "A"), Some(before));
    world.kubectl(&["--namespace", &other, "delete", "tools.amigo.ai", "weather", "--wait=false"]);
    let blocked = |object: &serde_json::Value| has_reason(object, "DeletionBlocked");
    world.wait_in(&other, "Tool", "weather", blocked, "is blocked");
    let tool = world.tool("weather");
    assert!(!tool.deprecated && tool.active_versions() == ["1.0.0"]);
    world.finish();
}
