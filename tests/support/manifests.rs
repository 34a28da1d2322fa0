//! Manifests as a user writes them, to vary. Fields are given in YAML's flow style: `suspend: true, tags: []`.

use super::World;

/// Joins manifests into one file.
pub fn all<M: AsRef<str>>(manifests: impl IntoIterator<Item = M>) -> String {
    manifests.into_iter().fold(String::new(), |file, manifest| file + "---\n" + manifest.as_ref() + "\n")
}

/// An object of ours.
pub fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: amigo.ai/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

/// The Organization `acme` and its credentials.
pub fn acme(world: &World) -> String {
    all([organization(world, ""), credentials(world)])
}

/// The Organization `acme`, without its credentials.
pub fn organization(world: &World, more: &str) -> String {
    let spec =
        format!("organization: acme, endpoint: '{}', credentialsRef: {{name: acme-api-key}}, {more}", world.endpoint());
    object("Organization", "acme", &spec)
}

/// The credentials that the service knows.
pub fn credentials(world: &World) -> String {
    credentials_with(&world.api_key())
}

/// Credentials with another key.
pub fn credentials_with(key: &str) -> String {
    secret("acme-api-key", &format!("api-key: {key}, api-key-id: demo-key-id, user-id: demo-user"))
}

/// A Secret.
pub fn secret(name: &str, data: &str) -> String {
    format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}, stringData: {{{data}}}}}")
}

/// The description of tools that do not say otherwise.
pub const DESCRIPTION: &str = "Current weather for a city.";

/// A Tool with a description.
pub fn tool(name: &str, more: &str) -> String {
    object("Tool", name, &format!("organizationRef: {{name: acme}}, description: {DESCRIPTION}, {more}"))
}

/// A Tool with nothing but its connection.
pub fn bare_tool(name: &str, more: &str) -> String {
    object("Tool", name, &format!("organizationRef: {{name: acme}}, {more}"))
}

/// A ToolVersion of the Tool `weather`, with its number as name.
pub fn version(number: &str, more: &str) -> String {
    named_version(&format!("weather-{number}"), &format!("version: {number}, {more}"))
}

/// A ToolVersion of the Tool `weather`.
pub fn named_version(name: &str, more: &str) -> String {
    object("ToolVersion", name, &format!("toolRef: {{name: weather}}, projectPath: tools/weather, {more}"))
}

/// A ToolEnvSecret of the Tool `weather`.
pub fn variables(name: &str, more: &str) -> String {
    object("ToolEnvSecret", name, &format!("toolRef: {{name: weather}}, {more}"))
}

/// Plain variables.
pub fn env(pairs: &[(&str, &str)]) -> String {
    let entries: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{{name: {name}, value: '{value}'}}")).collect();
    format!("env: [{}]", entries.join(", "))
}

/// A variable from a key of a Secret.
pub fn env_from_key(name: &str, secret: &str, key: &str) -> String {
    format!("env: [{{name: {name}, valueFrom: {{secretKeyRef: {{name: {secret}, key: {key}}}}}}}]")
}

/// All keys of a Secret.
pub fn env_from(secret: &str) -> String {
    format!("envFrom: [{{secretRef: {{name: {secret}}}}}]")
}
