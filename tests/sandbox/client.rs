//! A client that sends what it is told to and shows what came back.

use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, Transport, TransportError};
use amigo_operator::sandbox::{InProcess, Sandbox, Settings};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

pub const BOUNDS: Bounds = Bounds { timeout: Duration::from_mins(15), max_body: 1 << 20 };

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub struct Client {
    pub sandbox: Sandbox,
    transport: InProcess,
    token: String,
}

impl Client {
    /// A sandbox with these settings, and a client that is signed in as the default account.
    pub async fn start(settings: Settings) -> Self {
        let sandbox = Sandbox::for_tests(settings);
        let mut client = Self { transport: sandbox.in_process(), sandbox, token: String::new() };
        let signed_in = client.sign_in("demo-key").await;
        assert_eq!(signed_in.status, 200, "{signed_in:?}");
        signed_in.body["id_token"].as_str().unwrap().clone_into(&mut client.token);
        client
    }

    pub async fn sign_in(&self, key: &str) -> Got {
        let headers = [("x-api-key", key), ("x-api-key-id", "demo-key-id"), ("x-user-id", "demo-user")];
        self.exchange(Method::POST, "/user/signin_with_api_key", &headers, None, BOUNDS).await.unwrap()
    }

    /// The answer, which there has to be.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Got {
        self.attempt(method, path, body).await.unwrap()
    }

    pub async fn attempt(&self, method: Method, path: &str, body: Option<Value>) -> Result<Got, TransportError> {
        let bearer = format!("Bearer {}", self.token);
        self.exchange(method, path, &[("authorization", &bearer)], body, BOUNDS).await
    }

    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
        bounds: Bounds,
    ) -> Result<Got, TransportError> {
        let mut request = Request::builder().method(method).uri(format!("https://sandbox/v1/acme{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let response = self.transport.send(request.body(bytes).unwrap(), bounds).await?;
        let (parts, bytes) = response.into_parts();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) };
        Ok(Got { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Got {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.call(Method::DELETE, path, None).await
    }

    /// Makes a tool and tells its id.
    pub async fn tool(&self, name: &str) -> String {
        let got = self.post("/tool/", json!({"name": name, "description": "A tool.", "tags": {}})).await;
        assert_eq!(got.status, 201, "{got:?}");
        got.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn publish(&self, tool: &str, bump: &str) -> Got {
        self.post(&format!("/tool/{tool}/version"), publish_body(bump)).await
    }

    /// The names in a list of tools.
    pub async fn names(&self, query: &str) -> Vec<String> {
        let got = self.get(&format!("/tool/?{query}")).await;
        assert_eq!(got.status, 200, "{got:?}");
        got.body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn publish_body(bump: &str) -> Value {
    json!({"branch": "main", "project_path": "tools/weather", "bump_type": bump})
}

/// Settings without limits, for tests of something else.
pub fn unlimited() -> Settings {
    Settings { rate_limits: amigo_operator::sandbox::RateLimits::Off, ..Settings::default() }
}
