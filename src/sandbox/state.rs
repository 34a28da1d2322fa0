//! The state of the service: organizations with keys, users, projects and tools. Data and look-ups; the calls decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::answer::Answer;
use super::faults::Faults;
use super::ids::Ids;
use super::journal::Journal;
use super::limits::Windows;
use super::settings::Settings;
use super::timeline::Timeline;
use crate::amigo::types::{Branch, Creator, Tag, Tags, Tool, ToolVersion, VersionNumber};

/// One point in time on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub instant: Instant,
    pub time: Timestamp,
}

/// Everything the service knows.
#[derive(Debug)]
pub(super) struct State {
    pub settings: Settings,
    pub ids: Ids,
    pub dice: StdRng,
    pub organizations: BTreeMap<String, Organization>,
    pub tokens: BTreeMap<String, Token>,
    pub sign_ins: u64,
    pub faults: Faults,
    pub journal: Journal,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            ids: Ids::new(settings.seed),
            dice: StdRng::seed_from_u64(settings.seed),
            journal: Journal::default(),
            organizations: BTreeMap::new(),
            tokens: BTreeMap::new(),
            sign_ins: 0,
            faults: Faults::default(),
            settings,
        }
    }

    pub(super) fn organization(&self, name: &str) -> Result<&Organization, Answer> {
        self.organizations.get(name).ok_or_else(|| Answer::not_found("Organization"))
    }

    pub(super) fn organization_mut(&mut self, name: &str) -> Result<&mut Organization, Answer> {
        self.organizations.get_mut(name).ok_or_else(|| Answer::not_found("Organization"))
    }
}

/// A token that was given out.
#[derive(Debug)]
pub(super) struct Token {
    pub organization: String,
    pub user_id: String,
    pub expires_at: Timestamp,
    /// Which sign-in gave it, counted from 1.
    pub sign_in: u64,
}

/// One organization.
#[derive(Debug, Default)]
pub(super) struct Organization {
    pub keys: BTreeMap<String, Key>,
    pub users: BTreeMap<String, User>,
    pub maintenance: bool,
    /// When set, requests without this value in `x-mongo-cluster-name` do not find the organization.
    pub mongo_cluster_name: Option<String>,
    pub projects: BTreeMap<String, Project>,
    pub tools: BTreeMap<String, Timeline<ToolRecord>>,
    /// Tools with an operation under way, and which.
    pub running: BTreeMap<String, &'static str>,
    pub windows: Windows,
}

impl Organization {
    pub(super) fn tool(&self, id: &str) -> Option<&Arc<ToolRecord>> {
        self.tools.get(id).and_then(Timeline::current)
    }

    pub(super) fn active_named(&self, name: &str) -> Option<&Arc<ToolRecord>> {
        self.tools.values().filter_map(Timeline::current).find(|tool| !tool.deprecated && tool.name == name)
    }

    /// The tools in the order they were made, now or as they were.
    pub(super) fn all_tools(&self, then: Option<Instant>) -> Vec<&Arc<ToolRecord>> {
        self.tools.values().filter_map(|line| then.map_or_else(|| line.current(), |then| line.at(then))).collect()
    }

    pub(super) fn insert_tool(&mut self, tool: ToolRecord, now: &Moment) {
        self.tools.insert(tool.id.clone(), Timeline::new(now.instant, Arc::new(tool)));
    }

    /// Changes a tool; false when there is none.
    pub(super) fn change_tool(&mut self, id: &str, now: &Moment, change: impl FnOnce(&mut ToolRecord)) -> bool {
        let Some(line) = self.tools.get_mut(id) else { return false };
        let Some(mut tool) = line.current().map(|tool| ToolRecord::clone(tool)) else { return false };
        change(&mut tool);
        tool.updated_at = now.time;
        line.set(now.instant, Some(Arc::new(tool)));
        true
    }
}

/// An API key.
#[derive(Debug)]
pub(super) struct Key {
    /// The key itself.
    pub secret: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A user whom a key signs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// Permissions that the user lacks, such as `Tool:ModifyTool`.
    pub denied: BTreeSet<String>,
}

/// What a project path of the tools repository holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// Plain variables without which a version is not built.
    pub required_envvars: BTreeSet<String>,
    /// Secret variables without which a version is not built.
    pub required_secret_envvars: BTreeSet<String>,
    /// The commit that is built; a new one every time when absent.
    pub commit: Option<String>,
    /// Whether the build fails.
    pub build_fails: bool,
    /// Whether the commit is older than that of the last version.
    pub outdated: bool,
    /// Replaces the setting of this name.
    pub publish_seconds: Option<f64>,
}

/// A variable of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The value, which the API never returns.
    pub value: String,
    /// Whether it is kept encrypted.
    #[serde(default)]
    pub is_secret: bool,
}

/// A tool.
#[derive(Debug, Clone)]
pub(super) struct ToolRecord {
    pub id: String,
    pub org_id: String,
    pub name: String,
    pub description: String,
    pub deprecated: bool,
    pub tags: Tags,
    pub variables: BTreeMap<String, Variable>,
    /// Names of deleted variables, and when they were deleted.
    pub deleted: BTreeMap<String, Instant>,
    pub versions: Vec<Arc<VersionRecord>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub creator: Creator,
}

impl ToolRecord {
    /// The tool as the API shows it.
    pub(super) fn wire(&self) -> Tool {
        let names = |secret| {
            let of_kind = self.variables.iter().filter(|(_, variable)| variable.is_secret == secret);
            of_kind.map(|(name, _)| name.clone()).collect()
        };
        Tool {
            id: self.id.clone(),
            org_id: self.org_id.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            deprecated: self.deprecated,
            envvars: names(false),
            secret_envvars: names(true),
            tags: self.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect(),
        }
    }

    pub(super) fn active_versions(&self) -> impl Iterator<Item = &Arc<VersionRecord>> {
        self.versions.iter().filter(|version| !version.wire.deprecated)
    }

    /// Whether an active version requires the variable.
    pub(super) fn requires(&self, name: &str) -> bool {
        self.active_versions().any(|version| {
            let wire = &version.wire;
            wire.required_envvars.iter().chain(&wire.required_secret_envvars).any(|required| required == name)
        })
    }

    /// Deprecates the versions that `matching` picks and tells how many were active.
    pub(super) fn deprecate_versions(&mut self, matching: impl Fn(VersionNumber) -> bool) -> usize {
        let mut deprecated = 0;
        for version in &mut self.versions {
            if !version.wire.deprecated && matching(version.wire.version) {
                Arc::make_mut(version).wire.deprecated = true;
                deprecated += 1;
            }
        }
        deprecated
    }
}

/// A version of a tool.
#[derive(Debug, Clone)]
pub(super) struct VersionRecord {
    pub wire: ToolVersion,
    pub branch: Branch,
    pub org_id: String,
}
