//! `Tool`: one tool of an Amigo organization.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::{rules, schema};

/// What the tool should be in the service.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "Tool",
    namespaced,
    plural = "tools",
    shortname = "amtool",
    category = "amigo",
    doc = "One tool of an Amigo organization: its name, description and tags. Its versions are ToolVersions, its variables \
           ToolEnvSecrets.",
    status = "ToolStatus",
    derive = "PartialEq",
    selectable = ".spec.organizationRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Remote-Name", type_ = "string", json_path = ".status.name"),
    printcolumn(name = "Tool-Id", type_ = "string", json_path = ".status.toolId"),
    printcolumn(name = "Latest", type_ = "string", json_path = ".status.latestVersion"),
    printcolumn(
        name = "Versions",
        type_ = "integer",
        json_path = ".status.activeVersions",
        description = "Number of active versions."
    ),
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
#[x_kube(validation = rules::neither_added_nor_removed("organizationRef"))]
#[x_kube(validation = rules::neither_added_nor_removed("name"))]
#[x_kube(validation = Rule::new("self.managementPolicy == 'Observe' || has(self.description)")
    .message("must be set unless `managementPolicy` is 'Observe'")
    .reason(Reason::FieldValueRequired)
    .field_path(".description"))]
#[x_kube(validation = rules::forbidden_unless(
    "self.managementPolicy != 'Observe' || !has(self.tags)",
    "tags",
    "must not be set when `managementPolicy` is 'Observe', which never writes the tool",
))]
#[x_kube(validation = rules::forbidden_unless(
    "self.managementPolicy != 'Observe' || self.deletionPolicy != 'Deprecate'",
    "deletionPolicy",
    "must not be 'Deprecate' when `managementPolicy` is 'Observe', which never writes the tool",
))]
#[x_kube(validation = rules::forbidden_unless(
    "self.managementPolicy != 'Observe' || !has(self.deprecatedVersions)",
    "deprecatedVersions",
    "must not be set when `managementPolicy` is 'Observe', which never writes the tool",
))]
pub struct ToolSpec {
    /// The Organization that the tool belongs to. Absent: the operator's default organization, if it has one. Immutable:
    /// it can be neither changed nor added nor removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::immutable("organizationRef"))]
    pub organization_ref: Option<OrganizationReference>,
    /// The tool's name in the service: lowercase letters, digits and `_`. Absent: `metadata.name` with `_` in place of `-`
    /// and `.`. Immutable: it can be neither changed nor added nor removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = rules::TOOL_NAME))]
    #[x_kube(validation = rules::matches(rules::TOOL_NAME, "must consist of lowercase letters, digits and '_'"))]
    #[x_kube(validation = rules::immutable("name"))]
    pub name: Option<String>,
    /// Tells the model what the tool does, and so when to call it. Required unless `managementPolicy` is `Observe`; blanks at
    /// both ends do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    #[x_kube(validation = rules::not_blank())]
    pub description: Option<String>,
    /// Tags of the tool, at most 18, each key once. Present, also when empty: the tool has exactly these and the operator's
    /// own two. Absent: only the operator's are managed and all others stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Option<Vec<Tag>>,
    /// What to do when an active tool of the name exists in the service already: `Marked` takes it only if it carries this
    /// object's mark, `Unmarked` also if it carries nobody's mark, `Always` takes it from whoever has it.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// `Manage` creates and corrects the tool. `Observe` binds to an existing tool by name and never writes it;
    /// ToolVersions and ToolEnvSecrets that refer to it still act.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What happens to the tool when this object is deleted: `Retain` leaves it, `Deprecate` deprecates it with all its
    /// versions, which cannot be undone.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// A PEP 440 specifier such as `<1.4` or `>=1.0,<1.4`: every version that matches it is deprecated, which cannot be
    /// undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::matches(
        rules::SPECIFIER,
        "must be a PEP 440 specifier such as '<1.4' or '>=1.0,<1.4'",
    ))]
    pub deprecated_versions: Option<String>,
    /// Stops every call for this object until it is false again.
    #[serde(default)]
    pub suspend: bool,
}

/// A reference to an Organization, of the own namespace unless another is named.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationReference {
    /// The Organization's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// The Organization's namespace. Absent: the own one. Another one must be allowed by the Organization's
    /// `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: Option<String>,
}

/// A tag of the tool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Letters and digits of any script, `_` and blanks, without blanks at both ends. Keys that start with `kubernetes_`
    /// belong to the operator.
    #[schemars(length(min = 1, max = 256), regex(pattern = rules::TAG))]
    #[x_kube(validation = rules::matches(rules::TAG, "must consist of letters, digits, '_' and blanks"))]
    #[x_kube(validation = rules::trimmed())]
    #[x_kube(validation = Rule::new("!self.startsWith('kubernetes_')")
        .message("must not start with 'kubernetes_', which is kept for the operator")
        .reason(Reason::FieldValueForbidden))]
    pub key: String,
    /// Of the same characters as the key. Absent: the tag has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = rules::TAG))]
    #[x_kube(validation = rules::matches(rules::TAG, "must consist of letters, digits, '_' and blanks"))]
    #[x_kube(validation = rules::trimmed())]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolStatus {
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
    /// The remote tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub name: Option<String>,
    /// The highest active version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub latest_version: Option<String>,
    /// How many versions are active, that is, not deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub active_versions: Option<i32>,
}

impl Tool {
    /// The tool's name in the service: `spec.name`, or the object's name with `_` in place of `-` and `.`.
    #[must_use]
    pub fn remote_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| self.name_any().replace(['-', '.'], "_"))
    }
}

impl ToolSpec {
    /// The description as the service keeps it: without blanks at both ends. `None` when nothing is left.
    #[must_use]
    pub fn trimmed_description(&self) -> Option<&str> {
        self.description.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }
}

resource!(Tool, ToolStatus);

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, remote: Option<&str>) -> Tool {
        Tool::new(name, ToolSpec { name: remote.map(str::to_owned), ..ToolSpec::default() })
    }

    #[test]
    fn the_remote_name_is_the_one_of_the_spec() {
        assert_eq!(tool("weather", Some("forecast_2")).remote_name(), "forecast_2");
    }

    #[test]
    fn without_one_the_objects_name_is_made_to_fit() {
        assert_eq!(tool("weather", None).remote_name(), "weather");
        assert_eq!(tool("weather-v1.2-eu", None).remote_name(), "weather_v1_2_eu");
    }

    #[test]
    fn blanks_around_a_description_do_not_count() {
        let spec = |text: Option<&str>| ToolSpec { description: text.map(str::to_owned), ..ToolSpec::default() };
        assert_eq!(spec(Some("Weather.\n")).trimmed_description(), Some("Weather."));
        assert_eq!(spec(Some(" \n\t")).trimmed_description(), None);
        assert_eq!(spec(None).trimmed_description(), None);
    }
}
