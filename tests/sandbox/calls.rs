//! Signing in, tools, variables; refusals that all calls share; rate limits.

use std::time::Duration;

use amigo_operator::amigo::transport::Transport;
use amigo_operator::sandbox::{Account, Operation, Settings, User};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::client::{BOUNDS, Client, unlimited};

const NOBODY: &str = "00000000000000000000aaaa";

#[tokio::test(start_paused = true)]
async fn signs_in_with_a_key() {
    let client = Client::start(unlimited()).await;
    assert_eq!(client.sign_in("wrong").await.status, 401);
    let missing = client.exchange(Method::POST, "/user/signin_with_api_key", &[], None, BOUNDS).await.unwrap();
    assert_eq!((missing.status, missing.body["detail"].as_array().unwrap().len()), (422, 3));

    client.sandbox.put_key("acme", "demo-key-id", "next", Some(60.0)).unwrap();
    assert_eq!(client.sign_in("demo-key").await.status, 401, "the key was rotated");
    assert_eq!(client.sign_in("next").await.status, 200);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(client.sign_in("next").await.status, 401, "the key has expired");
    assert_eq!(client.get("/tool/").await.status, 200, "tokens live on");
    client.sandbox.remove_organization("acme").unwrap();
    assert_eq!(client.sign_in("next").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn keys_are_listed_without_what_is_secret_to_those_who_may_see_them() {
    let client = Client::start(unlimited()).await;
    client.sandbox.put_aged_key("acme", "second", "secret-value", 86_400.0, Some(60.0)).unwrap();
    let listed = client.get("/organization/api_key/").await;
    assert_eq!(listed.status, 200);
    let keys = listed.body["api_keys"].as_array().unwrap();
    let ids: Vec<_> = keys.iter().map(|key| key["key_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["demo-key-id", "second"]);
    assert_eq!(
        (&keys[1]["created_at"], &keys[1]["expires_at"]),
        (&json!("2025-07-31T00:00:00Z"), &json!("2025-08-01T00:01:00Z"))
    );
    assert!(keys[0]["expires_at"].is_null() && !listed.body.to_string().contains("secret-value"));
    client.sandbox.deny("acme", "demo-user", &["Organization:GetAPIKey"]).unwrap();
    assert_eq!(client.get("/organization/api_key/").await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn tokens_end() {
    let client = Client::start(Settings { token_seconds: 100.0, ..unlimited() }).await;
    let expires_at = client.sign_in("demo-key").await.body["expires_at"].clone();
    assert_eq!(expires_at, "2025-08-01T00:01:40Z");
    tokio::time::advance(Duration::from_secs(99)).await;
    assert_eq!(client.get("/tool/").await.status, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(client.get("/tool/").await.status, 401);

    let client = Client::start(unlimited()).await;
    client.sandbox.end_tokens("acme");
    assert_eq!(client.get("/tool/").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn refuses_everybody_during_maintenance() {
    let client = Client::start(unlimited()).await;
    client.sandbox.set_maintenance("acme", true).unwrap();
    assert_eq!(client.get("/tool/").await.status, 503);
    assert_eq!(client.sign_in("demo-key").await.status, 503);
    client.sandbox.set_maintenance("acme", false).unwrap();
    assert_eq!(client.get("/tool/").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn names_the_missing_permission() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("weather").await;
    client.sandbox.deny("acme", "demo-user", &["Tool:CreateTool", "Tool:ModifyTool", "Tool:DeleteTool"]).unwrap();
    let of = |got: crate::client::Got| (got.status, got.body["detail"].as_str().unwrap_or_default().to_owned());
    let new = json!({"name": "a", "description": "b", "tags": {}});
    for (got, permission) in [
        (client.post("/tool/", new).await, "Tool:CreateTool"),
        (client.post(&format!("/tool/{tool}"), json!({})).await, "Tool:ModifyTool"),
        (client.delete(&format!("/tool/{tool}")).await, "Tool:DeleteTool"),
        (client.post(&format!("/tool/{tool}/envvar"), json!({})).await, "Tool:ModifyTool"),
        (client.publish(&tool, "major").await, "Tool:ModifyTool"),
        (client.delete(&format!("/tool/{tool}/version/%3D%3D1.0.0")).await, "Tool:ModifyTool"),
    ] {
        let (status, detail) = of(got);
        assert_eq!(status, 403);
        assert!(detail.contains(permission), "{detail}");
    }
    assert_eq!(client.get("/tool/").await.status, 200);
    client.sandbox.put_user("acme", "demo-user", User::default()).unwrap();
    assert_eq!(client.post(&format!("/tool/{tool}"), json!({})).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn finds_an_organization_only_with_its_cluster() {
    let client = Client::start(unlimited()).await;
    client.sandbox.set_mongo_cluster_name("acme", Some("eu")).unwrap();
    assert_eq!(client.sign_in("demo-key").await.status, 404);
    let headers = [
        ("x-api-key", "demo-key"),
        ("x-api-key-id", "demo-key-id"),
        ("x-user-id", "demo-user"),
        ("x-mongo-cluster-name", "eu"),
    ];
    let got = client.exchange(Method::POST, "/user/signin_with_api_key", &headers, None, BOUNDS).await.unwrap();
    assert_eq!(got.status, 200);
}

#[tokio::test(start_paused = true)]
async fn takes_a_token_of_another_organization_when_told_which() {
    let client = Client::start(unlimited()).await;
    client.sandbox.put_account(&Account { organization: "other".to_owned(), ..Account::default() });
    let bearer = format!("Bearer {}", client.sign_in("demo-key").await.body["id_token"].as_str().unwrap());
    let list = async |headers: &[(&str, &str)]| {
        let transport = client.sandbox.in_process();
        let request = headers.iter().fold(Request::get("/v1/other/tool/"), |r, (name, value)| r.header(*name, *value));
        transport.send(request.body(Bytes::new()).unwrap(), BOUNDS).await.unwrap().status().as_u16()
    };
    assert_eq!(list(&[("authorization", &bearer)]).await, 401);
    assert_eq!(list(&[("authorization", &bearer), ("x-org-id", "acme")]).await, 200);
    assert_eq!(list(&[("x-org-id", "acme")]).await, 401);
}

#[tokio::test(start_paused = true)]
async fn answers_404_and_422_by_path() {
    let client = Client::start(unlimited()).await;
    for (method, path, body) in [
        (Method::POST, "", Some(json!({}))),
        (Method::DELETE, "", None),
        (Method::POST, "/envvar", Some(json!({}))),
        (Method::GET, "/version", None),
        (Method::POST, "/version", Some(crate::client::publish_body("major"))),
        (Method::DELETE, "/version/%3D%3D1.0.0", None),
    ] {
        for (id, status) in [(NOBODY, 404), ("XYZ", 422)] {
            let got = client.call(method.clone(), &format!("/tool/{id}{path}"), body.clone()).await;
            assert_eq!(got.status, status, "{method} {id}{path}: {got:?}");
        }
    }
    assert_eq!(client.get("/elsewhere").await.status, 404);
    assert_eq!(client.delete("/tool/").await.status, 405);
}

#[tokio::test(start_paused = true)]
async fn creates_and_modifies_tools() {
    let client = Client::start(unlimited()).await;
    let new = json!({"name": " weather ", "description": " Now. ", "tags": {"team": " travel ", "x": null}});
    let created = client.post("/tool/", new.clone()).await;
    assert_eq!(created.status, 201);
    assert_eq!(client.post("/tool/", new).await.status, 409);
    let id = created.body["id"].as_str().unwrap();
    let shown = client.get(&format!("/tool/?id={id}")).await.body;
    assert_eq!(shown["tools"][0]["name"], "weather");
    assert_eq!(shown["tools"][0]["tags"], json!([{"key": "team", "value": "travel"}, {"key": "x", "value": null}]));
    assert_eq!(shown["filter_values"], json!({"tags": ["team:travel", "x:"]}));

    let modified = client.post(&format!("/tool/{id}"), json!({"description": "Later.", "tags": null})).await;
    assert_eq!((modified.status, modified.body), (204, Value::Null));
    let tool = client.sandbox.tool("acme", id).unwrap();
    assert_eq!((tool.description.as_str(), tool.tags.len()), ("Later.", 2));
    client.post(&format!("/tool/{id}"), json!({"tags": {}})).await;
    assert!(client.sandbox.tool("acme", id).unwrap().tags.is_empty(), "the map is replaced whole");
    client.sandbox.change_settings(|settings| settings.longest_name = Some(3));
    assert_eq!(client.post("/tool/", json!({"name": "long", "description": "b", "tags": {}})).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn lists_tools_by_filter_order_and_page() {
    let client = Client::start(unlimited()).await;
    for (name, tags) in [("c", json!({"team": "x"})), ("a", json!({"team": "y"})), ("b", json!({"team": null}))] {
        client.post("/tool/", json!({"name": name, "description": "d", "tags": tags})).await;
    }
    let gone = client.tool("d").await;
    client.delete(&format!("/tool/{gone}")).await;
    assert_eq!(client.names("").await, ["c", "a", "b", "d"]);
    assert_eq!(client.names("deprecated=false&sort_by=%2Bname").await, ["a", "b", "c"]);
    assert_eq!(client.names("sort_by=-deprecated&sort_by=-name").await, ["d", "c", "b", "a"]);
    assert_eq!(client.names("tag=team:x&tag=team:y").await, ["c", "a"]);
    assert_eq!(client.names("tag=team:").await, ["b"]);
    assert_eq!(client.names("tag=team:*&limit=2&continuation_token=1").await, ["a", "b"]);
    assert_eq!(client.get("/tool/?limit=21").await.status, 422);

    let first = client.get("/tool/?limit=3").await.body;
    assert_eq!((&first["has_more"], &first["continuation_token"]), (&json!(true), &json!(3)));
    let second = client.get("/tool/?limit=3&continuation_token=3").await.body;
    assert_eq!((&second["has_more"], &second["continuation_token"]), (&json!(false), &Value::Null));
    assert!(first["filter_values"].is_object() && second["filter_values"].is_null());
    assert_eq!(client.tool("d").await.len(), 24, "the name of a deprecated tool can be taken again");
}

#[tokio::test(start_paused = true)]
async fn changes_variables_whole_or_not_at_all() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("weather").await;
    let path = format!("/tool/{tool}/envvar");
    let insert = |name: &str| json!({"name": name, "value": "v", "is_secret": name == "KEY"});
    let got = client.post(&path, json!({"inserts": [insert("KEY"), insert("UNITS")]})).await;
    assert_eq!((got.status, got.body), (204, Value::Null));
    let shown = client.get("/tool/").await.body;
    assert_eq!(shown["tools"][0]["envvars"], json!(["UNITS"]));
    assert_eq!(shown["tools"][0]["secret_envvars"], json!(["KEY"]));

    let update = json!([{"name": "UNITS", "value": "changed"}]);
    for (body, status) in [
        (json!({"updates": update, "inserts": [insert("KEY")]}), 409),
        (json!({"updates": update, "deletes": [{"name": "NONE"}]}), 400),
        (json!({"updates": [{"name": "NONE", "value": "v"}]}), 400),
        (json!({"updates": update, "deletes": [{"name": "UNITS"}]}), 400),
        (json!({"inserts": [insert("NEW"), insert("NEW")]}), 409),
    ] {
        assert_eq!(client.post(&path, body.clone()).await.status, status, "{body}");
    }
    assert_eq!(client.sandbox.tool("acme", &tool).unwrap().variables["UNITS"].value, "v");

    assert_eq!(client.post(&path, json!({"deletes": [{"name": "UNITS"}]})).await.status, 204);
    assert_eq!(client.post(&path, json!({"inserts": [insert("UNITS")]})).await.status, 409, "deleted recently");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(client.post(&path, json!({"inserts": [insert("UNITS")]})).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_422_repeats_the_submitted_values() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("weather").await;
    let body = json!({"inserts": [{"name": "KEY", "value": "hunter2"}]});
    let got = client.post(&format!("/tool/{tool}/envvar"), body).await;
    assert_eq!(got.status, 422);
    assert!(got.body.to_string().contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn limits_are_kept_over_a_sliding_minute() {
    let client = Client::start(Settings::default()).await;
    let first = client.get("/tool/").await;
    assert_eq!((first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")), ("50", "49"));
    assert_eq!(first.header("x-ratelimit-reset"), "1754006460");
    tokio::time::advance(Duration::from_millis(20_500)).await;
    client.sandbox.use_up("acme", Operation::ListTools, 48).unwrap();
    assert_eq!(client.get("/tool/").await.header("x-ratelimit-remaining"), "0");
    let refused = client.get("/tool/").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "40"));
    assert_eq!(client.sandbox.rate_limit_violations(), 1);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(client.get("/tool/").await.status, 200);
    assert_eq!(client.get("/tool/").await.status, 429, "only one call has left the window");
    let missing = client.get(&format!("/tool/{NOBODY}/version")).await;
    assert_eq!((missing.status, missing.header("x-ratelimit-limit")), (404, "50"), "errors carry the headers too");

    for _ in 0..5 {
        assert_eq!(client.sign_in("wrong").await.status, 401);
    }
    assert_eq!(client.sign_in("demo-key").await.status, 429);
}
