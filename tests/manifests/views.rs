//! What a person sees: tables, explanations, the samples; and what several people and the operator can write side by side.

use amigo_operator::resources::crds;
use amigo_operator::resources::organization::{ApiRevision, OrganizationStatus, RecentDeprecations, Resync};
use amigo_operator::resources::tool::ToolStatus;
use amigo_operator::resources::tool_env_secret::{SyncedSecret, SyncedVariable, ToolEnvSecretStatus, Visibility};
use amigo_operator::resources::tool_version::{PublishIntent, ToolVersionStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::cluster::Namespace;
use super::folder;

/// The samples are accepted as they are, and stand in one table a kind.
#[test]
fn the_samples_are_accepted() {
    let namespace = Namespace::create("samples");
    let samples = folder("deploy/kustomize/samples");
    namespace.kubectl(&["apply", "--kustomize", samples.to_str().expect("UTF-8")]);
    let listed = namespace.kubectl(&["get", "amigo", "--output=name"]);
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "organization.amigo.ai/acme",
            "tool.amigo.ai/weather",
            "toolenvsecret.amigo.ai/weather",
            "toolversion.amigo.ai/weather-1.0.0",
        ]
    );
}

/// The server found nothing to say against a definition.
#[test]
fn the_definitions_are_established_without_remarks() {
    let namespace = Namespace::create("definitions");
    for crd in crds() {
        let found = namespace.get("customresourcedefinition", crd.metadata.name.as_deref().expect("name"));
        let conditions = found["status"]["conditions"].as_array().expect("conditions");
        let mut conditions: Vec<_> = conditions.iter().map(|c| (c["type"].as_str(), c["status"].as_str())).collect();
        conditions.sort_unstable();
        assert_eq!(conditions, [(Some("Established"), Some("True")), (Some("NamesAccepted"), Some("True"))]);
    }
}

const ID: &str = "0123456789abcdef01234567";
const TIME: &str = "2026-01-02T03:04:05.123456789Z";

fn ready() -> Vec<Condition> {
    vec![Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "Succeeded".to_owned(),
        message: "All-is-well.".to_owned(),
        last_transition_time: Time(TIME.parse().expect("time")),
        observed_generation: Some(1),
    }]
}

fn organization_status() -> OrganizationStatus {
    OrganizationStatus {
        observed_generation: Some(1),
        conditions: ready(),
        last_handled_reconcile_at: Some("now".to_owned()),
        user_id: Some("user".to_owned()),
        api_key_expires_at: Some(TIME.to_owned()),
        api_revision: Some(ApiRevision::R202509),
        effective_resync: Some(Resync::default()),
        held_deprecations: Some(12),
        recent_deprecations: vec![RecentDeprecations { time: TIME.to_owned(), count: 3 }],
        last_handled_confirmation: Some("11".to_owned()),
    }
}

fn tool_status() -> ToolStatus {
    ToolStatus {
        observed_generation: Some(1),
        conditions: ready(),
        last_handled_reconcile_at: Some("now".to_owned()),
        organization: Some("acme".to_owned()),
        endpoint: Some("https://api.amigo.ai".to_owned()),
        tool_id: Some(ID.to_owned()),
        name: Some("weather".to_owned()),
        latest_version: Some("1.2.0".to_owned()),
        active_versions: Some(3),
    }
}

fn tool_version_status() -> ToolVersionStatus {
    ToolVersionStatus {
        observed_generation: Some(1),
        conditions: ready(),
        last_handled_reconcile_at: Some("now".to_owned()),
        organization: Some("acme".to_owned()),
        endpoint: Some("https://api.amigo.ai".to_owned()),
        tool_id: Some(ID.to_owned()),
        version: Some("1.0.0".to_owned()),
        version_id: Some(ID.to_owned()),
        commit: Some("0abcdef".to_owned()),
        created_time: Some(TIME.to_owned()),
        creator: Some("user".to_owned()),
        required_variables: vec!["UNITS".to_owned()],
        required_secret_variables: vec!["API_KEY".to_owned()],
        deprecated: Some(false),
        publish: Some(PublishIntent {
            attempt: 1,
            start_time: TIME.to_owned(),
            known_versions: vec!["0.1.0".to_owned()],
            expected_version: Some("1.0.0".to_owned()),
            user_id: Some("user".to_owned()),
        }),
    }
}

fn tool_env_secret_status() -> ToolEnvSecretStatus {
    let secret = SyncedSecret { name: "s".to_owned(), uid: "u".to_owned(), resource_version: "1".to_owned() };
    ToolEnvSecretStatus {
        observed_generation: Some(1),
        conditions: ready(),
        last_handled_reconcile_at: Some("now".to_owned()),
        organization: Some("acme".to_owned()),
        endpoint: Some("https://api.amigo.ai".to_owned()),
        tool_id: Some(ID.to_owned()),
        variables: vec![SyncedVariable { name: "UNITS".to_owned(), visibility: Visibility::Plain }],
        skipped_keys: vec!["a-b".to_owned()],
        last_sync_time: Some(TIME.to_owned()),
        synced_generation: Some(1),
        synced_secrets: vec![secret],
    }
}

