//! Answers of the service, before they become HTTP: a status, a JSON body or none, a few headers.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Option<Value>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a call comes to: an answer of success, or one that refuses.
pub(super) type Outcome = Result<Answer, Answer>;

impl Answer {
    /// Success with a body. What cannot be written as JSON is an answer 500.
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_value(body) {
            Ok(body) => Self { status, body: Some(body), headers: Vec::new() },
            Err(_) => Self::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        }
    }

    /// 204.
    pub(super) const fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new() }
    }

    /// An error whose body has one sentence.
    pub(super) fn refusal(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, body: Some(json!({ "detail": detail.into() })), headers: Vec::new() }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::refusal(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::refusal(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::refusal(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::refusal(StatusCode::CONFLICT, detail)
    }

    pub(super) fn unavailable() -> Self {
        Self::refusal(StatusCode::SERVICE_UNAVAILABLE, "Undergoing maintenance")
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes of the body; empty when there is none.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let bytes = self.bytes();
        let has_body = self.body.is_some();
        let mut response = Response::new(if has_body { Body::from(bytes) } else { Body::empty() });
        *response.status_mut() = self.status;
        if has_body {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
