//! ToolVersions: published once and in order, taken, refused, deprecated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use amigo_operator::amigo::types::BumpType::{Major, Minor};
use amigo_operator::sandbox::{NewVersion, Operation, Project, Revision, Settings};
use serde_json::json;

use support::manifests::{DESCRIPTION, acme, all, env, env_from, named_version, secret, tool, variables, version};
use support::{ACME, Setup, World, field, message};

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World) -> String {
    world.apply(&all([acme(world), tool("weather", "")]));
    field(&world.ready("Tool", "weather"), "toolId")
}

#[test]
fn versions_of_one_apply_are_published_in_their_order_and_once() {
    let world = World::new("order");
    world.apply(&all(["2.0.0", "1.0.1", "1.1.0", "1.0.0"].map(|number| version(number, ""))));
    weather(&world);
    let numbers = ["1.0.0", "1.0.1", "1.1.0", "2.0.0"];
    for number in numbers {
        let object = world.ready("ToolVersion", &format!("weather-{number}"));
        assert_eq!(field(&object, "version"), number);
        assert_eq!(field(&object, "creator"), "demo-user");
        assert!(!field(&object, "commit").is_empty() && !field(&object, "versionId").is_empty());
        assert!(object["status"]["publish"].is_null(), "the intent is fulfilled");
    }
    assert_eq!(world.versions("weather"), numbers);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 4);
    let counts = |object: &serde_json::Value| object["status"]["activeVersions"] == json!(4);
    let tool = world.wait_for("Tool", "weather", counts, "counts four versions");
    assert_eq!(field(&tool, "latestVersion"), "2.0.0");
    let published = |events: &[(String, String)]| events.iter().any(|(reason, _)| reason == "Succeeded");
    world.until("an Event tells of a version", || published(&world.events("weather-1.0.0")));
    world.finish();
}

#[test]
fn a_version_that_exists_is_taken_and_others_are_explained() {
    let world = World::new("claim");
    let id = weather(&world);
    let existing = |path: &str, bump| NewVersion {
        bump_type: Some(bump),
        project_path: Some(path.to_owned()),
        user_id: Some("eve".to_owned()),
        ..NewVersion::default()
    };
    world.sandbox.add_version(ACME, &id, existing("tools/weather", Major)).unwrap();
    world.sandbox.add_version(ACME, &id, existing("tools/other", Minor)).unwrap();
    world.apply(&all([version("1.0.0", ""), version("1.1.0", ""), version("3.0.0", "")]));
    let taken = world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(field(&taken, "creator"), "eve");
    world.reason("ToolVersion", "weather-1.1.0", "VersionTaken");
    let unreachable = world.reason("ToolVersion", "weather-3.0.0", "VersionUnreachable");
    for legal in ["1.1.1", "1.2.0", "2.0.0"] {
        assert!(message(&unreachable).contains(legal), "{unreachable}");
    }
    world.apply(&named_version("copy", "version: 1.0.0"));
    world.reason("ToolVersion", "copy", "VersionTaken");
    world.delete("ToolVersion", "weather-1.0.0");
    world.ready("ToolVersion", "copy");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 0);
    world.apply(&version("2.0.0", ""));
    world.ready("ToolVersion", "weather-2.0.0");
    world.ready("ToolVersion", "weather-3.0.0");
    assert_eq!(world.versions(&id), ["1.0.0", "1.1.0", "2.0.0", "3.0.0"]);
    world.finish();
}

#[test]
fn a_bump_publishes_once_and_the_commit_is_compared() {
    let world = World::new("bump");
    let id = weather(&world);
    world.apply(&named_version("first", "bumpType: major"));
    let first = world.ready("ToolVersion", "first");
    assert_eq!(field(&first, "version"), "1.0.0");
    world.apply(&named_version("second", "bumpType: minor, expectedCommit: '0000000'"));
    let mismatch = world.reason("ToolVersion", "second", "CommitMismatch");
    assert_eq!(field(&mismatch, "version"), "1.1.0");
    let commit = field(&first, "commit");
    world.apply(&named_version("same", &format!("version: 1.0.0, expectedCommit: '{}'", &commit[..7])));
    world.ready("ToolVersion", "same");
    for name in ["first", "second", "same"] {
        world.request("ToolVersion", name);
    }
    world.edit("ToolVersion", "first", &json!({"publishTimeoutSeconds": 600}));
    world.ready("ToolVersion", "first");
    assert_eq!(world.versions(&id), ["1.0.0", "1.1.0"]);
    world.finish();
}

const REVISIONS: [(Revision, &str); 3] =
    [(Revision::July2025, "2025-07"), (Revision::September2025, "2025-09"), (Revision::Year2026, "2026")];

#[test]
fn every_revision_of_the_service_is_spoken() {
    for (revision, name) in REVISIONS {
        let service =
            Settings { revision, refuse_extra_fields: true, publish_seconds: 0.5, sparse: true, ..Settings::default() };
        let world = World::with("revision", Setup { service, ..Setup::default() });
        weather(&world);
        world.apply(&all([variables("weather", &env(&[("UNITS", "metric")])), version("1.0.0", "")]));
        world.ready("ToolVersion", "weather-1.0.0");
        let shows = |object: &serde_json::Value| object["status"]["apiRevision"] == name;
        world.wait_for("Organization", "acme", shows, "shows the revision");
        assert_eq!(world.versions("weather"), ["1.0.0"]);
        world.finish();
    }
}

