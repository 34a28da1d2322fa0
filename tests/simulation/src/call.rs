//! A call to the remote API, as the referee reads it from the wire.

use bytes::Bytes;
use serde_json::Value;

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The operation, by the sandbox's name for it.
    pub operation: &'static str,
    /// The tool of the path; empty if there is none.
    pub tool_id: String,
    /// The versions of the path, decoded.
    pub versions: String,
    /// What is sent.
    pub body: Value,
}

impl Call {
    /// Reads a request.
    ///
    /// # Panics
    /// When there is no such call.
    #[must_use]
    pub fn read(request: &http::Request<Bytes>) -> Self {
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').skip(2).collect();
        let operation = match (request.method().as_str(), path.as_slice()) {
            ("POST", ["user", _]) => "sign-in",
            ("GET", ["tool"]) => "list-tools",
            ("POST", ["tool"]) => "create-tool",
            ("POST", ["tool", _]) => "modify-tool",
            ("DELETE", ["tool", _]) => "deprecate-tool",
            ("POST", ["tool", _, "envvar"]) => "modify-variables",
            ("GET", ["tool", _, "version"]) => "list-versions",
            ("POST", ["tool", _, "version"]) => "publish-version",
            ("DELETE", ["tool", _, "version", _]) => "deprecate-versions",
            ("GET", ["organization", "api_key"]) => "list-api-keys",
            other => unreachable!("the API has no {other:?}"),
        };
        let decoded = |text: &&str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self {
            operation,
            tool_id: path.get(1).map(|id| (*id).to_owned()).filter(|_| path[0] == "tool").unwrap_or_default(),
            versions: path.get(3).map(decoded).unwrap_or_default(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
        }
    }

    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.operation != "sign-in" && !self.is_list()
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.operation.starts_with("list-")
    }

    /// For people and for the dice, without values.
    #[must_use]
    pub fn describe(&self) -> String {
        let named = self.body["name"].as_str().or_else(|| self.body["bump_type"].as_str()).unwrap_or_default();
        format!("{} {}{}{}", self.operation, self.tool_id, self.versions, named)
    }
}
