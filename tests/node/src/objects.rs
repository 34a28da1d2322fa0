//! The manifests of a user.

use serde_json::{Value, json};

use crate::service;

/// Where the user's objects are.
pub(crate) const NAMESPACE: &str = "travel";

/// Everything that one tool needs, from the connection to its first version.
pub(crate) fn everything(tool: &str) -> Value {
    list(&[
        secret("acme-api-key", &json!({"api-key": "demo-key", "api-key-id": "demo-key-id", "user-id": "demo-user"})),
        organization("acme", &service::endpoint()),
        secret(&format!("{tool}-credentials"), &json!({"token": "canary"})),
        self::tool(tool, &json!({})),
        variables(tool),
        version(tool, "1.0.0"),
    ])
}

/// The four kinds of [`everything`], in the order in which they become Ready.
pub(crate) fn names(tool: &str) -> [String; 4] {
    [
        "organization/acme".into(),
        format!("tool/{tool}"),
        format!("toolenvsecret/{tool}"),
        format!("toolversion/{tool}-1.0.0"),
    ]
}

/// Several objects as one.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// An organization of the service at this address.
pub(crate) fn organization(name: &str, endpoint: &str) -> Value {
    let spec = json!({"organization": "acme", "endpoint": endpoint, "credentialsRef": {"name": "acme-api-key"}});
    object("Organization", name, &spec)
}

/// A name that only `/etc/hosts` of a Pod can know.
pub(crate) const OTHER_HOST: &str = "service.hosts.example";

/// The service by that name.
pub(crate) fn other_endpoint() -> String {
    format!("http://{OTHER_HOST}:8081")
}

/// A tool, with annotations.
pub(crate) fn tool(name: &str, annotations: &Value) -> Value {
    let spec = json!({"organizationRef": {"name": "acme"}, "description": "Weather of a city."});
    let mut tool = object("Tool", name, &spec);
    tool["metadata"]["annotations"] = annotations.clone();
    tool
}

/// A version of a tool.
pub(crate) fn version(tool: &str, version: &str) -> Value {
    let spec = json!({"toolRef": {"name": tool}, "version": version, "projectPath": format!("tools/{tool}")});
    object("ToolVersion", &format!("{tool}-{version}"), &spec)
}

fn variables(tool: &str) -> Value {
    let from = json!({"secretKeyRef": {"name": format!("{tool}-credentials"), "key": "token"}});
    let env = json!([{"name": "UNITS", "value": "metric"}, {"name": "API_KEY", "valueFrom": from}]);
    object("ToolEnvSecret", tool, &json!({"toolRef": {"name": tool}, "env": env}))
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "amigo.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}
