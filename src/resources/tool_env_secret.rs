//! `ToolEnvSecret`: environment variables of a Tool, from literals and Kubernetes Secrets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::organization::LocalReference;
use super::{rules, schema};

/// Which variables, and where their values come from.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "ToolEnvSecret",
    namespaced,
    plural = "toolenvsecrets",
    shortname = "amenv",
    category = "amigo",
    doc = "Environment variables of a Tool, from literals and Kubernetes Secrets. Variables of the tool that no \
           ToolEnvSecret names are left alone.",
    status = "ToolEnvSecretStatus",
    derive = "PartialEq",
    selectable = ".spec.toolRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Tool", type_ = "string", json_path = ".spec.toolRef.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(
        name = "Last-Sync",
        type_ = "date",
        json_path = ".status.lastSyncTime",
        description = "When the variables were last sent."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ToolEnvSecretSpec {
    /// The Tool of the same namespace that the variables belong to. Immutable.
    #[x_kube(validation = rules::immutable("toolRef"))]
    pub tool_ref: LocalReference,
    /// Single variables, each name once, at most 256. They win over `envFrom`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Whole Secrets, at most 32: every key becomes a variable. Later entries win over earlier ones. A key that cannot be the
    /// name of a variable is skipped and named in `status.skippedKeys`, unless `env` names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub env_from: Vec<EnvFromSource>,
    /// What happens in the service to a variable that goes from the spec, and to all when this object is deleted: `Delete`
    /// removes it unless an active version requires it, `Retain` leaves it.
    #[serde(default)]
    pub deletion_policy: VariableDeletionPolicy,
    /// Stops every call for this object until it is false again.
    #[serde(default)]
    pub suspend: bool,
}

/// One variable, with exactly one of `value` and `valueFrom`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_of("value", "valueFrom"))]
#[x_kube(validation = rules::forbidden_unless(
    "!has(self.value) || !has(self.visibility) || self.visibility != 'Secret'",
    "visibility",
    "must not be 'Secret' beside a literal `value`, which anybody who reads this object can see: \
     put the value into a Secret and use `valueFrom`",
))]
pub struct EnvVar {
    /// The variable's name: letters, digits and `_`, not starting with a digit, with at least one uppercase letter or `_`.
    #[schemars(length(min = 1, max = 256), regex(pattern = rules::VARIABLE_NAME))]
    #[x_kube(validation = rules::matches(
        rules::VARIABLE_NAME,
        "must consist of letters, digits and '_', and must not start with a digit",
    ))]
    #[x_kube(validation = rules::matches("[A-Z_]", "must have at least one uppercase letter or '_'"))]
    pub name: String,
    /// The value of a plain variable, as it is written here; it may be empty and `$(X)` has no meaning. Exactly one of `value`
    /// and `valueFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// Where the value of the variable comes from. Exactly one of `value` and `valueFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
    /// `Plain` sends a Secret's value as a plain variable, `Secret` as an encrypted one. Absent: a `value` is plain and what
    /// comes by `valueFrom` is secret. The service cannot turn one into the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Visibility")]
    pub visibility: Option<Visibility>,
}

/// Where a variable's value comes from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// The key of a Secret that holds the value. If either is missing, the variable stays as it is in the service.
    pub secret_key_ref: SecretKeySelector,
}

/// A key of a Secret of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretKeySelector {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// The key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::SECRET_KEY))]
    #[x_kube(validation = rules::matches(rules::SECRET_KEY, "must consist of letters, digits, '-', '_' and '.'"))]
    #[x_kube(validation = Rule::new("self != '.' && !self.startsWith('..')")
        .message("must not be '.' and must not start with '..'"))]
    pub key: String,
}

