//! What happens around the operator while it works: servers that go, kinds that are removed, objects that are deleted in
//! the middle of things, and an operator that is killed again and again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use amigo_operator::sandbox::{Effect, Fault, Operation, Settings};
use controlplane::{ControlPlane, Options};
use serde_json::json;

use support::manifests::{acme, all, env, env_from, named_version, organization, secret, tool, variables, version};
use support::{ACME, Setup, World, field};

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World, more: &str) -> String {
    world.apply(&all([acme(world), tool("weather", more)]));
    field(&world.ready("Tool", "weather"), "toolId")
}

fn with_publishes_of(name: &str, seconds: f64) -> World {
    let service = Settings { publish_seconds: seconds, ..Settings::default() };
    World::with(name, Setup { service, ..Setup::default() })
}

#[test]
fn servers_may_go_and_come_and_kinds_may_be_removed() {
    let mut control_plane = ControlPlane::start(Options::default().crds(controlplane::project_crds())).unwrap();
    let mut world = World::on(&control_plane, "servers", Setup { everywhere: true, ..Setup::default() });
    world.start_operator();
    // An API server that has just started does not know all permissions yet.
    world.expect_refusals();
    let id = weather(&world, "deletionPolicy: Deprecate");
    world.apply(&all([variables("weather", &env(&[("A", "1")])), version("1.0.0", "deletionPolicy: Deprecate")]));
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    control_plane.restart_api_server().unwrap();
    world.ready("ToolVersion", "weather-1.0.0");
    control_plane.kill_etcd();
    control_plane.restart_etcd().unwrap();
    world.until("the API server writes again", || {
        control_plane.kubectl(&["create", "configmap", "probe", "--namespace", &world.namespace]).is_ok()
    });
    world.edit("Tool", "weather", &json!({"description": "After the restart."}));
    world.until("the edit is sent", || world.tool(&id).description == "After the restart.");
    world.ready("Tool", "weather");
    assert_eq!(world.versions(&id), ["1.0.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1);

    let crds = ["toolversions.amigo.ai", "toolenvsecrets.amigo.ai", "tools.amigo.ai", "organizations.amigo.ai"];
    for crd in crds {
        control_plane.kubectl(&["delete", "customresourcedefinition", crd, "--timeout=60s"]).unwrap();
    }
    let tool = world.tool(&id);
    assert!(!tool.deprecated, "nobody ordered that");
    assert_eq!(tool.active_versions(), ["1.0.0"]);
    assert!(tool.variables.contains_key("A"));
    world.finish();
}

#[test]
fn a_version_that_is_deleted_while_it_is_built_is_deprecated_once_it_is_there() {
    let world = with_publishes_of("midpublish", 4.0);
    let id = weather(&world, "");
    world.apply(&version("1.0.0", "deletionPolicy: Deprecate"));
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    world.delete("ToolVersion", "weather-1.0.0");
    world.gone("ToolVersion", "weather-1.0.0");
    assert_eq!(world.versions(&id), ["1.0.0"]);
    assert_eq!(world.tool(&id).active_versions(), [""; 0]);
    world.finish();
}

#[test]
fn a_tool_that_is_deleted_while_a_version_is_built_waits_for_it() {
    let world = with_publishes_of("midtool", 4.0);
    let id = weather(&world, "deletionPolicy: Deprecate");
    world.apply(&version("1.0.0", ""));
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    assert_eq!(
        world.sandbox.counters()[&Operation::DeprecateTool].answers.get(&409),
        None,
        "it does not even try before"
    );
    world.finish();
}

#[test]
fn an_object_made_anew_is_taken_for_what_it_is() {
    let world = World::new("anew");
    let id = weather(&world, "");
    world.apply(&all([version("1.0.0", ""), named_version("bump", "bumpType: minor")]));
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(field(&world.ready("ToolVersion", "bump"), "version"), "1.1.0");
    for name in ["weather-1.0.0", "bump"] {
        world.delete("ToolVersion", name);
        world.gone("ToolVersion", name);
    }
    world.apply(&all([version("1.0.0", ""), named_version("bump", "bumpType: minor")]));
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(field(&world.ready("ToolVersion", "bump"), "version"), "1.2.0", "a bump publishes anew");
    assert_eq!(world.versions(&id), ["1.0.0", "1.1.0", "1.2.0"]);
    world.finish();
}

#[test]
fn what_is_edited_while_it_waits_for_its_turn_is_sent_as_it_is_then() {
    let world = World::new("latest");
    let id = weather(&world, "");
    world.sandbox.change_settings(|settings| {
        settings.limits.insert(Operation::ModifyTool, 1);
    });
    for n in 0..5 {
        world.edit("Tool", "weather", &json!({"description": format!("Edit {n}.")}));
    }
    world.until("the last edit is sent", || world.tool(&id).description == "Edit 4.");
    let calls = world.sandbox.calls(Operation::ModifyTool);
    assert!(calls <= 3, "{calls} calls for five edits at once");
    world.finish();
}

#[test]
fn a_tool_is_deprecated_although_the_credentials_were_deleted_before() {
    let world = World::new("nokey");
    let id = weather(&world, "deletionPolicy: Deprecate");
    world.delete("Secret", "acme-api-key");
    world.reason("Organization", "acme", "SecretNotFound");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated, "the token still lives");
    world.delete("Organization", "acme");
    world.gone("Organization", "acme");
    world.finish();
}

#[test]
fn two_organizations_that_mean_the_same_sign_in_once_and_share_the_budget() {
    let world = World::new("same");
    let twin = organization(&world, "").replace("name: acme}, spec", "name: twin}, spec");
    let of_twin = tool("other", "").replace("{name: acme}", "{name: twin}");
    world.apply(&all([acme(&world), twin, tool("weather", ""), of_twin]));
    world.ready("Tool", "weather");
    world.ready("Tool", "other");
    assert_eq!(world.sandbox.calls(Operation::SignIn), 1);
    world.finish();
}

#[test]
fn killed_again_and_again_among_lost_answers_it_ends_where_it_should() {
    let service = Settings { publish_seconds: 0.7, ..Settings::default() };
    let mut world = World::with("storm", Setup { service, ..Setup::default() });
    // Not the sign-ins: each start of the operator makes one, and five a minute are allowed.
    for operations in ["*-tool", "*-tools", "*-variables", "*-version", "*-versions"] {
        let lost = Fault::always(operations, Effect::LostAfterEffect { seconds: None });
        world.sandbox.add_fault(lost.with_probability(0.15));
    }
    let names = ["weather", "other", "third"];
    world.apply(&all([
        acme(&world),
        secret("credentials", &format!("A: {}", world.canary())),
        variables("weather", &env_from("credentials")),
    ]));
    world.apply(&all(names.map(|name| tool(name, ""))));
    world.apply(&all(["1.1.0", "1.0.0", "1.0.1"].map(|number| version(number, "publishTimeoutSeconds: 10"))));
    // Each kill comes after another call: at another point of the work.
    for n in 1..=4 {
        let calls = |world: &World| world.sandbox.counters().values().map(|counter| counter.calls).sum::<u64>();
        let before = calls(&world);
        world.until("some calls are made", || calls(&world) >= before + n);
        world.kill_operator();
        world.start_operator();
    }
    world.sandbox.clear_faults();
    for name in names {
        world.ready("Tool", name);
    }
    for number in ["1.0.0", "1.0.1", "1.1.0"] {
        world.ready("ToolVersion", &format!("weather-{number}"));
    }
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.sandbox.tools(ACME).len(), 3);
    assert_eq!(world.versions("weather"), ["1.0.0", "1.0.1", "1.1.0"]);
    world.finish();
}
