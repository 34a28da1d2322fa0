//! Organizations: what may be missing, refused, suspended or not allowed, and what happens when that ends.

use amigo_operator::sandbox::Operation;
use serde_json::json;

use crate::manifests::{credentials, exactly, organization, tool, variables, weather};
use crate::world::{ACME, World};

#[test]
fn everything_can_arrive_in_any_order() {
    let world = World::new("arrival");
    world.apply(&[exactly("1.0.0"), variables("weather", json!({"env": [{"name": "A", "value": "1"}]}))]);
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotFound");
    world.reason("ToolEnvSecret", "weather", "ToolNotFound");
    world.apply(&[tool("weather", json!({}))]);
    world.reason("Tool", "weather", "OrganizationNotFound");
    world.reason("ToolVersion", "weather-1.0.0", "ToolNotReady");
    world.apply(&[organization(&world, json!({}))]);
    world.reason("Organization", "acme", "SecretNotFound");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&[crate::manifests::secret("acme-api-key", json!({"api-key": "demo-key"}))]);
    world.reason("Organization", "acme", "SecretKeyNotFound");
    world.apply(&[credentials("demo-key")]);
    for (kind, name) in
        [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")]
    {
        world.ready(kind, name);
    }
    world.check();
}

#[test]
fn refused_credentials_stop_everything_until_they_are_rotated() {
    let world = World::new("credentials");
    world.apply(&[organization(&world, json!({})), credentials("wrong"), tool("weather", json!({}))]);
    world.reason("Organization", "acme", "CredentialsRefused");
    world.reason("Tool", "weather", "OrganizationNotReady");
    assert_eq!(world.sandbox.calls(Operation::SignIn), 1);
    world.apply(&[credentials("demo-key")]);
    world.ready("Organization", "acme");
    world.ready("Tool", "weather");

    world.sandbox.put_key(ACME, "demo-key-id", "rotated", None).unwrap();
    world.sandbox.end_tokens(ACME);
    world.request("Tool", "weather");
    world.reason("Organization", "acme", "CredentialsRefused");
    world.reason("Tool", "weather", "OrganizationNotReady");
    world.apply(&[credentials("rotated")]);
    world.ready("Tool", "weather");
    world.check();
}

#[test]
fn a_missing_permission_is_named() {
    let world = World::new("permission");
    world.sandbox.deny(ACME, "demo-user", &["Tool:CreateTool"]).unwrap();
    world.apply(&[organization(&world, json!({})), credentials("demo-key"), tool("weather", json!({}))]);
    let denied = world.reason("Tool", "weather", "PermissionDenied");
    assert!(World::message(&denied).contains("Tool:CreateTool"), "{denied}");
    world.sandbox.deny(ACME, "demo-user", &[]).unwrap();
    world.request("Tool", "weather");
    world.ready("Tool", "weather");
    world.check();
}

#[test]
fn suspended_objects_are_left_alone_at_each_level() {
    let world = World::new("suspend");
    let id = weather(&world);
    let suspend =
        |kind: &str, name: &str, suspend: bool| world.patch(kind, name, &json!({"spec": {"suspend": suspend}}));
    suspend("Tool", "weather", true);
    let kept = world.reason("Tool", "weather", "Suspended");
    assert_eq!(crate::oracle::status(&kept, "Ready"), Some("True"));
    world.patch("Tool", "weather", &json!({"spec": {"description": "While suspended."}}));
    let edited = world.reason("Tool", "weather", "Suspended");
    assert_eq!(crate::oracle::status(&edited, "Ready"), Some("False"));
    assert_eq!(world.tool(&id).description, "Current weather for a city.");
    suspend("Tool", "weather", false);
    world.ready("Tool", "weather");
    world.until("the edit is applied", || world.tool(&id).description == "While suspended.");

    suspend("Organization", "acme", true);
    world.reason("Organization", "acme", "Suspended");
    world.reason("Tool", "weather", "Suspended");
    let calls = world.sandbox.counters();
    world.apply(&[tool("other", json!({})), variables("weather", json!({"env": [{"name": "A", "value": "1"}]}))]);
    world.reason("Tool", "other", "Suspended");
    world.reason("ToolEnvSecret", "weather", "Suspended");
    assert_eq!(format!("{:?}", world.sandbox.counters()), format!("{calls:?}"), "nothing is called");
    suspend("Organization", "acme", false);
    world.ready("Tool", "other");
    world.ready("ToolEnvSecret", "weather");

    world.apply(&[exactly("1.0.0")]);
    suspend("ToolVersion", "weather-1.0.0", true);
    world.reason("ToolVersion", "weather-1.0.0", "Suspended");
    suspend("ToolVersion", "weather-1.0.0", false);
    world.ready("ToolVersion", "weather-1.0.0");
    world.check();
}

