//! Lost answers, SIGKILL at bad moments, and rest.

use std::time::Duration;

use amigo_operator::sandbox::{Effect, Fault, Operation, Settings};
use serde_json::json;

use crate::manifests::{credentials, exactly, organization, tool, variables, weather};
use crate::world::{ACME, World};

#[test]
fn a_lost_answer_to_a_create_makes_no_second_tool() {
    for effect in [
        Effect::LostAfterEffect { seconds: None },
        Effect::LostBeforeEffect,
        Effect::TruncatedBody,
        Effect::GarbageBody,
    ] {
        let world = World::new("lost");
        world.sandbox.add_fault(Fault::once("create-tool", effect));
        world.apply(&[organization(&world, json!({})), credentials("demo-key"), tool("weather", json!({}))]);
        world.ready("Tool", "weather");
        assert_eq!(world.sandbox.tools(ACME).len(), 1);
        world.check();
    }
}

#[test]
fn a_lost_answer_to_a_publish_makes_no_second_version() {
    let world = World::new("lostpublish");
    weather(&world);
    world.sandbox.add_fault(Fault::once("publish-version", Effect::LostAfterEffect { seconds: None }));
    world.apply(&[exactly("1.0.0")]);
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1);
    assert_eq!(world.tool("weather").versions.len(), 1);
    world.check();
}

#[test]
fn a_publish_that_did_not_happen_is_sent_again_after_its_time() {
    let world = World::new("notpublished");
    weather(&world);
    world.sandbox.add_fault(Fault::once("publish-version", Effect::LostBeforeEffect));
    world.apply(&[crate::manifests::version("v", json!({"version": "1.0.0", "publishTimeoutSeconds": 10}))]);
    let object = world.ready("ToolVersion", "v");
    assert_eq!(object["status"]["version"], json!("1.0.0"));
    assert_eq!(world.tool("weather").versions.len(), 1);
    world.check();
}

#[test]
fn killed_in_a_publish_nothing_is_published_twice() {
    let mut world = World::with("killed", Settings { publish_seconds: 4.0, ..Settings::default() }, &[]);
    weather(&world);
    world.apply(&[exactly("1.0.0"), exactly("1.0.1")]);
    for number in ["1.0.0", "1.0.1"] {
        world.until("the publish is under way", || world.tool("weather").under_way.is_some());
        world.kill_operator();
        world.start_operator();
        world.ready("ToolVersion", &format!("weather-{number}"));
    }
    let versions: Vec<String> = world.tool("weather").versions.iter().map(|v| v.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "1.0.1"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 2);
    world.check();
}

#[test]
fn a_restart_rewrites_nothing_and_rest_is_rest() {
    let mut world = World::new("rest");
    weather(&world);
    world.apply(&[variables("weather", json!({"env": [{"name": "A", "value": "1"}]})), exactly("1.0.0")]);
    world.ready("ToolEnvSecret", "weather");
    world.ready("ToolVersion", "weather-1.0.0");
    world.wait("Tool", "weather", "shows the version", |o| o["status"]["latestVersion"] == json!("1.0.0"));
    world.wait("Organization", "acme", "shows the revision", |o| o["status"]["apiRevision"] == json!("2025-07"));
    world.stop_operator();
    assert!(world.log().contains("amigo-operator ends"), "SIGTERM ends it in order");
    let states = world.states();
    let written = |world: &World| {
        let writes =
            [Operation::CreateTool, Operation::ModifyTool, Operation::ModifyVariables, Operation::PublishVersion];
        writes.iter().map(|operation| world.sandbox.calls(*operation)).sum::<u64>()
    };
    let (writes, reads) = (written(&world), world.sandbox.calls(Operation::ListTools));
    world.start_operator();
    world.until("it has signed in", || world.sandbox.calls(Operation::SignIn) >= 2);
    // What would be written at rest comes within moments of a start; a resync read may be due.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(world.states(), states, "Kubernetes is not written at rest");
    assert_eq!(written(&world), writes);
    assert!(world.sandbox.calls(Operation::ListTools) <= reads + 1);
    world.check();
}

#[test]
fn maintenance_passes() {
    let world = World::new("maintenance");
    world.apply(&[organization(&world, json!({})), credentials("demo-key")]);
    world.ready("Organization", "acme");
    world.sandbox.set_maintenance(ACME, true).unwrap();
    world.apply(&[tool("weather", json!({}))]);
    world.reason("Tool", "weather", "ProgressingWithRetry");
    world.sandbox.set_maintenance(ACME, false).unwrap();
    world.ready("Tool", "weather");
    world.check();
}
