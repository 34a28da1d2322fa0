//! ToolEnvSecrets: synced at once, in one call, and never shown.

use std::time::Instant;

use amigo_operator::sandbox::{NewVersion, Operation, Settings};
use serde_json::json;

use crate::manifests::{secret, variables, weather};
use crate::world::{ACME, CANARY, World};

fn value(world: &World, name: &str) -> Option<String> {
    world.tool("weather").variables.get(name).map(|variable| variable.value.clone())
}

#[test]
fn a_rotated_secret_is_synced_within_a_second_in_one_call() {
    let world = World::new("rotate");
    let id = weather(&world);
    let from = json!({"envFrom": [{"secretRef": {"name": "s"}}]});
    let one = json!({"env": [
        {"name": "UNITS", "value": "metric"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "API_KEY"}}},
    ]});
    world.apply(&[
        secret("s", json!({"API_KEY": format!("{CANARY}-1"), "tls.crt": "x"})),
        variables("all", from),
        variables("one", one),
    ]);
    world.ready("ToolEnvSecret", "all");
    world.ready("ToolEnvSecret", "one");
    assert_eq!(world.get("ToolEnvSecret", "all").unwrap()["status"]["skippedKeys"], json!(["tls.crt"]));
    let remote = world.tool(&id);
    assert!(remote.variables["API_KEY"].is_secret && remote.variables["TOKEN"].is_secret);
    assert!(!remote.variables["UNITS"].is_secret);
    let calls = world.sandbox.calls(Operation::ModifyVariables);
    let rotated = format!("{CANARY}-2");
    let began = Instant::now();
    world.patch("secret", "s", &json!({"stringData": {"API_KEY": rotated}}));
    world.until("both have the new value", || {
        value(&world, "API_KEY").as_ref() == Some(&rotated) && value(&world, "TOKEN").as_ref() == Some(&rotated)
    });
    println!("rotated after {} ms, kubectl included", began.elapsed().as_millis());
    world.request("ToolEnvSecret", "all");
    world.request("ToolEnvSecret", "one");
    assert_eq!(world.sandbox.calls(Operation::ModifyVariables), calls + 1, "one call a tool");
    world.patch("secret", "s", &json!({"metadata": {"labels": {"a": "b"}}}));
    world.request("ToolEnvSecret", "all");
    assert_eq!(world.sandbox.calls(Operation::ModifyVariables), calls + 1, "a label is no rotation");
    world.check();
}

#[test]
fn what_goes_from_the_spec_goes_remotely_unless_a_version_requires_it() {
    let world = World::new("remove");
    let id = weather(&world);
    let env = |names: &[&str]| {
        let entries: Vec<_> = names.iter().map(|name| json!({"name": name, "value": "v"})).collect();
        variables("weather", json!({"env": entries}))
    };
    world.apply(&[env(&["A", "B", "C"])]);
    world.ready("ToolEnvSecret", "weather");
    let required = ["B".to_owned()].into();
    let new = NewVersion { version: Some("1.0.0".into()), required_envvars: required, ..NewVersion::default() };
    world.sandbox.add_version(ACME, &id, new).unwrap();
    world.apply(&[env(&["C"])]);
    let in_use = world.reason("ToolEnvSecret", "weather", "VariableInUse");
    assert!(World::message(&in_use).contains("1.0.0"), "{in_use}");
    assert_eq!(world.tool(&id).variables.keys().collect::<Vec<_>>(), ["B", "C"]);
    world.sandbox.deprecate_versions(ACME, &id, "==1.0.0").unwrap();
    world.request("ToolEnvSecret", "weather");
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.tool(&id).variables.keys().collect::<Vec<_>>(), ["C"]);
    world.delete("ToolEnvSecret", "weather");
    world.gone("ToolEnvSecret", "weather");
    assert!(world.tool(&id).variables.is_empty());
    world.check();
}

#[test]
fn missing_and_unfit_sources_are_named_and_what_was_there_stays() {
    let world = World::new("missing");
    let id = weather(&world);
    let spec = json!({"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]});
    world.apply(&[variables("weather", spec)]);
    world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    world.apply(&[secret("s", json!({"other": "x"}))]);
    world.reason("ToolEnvSecret", "weather", "SecretKeyNotFound");
    world.apply(&[secret("s", json!({"token": CANARY}))]);
    world.ready("ToolEnvSecret", "weather");
    world.patch("secret", "s", &json!({"data": {"token": "/w=="}}));
    world.reason("ToolEnvSecret", "weather", "SecretValueInvalid");
    world.kubectl(&["delete", "secret", "s"]);
    world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    assert_eq!(value(&world, "TOKEN").as_deref(), Some(CANARY));
    world.apply(&[secret("s", json!({"token": "new"}))]);
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.tool(&id).variables["TOKEN"].value, "new");
    world.check();
}

#[test]
fn one_variable_belongs_to_one_object_and_has_one_visibility() {
    let world = World::new("conflict");
    weather(&world);
    let plain = |value: &str| json!({"env": [{"name": "A", "value": value}]});
    world.apply(&[variables("old", plain("old"))]);
    world.ready("ToolEnvSecret", "old");
    world.apply(&[variables("young", plain("young"))]);
    world.reason("ToolEnvSecret", "young", "VariableConflict");
    assert_eq!(value(&world, "A").as_deref(), Some("old"));
    world.delete("ToolEnvSecret", "old");
    world.ready("ToolEnvSecret", "young");
    world.until("the younger has it", || value(&world, "A").as_deref() == Some("young"));
    let spec = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]});
    world.apply(&[secret("s", json!({"a": CANARY})), variables("young", spec)]);
    world.reason("ToolEnvSecret", "young", "VisibilityMismatch");
    world.check();
}

#[test]
fn each_way_to_see_secrets_sees_a_rotation_also_after_a_restart() {
    for access in [&["--secret-access=named"][..], &["--secret-access=poll", "--secret-poll-seconds=1"]] {
        let mut world = World::with("access", Settings::default(), access);
        weather(&world);
        world.apply(&[
            secret("s", json!({"KEY_": "1"})),
            variables("v", json!({"envFrom": [{"secretRef": {"name": "s"}}]})),
        ]);
        world.ready("ToolEnvSecret", "v");
        for (restart, new) in [(false, "2"), (true, "3")] {
            if restart {
                world.kill_operator();
                world.start_operator();
            }
            world.patch("secret", "s", &json!({"stringData": {"KEY_": new}}));
            world.until("the new value is there", || value(&world, "KEY_").as_deref() == Some(new));
        }
        world.check();
    }
}
