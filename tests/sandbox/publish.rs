//! Publishing, listing and deprecating versions, and what runs at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, TransportError};
use amigo_operator::sandbox::{Ending, Numbering, OnDisconnect, Operation, Project, Revision, Settings};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{BOUNDS, Client, publish_body, unlimited};

fn slow() -> Settings {
    Settings { publish_seconds: 120.0, ..unlimited() }
}

#[tokio::test(start_paused = true)]
async fn publishes_in_time_and_counts_on() {
    let client = Client::start(slow()).await;
    let tool = client.tool("weather").await;
    assert_eq!(client.publish(&tool, "minor").await.status, 400, "the first version is a major one");
    let started = Instant::now();
    let got = client.publish(&tool, "major").await;
    assert_eq!((got.status, got.body), (201, json!({"new_version": "1.0.0"})));
    assert_eq!(started.elapsed().as_secs(), 120);
    assert_eq!(client.publish(&tool, "minor").await.body["new_version"], "1.1.0");
    client.delete(&format!("/tool/{tool}/version/%3D%3D1.1.0")).await;
    assert_eq!(client.publish(&tool, "patch").await.body["new_version"], "1.1.1", "deprecated ones count");
    client.delete(&format!("/tool/{tool}/version/%3D%3D1.1.1")).await;
    client.sandbox.change_settings(|settings| settings.numbering = Numbering::Active);
    assert_eq!(client.publish(&tool, "minor").await.body["new_version"], "1.2.0");
}

#[tokio::test(start_paused = true)]
async fn refuses_quickly_what_can_be_told_without_a_build() {
    let client = Client::start(slow()).await;
    let tool = client.tool("weather").await;
    let required = Project {
        required_envvars: BTreeSet::from(["UNITS".to_owned()]),
        required_secret_envvars: BTreeSet::from(["KEY".to_owned()]),
        ..Project::default()
    };
    client.sandbox.put_project("acme", "tools/weather", required).unwrap();
    let started = Instant::now();
    let missing = client.publish(&tool, "major").await;
    assert_eq!((missing.status, started.elapsed()), (400, Duration::ZERO));
    assert!(missing.body["detail"].as_str().unwrap().ends_with("UNITS, KEY"));
    let outdated = Project { outdated: true, ..Project::default() };
    client.sandbox.put_project("acme", "tools/weather", outdated).unwrap();
    assert_eq!(client.publish(&tool, "major").await.status, 400);
    client.sandbox.remove_project("acme", "tools/weather").unwrap();
    client.sandbox.change_settings(|settings| settings.projects_exist = false);
    assert_eq!(client.publish(&tool, "major").await.status, 404);
    client.sandbox.change_settings(|settings| (settings.projects_exist, settings.active_versions) = (true, Some(0)));
    assert_eq!(client.publish(&tool, "major").await.status, 400);
    assert_eq!(started.elapsed(), Duration::ZERO);

    client.sandbox.change_settings(|settings| settings.active_versions = None);
    let failing = Project { build_fails: true, ..Project::default() };
    client.sandbox.put_project("acme", "tools/weather", failing).unwrap();
    assert_eq!(client.publish(&tool, "major").await.status, 400);
    assert_eq!(started.elapsed().as_secs(), 120, "a failed build takes its time");
}