/// All keys of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvFromSource {
    /// Put before each key to make the variable's name: letters, digits and `_`, not starting with a digit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = rules::VARIABLE_PREFIX))]
    #[x_kube(validation = rules::matches(
        rules::VARIABLE_PREFIX,
        "must consist of letters, digits and '_', and must not start with a digit",
    ))]
    pub prefix: Option<String>,
    /// The Secret of the same namespace.
    pub secret_ref: LocalReference,
    /// `Plain` sends the Secret's values as plain variables, `Secret` as encrypted ones. Absent: `Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Visibility")]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolEnvSecretStatus {
    /// The generation of the spec that this status speaks of; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// `Ready` says whether the service matches the spec. `Reconciling` (work goes on) and `Stalled` (a person has to
    /// act) are present only while true. The reasons are listed in the reference of reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The last value of the annotation `amigo.ai/reconcile-requested-at` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = schema::MAX_ANNOTATION))]
    pub last_handled_reconcile_at: Option<String>,
    /// The organization that the tool belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub organization: Option<String>,
    /// The endpoint of that organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub endpoint: Option<String>,
    /// The remote tool's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tool_id: Option<String>,
    /// The variables that this object has set in the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8192))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variables: Vec<SyncedVariable>,
    /// Keys of `envFrom` Secrets that cannot be names of variables, and that `env` does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8192), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub skipped_keys: Vec<String>,
    /// When the variables were last sent, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_sync_time: Option<String>,
    /// The generation of the spec whose values were last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub synced_generation: Option<i64>,
    /// The state of the Secrets whose values were last sent. It tells that a Secret changed, and nothing of its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub synced_secrets: Vec<SyncedSecret>,
}

/// A variable that this object has set in the service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SyncedVariable {
    /// The variable's name.
    #[schemars(length(max = 1024))]
    pub name: String,
    /// `Plain` or `Secret`: whether its value can be read in the service.
    pub visibility: Visibility,
}

/// The state of a Secret: says whether it changed, and nothing of its values.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncedSecret {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 128))]
    pub uid: String,
    /// Its resourceVersion.
    #[schemars(length(max = 128))]
    pub resource_version: String,
}

impl EnvVar {
    /// The visibility that the variable should have: a literal is always plain, the value of a Secret is secret unless the
    /// entry says otherwise.
    #[must_use]
    pub fn effective_visibility(&self) -> Visibility {
        match (&self.value, self.visibility) {
            (Some(_), _) => Visibility::Plain,
            (None, visibility) => visibility.unwrap_or(Visibility::Secret),
        }
    }
}

impl EnvFromSource {
    /// The visibility that the variables should have: secret unless the entry says otherwise.
    #[must_use]
    pub fn effective_visibility(&self) -> Visibility {
        self.visibility.unwrap_or(Visibility::Secret)
    }
}

/// Whether a text can be the name of a variable in the service: letters, digits and `_`, not starting with a digit, with
/// at least one uppercase letter or `_`. The same as the rule of `env[].name`, for keys of `envFrom` Secrets.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    text.len() <= MAX_VARIABLE_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_uppercase() || b == b'_')
}

/// The longest name of a variable.
pub const MAX_VARIABLE_NAME: usize = 256;

resource!(ToolEnvSecret, ToolEnvSecretStatus);

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(entry: serde_json::Value) -> EnvVar {
        serde_json::from_value(entry).expect("entry")
    }

    #[test]
    fn a_literal_is_plain() {
        assert_eq!(variable(serde_json::json!({"name": "A", "value": ""})).effective_visibility(), Visibility::Plain);
    }

    #[test]
    fn a_secrets_value_is_secret_unless_the_entry_says_otherwise() {
        let source = serde_json::json!({"secretKeyRef": {"name": "s", "key": "k"}});
        let entry = |visibility: Option<Visibility>| {
            variable(serde_json::json!({"name": "A", "valueFrom": source, "visibility": visibility}))
        };
        assert_eq!(entry(None).effective_visibility(), Visibility::Secret);
        assert_eq!(entry(Some(Visibility::Secret)).effective_visibility(), Visibility::Secret);
        assert_eq!(entry(Some(Visibility::Plain)).effective_visibility(), Visibility::Plain);
    }

    #[test]
    fn names_of_variables_are_told_from_other_texts() {
        for good in ["A", "_", "API_KEY", "_1", "aB", "a_", &"A".repeat(256)] {
            assert!(is_variable_name(good), "{good:?}");
        }
        for bad in ["", "abc", "1A", "A-B", "A.B", "A B", " A", "\u{c4}", &"A".repeat(257)] {
            assert!(!is_variable_name(bad), "{bad:?}");
        }
    }
}
