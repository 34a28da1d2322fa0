//! `ToolVersion`: one published version of a Tool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::organization::LocalReference;
use super::tool::DeletionPolicy;
use crate::amigo::types::{Branch, BumpType};

/// One published version of a Tool.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "ToolVersion",
    namespaced,
    status = "ToolVersionStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ToolVersionSpec {
    /// The Tool of the same namespace. Immutable.
    pub tool_ref: LocalReference,
    /// The exact version, `X.Y.Z`. Exactly one of `version` and `bumpType`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Publishes once, whatever number comes out; an object created anew publishes anew. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bump_type: Option<BumpType>,
    /// The branch to build from, for services that have several. Immutable.
    #[serde(default)]
    pub branch: Branch,
    /// The folder in the tools repository that is built. Immutable.
    pub project_path: String,
    /// The commit that must have been built, whole or its first 7 or more digits. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_commit: Option<String>,
    /// What happens to the version when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long a publish without an answer is waited for before it counts as not having happened.
    #[serde(default = "default_publish_timeout")]
    pub publish_timeout_seconds: i32,
    /// Nothing remote is touched for this object.
    #[serde(default)]
    pub suspend: bool,
}

const fn default_publish_timeout() -> i32 {
    900
}

/// What the operator observed of the version.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolVersionStatus {
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
    /// The number of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The commit that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When the service made the version, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<String>,
    /// The user who published the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Plain variables that the version requires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_variables: Vec<String>,
    /// Secret variables that the version requires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_secret_variables: Vec<String>,
    /// Whether the version is deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<bool>,
    /// The publish that is under way or whose outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishIntent>,
}

/// Written before a publish is sent, so that a lost answer is resolved by evidence.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PublishIntent {
    /// Counts the publishes sent for this object, from 1.
    pub attempt: i32,
    /// Just before the publish was sent, RFC 3339.
    pub start_time: String,
    /// The versions that existed then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_versions: Vec<String>,
    /// The number that should come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<String>,
    /// The user that published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

resource!(ToolVersion, ToolVersionStatus);
