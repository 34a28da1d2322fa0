//! The control address, and changes by hand.

use amigo_operator::sandbox::Sandbox;
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::client::{Client, unlimited};

/// A request to the control address.
async fn ask(sandbox: &Sandbox, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = sandbox.control_router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn changes_tools_by_hand() {
    let client = Client::start(unlimited()).await;
    let put = async |path: &str, body| ask(&client.sandbox, Method::PUT, path, body).await.0;
    let tools = "/organizations/acme/tools";
    let (status, made) =
        ask(&client.sandbox, Method::POST, tools, json!({"name": "weather", "description": "d"})).await;
    assert_eq!((status, made["id"].as_str().unwrap().len()), (201, 24));
    let weather = format!("{tools}/weather");
    assert_eq!(put(&weather, json!({"description": "Other.", "tags": {"a": null}})).await, 204);
    assert_eq!(put(&weather, json!({"descriptoin": "Other."})).await, 422);
    assert_eq!(put("/organizations/none/tools/x", json!({})).await, 404);

    let versions = format!("{weather}/versions");
    let (status, made) = ask(&client.sandbox, Method::POST, &versions, json!({"version": "1.2.3"})).await;
    assert_eq!((status, &made["version"]), (201, &json!("1.2.3")));
    assert_eq!(ask(&client.sandbox, Method::POST, &versions, json!({"version": "1.2.3"})).await.0, 400);
    let (_, next) = ask(&client.sandbox, Method::POST, &versions, json!({"user_id": "eve"})).await;
    assert_eq!(next["version"], "1.2.4");
    let one = format!("{versions}/%3D%3D1.2.3");
    assert_eq!(ask(&client.sandbox, Method::PUT, &one, json!({"deprecated": true})).await.1, json!({"deprecated": 1}));
    let (_, shown) = ask(&client.sandbox, Method::GET, &weather, Value::Null).await;
    assert_eq!((&shown["description"], &shown["versions"][0]["deprecated"]), (&json!("Other."), &json!(true)));
    assert_eq!(shown["versions"][1]["creator"]["user_id"], "eve");
    assert_eq!(ask(&client.sandbox, Method::DELETE, &one, Value::Null).await.1, json!({"removed": 1}));

    assert_eq!(put(&weather, json!({"deprecated": true})).await, 204);
    assert_eq!(client.names("deprecated=true").await, ["weather"]);
    assert_eq!(ask(&client.sandbox, Method::DELETE, &weather, Value::Null).await.0, 204);
    assert!(client.names("").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sets_faults_settings_and_access() {
    let client = Client::start(unlimited()).await;
    let ask = async |method, path: &str, body| ask(&client.sandbox, method, path, body).await;
    let fault = json!({"operations": "list-tools", "effect": {"kind": "status", "status": 500}});
    assert_eq!(ask(Method::POST, "/faults", fault).await, (201, json!({"id": 1})));
    assert_eq!(ask(Method::GET, "/faults", Value::Null).await.1[0]["fault"]["effect"]["status"], 500);
    assert_eq!(client.get("/tool/").await.status, 500);
    assert_eq!(ask(Method::DELETE, "/faults/1", Value::Null).await.0, 404, "it is used up");
    assert_eq!(ask(Method::DELETE, "/faults", Value::Null).await.0, 204);
    let nothing = json!({"operations": "list", "effect": {"kind": "empty-list"}});
    assert_eq!(ask(Method::POST, "/faults", nothing).await.0, 400);

    let (status, settings) = ask(Method::PUT, "/settings", json!({"publish_seconds": 9, "revision": "2026"})).await;
    assert_eq!((status, &settings["publish_seconds"], &settings["revision"]), (200, &json!(9.0), &json!("2026")));
    assert_eq!(ask(Method::PUT, "/settings", json!({"publish_second": 9})).await.0, 400);
    assert_eq!(ask(Method::PUT, "/settings", json!({"rate_limits": "sometimes"})).await.0, 400);

    assert_eq!(ask(Method::PUT, "/organizations/acme/keys/demo-key-id", json!({"key": "next"})).await.0, 204);
    assert_eq!(client.sign_in("demo-key").await.status, 401);
    assert_eq!(client.sign_in("next").await.status, 200);
    assert_eq!(ask(Method::DELETE, "/organizations/acme/keys/demo-key-id", Value::Null).await.0, 204);
    assert_eq!(client.sign_in("next").await.status, 401);
    let denied = json!({"denied": ["Tool:CreateTool"]});
    assert_eq!(ask(Method::PUT, "/organizations/acme/users/demo-user", denied).await.0, 204);
    let body = json!({"name": "a", "description": "b", "tags": {}});
    assert_eq!(client.post("/tool/", body).await.status, 403);
    assert_eq!(ask(Method::PUT, "/organizations/acme", json!({"maintenance": true})).await.0, 204);
    assert_eq!(client.get("/tool/").await.status, 503);
    assert_eq!(ask(Method::PUT, "/organizations/acme", json!({"maintenance": false})).await.0, 204);
    let project = json!({"required_envvars": ["UNITS"], "build_fails": true});
    assert_eq!(ask(Method::PUT, "/organizations/acme/projects/tools/weather", project).await.0, 204);
    let usage = json!({"operation": "list-tools", "calls": 50});
    assert_eq!(ask(Method::POST, "/organizations/acme/usage", usage).await.0, 204);
    assert_eq!(ask(Method::PUT, "/settings", json!({"rate_limits": "real"})).await.0, 200);
    assert_eq!(client.get("/tool/").await.status, 429);
    assert_eq!(ask(Method::DELETE, "/organizations/acme/tokens", Value::Null).await.0, 204);
}

#[tokio::test(start_paused = true)]
async fn shows_everything_but_bodies() {
    let client = Client::start(unlimited()).await;
    let tool = client.tool("weather").await;
    let body = json!({"inserts": [{"name": "KEY", "value": "hunter2", "is_secret": true}]});
    client.post(&format!("/tool/{tool}/envvar"), body).await;
    let get = async |path: &str| ask(&client.sandbox, Method::GET, path, Value::Null).await.1;
    let state = get("/state").await;
    let variable = &state["organizations"]["acme"]["tools"][0]["variables"]["KEY"];
    assert_eq!(variable, &json!({"value": "hunter2", "is_secret": true}));
    assert!(!state["requests"].to_string().contains("hunter2"));
    assert!(!state.to_string().contains("demo-key\""));

    let requests = get("/requests?limit=1").await;
    assert_eq!(requests.as_array().unwrap().len(), 1);
    assert_eq!((&requests[0]["operation"], &requests[0]["status"]), (&json!("modify-variables"), &json!(204)));
    assert_eq!((&requests[0]["user_id"], requests[0].get("body")), (&json!("demo-user"), None));
    assert!(get("/requests?limit=1&bodies=true").await.to_string().contains("hunter2"));
    assert_eq!(get("/counters").await["sign-in"]["answers"], json!({"200": 1}));
    assert_eq!(ask(&client.sandbox, Method::DELETE, "/requests", Value::Null).await.0, 204);
    assert_eq!(get("/counters").await, json!({}));
}
