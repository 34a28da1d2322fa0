//! Tools: created, taken over, kept as the manifest says, observed, deprecated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use amigo_operator::sandbox::{NewTool, Operation, Settings, ToolEdit};
use serde_json::json;

use support::manifests::{DESCRIPTION, acme, all, bare_tool, env, organization, tool, variables, version};
use support::{ACME, Setup, World, field, has_reason, message};

/// A tool that somebody made in the service, with a mark or without.
fn by_hand(world: &World, mark: Option<&str>) -> String {
    let tags = mark.map(|mark| ("kubernetes_owner".to_owned(), Some(mark.to_owned()))).into_iter().collect();
    let tool = NewTool { name: "weather".into(), description: "Made by hand.".into(), tags, ..NewTool::default() };
    world.sandbox.add_tool(ACME, tool).unwrap()
}

fn describe(world: &World, id: &str, description: &str) {
    let edit = ToolEdit { description: Some(description.to_owned()), ..ToolEdit::default() };
    world.sandbox.edit_tool(ACME, id, edit).unwrap();
}

#[test]
fn a_manifest_becomes_a_tool_with_a_mark() {
    let world = World::new("create");
    world.apply(&all([acme(&world), tool("my-weather.v2", "tags: [{key: team, value: travel}, {key: beta}]")]));
    let object = world.ready("Tool", "my-weather.v2");
    let remote = world.tool(&field(&object, "toolId"));
    assert_eq!((remote.name.as_str(), remote.description.as_str()), ("my_weather_v2", DESCRIPTION));
    assert_eq!(field(&object, "name"), "my_weather_v2");
    assert_eq!(remote.tags["team"].as_deref(), Some("travel"));
    assert_eq!(remote.tags["beta"], None);
    let mark = remote.tags["kubernetes_owner"].clone().unwrap();
    assert_eq!(mark.len(), 32);
    assert!(remote.tags.contains_key("kubernetes_resource"), "a hint for people");
    assert_eq!(object["metadata"]["finalizers"], json!(["amigo.ai/finalizer"]));
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 1);
    assert_eq!(world.events("my-weather.v2"), [], "what goes as it should is in the status");
    world.finish();
}

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World, more: &str) -> String {
    world.apply(&all([acme(world), tool("weather", more)]));
    field(&world.ready("Tool", "weather"), "toolId")
}

#[test]
fn drift_is_mended_on_request() {
    let world = World::new("drift");
    let id = weather(&world, "tags: [{key: team, value: travel}]");
    let tags = [("stray".to_owned(), None), ("team".to_owned(), Some("food".to_owned()))].into();
    let edit = ToolEdit { description: Some("By hand.".into()), tags: Some(tags), ..ToolEdit::default() };
    world.sandbox.edit_tool(ACME, &id, edit).unwrap();
    world.request("Tool", "weather");
    let mended = world.tool(&id);
    assert_eq!(mended.description, DESCRIPTION);
    assert_eq!(mended.tags.keys().collect::<Vec<_>>(), ["kubernetes_owner", "kubernetes_resource", "team"]);
    assert_eq!(mended.tags["team"].as_deref(), Some("travel"));
    world.edit("Tool", "weather", &json!({"description": "Weather and more."}));
    world.until("the new description is there", || world.tool(&id).description == "Weather and more.");
    world.ready("Tool", "weather");
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 1);
    assert!(world.metrics().contains("\namigo_drift_corrected_total 1\n"), "an edit of the manifest is no drift");
    world.finish();
}

#[test]
fn drift_is_mended_by_resync() {
    let world = World::new("resync");
    let resync = organization(&world, "resync: {toolsPeriodSeconds: 10}");
    world.apply(&all([acme(&world), resync, tool("weather", "")]));
    let id = field(&world.ready("Tool", "weather"), "toolId");
    describe(&world, &id, "By hand.");
    world.until("the drift is mended", || world.tool(&id).description == DESCRIPTION);
    world.finish();
}

