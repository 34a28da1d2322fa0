//! `Organization`: the connection to one Amigo organization.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;

/// The service's own default endpoint.
pub const DEFAULT_ENDPOINT: &str = "https://api.amigo.ai";

/// The connection to one Amigo organization: where it is, who signs in, and how much of its budget may be used.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "Organization",
    namespaced,
    status = "OrganizationStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// The organization in the paths of the API. Immutable.
    pub organization: String,
    /// Origin of the API. Must be on the operator's list of allowed endpoints.
    #[serde(default = "default_endpoint")]
    pub endpoint: String,
    /// Secret of the same namespace with the keys `api-key`, `api-key-id` and `user-id`.
    pub credentials_ref: LocalReference,
    /// Which revision of the API the service speaks.
    #[serde(default)]
    pub api_revision: ApiRevision,
    /// Sent as `x-mongo-cluster-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mongo_cluster_name: Option<String>,
    /// Which namespaces' Tools may use this Organization.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// How many percent of each of the organization's limits the operator may use.
    #[serde(default = "default_budget_percent")]
    pub budget_percent: i32,
    /// How often remote state is looked at again.
    #[serde(default)]
    pub resync: Resync,
    /// Whether anything under this Organization may be deprecated.
    #[serde(default)]
    pub deprecation: Deprecation,
    /// How many tools and versions may be deprecated in an hour; more are held until a person confirms.
    #[serde(default = "default_max_deprecations")]
    pub max_deprecations_per_hour: i32,
    /// Nothing is called for anything under this Organization.
    #[serde(default)]
    pub suspend: bool,
}

fn default_endpoint() -> String {
    DEFAULT_ENDPOINT.to_owned()
}

const fn default_budget_percent() -> i32 {
    80
}

const fn default_max_deprecations() -> i32 {
    10
}

/// A reference to an object of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct LocalReference {
    /// The object's name.
    pub name: String,
}

/// A revision of the API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApiRevision {
    /// Starts from the reference and moves on when the service shows that it speaks another.
    #[default]
    Auto,
    /// The reference of July 2025: a publish names a `branch`.
    #[serde(rename = "2025-07")]
    R202507,
    /// September 2025: a publish names a `repo`.
    #[serde(rename = "2025-09")]
    R202509,
    /// Since January 2026: neither.
    #[serde(rename = "2026")]
    R2026,
}

/// Which namespaces' Tools may use an Organization. The own namespace always may.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// `Same`, `All`, or `Selector`.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the allowed namespaces; with `from: Selector` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Where Tools may come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespacesFrom {
    /// The Organization's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Namespaces that match `selector`.
    Selector,
}

/// How often remote state is looked at again, in seconds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// Tools: description, tags, existence.
    #[serde(default = "default_tools_period")]
    pub tools_period_seconds: i32,
    /// Versions: existence, deprecation.
    #[serde(default = "default_versions_period")]
    pub versions_period_seconds: i32,
    /// Variables are sent again, as their values cannot be read back; 0 = never.
    #[serde(default = "default_variables_period")]
    pub variables_rewrite_period_seconds: i32,
}

const fn default_tools_period() -> i32 {
    600
}

const fn default_versions_period() -> i32 {
    21_600
}

const fn default_variables_period() -> i32 {
    86_400
}

impl Default for Resync {
    fn default() -> Self {
        Self {
            tools_period_seconds: default_tools_period(),
            versions_period_seconds: default_versions_period(),
            variables_rewrite_period_seconds: default_variables_period(),
        }
    }
}

/// Whether deprecation is allowed at all.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deprecation {
    /// Objects may ask for it.
    #[default]
    Allowed,
    /// `Deprecate` acts as `Retain`, and `deprecatedVersions` does nothing.
    Forbidden,
}

/// What the operator observed of the connection.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last value of the annotation `amigo.ai/reconcile-requested-at` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The user that the credentials sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The revision in use: as given, or as detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_revision: Option<ApiRevision>,
    /// The resync periods in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_resync: Option<Resync>,
    /// How many deprecations wait for `amigo.ai/confirm-deprecations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_deprecations: Option<i32>,
    /// Deprecations of the last hour, so that a restart does not reset the limit; merged by the minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_deprecations: Vec<RecentDeprecations>,
    /// The value of `amigo.ai/confirm-deprecations` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_confirmation: Option<String>,
}

/// Deprecations carried out within one minute.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct RecentDeprecations {
    /// The minute, RFC 3339.
    pub time: String,
    /// How many.
    pub count: i32,
}

resource!(Organization, OrganizationStatus);
