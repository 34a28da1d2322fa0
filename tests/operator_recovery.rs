//! What a restart, a deletion or a consented recreation interrupts is brought to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use amigo_operator::sandbox::ToolEdit;
use serde_json::json;

use support::manifests::{acme, all, env, env_from, secret, tool, variables, version};
use support::{ACME, Setup, World, field};

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World) -> String {
    world.apply(&all([acme(world), tool("weather", "")]));
    field(&world.ready("Tool", "weather"), "toolId")
}

#[test]
fn an_organization_that_goes_serves_the_last_orders_also_after_a_restart() {
    let mut world = World::new("lastorders");
    let id = weather(&world);
    world.edit("Tool", "weather", &json!({"deletionPolicy": "Deprecate", "suspend": true}));
    world.reason("Tool", "weather", "Suspended");
    world.delete("Tool", "weather");
    world.delete("Organization", "acme");
    world.reason("Tool", "weather", "DeletionBlocked");
    world.reason("Organization", "acme", "InUse");
    world.kill_operator();
    world.start_operator();
    world.edit("Tool", "weather", &json!({"suspend": false}));
    world.gone("Tool", "weather");
    world.gone("Organization", "acme");
    assert!(world.tool(&id).deprecated);
    world.finish();
}

#[test]
fn versions_and_variables_follow_a_tool_that_was_made_anew() {
    let world = World::new("anew");
    let id = weather(&world);
    world.apply(&all([version("1.0.0", ""), variables("weather", &env(&[("UNITS", "metric")]))]));
    world.ready("ToolVersion", "weather-1.0.0");
    world.sandbox.edit_tool(ACME, &id, ToolEdit { deprecated: Some(true), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "DeprecatedRemotely");
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotReady");
    world.annotate("Tool", "weather", "recreate", &id);
    let new = field(&world.ready("Tool", "weather"), "toolId");
    world.ready("ToolEnvSecret", "weather");
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.versions(&new), ["1.0.0"]);
    assert_eq!(world.variable(&new, "UNITS").as_deref(), Some("metric"));
    world.finish();
}

#[test]
fn each_way_to_see_secrets_sees_a_rotation_also_after_a_restart() {
    for access in [&["--secret-access=named"][..], &["--secret-access=poll", "--secret-poll-seconds=1"]] {
        let flags = access.iter().map(|flag| (*flag).to_owned()).collect();
        let mut world = World::with("access", Setup { flags, ..Setup::default() });
        let id = weather(&world);
        world.apply(&all([secret("credentials", "KEY_: one"), variables("weather", &env_from("credentials"))]));
        world.ready("ToolEnvSecret", "weather");
        world.kill_operator();
        world.start_operator();
        world.apply(&secret("credentials", "KEY_: two"));
        world.until("the new value is there", || world.variable(&id, "KEY_").as_deref() == Some("two"));
        world.finish();
    }
}