#[test]
fn tags_of_others_stay_unless_the_manifest_names_tags() {
    let world = World::new("tags");
    let id = weather(&world, "");
    let mut tags = world.tool(&id).tags;
    tags.insert("theirs".to_owned(), None);
    world.sandbox.edit_tool(ACME, &id, ToolEdit { tags: Some(tags), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    assert!(world.tool(&id).tags.contains_key("theirs"));
    assert_eq!(world.sandbox.calls(Operation::ModifyTool), 0);
    world.apply(&tool("weather", "tags: [{key: mine}]"));
    world.until("the tags are the manifest's", || !world.tool(&id).tags.contains_key("theirs"));
    world.apply(&tool("weather", ""));
    world.ready("Tool", "weather");
    world.request("Tool", "weather");
    assert!(world.tool(&id).tags.contains_key("mine"), "tags once sent stay");
    world.apply(&tool("weather", "tags: []"));
    world.until("only the operator's tags are left", || world.tool(&id).tags.len() == 2);
    world.finish();
}

#[test]
fn a_tool_without_a_mark_is_taken_only_by_consent() {
    let world = World::new("adopt");
    world.apply(&acme(&world));
    let id = by_hand(&world, None);
    world.apply(&tool("weather", ""));
    let refused = world.reason("Tool", "weather", "NameTaken");
    assert!(message(&refused).contains("adoptionPolicy: Unmarked"), "{refused}");
    world.until("an Event tells", || world.events("weather").iter().any(|(reason, _)| reason == "NameTaken"));
    assert_eq!(world.tool(&id).description, "Made by hand.");
    world.edit("Tool", "weather", &json!({"adoptionPolicy": "Unmarked"}));
    assert_eq!(field(&world.ready("Tool", "weather"), "toolId"), id);
    assert_eq!(world.tool(&id).description, DESCRIPTION);

    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    world.apply(&tool("weather", ""));
    assert_eq!(field(&world.ready("Tool", "weather"), "toolId"), id, "the own mark is enough");
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.finish();
}

#[test]
fn a_tool_with_another_mark_is_taken_over_only_with_always_and_never_fought_over() {
    let world = World::new("foreign");
    world.apply(&acme(&world));
    let id = by_hand(&world, Some("ffffffffffffffffffffffffffffffff"));
    world.apply(&tool("weather", "adoptionPolicy: Unmarked"));
    world.reason("Tool", "weather", "NameTaken");
    world.edit("Tool", "weather", &json!({"adoptionPolicy": "Always"}));
    assert_eq!(field(&world.ready("Tool", "weather"), "toolId"), id);
    let theirs = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    let tags = [("kubernetes_owner".to_owned(), Some(theirs.to_owned()))].into();
    world.sandbox.edit_tool(ACME, &id, ToolEdit { tags: Some(tags), ..ToolEdit::default() }).unwrap();
    let modified = world.sandbox.calls(Operation::ModifyTool);
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "OwnershipLost");
    assert_eq!(world.tool(&id).tags["kubernetes_owner"].as_deref(), Some(theirs));
    assert_eq!(world.sandbox.calls(Operation::ModifyTool), modified);
    world.finish();
}

#[test]
fn of_two_tools_for_one_the_older_keeps_it_and_the_younger_is_woken() {
    let world = World::new("rivals");
    let id = weather(&world, "");
    world.apply(&tool("copy", "name: weather, adoptionPolicy: Always"));
    let taken = world.reason("Tool", "copy", "NameTaken");
    assert!(message(&taken).contains("weather"), "{taken}");
    world.request("Tool", "copy");
    world.delete("Tool", "weather");
    assert_eq!(field(&world.ready("Tool", "copy"), "toolId"), id);
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.finish();
}

#[test]
fn an_observed_tool_is_never_written_and_yet_gets_versions_and_variables() {
    let world = World::new("observe");
    world.apply(&all([acme(&world), bare_tool("weather", "managementPolicy: Observe")]));
    world.reason("Tool", "weather", "ToolNotFound");
    let id = by_hand(&world, Some("ffffffffffffffffffffffffffffffff"));
    world.request("Tool", "weather");
    assert_eq!(field(&world.ready("Tool", "weather"), "toolId"), id);
    world.apply(&all([variables("weather", &env(&[("UNITS", "metric")])), version("1.0.0", "")]));
    world.ready("ToolEnvSecret", "weather");
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.variable(&id, "UNITS").as_deref(), Some("metric"));
    assert_eq!(world.versions(&id), ["1.0.0"]);
    world.delete("Tool", "weather");
    world.delete("ToolEnvSecret", "weather");
    world.delete("ToolVersion", "weather-1.0.0");
    for (kind, name) in [("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0"), ("Tool", "weather")] {
        world.gone(kind, name);
    }
    let tool = world.tool(&id);
    assert_eq!((tool.description.as_str(), tool.tags.len()), ("Made by hand.", 1));
    assert_eq!(world.sandbox.calls(Operation::ModifyTool) + world.sandbox.calls(Operation::CreateTool), 0);
    assert_eq!(world.variable(&id, "UNITS"), None);
    world.finish();
}

