//! Manifests as a user writes them, to vary.

use serde_json::{Value, json};

use crate::world::World;

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "amigo.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A spec with some fields laid over it.
fn over(mut spec: Value, with: &Value) -> Value {
    for (field, value) in with.as_object().cloned().unwrap_or_default() {
        spec[field] = value;
    }
    spec
}

pub fn organization(world: &World, with: Value) -> Value {
    let spec = json!({"organization": "acme", "endpoint": world.endpoint, "credentialsRef": {"name": "acme-api-key"}});
    object("Organization", "acme", over(spec, &with))
}

pub fn credentials(key: &str) -> Value {
    secret("acme-api-key", json!({"api-key": key, "api-key-id": "demo-key-id", "user-id": "demo-user"}))
}

pub fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

pub fn tool(name: &str, with: Value) -> Value {
    let spec = json!({"organizationRef": {"name": "acme"}, "description": "Current weather for a city."});
    object("Tool", name, over(spec, &with))
}

pub fn version(name: &str, with: Value) -> Value {
    object("ToolVersion", name, over(json!({"toolRef": {"name": "weather"}, "projectPath": "tools/weather"}), &with))
}

pub fn exactly(number: &str) -> Value {
    version(&format!("weather-{number}"), json!({"version": number}))
}

pub fn variables(name: &str, with: Value) -> Value {
    object("ToolEnvSecret", name, over(json!({"toolRef": {"name": "weather"}}), &with))
}

/// The connection, its credentials and the tool `weather`, Ready.
pub fn weather(world: &World) -> String {
    world.apply(&[organization(world, json!({})), credentials("demo-key"), tool("weather", json!({}))]);
    let tool = world.ready("Tool", "weather");
    tool["status"]["toolId"].as_str().unwrap().to_owned()
}
