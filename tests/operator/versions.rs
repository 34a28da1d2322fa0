//! ToolVersions: published once and in order, claimed, refused, deprecated.

use std::collections::BTreeSet;

use amigo_operator::amigo::types::BumpType::{Major, Minor};
use amigo_operator::sandbox::{NewVersion, Operation, Project, Revision, Settings};
use serde_json::json;

use crate::manifests::{exactly, tool, variables, version, weather};
use crate::world::{ACME, World};

fn published(world: &World) -> Vec<String> {
    world.tool("weather").versions.iter().map(|v| v.version.to_string()).collect()
}

#[test]
fn versions_of_one_apply_are_published_in_their_order() {
    let world = World::new("order");
    world.apply(&["2.0.0", "1.0.1", "1.1.0", "1.0.0"].map(exactly));
    weather(&world);
    for number in ["1.0.0", "1.0.1", "1.1.0", "2.0.0"] {
        let object = world.ready("ToolVersion", &format!("weather-{number}"));
        assert_eq!(object["status"]["version"], json!(number));
        assert!(object["status"]["publish"].is_null());
    }
    assert_eq!(published(&world), ["1.0.0", "1.0.1", "1.1.0", "2.0.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 4);
    let tool = world.wait("Tool", "weather", "counts four", |o| o["status"]["activeVersions"] == json!(4));
    assert_eq!(tool["status"]["latestVersion"], json!("2.0.0"));
    world.check();
}

#[test]
fn a_version_that_exists_is_claimed_and_others_are_explained() {
    let world = World::new("claim");
    let id = weather(&world);
    let new = |path: &str, bump| NewVersion {
        bump_type: Some(bump),
        project_path: Some(path.to_owned()),
        user_id: Some("eve".into()),
        ..NewVersion::default()
    };
    world.sandbox.add_version(ACME, &id, new("tools/weather", Major)).unwrap();
    world.sandbox.add_version(ACME, &id, new("tools/other", Minor)).unwrap();
    world.apply(&[exactly("1.0.0"), exactly("1.1.0"), exactly("3.0.0")]);
    world.ready("ToolVersion", "weather-1.0.0");
    world.reason("ToolVersion", "weather-1.1.0", "VersionTaken");
    let unreachable = world.reason("ToolVersion", "weather-3.0.0", "VersionUnreachable");
    assert!(World::message(&unreachable).contains("1.1.1, 1.2.0, 2.0.0"), "{unreachable}");
    world.apply(&[version("copy", json!({"version": "1.0.0"}))]);
    world.reason("ToolVersion", "copy", "VersionTaken");
    world.delete("ToolVersion", "weather-1.0.0");
    world.ready("ToolVersion", "copy");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 0);
    world.apply(&[exactly("2.0.0")]);
    world.ready("ToolVersion", "weather-2.0.0");
    world.ready("ToolVersion", "weather-3.0.0");
    world.check();
}

#[test]
fn a_bump_publishes_once() {
    let world = World::new("bump");
    weather(&world);
    world.apply(&[version("first", json!({"bumpType": "major"}))]);
    assert_eq!(world.ready("ToolVersion", "first")["status"]["version"], json!("1.0.0"));
    world.apply(&[version("second", json!({"bumpType": "minor", "expectedCommit": "0000000"}))]);
    let mismatch = world.reason("ToolVersion", "second", "CommitMismatch");
    assert_eq!(mismatch["status"]["version"], json!("1.1.0"));
    world.request("ToolVersion", "first");
    world.request("ToolVersion", "second");
    assert_eq!(published(&world), ["1.0.0", "1.1.0"]);
    world.check();
}

#[test]
fn each_revision_of_the_publish_call_is_found() {
    for (revision, name) in [(Revision::September2025, "2025-09"), (Revision::Year2026, "2026")] {
        let settings = Settings { revision, refuse_extra_fields: true, publish_seconds: 0.5, ..Settings::default() };
        let world = World::with("revision", settings, &[]);
        weather(&world);
        world.apply(&[exactly("1.0.0")]);
        world.ready("ToolVersion", "weather-1.0.0");
        world.wait("Organization", "acme", "shows the revision", |o| o["status"]["apiRevision"] == json!(name));
        assert_eq!(published(&world), ["1.0.0"]);
        world.check();
    }
}

#[test]
fn versions_are_deprecated_by_specifier_and_by_deletion() {
    let world = World::new("deprecate");
    let id = weather(&world);
    let deprecating = version("weather-1.1.0", json!({"version": "1.1.0", "deletionPolicy": "Deprecate"}));
    world.apply(&[exactly("1.0.0"), deprecating, exactly("2.0.0")]);
    for number in ["1.0.0", "1.1.0", "2.0.0"] {
        world.ready("ToolVersion", &format!("weather-{number}"));
    }
    world.delete("ToolVersion", "weather-1.1.0");
    world.gone("ToolVersion", "weather-1.1.0");
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0", "2.0.0"]);
    world.delete("ToolVersion", "weather-2.0.0");
    world.gone("ToolVersion", "weather-2.0.0");
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0", "2.0.0"]);
    world.apply(&[tool("weather", json!({"deprecatedVersions": "<1.1"}))]);
    world.until("1.0.0 is deprecated", || world.tool(&id).active_versions() == ["2.0.0"]);
    world.reason("ToolVersion", "weather-1.0.0", "VersionDeprecated");
    world.ready("Tool", "weather");
    world.check();
}

#[test]
fn a_refused_publish_is_explained_and_not_repeated() {
    let world = World::new("refused");
    let id = weather(&world);
    let required = BTreeSet::from(["API_KEY".to_owned()]);
    let needs = Project { required_secret_envvars: required, ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", needs).unwrap();
    world.apply(&[exactly("1.0.0")]);
    world.reason("ToolVersion", "weather-1.0.0", "VariablesMissing");
    let secret = crate::manifests::secret("weather-credentials", json!({"API_KEY": crate::world::CANARY}));
    let from = json!({"envFrom": [{"secretRef": {"name": "weather-credentials"}}]});
    world.apply(&[secret, variables("weather", from)]);
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(published(&world), ["1.0.0"]);

    let fails = Project { build_fails: true, publish_seconds: Some(4.0), ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", fails).unwrap();
    world.apply(&[exactly("1.0.1")]);
    world.reason("ToolVersion", "weather-1.0.1", "BuildFailed");
    let calls = world.sandbox.calls(Operation::PublishVersion);
    world.sandbox.put_project(ACME, "tools/weather", Project::default()).unwrap();
    world.patch("ToolEnvSecret", "weather", &json!({"spec": {"env": [{"name": "UNITS", "value": "metric"}]}}));
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), calls);
    world.request("ToolVersion", "weather-1.0.1");
    world.ready("ToolVersion", "weather-1.0.1");
    world.sandbox.remove_project(ACME, "tools/weather").unwrap();
    world.sandbox.change_settings(|settings| settings.projects_exist = false);
    world.apply(&[exactly("1.0.2")]);
    world.reason("ToolVersion", "weather-1.0.2", "ProjectNotFound");
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0", "1.0.1"]);
    world.check();
}

#[test]
fn a_tool_that_goes_waits_for_its_publish_and_no_longer() {
    let world = World::with("going", Settings { publish_seconds: 4.0, ..Settings::default() }, &[]);
    let id = weather(&world);
    world.patch("Tool", "weather", &json!({"spec": {"deletionPolicy": "Deprecate"}}));
    world.apply(&[exactly("1.0.0")]);
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    world.delete("Tool", "weather");
    world.gone("Tool", "weather");
    assert!(world.tool(&id).deprecated);
    assert_eq!(world.tool(&id).versions.len(), 1, "the publish was not cut short");
    let version =
        world.wait("ToolVersion", "weather-1.0.0", "knows its version", |o| o["status"]["version"] == json!("1.0.0"));
    assert!(version["status"]["publish"].is_null(), "{version}");
    world.check();
}