#[test]
fn an_organization_in_use_waits_and_an_endpoint_must_be_allowed() {
    let world = World::new("inuse");
    weather(&world);
    world.delete("Organization", "acme");
    let in_use = world.reason("Organization", "acme", "InUse");
    assert!(World::message(&in_use).contains("weather"), "{in_use}");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    world.gone("Organization", "acme");
    world.apply(&[organization(&world, json!({"endpoint": "https://evil.example"}))]);
    world.reason("Organization", "acme", "EndpointNotAllowed");
    world.check();
}

#[test]
fn a_namespace_goes_whole() {
    let world = World::new("namespace");
    let id = weather(&world);
    let required = ["A".to_owned()].into();
    let project = amigo_operator::sandbox::Project { required_envvars: required, ..Default::default() };
    world.sandbox.put_project(ACME, "tools/weather", project).unwrap();
    world.apply(&[variables("weather", json!({"env": [{"name": "A", "value": "1"}]})), exactly("1.0.0")]);
    world.ready("ToolVersion", "weather-1.0.0");
    world.apply(&[tool("other", json!({"deletionPolicy": "Deprecate"}))]);
    world.ready("Tool", "other");
    world.kubectl(&["delete", "namespace", &world.namespace, "--wait=false"]);
    for (kind, name) in [
        ("ToolVersion", "weather-1.0.0"),
        ("ToolEnvSecret", "weather"),
        ("Tool", "weather"),
        ("Tool", "other"),
        ("Organization", "acme"),
    ] {
        world.gone(kind, name);
    }
    assert!(!world.tool(&id).deprecated);
    assert!(world.tool("other").deprecated, "the order stood in the manifest");
}

#[test]
fn an_organization_says_who_may_use_it() {
    let mut world = World::new("allowed");
    weather(&world);
    world.apply(&[variables("weather", json!({"env": [{"name": "A", "value": "1"}]}))]);
    world.ready("ToolEnvSecret", "weather");
    // Objects of the World live in one namespace; the Organization of another one is named from it.
    let mut other = World::new("elsewhere");
    let reference = json!({"organizationRef": {"name": "acme", "namespace": world.namespace}, "name": "elsewhere"});
    other.share(&mut world);
    other.apply(&[tool("weather", reference)]);
    other.reason("Tool", "weather", "NamespaceNotAllowed");
    let allow = |allowed: serde_json::Value| {
        world.patch("Organization", "acme", &json!({"spec": {"allowedNamespaces": allowed}}));
    };
    allow(json!({"from": "All"}));
    other.ready("Tool", "weather");
    allow(json!({"from": "Same"}));
    other.reason("Tool", "weather", "NamespaceNotAllowed");
    world.ready("Tool", "weather");
    allow(json!({"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": other.namespace}}}));
    other.ready("Tool", "weather");
    other.check();
    world.check();
}

#[test]
fn a_cached_token_serves_to_the_end() {
    let world = World::new("cached");
    let id = weather(&world);
    world.patch("Tool", "weather", &json!({"spec": {"deletionPolicy": "Deprecate"}}));
    world.ready("Tool", "weather");
    world.kubectl(&["delete", "secret", "acme-api-key"]);
    world.reason("Organization", "acme", "SecretNotFound");
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    world.check();
}
