//! Each fault, in process.

use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, TransportError};
use amigo_operator::sandbox::{Effect, Ending, Fault, Operation, Settings};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{BOUNDS, Client, Got, unlimited};

/// A create that meets a fault: what came back, and whether the tool is there.
async fn create(effect: Effect) -> (Result<Got, TransportError>, bool) {
    let client = Client::start(unlimited()).await;
    client.sandbox.add_fault(Fault::once("create-tool", effect));
    let body = json!({"name": "weather", "description": "d", "tags": {}});
    let got = client.attempt(Method::POST, "/tool/", Some(body)).await;
    assert!(client.sandbox.faults().is_empty(), "it is used up");
    assert_eq!(client.sandbox.requests(1)[0].faults, [1]);
    (got, client.sandbox.tool("acme", "weather").is_ok())
}

fn unknown(got: &Result<Got, TransportError>) -> bool {
    matches!(got, Err(TransportError::Unknown(_)))
}

#[tokio::test(start_paused = true)]
async fn answers_get_lost_before_and_after_the_effect() {
    let (got, made) = create(Effect::LostBeforeEffect).await;
    assert!(unknown(&got) && !made);
    let (got, made) = create(Effect::LostAfterEffect { seconds: None }).await;
    assert!(unknown(&got) && made);
    let (got, made) = create(Effect::NotConnected).await;
    assert!(matches!(got, Err(TransportError::NotSent(_))) && !made);
}

#[tokio::test(start_paused = true)]
async fn a_connection_breaks_while_a_publish_goes_on() {
    let client = Client::start(Settings { publish_seconds: 120.0, ..unlimited() }).await;
    let tool = client.tool("weather").await;
    client.sandbox.add_fault(Fault::once("publish-version", Effect::LostAfterEffect { seconds: Some(60.0) }));
    let started = Instant::now();
    let body = crate::client::publish_body("major");
    let got = client.attempt(Method::POST, &format!("/tool/{tool}/version"), Some(body)).await;
    assert!(unknown(&got));
    assert_eq!(started.elapsed().as_secs(), 60);
    assert!(client.sandbox.tool("acme", &tool).unwrap().versions.is_empty());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(client.sandbox.tool("acme", &tool).unwrap().active_versions(), ["1.0.0"]);

    let timed_out = Effect::Status { status: 504, body: None, after_effect: true, seconds: Some(30.0) };
    client.sandbox.add_fault(Fault::once("publish-version", timed_out));
    assert_eq!(client.publish(&tool, "minor").await.status, 504);
    assert_eq!(client.sandbox.tool("acme", &tool).unwrap().under_way, Some("publish"));
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert_eq!(client.sandbox.tool("acme", &tool).unwrap().active_versions(), ["1.0.0", "1.1.0"]);
}

#[tokio::test(start_paused = true)]
async fn bodies_break() {
    let (got, made) = create(Effect::TruncatedBody).await;
    assert!(unknown(&got) && made, "{got:?}");
    let (got, made) = create(Effect::GarbageBody).await;
    let got = got.unwrap();
    assert!(got.body.is_string() && got.status == 201 && made);
}