#[tokio::test(start_paused = true)]
async fn holds_variables_that_versions_require() {
    let client = Client::start(slow()).await;
    let tool = client.tool("weather").await;
    let envvar = format!("/tool/{tool}/envvar");
    client.post(&envvar, json!({"inserts": [{"name": "KEY", "value": "v", "is_secret": true}]})).await;
    let required = Project { required_secret_envvars: BTreeSet::from(["KEY".to_owned()]), ..Project::default() };
    client.sandbox.put_project("acme", "tools/weather", required).unwrap();
    assert_eq!(client.publish(&tool, "major").await.status, 201);
    assert_eq!(client.post(&envvar, json!({"deletes": [{"name": "KEY"}]})).await.status, 400);
    assert_eq!(client.delete(&format!("/tool/{tool}/version/%3C2")).await.status, 204);
    assert_eq!(client.post(&envvar, json!({"deletes": [{"name": "KEY"}]})).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_tool_has_one_operation_at_a_time() {
    let client = Client::start(Settings { deprecate_seconds: 60.0, ..slow() }).await;
    let (tool, other) = (client.tool("weather").await, client.tool("news").await);
    let publish = tokio::spawn({
        let (client, tool) = (client.clone(), tool.clone());
        async move { client.publish(&tool, "major").await.status }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.sandbox.tool("acme", &tool).unwrap().under_way, Some("publish"));
    assert_eq!(client.publish(&tool, "major").await.status, 409);
    assert_eq!(client.delete(&format!("/tool/{tool}")).await.status, 409);
    assert_eq!(client.post(&format!("/tool/{tool}"), json!({"description": "New."})).await.status, 204);
    assert_eq!(client.publish(&other, "major").await.status, 201, "another tool does not wait");
    assert_eq!(publish.await.unwrap(), 201);

    let deprecation = tokio::spawn({
        let (client, tool) = (client.clone(), tool.clone());
        async move { client.delete(&format!("/tool/{tool}")).await.status }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.publish(&tool, "minor").await.status, 409);
    assert_eq!(deprecation.await.unwrap(), 204);
    let gone = client.sandbox.tool("acme", &tool).unwrap();
    assert!(gone.deprecated && gone.active_versions().is_empty(), "its versions go with it");
    assert_eq!(client.publish(&tool, "minor").await.status, 404);
}

/// A publish whose client waits for 10 seconds, and the versions 200 seconds later.
async fn impatient(client: &Client) -> Vec<String> {
    let tool = client.tool("weather").await;
    let token = client.sign_in("demo-key").await.body["id_token"].as_str().unwrap().to_owned();
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let bounds = Bounds { timeout: Duration::from_secs(10), ..BOUNDS };
    let path = format!("/tool/{tool}/version");
    let got = client.exchange(Method::POST, &path, &headers, Some(publish_body("major")), bounds).await;
    assert!(matches!(got, Err(TransportError::Unknown(_))), "{got:?}");
    assert_eq!(client.sandbox.requests(1)[0].ending, Ending::ClientGone);
    tokio::time::sleep(Duration::from_secs(200)).await;
    let view = client.sandbox.tool("acme", &tool).unwrap();
    assert_eq!(view.under_way, None);
    view.active_versions()
}

#[tokio::test(start_paused = true)]
async fn a_publish_goes_on_without_its_client() {
    let client = Client::start(slow()).await;
    assert_eq!(impatient(&client).await, ["1.0.0"]);
    assert_eq!(client.sandbox.counters()[&Operation::PublishVersion].client_gone, 1);
}

#[tokio::test(start_paused = true)]
async fn or_ends_with_it() {
    let client = Client::start(Settings { on_disconnect: OnDisconnect::Aborts, ..slow() }).await;
    assert!(impatient(&client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_versions_by_filter_order_and_page() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("weather").await;
    for bump in ["major", "minor", "patch", "major"] {
        assert_eq!(client.publish(&tool, bump).await.status, 201);
    }
    client.delete(&format!("/tool/{tool}/version/%3D%3D1.1.0")).await;
    let list = async |query: &str| client.get(&format!("/tool/{tool}/version?{query}")).await;
    let numbers = async |query: &str| -> Vec<String> {
        let got = list(query).await;
        let versions = got.body["tool_versions"].as_array().unwrap();
        versions
            .iter()
            .map(|v| format!("{}.{}.{}", v["version"]["major"], v["version"]["minor"], v["version"]["patch"]))
            .collect()
    };
    assert_eq!(numbers("").await, ["1.0.0", "1.1.0", "1.1.1", "2.0.0"]);
    assert_eq!(numbers("deprecated=true").await, ["1.1.0"]);
    assert_eq!(numbers("versions=~%3D1.1").await, ["1.1.0", "1.1.1"]);
    assert_eq!(numbers("sort_by=-version.major&sort_by=-version.patch").await, ["2.0.0", "1.1.1", "1.0.0", "1.1.0"]);
    assert_eq!(numbers("creator=acme,demo-user&limit=2&continuation_token=2").await, ["1.1.1", "2.0.0"]);
    assert!(numbers("creator=acme,nobody").await.is_empty());
    assert_eq!(list("versions=latest").await.status, 422);

    let endless = list("limit=0").await.body;
    assert_eq!((&endless["has_more"], &endless["continuation_token"]), (&json!(true), &json!(0)));
    let version = &list("").await.body["tool_versions"][0];
    assert_eq!(version["creator"], json!({"user_id": "demo-user", "user_org_id": "acme"}));
    assert_eq!(version["project_directory"], "tools/weather");
    assert_eq!(version["tool_commit_hash"].as_str().unwrap().len(), 40);
    client.sandbox.change_settings(|settings| settings.sparse = true);
    assert_eq!(list("").await.body["tool_versions"][0].as_object().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn speaks_three_revisions() {
    for (revision, field, shown) in [
        (Revision::July2025, Some("branch"), Some("tool_branch_name")),
        (Revision::September2025, Some("repo"), Some("tool_repo")),
        (Revision::Year2026, None, None),
    ] {
        let client = Client::start(Settings { revision, ..unlimited() }).await;
        let tool = client.tool("weather").await;
        let path = format!("/tool/{tool}/version");
        let bare = json!({"project_path": "tools/weather", "bump_type": "major"});
        let mut full = bare.clone();
        full["branch"] = json!("team");
        full["repo"] = json!("team");
        assert_eq!(client.post(&path, bare).await.status, if field.is_some() { 422 } else { 201 }, "{revision}");
        let bump = if field.is_some() { "major" } else { "minor" };
        full["bump_type"] = json!(bump);
        assert_eq!(client.post(&path, full).await.status, 201, "a body for all revisions: {revision}");
        let listed = client.get(&path).await.body["tool_versions"].as_array().unwrap().last().unwrap().clone();
        for name in ["tool_branch_name", "tool_repo"] {
            let expected = if shown == Some(name) { json!("team") } else { Value::Null };
            assert_eq!(listed.get(name).cloned().unwrap_or_default(), expected, "{revision} {name}");
        }
    }
}
