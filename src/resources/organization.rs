//! `Organization`: the connection to one Amigo organization.
#![allow(clippy::struct_field_names, reason = "the unit belongs into the name of every field of `resync`")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::{rules, schema};

/// The service's own default endpoint.
pub const DEFAULT_ENDPOINT: &str = "https://api.amigo.ai";

/// Which organization, which credentials, and how the operator may use them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "Organization",
    namespaced,
    plural = "organizations",
    shortname = "amorg",
    category = "amigo",
    doc = "The connection to one Amigo organization: where it is, who signs in, and how much of its budget may be used. \
           Tools refer to it; it makes no remote object itself.",
    status = "OrganizationStatus",
    derive = "PartialEq",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Organization", type_ = "string", json_path = ".spec.organization"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.apiRevision"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// The organization, as it stands in the paths of the API: letters, digits, `_`, `.` and `-`. Immutable.
    #[schemars(length(min = 1, max = 128), regex(pattern = rules::ORGANIZATION))]
    #[x_kube(validation = rules::matches(rules::ORGANIZATION, "must consist of letters, digits, '_', '.' and '-'"))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("must not be '.' or '..'"))]
    #[x_kube(validation = rules::immutable("organization"))]
    pub organization: String,
    /// Where the API is: scheme, host and optional port, without path, query or user. It must be on the operator's list of
    /// allowed endpoints, or the object says `EndpointNotAllowed`. Redirects are never followed.
    #[serde(default = "default_endpoint")]
    #[schemars(length(min = 1, max = 300))]
    #[x_kube(validation = rules::matches(
        rules::ENDPOINT,
        "must be an origin such as 'https://api.amigo.ai': 'https://' or 'http://', a host and an optional port, \
         without path, query or user",
    ))]
    #[x_kube(validation = Rule::new("!isURL(self) || url(self).getPort() == '' || int(url(self).getPort()) <= 65535")
        .message("must have a port of at most 65535"))]
    pub endpoint: String,
    /// The Secret of the same namespace that signs in: keys `api-key`, `api-key-id` and `user-id`. A changed Secret takes
    /// effect at once, without a restart.
    pub credentials_ref: LocalReference,
    /// Which revision of the API the service speaks: `Auto`, `2025-07`, `2025-09` or `2026`. `Auto` starts from `2025-07`
    /// and moves on when the service shows that it speaks another; the outcome stands in `status.apiRevision`.
    #[serde(default)]
    pub api_revision: ApiRevision,
    /// Sent with every call as the header `x-mongo-cluster-name`, for organizations that were told to set it. Absent: the
    /// header is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = rules::CLUSTER_NAME))]
    #[x_kube(validation = rules::matches(rules::CLUSTER_NAME, "must consist of letters, digits, '_', '.' and '-'"))]
    pub mongo_cluster_name: Option<String>,
    /// Which namespaces' Tools may use this Organization. Its own namespace always may.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// How many percent of each of the organization's limits of calls per minute the operator may use. The rest is for
    /// everybody else: all clients of an organization share its limits.
    #[serde(default = "default_budget_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub budget_percent: i32,
    /// How often the remote state is looked at again without a cause. Periods are stretched when they do not fit into the
    /// budget; the ones in use stand in `status.effectiveResync`.
    #[serde(default)]
    pub resync: Resync,
    /// Whether anything under this Organization may be deprecated: `Allowed` or `Forbidden`. With `Forbidden` a
    /// `deletionPolicy` of `Deprecate` acts as `Retain`, and `deprecatedVersions` does nothing.
    #[serde(default)]
    pub deprecation: Deprecation,
    /// How many tools and versions the operator deprecates within an hour at most. More are held (`DeprecationHeld`) until
    /// the annotation `amigo.ai/confirm-deprecations` on this object names the number that is held.
    #[serde(default = "default_max_deprecations")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_deprecations_per_hour: i32,
    /// Stops every call for this Organization and everything under it, until it is false again.
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct LocalReference {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("must have `selector` when `from` is 'Selector', and must not have it otherwise"))]
pub struct AllowedNamespaces {
    /// `Same` (the Organization's own namespace), `All`, or `Selector` (namespaces whose labels match `selector`).
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the allowed namespaces, required with `from: Selector` and refused otherwise. An empty selector matches
    /// every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// Tools: existence, description and tags. At least 10.
    #[serde(default = "default_tools_period")]
    #[schemars(range(min = 10, max = 2_592_000))]
    pub tools_period_seconds: i32,
    /// Versions: existence and deprecation. At least 10.
    #[serde(default = "default_versions_period")]
    #[schemars(range(min = 10, max = 2_592_000))]
    pub versions_period_seconds: i32,
    /// Variables: their values cannot be read back, so they are sent again. 0 turns this off, else at least 10.
    #[serde(default = "default_variables_period")]
    #[schemars(range(min = 0, max = 2_592_000))]
    #[x_kube(validation = Rule::new("self == 0 || self >= 10").message("must be 0, which means never, or at least 10"))]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationStatus {
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
    /// The user that the credentials sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub user_id: Option<String>,
    /// When the API key ends, RFC 3339; absent where the service does not tell, as it shows keys only to users who may see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub api_key_expires_at: Option<String>,
    /// The revision in use: as given, or as detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiRevision")]
    pub api_revision: Option<ApiRevision>,
    /// The resync periods in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_resync: Option<Resync>,
    /// How many deprecations wait for the annotation `amigo.ai/confirm-deprecations`, which must name this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub held_deprecations: Option<i32>,
    /// Deprecations of the last hour, merged by the minute, so that a restart does not reset the limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub recent_deprecations: Vec<RecentDeprecations>,
    /// The value of the annotation `amigo.ai/confirm-deprecations` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = schema::MAX_ANNOTATION))]
    pub last_handled_confirmation: Option<String>,
}

/// Deprecations carried out within one minute.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct RecentDeprecations {
    /// The minute, RFC 3339.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub time: String,
    /// How many.
    #[schemars(range(min = 0))]
    pub count: i32,
}

resource!(Organization, OrganizationStatus);
