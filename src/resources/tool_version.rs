//! `ToolVersion`: one published version of a Tool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::common::resource;
use super::organization::LocalReference;
use super::tool::DeletionPolicy;
use super::{rules, schema};
use crate::amigo::types::{Branch, BumpType, InvalidVersion, VersionNumber};

/// Which version is wanted and what it is built from.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "amigo.ai",
    version = "v1alpha1",
    kind = "ToolVersion",
    namespaced,
    plural = "toolversions",
    shortname = "amver",
    category = "amigo",
    doc = "One published version of a Tool. The set of ToolVersions is the set of versions that somebody wants.",
    status = "ToolVersionStatus",
    derive = "PartialEq",
    selectable = ".spec.toolRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Tool", type_ = "string", json_path = ".spec.toolRef.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".status.commit", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_of("version", "bumpType"))]
#[x_kube(validation = rules::neither_added_nor_removed("version"))]
#[x_kube(validation = rules::neither_added_nor_removed("bumpType"))]
#[x_kube(validation = rules::neither_added_nor_removed("expectedCommit"))]
pub struct ToolVersionSpec {
    /// The Tool of the same namespace that the version belongs to. Immutable.
    #[x_kube(validation = rules::immutable("toolRef"))]
    pub tool_ref: LocalReference,
    /// The exact number, `X.Y.Z`: the declarative form. It must be a successor of the highest version there is; a version
    /// that exists already with the same project path is taken, not published again. Exactly one of `version` and
    /// `bumpType`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = rules::VERSION))]
    #[x_kube(validation = rules::matches(
        rules::VERSION,
        "must be an exact version such as '1.4.0': three numbers of at most nine digits, without leading zeros",
    ))]
    #[x_kube(validation = rules::immutable("version"))]
    pub version: Option<String>,
    /// Publishes once and takes the number that comes out: `major`, `minor` or `patch`. Beware: an object that is deleted and
    /// created again publishes again. Exactly one of `version` and `bumpType`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::immutable("bumpType"))]
    #[schemars(with = "BumpType")]
    pub bump_type: Option<BumpType>,
    /// The branch that is built: `main` or `team`. Services since 2026 have one branch and do not look at it. Immutable.
    #[serde(default)]
    #[x_kube(validation = rules::immutable("branch"))]
    pub branch: Branch,
    /// The folder of the tools repository that is built, such as `tools/weather`: letters, digits, `_`, `-` and `/`.
    /// Immutable.
    #[schemars(length(min = 1, max = 512), regex(pattern = rules::PROJECT_PATH))]
    #[x_kube(validation = rules::matches(rules::PROJECT_PATH, "must consist of letters, digits, '_', '-' and '/'"))]
    #[x_kube(validation = rules::immutable("projectPath"))]
    pub project_path: String,
    /// The commit that must have been built: its hash, or at least its first 7 digits. A version built from another one says
    /// `CommitMismatch`. Absent: any commit will do. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 7, max = 64), regex(pattern = rules::COMMIT))]
    #[x_kube(validation = rules::matches(rules::COMMIT, "must be 7 to 64 lowercase hexadecimal digits"))]
    #[x_kube(validation = rules::immutable("expectedCommit"))]
    pub expected_commit: Option<String>,
    /// What happens to the version when this object is deleted: `Retain` leaves it, `Deprecate` deprecates it, which cannot
    /// be undone.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long the outcome of a publish without an answer is looked for before it counts as not having happened.
    #[serde(default = "default_publish_timeout")]
    #[schemars(range(min = 10, max = 3600))]
    pub publish_timeout_seconds: i32,
    /// Stops every call for this object until it is false again.
    #[serde(default)]
    pub suspend: bool,
}

const fn default_publish_timeout() -> i32 {
    900
}

/// What the operator observed of the version.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ToolVersionStatus {
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
    /// The number of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// The version's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version_id: Option<String>,
    /// The commit that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub commit: Option<String>,
    /// When the service made the version, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub created_time: Option<String>,
    /// The user who published the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub creator: Option<String>,
    /// Plain variables that the version requires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub required_variables: Vec<String>,
    /// Secret variables that the version requires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub required_secret_variables: Vec<String>,
    /// Whether the version is deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<bool>,
    /// The publish that is under way or whose outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishIntent>,
}

/// Written before a publish is sent, so that a lost answer is resolved by evidence.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PublishIntent {
    /// Counts the publishes sent for this object, from 1.
    #[schemars(range(min = 0))]
    pub attempt: i32,
    /// Just before the publish was sent, RFC 3339.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub start_time: String,
    /// The versions that existed then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16_384), inner(length(max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub known_versions: Vec<String>,
    /// The number that should come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub expected_version: Option<String>,
    /// The user that published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub user_id: Option<String>,
}

/// The version that an object asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Exactly this one.
    Version(VersionNumber),
    /// The next one of this sort, once.
    Bump(BumpType),
}

/// A spec that asks for no version, for two, or for one that cannot be read. The server refuses such a spec; one that was
/// stored under an older definition may still hold it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWanted {
    /// Neither, or both.
    #[error("`spec` must have exactly one of `version` and `bumpType`")]
    NotExactlyOne,
    /// The text is no version.
    #[error("`spec.version` must be an exact version such as '1.4.0'")]
    Version(#[source] InvalidVersion),
}

impl ToolVersion {
    /// The version that the object asks for.
    pub fn wanted(&self) -> Result<Wanted, InvalidWanted> {
        match (&self.spec.version, self.spec.bump_type) {
            (Some(version), None) => version.parse().map(Wanted::Version).map_err(InvalidWanted::Version),
            (None, Some(bump)) => Ok(Wanted::Bump(bump)),
            (None, None) | (Some(_), Some(_)) => Err(InvalidWanted::NotExactlyOne),
        }
    }
}

resource!(ToolVersion, ToolVersionStatus);

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(version: Option<&str>, bump_type: Option<&str>) -> Result<Wanted, InvalidWanted> {
        let spec = serde_json::json!({
            "toolRef": {"name": "weather"}, "projectPath": "tools/weather", "version": version, "bumpType": bump_type,
        });
        ToolVersion::new("weather", serde_json::from_value(spec).expect("spec")).wanted()
    }

    #[test]
    fn exactly_one_of_version_and_bump_is_wanted() {
        assert_eq!(wanted(Some("1.20.3"), None), Ok(Wanted::Version(VersionNumber::new(1, 20, 3))));
        assert_eq!(wanted(None, Some("minor")), Ok(Wanted::Bump(BumpType::Minor)));
        assert_eq!(wanted(None, None), Err(InvalidWanted::NotExactlyOne));
        assert_eq!(wanted(Some("1.0.0"), Some("major")), Err(InvalidWanted::NotExactlyOne));
    }

    #[test]
    fn a_version_that_cannot_be_read_is_an_error() {
        for text in ["", "1.0", "1.0.0.0", "01.0.0", "1.0.0-rc1", "v1.0.0", "1.0.x"] {
            assert!(matches!(wanted(Some(text), None), Err(InvalidWanted::Version(_))), "{text:?}");
        }
    }
}