#[test]
fn a_deprecated_tool_is_replaced_only_by_consent() {
    let world = World::new("recreate");
    let id = weather(&world, "");
    let deprecate = |id: &str| {
        let edit = ToolEdit { deprecated: Some(true), ..ToolEdit::default() };
        world.sandbox.edit_tool(ACME, id, edit).unwrap();
        world.request("Tool", "weather");
        world.reason("Tool", "weather", "DeprecatedRemotely");
    };
    deprecate(&id);
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.annotate("Tool", "weather", "recreate", &id);
    let new = field(&world.ready("Tool", "weather"), "toolId");
    assert_ne!(new, id);
    deprecate(&new);
    assert_eq!(world.sandbox.tools(ACME).len(), 2, "the consent was for the old id");
    world.finish();
}

#[test]
fn a_tool_that_is_gone_is_not_made_again_without_consent() {
    let world = World::new("missing");
    let id = weather(&world, "");
    world.sandbox.remove_tool(ACME, &id).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "RemoteMissing");
    assert_eq!(world.sandbox.tools(ACME).len(), 0);
    world.annotate("Tool", "weather", "recreate", "0123456789abcdef01234567");
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "RemoteMissing");
    world.annotate("Tool", "weather", "recreate", &id);
    world.ready("Tool", "weather");
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.finish();
}

#[test]
fn a_deleted_tool_is_retained_unless_the_manifest_orders_otherwise() {
    let world = World::new("delete");
    let id = weather(&world, "");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    assert_eq!(weather(&world, "deletionPolicy: Deprecate"), id);
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    assert_eq!(world.sandbox.calls(Operation::DeprecateTool), 1);
    world.finish();
}

#[test]
fn a_tool_that_lost_its_mark_to_somebody_is_not_deprecated() {
    let world = World::new("notours");
    let id = weather(&world, "deletionPolicy: Deprecate");
    let tags = [("kubernetes_owner".to_owned(), Some("ffffffffffffffffffffffffffffffff".to_owned()))].into();
    world.sandbox.edit_tool(ACME, &id, ToolEdit { tags: Some(tags), ..ToolEdit::default() }).unwrap();
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    assert_eq!(world.sandbox.calls(Operation::DeprecateTool), 0);
    world.finish();
}

#[test]
fn deprecations_beyond_the_limit_are_held_until_a_person_confirms_their_number() {
    let world = World::new("held");
    world.apply(&all([acme(&world), organization(&world, "maxDeprecationsPerHour: 1")]));
    let names = ["one", "two", "three"];
    world.apply(&all(names.map(|name| tool(name, "deletionPolicy: Deprecate"))));
    for name in names {
        world.ready("Tool", name);
    }
    for name in names {
        world.delete("Tool", name);
    }
    let holds_two = |object: &serde_json::Value| {
        object["status"]["heldDeprecations"] == json!(2) && message(object).contains("amigo.ai/confirm-deprecations")
    };
    world.wait_for("Organization", "acme", holds_two, "holds two deprecations, and says how to confirm them");
    let deprecated = || world.sandbox.tools(ACME).iter().filter(|tool| tool.deprecated).count();
    world.until("one is deprecated", || deprecated() == 1);
    let held = |name: &&&str| world.get("Tool", name).is_some_and(|tool| has_reason(&tool, "DeprecationHeld"));
    world.until("the other two say so", || names.iter().filter(held).count() == 2);
    world.annotate("Organization", "acme", "confirm-deprecations", "3");
    world.request("Organization", "acme");
    assert_eq!(deprecated(), 1, "any other number does nothing");
    world.annotate("Organization", "acme", "confirm-deprecations", "2");
    for name in names {
        world.gone("Tool", name);
    }
    assert_eq!(deprecated(), 3);
    world.finish();
}

