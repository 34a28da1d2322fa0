//! `ToolEnvSecret`: environment variables of a Tool, from literals and Kubernetes Secrets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::organization::LocalReference;

/// Environment variables of a Tool, from literals and Kubernetes Secrets.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "ToolEnvSecret",
    namespaced,
    status = "ToolEnvSecretStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ToolEnvSecretSpec {
    /// The Tool of the same namespace. Immutable.
    pub tool_ref: LocalReference,
    /// Single variables; they win over `envFrom`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// All keys of a Secret; later entries win over earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// What happens to a variable when it goes from the spec or this object is deleted.
    #[serde(default)]
    pub deletion_policy: VariableDeletionPolicy,
    /// Nothing remote is touched for this object.
    #[serde(default)]
    pub suspend: bool,
}

/// One variable, with exactly one of `value` and `valueFrom`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// A plain variable's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
    /// `Plain` sends a Secret's value as a plain variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Where a variable's value comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// A key of a Secret.
    pub secret_key_ref: SecretKeySelector,
}

/// A key of a Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretKeySelector {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// All keys of a Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvFromSource {
    /// Put before each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The Secret of the same namespace.
    pub secret_ref: LocalReference,
    /// `Plain` sends the Secret's values as plain variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Whether a variable's value can be read in the service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Not encrypted.
    Plain,
    /// Encrypted.
    Secret,
}

/// What happens to a variable that is no longer wanted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VariableDeletionPolicy {
    /// It is removed.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// What the operator observed of the variables.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolEnvSecretStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last value of the annotation `amigo.ai/reconcile-requested-at` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The organization that the tool belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The endpoint of that organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The remote tool's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_id: Option<String>,
    /// The variables that this object has set in the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<SyncedVariable>,
    /// Keys of `envFrom` Secrets that cannot be names of variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_keys: Vec<String>,
    /// When the variables were last sent, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<String>,
    /// The generation of the spec whose values were last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_generation: Option<i64>,
    /// The state of the Secrets whose values were last sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synced_secrets: Vec<SyncedSecret>,
}

/// A variable that this object has set in the service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SyncedVariable {
    /// The variable's name.
    pub name: String,
    /// Whether its value can be read in the service.
    pub visibility: Visibility,
}

/// The state of a Secret: says whether it changed, and nothing of its values.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncedSecret {
    /// The Secret.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

resource!(ToolEnvSecret, ToolEnvSecretStatus);
