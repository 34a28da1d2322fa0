//! Tools: created, adopted, mended, observed, deleted.

use amigo_operator::sandbox::{NewTool, Operation, ToolEdit};
use serde_json::json;

use crate::manifests::{credentials, organization, tool, weather};
use crate::world::{ACME, World};

fn by_hand(world: &World, mark: Option<&str>) -> String {
    let tags = mark.map(|mark| ("kubernetes_owner".to_owned(), Some(mark.to_owned()))).into_iter().collect();
    let new = NewTool { name: "weather".into(), description: "Made by hand.".into(), tags, ..NewTool::default() };
    world.sandbox.add_tool(ACME, new).unwrap()
}

#[test]
fn a_manifest_becomes_a_tool_and_drift_is_mended() {
    let world = World::new("create");
    world.apply(&[
        organization(&world, json!({})),
        credentials("demo-key"),
        tool("weather", json!({"tags": [{"key": "team", "value": "travel"}, {"key": "beta"}]})),
    ]);
    let object = world.ready("Tool", "weather");
    let id = object["status"]["toolId"].as_str().unwrap();
    let remote = world.tool(id);
    assert_eq!((remote.name.as_str(), remote.description.as_str()), ("weather", "Current weather for a city."));
    assert_eq!(remote.tags["team"].as_deref(), Some("travel"));
    assert_eq!(remote.tags["beta"], None);
    assert_eq!(remote.tags["kubernetes_owner"].as_ref().map(String::len), Some(32));

    let tags = [("stray".to_owned(), None)].into();
    let edit = ToolEdit { description: Some("By hand.".into()), tags: Some(tags), ..ToolEdit::default() };
    world.sandbox.edit_tool(ACME, id, edit).unwrap();
    world.request("Tool", "weather");
    world.until("the drift is mended", || world.tool(id).description == "Current weather for a city.");
    assert!(!world.tool(id).tags.contains_key("stray"));
    world.patch("Tool", "weather", &json!({"spec": {"description": "Weather and more."}}));
    world.until("the new description is there", || world.tool(id).description == "Weather and more.");
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 1);
    world.check();
}

#[test]
fn a_tool_that_is_there_is_taken_only_as_the_policy_says() {
    let world = World::new("adopt");
    world.apply(&[organization(&world, json!({})), credentials("demo-key")]);
    let id = by_hand(&world, None);
    world.apply(&[tool("weather", json!({}))]);
    let refused = world.reason("Tool", "weather", "NameTaken");
    assert!(World::message(&refused).contains("adoptionPolicy: Unmarked"), "{refused}");
    assert_eq!(world.tool(&id).description, "Made by hand.");
    world.patch("Tool", "weather", &json!({"spec": {"adoptionPolicy": "Unmarked"}}));
    let adopted = world.ready("Tool", "weather");
    assert_eq!(adopted["status"]["toolId"], json!(id));
    assert_eq!(world.tool(&id).description, "Current weather for a city.");

    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    world.apply(&[tool("weather", json!({}))]);
    assert_eq!(world.ready("Tool", "weather")["status"]["toolId"], json!(id), "its own mark is enough");
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.check();
}

#[test]
fn a_tool_of_somebody_else_is_not_fought_over() {
    let world = World::new("foreign");
    world.apply(&[organization(&world, json!({})), credentials("demo-key")]);
    let id = by_hand(&world, Some("ffffffffffffffffffffffffffffffff"));
    world.apply(&[tool("weather", json!({"adoptionPolicy": "Unmarked"}))]);
    world.reason("Tool", "weather", "NameTaken");
    world.patch("Tool", "weather", &json!({"spec": {"adoptionPolicy": "Always"}}));
    world.ready("Tool", "weather");
    let tags = [("kubernetes_owner".to_owned(), Some("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee".to_owned()))].into();
    world.sandbox.edit_tool(ACME, &id, ToolEdit { tags: Some(tags), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "OwnershipLost");
    assert_eq!(world.tool(&id).tags["kubernetes_owner"].as_deref(), Some("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"));
    world.check();
}

#[test]
fn an_observed_tool_is_never_written() {
    let world = World::new("observe");
    let observe = json!({
        "organizationRef": {"name": "acme"}, "managementPolicy": "Observe",
    });
    let manifest = json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "Tool", "metadata": {"name": "weather"}, "spec": observe,
    });
    world.apply(&[organization(&world, json!({})), credentials("demo-key"), manifest]);
    world.reason("Tool", "weather", "ToolNotFound");
    let id = by_hand(&world, None);
    world.request("Tool", "weather");
    assert_eq!(world.ready("Tool", "weather")["status"]["toolId"], json!(id));
    assert_eq!(world.sandbox.calls(Operation::ModifyTool) + world.sandbox.calls(Operation::CreateTool), 0);
    world.check();
}