#[test]
fn versions_are_deprecated_by_deletion_and_by_specifier() {
    let world = World::new("deprecate");
    let id = weather(&world);
    let deprecated = version("1.1.0", "deletionPolicy: Deprecate");
    world.apply(&all([version("1.0.0", ""), deprecated, version("2.0.0", ""), version("2.0.1", "")]));
    for number in ["1.0.0", "1.1.0", "2.0.0", "2.0.1"] {
        world.ready("ToolVersion", &format!("weather-{number}"));
    }
    world.delete("ToolVersion", "weather-1.1.0");
    world.gone("ToolVersion", "weather-1.1.0");
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0", "2.0.0", "2.0.1"]);
    world.delete("ToolVersion", "weather-2.0.1");
    world.gone("ToolVersion", "weather-2.0.1");
    assert_eq!(world.tool(&id).active_versions(), ["1.0.0", "2.0.0", "2.0.1"], "retained");
    let calls = world.sandbox.calls(Operation::DeprecateVersions);
    world.apply(&tool("weather", "deprecatedVersions: '<2.0.1'"));
    world.until("two versions are deprecated", || world.tool(&id).active_versions() == ["2.0.1"]);
    assert_eq!(world.sandbox.calls(Operation::DeprecateVersions), calls + 1, "with one call");
    world.reason("ToolVersion", "weather-1.0.0", "VersionDeprecated");
    world.reason("ToolVersion", "weather-2.0.0", "VersionDeprecated");
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn a_version_that_somebody_deprecated_is_told() {
    let world = World::new("byothers");
    let id = weather(&world);
    world.apply(&version("1.0.0", ""));
    world.ready("ToolVersion", "weather-1.0.0");
    world.sandbox.deprecate_versions(ACME, &id, "==1.0.0").unwrap();
    world.request("ToolVersion", "weather-1.0.0");
    world.reason("ToolVersion", "weather-1.0.0", "VersionDeprecated");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1);
    world.finish();
}

#[test]
fn a_publish_waits_for_the_variables_that_the_version_requires() {
    let world = World::new("requires");
    weather(&world);
    let required = BTreeSet::from(["API_KEY".to_owned()]);
    let project = Project { required_secret_envvars: required, ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", project).unwrap();
    world.apply(&all([variables("weather", &env_from("weather-credentials")), version("1.0.0", "")]));
    world.reason("ToolEnvSecret", "weather", "SecretNotFound");
    world.reason("ToolVersion", "weather-1.0.0", "VariablesNotSynced");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 0);
    world.apply(&secret("weather-credentials", &format!("API_KEY: {}", world.canary())));
    let object = world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(object["status"]["requiredSecretVariables"], json!(["API_KEY"]));
    world.finish();
}

#[test]
fn a_publish_refused_for_want_of_variables_is_tried_again_when_they_come() {
    let world = World::new("variables");
    weather(&world);
    let required = BTreeSet::from(["UNITS".to_owned()]);
    let project = Project { required_envvars: required, ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", project).unwrap();
    world.apply(&version("1.0.0", ""));
    let refused = world.reason("ToolVersion", "weather-1.0.0", "VariablesMissing");
    let calls = world.sandbox.calls(Operation::PublishVersion);
    assert_eq!(calls, 1, "{refused}");
    world.apply(&variables("weather", &env(&[("UNITS", "metric")])));
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.versions("weather"), ["1.0.0"]);
    world.finish();
}

#[test]
fn a_failed_build_is_explained_and_repeated_only_on_request() {
    let world = World::new("build");
    let id = weather(&world);
    let fails = Project { build_fails: true, publish_seconds: Some(4.0), ..Project::default() };
    world.sandbox.put_project(ACME, "tools/weather", fails).unwrap();
    world.apply(&version("1.0.0", ""));
    world.reason("ToolVersion", "weather-1.0.0", "BuildFailed");
    world.sandbox.put_project(ACME, "tools/weather", Project::default()).unwrap();
    world.apply(&variables("weather", &env(&[("UNITS", "metric")])));
    world.ready("ToolEnvSecret", "weather");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1, "no build without a request");
    world.request("ToolVersion", "weather-1.0.0");
    world.ready("ToolVersion", "weather-1.0.0");
    world.sandbox.change_settings(|settings| settings.projects_exist = false);
    world.sandbox.remove_project(ACME, "tools/weather").unwrap();
    world.apply(&version("1.0.1", ""));
    world.reason("ToolVersion", "weather-1.0.1", "ProjectNotFound");
    assert_eq!(world.versions(&id), ["1.0.0"]);
    world.finish();
}

#[test]
fn a_slow_publish_holds_up_neither_its_tool_nor_others() {
    let service = Settings { publish_seconds: 12.0, ..Settings::default() };
    let world = World::with("slow", Setup { service, ..Setup::default() });
    let id = weather(&world);
    world.apply(&version("1.0.0", ""));
    world.reason("ToolVersion", "weather-1.0.0", "Publishing");
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    world.apply(&all([
        tool("weather", "tags: [{key: quick}]"),
        tool("other", ""),
        variables("weather", &env(&[("UNITS", "metric")])),
        version("1.0.1", ""),
    ]));
    world.ready("Tool", "other");
    world.ready("ToolEnvSecret", "weather");
    world.until("the tags are sent", || world.tool(&id).tags.contains_key("quick"));
    world.ready("Tool", "weather");
    let waits = world.reason("ToolVersion", "weather-1.0.1", "VersionPending");
    assert!(message(&waits).contains("weather-1.0.0"), "{waits}");
    assert!(world.tool(&id).under_way.is_some(), "all of that while the publish is under way");
    assert_eq!(world.tool("other").description, DESCRIPTION);
    world.ready("ToolVersion", "weather-1.0.1");
    assert_eq!(world.versions(&id), ["1.0.0", "1.0.1"]);
    world.finish();
}