#[tokio::test(start_paused = true)]
async fn statuses_come_before_and_after_the_effect() {
    let status =
        |after_effect| Effect::Status { status: 504, body: Some(json!({"m": 1})), after_effect, seconds: None };
    for after_effect in [false, true] {
        let (got, made) = create(status(after_effect)).await;
        let got = got.unwrap();
        assert_eq!((got.status, got.body, made), (504, json!({"m": 1}), after_effect));
    }
    let (got, made) = create(Effect::Unavailable).await;
    assert_eq!((got.unwrap().status, made), (503, false));
    let (got, made) = create(Effect::Redirect { location: "https://elsewhere/".to_owned(), status: 307 }).await;
    let got = got.unwrap();
    assert_eq!((got.status, got.header("location"), made), (307, "https://elsewhere/", false));
    for (retry_after, header) in [(Some("Fri, 01 Aug 2025 00:00:30 GMT"), "Fri, 01 Aug 2025 00:00:30 GMT"), (None, "")]
    {
        let (got, made) = create(Effect::TooManyRequests { retry_after: retry_after.map(str::to_owned) }).await;
        let got = got.unwrap();
        assert_eq!((got.status, got.header("retry-after"), made), (429, header, false));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_take_longer() {
    for after_effect in [false, true] {
        let client = Client::start(unlimited()).await;
        client.sandbox.add_fault(Fault::always("*", Effect::Delay { seconds: 30.0, after_effect }));
        client.sandbox.add_fault(Fault::once("create-tool", Effect::LostAfterEffect { seconds: None }));
        let started = Instant::now();
        let body = Some(json!({"name": "weather", "description": "d", "tags": {}}));
        assert!(unknown(&client.attempt(Method::POST, "/tool/", body).await));
        assert_eq!(started.elapsed().as_secs(), 30);
        client.sandbox.clear_faults();
        assert_eq!(client.get("/tool/").await.body["tools"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_stale_or_empty() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("old").await;
    client.publish(&tool, "major").await;
    tokio::time::advance(Duration::from_secs(20)).await;
    client.tool("new").await;
    client.sandbox.edit_tool("acme", "old", json_edit(json!({"description": "Changed."}))).unwrap();
    client.publish(&tool, "major").await;
    let stale = Fault::once("list-*", Effect::StaleList { seconds: 10.0 }).times(2);
    client.sandbox.add_fault(stale);
    let list = client.get("/tool/").await.body;
    assert_eq!((list["tools"].as_array().unwrap().len(), &list["tools"][0]["description"]), (1, &json!("A tool.")));
    let versions = format!("/tool/{tool}/version");
    assert_eq!(client.get(&versions).await.body["tool_versions"].as_array().unwrap().len(), 1);
    client.sandbox.add_fault(Fault::once("list-*", Effect::EmptyList).times(2));
    let empty = client.get("/tool/").await;
    assert_eq!((empty.status, &empty.body["tools"], &empty.body["has_more"]), (200, &json!([]), &json!(false)));
    assert_eq!(client.get(&versions).await.body["tool_versions"], json!([]));
    assert_eq!(client.names("").await, ["old", "new"]);
}

fn json_edit(edit: Value) -> amigo_operator::sandbox::ToolEdit {
    serde_json::from_value(edit).unwrap()
}

#[tokio::test(start_paused = true)]
async fn faults_hit_only_what_they_name() {
    let client = Client::start(unlimited()).await;
    let (one, two) = (client.tool("one").await, client.tool("two").await);
    client.sandbox.add_fault(Fault::always("modify-*", Effect::Unavailable).for_tool(&two).skipping(1));
    let mut statuses = Vec::new();
    for tool in [&one, &two, &two, &one, &two] {
        statuses.push(client.post(&format!("/tool/{tool}"), json!({})).await.status);
    }
    assert_eq!(statuses, [204, 204, 503, 204, 503]);
    assert_eq!(client.get("/tool/").await.status, 200);
    client.sandbox.remove_fault(1).unwrap();
    assert_eq!(client.post(&format!("/tool/{two}"), json!({})).await.status, 204);
    let counter = &client.sandbox.counters()[&Operation::ModifyTool];
    assert_eq!((counter.calls, counter.answers[&204], counter.answers[&503]), (6, 4, 2));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_arrive_is_not_counted() {
    let client = Client::start(Settings::default()).await;
    client.sandbox.add_fault(Fault::once("list-tools", Effect::NotConnected));
    assert!(client.attempt(Method::GET, "/tool/", None).await.is_err());
    assert_eq!(client.sandbox.requests(1)[0].ending, Ending::NotConnected);
    assert_eq!(client.get("/tool/").await.header("x-ratelimit-remaining"), "49");
    assert_eq!(client.sandbox.calls(Operation::ListTools), 1);
}

#[tokio::test(start_paused = true)]
async fn bounds_are_kept() {
    let client = Client::start(unlimited()).await;
    client.tool("weather").await;
    let token = client.sign_in("demo-key").await.body["id_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let get = async |bounds| client.exchange(Method::GET, "/tool/", &[("authorization", &bearer)], None, bounds).await;
    assert!(unknown(&get(Bounds { max_body: 10, ..BOUNDS }).await));
    assert_eq!(client.sandbox.requests(1)[0].ending, Ending::Answered);
    client.sandbox.add_fault(Fault::once("*", Effect::Delay { seconds: 5.0, after_effect: false }));
    assert!(unknown(&get(Bounds { timeout: Duration::from_secs(4), ..BOUNDS }).await));
    assert_eq!(client.sandbox.requests(1)[0].ending, Ending::ClientGone);
}