#[test]
fn an_organization_can_forbid_deprecation() {
    let world = World::new("forbid");
    world.apply(&all([acme(&world), organization(&world, "deprecation: Forbidden")]));
    world.ready("Organization", "acme");
    let spec = "deletionPolicy: Deprecate, deprecatedVersions: '<9'";
    world.apply(&all([tool("weather", spec), version("1.0.0", "deletionPolicy: Deprecate")]));
    let id = field(&world.ready("Tool", "weather"), "toolId");
    world.ready("ToolVersion", "weather-1.0.0");
    world.request("Tool", "weather");
    world.delete("ToolVersion", "weather-1.0.0");
    world.gone("ToolVersion", "weather-1.0.0");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0"]);
    world.finish();
}

#[test]
fn an_object_that_cannot_be_cleaned_up_says_so_and_can_be_abandoned() {
    let world = World::new("abandon");
    let id = weather(&world, "deletionPolicy: Deprecate");
    world.edit("Organization", "acme", &json!({"suspend": true}));
    world.reason("Organization", "acme", "Suspended");
    world.delete("Tool", "weather");
    let blocked = world.reason("Tool", "weather", "DeletionBlocked");
    assert!(message(&blocked).contains("amigo.ai/abandon"), "{blocked}");
    world.annotate("Tool", "weather", "abandon", "yes");
    world.request("Tool", "weather");
    assert!(world.get("Tool", "weather").is_some(), "only \"true\" abandons");
    world.annotate("Tool", "weather", "abandon", "true");
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    world.finish();
}

#[test]
fn a_blocked_deletion_goes_on_when_its_obstacle_goes() {
    let world = World::new("unblock");
    let id = weather(&world, "deletionPolicy: Deprecate");
    world.edit("Organization", "acme", &json!({"suspend": true}));
    world.reason("Organization", "acme", "Suspended");
    world.delete("Tool", "weather");
    world.reason("Tool", "weather", "DeletionBlocked");
    world.edit("Organization", "acme", &json!({"suspend": false}));
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    world.finish();
}

#[test]
fn held_deprecations_are_still_held_after_a_restart() {
    let mut world = World::new("heldagain");
    world.apply(&all([acme(&world), organization(&world, "maxDeprecationsPerHour: 2"), tool("weather", "")]));
    let numbers = ["1.0.0", "1.0.1", "1.0.2", "1.0.3"];
    world.apply(&all(numbers.map(|number| version(number, ""))));
    for number in numbers {
        world.ready("ToolVersion", &format!("weather-{number}"));
    }
    world.edit("Tool", "weather", &json!({"deprecatedVersions": "<1.0.3"}));
    let three = |object: &serde_json::Value| object["status"]["heldDeprecations"] == json!(3);
    world.wait_for("Organization", "acme", three, "holds three deprecations");
    world.kill_operator();
    world.start_operator();
    world.request("Tool", "weather");
    world.request("Organization", "acme");
    world.wait_for("Organization", "acme", three, "still holds three deprecations");
    assert_eq!(world.tool("weather").active_versions(), numbers);
    world.annotate("Organization", "acme", "confirm-deprecations", "3");
    world.until("they are deprecated", || world.tool("weather").active_versions() == ["1.0.3"]);
    assert_eq!(world.sandbox.calls(Operation::DeprecateVersions), 1);
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn a_tool_that_is_deleted_while_it_waits_for_its_create_is_never_made_and_leaves_its_place() {
    let limits = BTreeMap::from([(Operation::CreateTool, 2)]);
    let service = Settings { limits, ..Setup::default().service };
    let world = World::with("waitsgone", Setup { service, ..Setup::default() });
    world.apply(&all([acme(&world), tool("first", "")]));
    world.ready("Tool", "first");
    world.apply(&tool("second", "deletionPolicy: Deprecate"));
    world.reason("Tool", "second", "QueuedForBudget");
    world.apply(&tool("third", ""));
    world.reason("Tool", "third", "QueuedForBudget");
    world.delete("Tool", "second");
    world.gone("Tool", "second");
    world.ready("Tool", "third");
    let names: Vec<_> = world.sandbox.tools(ACME).into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["first", "third"]);
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 2, "one a minute, and none for who has gone");
    world.finish();
}