/// Applies the samples and gives `name` of `kind` a status, which must come back whole.
fn with_status(test: &str, kind: &str, name: &str, status: impl serde::Serialize) -> Namespace {
    let namespace = Namespace::create(test);
    let samples = folder("deploy/kustomize/samples");
    namespace.kubectl(&["apply", "--kustomize", samples.to_str().expect("UTF-8")]);
    let status = serde_json::to_value(status).expect("status is JSON");
    namespace.set_status(kind, name, &status);
    assert_eq!(namespace.get(kind, name)["status"], status);
    namespace
}

/// The table of one object without ages, wide: header and row.
fn assert_table(namespace: &Namespace, kind: &str, header: &str, row: &str) {
    let mut table = namespace.table(&[kind, "--output=wide"]);
    let age = table[0].iter().position(|word| word == "AGE").expect("an age");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(table[0], words(header));
    table[1].remove(age);
    assert_eq!(table[1], words(row));
}

#[test]
fn the_table_of_organizations() {
    let namespace = with_status("organization-table", "organization", "acme", organization_status());
    let header = "NAME READY ORGANIZATION REVISION REASON AGE MESSAGE";
    assert_table(&namespace, "amorg", header, "acme True acme 2025-09 Succeeded All-is-well.");
}

#[test]
fn the_table_of_tools() {
    let namespace = with_status("tool-table", "tool", "weather", tool_status());
    let header = "NAME READY REMOTE-NAME TOOL-ID LATEST VERSIONS REASON AGE MESSAGE";
    let row = format!("weather True weather {ID} 1.2.0 3 Succeeded All-is-well.");
    assert_table(&namespace, "amtool", header, &row);
}

#[test]
fn the_table_of_tool_versions() {
    let status = tool_version_status();
    let namespace = with_status("version-table", "toolversion", "weather-1.0.0", status);
    let header = "NAME READY TOOL VERSION REASON COMMIT AGE MESSAGE";
    assert_table(&namespace, "amver", header, "weather-1.0.0 True weather 1.0.0 Succeeded 0abcdef All-is-well.");
}

#[test]
fn the_table_of_tool_env_secrets() {
    let status = tool_env_secret_status();
    let namespace = with_status("variables-table", "toolenvsecret", "weather", status);
    let mut table = namespace.table(&["amenv"]);
    assert_eq!(table[0].join(" "), "NAME READY TOOL REASON LAST-SYNC AGE");
    table[1].truncate(4);
    assert_eq!(table[1].join(" "), "weather True weather Succeeded");
}

/// Versions of one tool can be asked for by the server.
#[test]
fn objects_are_selected_by_the_tool_they_refer_to() {
    let namespace = Namespace::create("selection");
    for (name, tool) in [("a-1", "a"), ("b-1", "b")] {
        let spec = json!({"toolRef": {"name": tool}, "bumpType": "major", "projectPath": "tools/a"});
        let manifest = object("ToolVersion", name, &spec);
        namespace.apply(&manifest).expect("accepted");
    }
    let arguments = ["get", "toolversions", "--field-selector=spec.toolRef.name=b", "--output=name"];
    assert_eq!(namespace.kubectl(&arguments), "toolversion.amigo.ai/b-1\n");
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "amigo.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Two people own a tag each, with server-side apply; the list is merged by key.
#[test]
fn tags_of_two_managers_stand_side_by_side() {
    let namespace = Namespace::create("managers");
    let apply = |manager: &str, spec: Value| {
        let manager = format!("--field-manager={manager}");
        let manifest = object("Tool", "weather", &spec).to_string();
        namespace.try_kubectl(&["apply", "--server-side", &manager, "--filename=-"], &manifest).expect("accepted")
    };
    apply("team", json!({"description": "Weather.", "tags": [{"key": "team", "value": "travel"}]}));
    apply("platform", json!({"tags": [{"key": "tier", "value": "gold"}]}));
    let tags = &namespace.get("tool", "weather")["spec"]["tags"];
    assert_eq!(*tags, json!([{"key": "team", "value": "travel"}, {"key": "tier", "value": "gold"}]));
}

/// `kubectl explain` has the texts of the Rust types.
#[test]
fn fields_are_explained() {
    let namespace = Namespace::create("explain");
    for (field, texts) in [
        ("tool", &["One tool of an Amigo organization", "What the tool should be in the service."][..]),
        ("tool.spec.deletionPolicy", &["ENUM: Retain Deprecate", "which cannot be undone"]),
        ("tool.spec.tags.key", &["Letters and digits of any script"]),
        ("toolversion.spec.bumpType", &["ENUM: major minor patch", "created again publishes again"]),
        ("toolenvsecret.spec.env.visibility", &["ENUM: Plain Secret", "Absent: a `value` is plain"]),
        ("organization.spec.resync.toolsPeriodSeconds", &["At least 10."]),
        ("organization.status.conditions.status", &["ENUM: True False Unknown"]),
    ] {
        let explained = namespace.kubectl(&["explain", field]);
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in texts {
            assert!(explained.contains(text), "{field}: {text:?} is not in {explained:?}");
        }
    }
}
