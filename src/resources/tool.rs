//! `Tool`: one tool of an Amigo organization.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;

/// One tool of an Amigo organization.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "Tool",
    namespaced,
    status = "ToolStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec {
    /// The Organization to use; absent: the operator's default organization. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_ref: Option<OrganizationReference>,
    /// The remote name; default: metadata.name with `-` and `.` as `_`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the model reads to decide when to call the tool. Required unless `managementPolicy: Observe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Absent: only the operator's own tags are managed. Present: exactly these and the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// What to do when an active remote tool has the name already.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Whether the tool itself is written.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens to the remote tool when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// PEP 440 specifier: every version that matches is deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_versions: Option<String>,
    /// Nothing remote is touched for this object.
    #[serde(default)]
    pub suspend: bool,
}

/// A reference to an Organization, of the own namespace unless another is named.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationReference {
    /// The Organization's name.
    pub name: String,
    /// The Organization's namespace; it must allow this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A tag of the tool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Letters, digits, `_` and spaces.
    pub key: String,
    /// As the key; absent: sent as null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What to do when an active remote tool has the name already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdoptionPolicy {
    /// Take it only if it carries this object's mark.
    #[default]
    Marked,
    /// Take it also if it carries nobody's mark.
    Unmarked,
    /// Take it over in any case.
    Always,
}

/// Whether the tool itself is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManagementPolicy {
    /// Create, correct, deprecate.
    #[default]
    Manage,
    /// Bind to an existing tool by name and never write it.
    Observe,
}

/// What happens remotely when an object is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deprecated, which cannot be undone.
    Deprecate,
}

/// What the operator observed of the tool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolStatus {
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
    /// The remote tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The highest active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_version: Option<String>,
    /// How many versions are active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_versions: Option<i32>,
}

resource!(Tool, ToolStatus);