#[test]
fn a_deprecated_tool_is_replaced_only_by_consent() {
    let world = World::new("recreate");
    let id = weather(&world);
    world.sandbox.edit_tool(ACME, &id, ToolEdit { deprecated: Some(true), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "DeprecatedRemotely");
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.patch("Tool", "weather", &json!({"metadata": {"annotations": {"amigo.ai/recreate": id}}}));
    let object = world.ready("Tool", "weather");
    let new = object["status"]["toolId"].as_str().unwrap().to_owned();
    assert_ne!(new, id);
    world.sandbox.edit_tool(ACME, &new, ToolEdit { deprecated: Some(true), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "DeprecatedRemotely");
    assert_eq!(world.sandbox.tools(ACME).len(), 2, "the consent was for the old id");
    world.check();
}

#[test]
fn of_two_tools_for_one_the_loser_is_woken() {
    let world = World::new("rivals");
    weather(&world);
    world.apply(&[tool("copy", json!({"name": "weather"}))]);
    world.reason("Tool", "copy", "NameTaken");
    world.patch("Tool", "copy", &json!({"spec": {"adoptionPolicy": "Always"}}));
    world.reason("Tool", "copy", "NameTaken");
    world.delete("Tool", "weather");
    world.ready("Tool", "copy");
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.check();
}

#[test]
fn deletion_retains_unless_the_manifest_orders_otherwise() {
    let world = World::new("delete");
    let id = weather(&world);
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    world.apply(&[tool("weather", json!({"deletionPolicy": "Deprecate"}))]);
    world.ready("Tool", "weather");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    assert_eq!(world.sandbox.calls(Operation::DeprecateTool), 1);
    world.check();
}

#[test]
fn an_organization_can_forbid_and_hold_deprecations() {
    let world = World::new("held");
    world.apply(&[organization(&world, json!({"maxDeprecationsPerHour": 1})), credentials("demo-key")]);
    let names = ["one", "two", "three"];
    let tools: Vec<_> = names.iter().map(|name| tool(name, json!({"deletionPolicy": "Deprecate"}))).collect();
    world.apply(&tools);
    for name in names {
        world.ready("Tool", name);
    }
    for name in names {
        world.delete("Tool", name);
    }
    let organization_ =
        world.wait("Organization", "acme", "holds two", |o| o["status"]["heldDeprecations"] == json!(2));
    assert!(World::message(&organization_).contains("amigo.ai/confirm-deprecations"), "{organization_}");
    let deprecated = || world.sandbox.tools(ACME).iter().filter(|tool| tool.deprecated).count();
    assert_eq!(deprecated(), 1);
    let confirm = |number: &str| {
        let annotations = json!({"metadata": {"annotations": {"amigo.ai/confirm-deprecations": number}}});
        world.patch("Organization", "acme", &annotations);
    };
    confirm("3");
    world.request("Organization", "acme");
    assert_eq!(deprecated(), 1, "any other number does nothing");
    confirm("2");
    for name in names {
        world.gone("Tool", name);
    }
    assert_eq!(deprecated(), 3);

    world.apply(&[
        organization(&world, json!({"deprecation": "Forbidden"})),
        tool("four", json!({"deletionPolicy": "Deprecate"})),
    ]);
    world.ready("Organization", "acme");
    world.ready("Tool", "four");
    world.delete("Tool", "four");
    world.gone("Tool", "four");
    assert!(!world.tool("four").deprecated);
    world.check();
}

#[test]
fn a_namespace_s_last_orders_survive_a_restart() {
    let mut world = World::new("restart");
    let id = weather(&world);
    world.patch("Tool", "weather", &json!({"spec": {"deletionPolicy": "Deprecate", "suspend": true}}));
    world.reason("Tool", "weather", "Suspended");
    world.delete("Tool", "weather");
    world.delete("Organization", "acme");
    world.reason("Tool", "weather", "DeletionBlocked");
    world.reason("Organization", "acme", "InUse");
    world.kill_operator();
    world.start_operator();
    world.patch("Tool", "weather", &json!({"spec": {"suspend": false}}));
    world.gone("Tool", "weather");
    world.gone("Organization", "acme");
    assert!(world.tool(&id).deprecated);
    world.check();
}

#[test]
fn what_can_never_be_cleaned_up_can_be_abandoned() {
    let mut world = World::new("abandon");
    let id = weather(&world);
    world.patch("Tool", "weather", &json!({"spec": {"deletionPolicy": "Deprecate"}}));
    world.ready("Tool", "weather");
    world.kubectl(&["delete", "secret", "acme-api-key"]);
    world.reason("Organization", "acme", "SecretNotFound");
    world.kill_operator();
    world.start_operator();
    world.delete("Tool", "weather");
    world.reason("Tool", "weather", "DeletionBlocked");
    world.patch("Tool", "weather", &json!({"metadata": {"annotations": {"amigo.ai/abandon": "true"}}}));
    world.gone("Tool", "weather");
    assert!(!world.tool(&id).deprecated);
    world.check();
}

#[test]
fn versions_follow_a_tool_that_was_made_anew() {
    let world = World::new("anew");
    let id = weather(&world);
    world.apply(&[
        crate::manifests::exactly("1.0.0"),
        crate::manifests::variables("weather", json!({"env": [{"name": "A", "value": "1"}]})),
    ]);
    world.ready("ToolVersion", "weather-1.0.0");
    world.sandbox.edit_tool(ACME, &id, ToolEdit { deprecated: Some(true), ..ToolEdit::default() }).unwrap();
    world.request("Tool", "weather");
    world.reason("Tool", "weather", "DeprecatedRemotely");
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotReady");
    world.patch("Tool", "weather", &json!({"metadata": {"annotations": {"amigo.ai/recreate": id}}}));
    let new = world.ready("Tool", "weather")["status"]["toolId"].as_str().unwrap().to_owned();
    world.ready("ToolEnvSecret", "weather");
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.tool(&new).active_versions(), ["1.0.0"]);
    assert_eq!(world.tool(&new).variables["A"].value, "1");
    world.check();
}
