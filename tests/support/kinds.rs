//! The kinds that the tests apply, and where the API server keeps them.

use kube::api::ApiResource;

/// The kinds of the operator.
pub const KINDS: [&str; 4] = ["Organization", "Tool", "ToolVersion", "ToolEnvSecret"];

/// Where objects of a kind are.
pub fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Secret" | "Namespace" => ("", "v1"),
        _ => ("amigo.ai", "v1alpha1"),
    };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}
