//! The state as it is shown from outside.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Done;
use crate::amigo::types::{Creator, Tags, ToolVersion};
use crate::sandbox::Sandbox;
use crate::sandbox::state::{Moment, Organization, State, ToolRecord, Variable};

/// How many requests a snapshot shows.
const SHOWN_REQUESTS: usize = 50;

/// A tool with what the API hides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolView {
    /// 24 hex digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// Whether it is deprecated.
    pub deprecated: bool,
    /// The tags.
    pub tags: Tags,
    /// The variables with their values.
    pub variables: BTreeMap<String, Variable>,
    /// The versions, in the order they were made.
    pub versions: Vec<ToolVersion>,
    /// The operation under way, if any.
    pub under_way: Option<&'static str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who made it.
    pub creator: Creator,
}

impl ToolView {
    /// The numbers of the active versions, in the order they were made.
    #[must_use]
    pub fn active_versions(&self) -> Vec<String> {
        let active = self.versions.iter().filter(|version| !version.deprecated);
        active.map(|version| version.version.to_string()).collect()
    }

    pub(super) fn of(tool: &ToolRecord, organization: &Organization) -> Self {
        Self {
            id: tool.id.clone(),
            name: tool.name.clone(),
            description: tool.description.clone(),
            deprecated: tool.deprecated,
            tags: tool.tags.clone(),
            variables: tool.variables.clone(),
            versions: tool.versions.iter().map(|version| version.wire.clone()).collect(),
            under_way: organization.running.get(&tool.id).copied(),
            created_at: tool.created_at,
            updated_at: tool.updated_at,
            creator: tool.creator.clone(),
        }
    }
}

impl Sandbox {
    /// The tools of an organization in the order they were made, deprecated ones included.
    #[must_use]
    pub fn tools(&self, organization: &str) -> Vec<ToolView> {
        let state = self.state();
        let organization = state.organizations.get(organization);
        organization.map(tools).unwrap_or_default()
    }

    /// A tool by id or by name; of several of one name the active one, or the last.
    pub fn tool(&self, organization: &str, tool: &str) -> Done<ToolView> {
        let state = &mut *self.state();
        let organization = state.controlled(organization)?;
        let tool = super::by_hand::find(organization, tool)?;
        Ok(ToolView::of(&tool, organization))
    }
}

fn tools(organization: &Organization) -> Vec<ToolView> {
    organization.all_tools(None).into_iter().map(|tool| ToolView::of(tool, organization)).collect()
}

pub(super) fn snapshot(state: &State, now: &Moment) -> Value {
    let organizations = state.organizations.iter().map(|(name, known)| (name.clone(), organization(known)));
    json!({
        "time": now.time,
        "settings": state.settings,
        "organizations": organizations.collect::<BTreeMap<_, _>>(),
        "faults": faults(state),
        "counters": state.journal.counters,
        "requests": state.journal.last(SHOWN_REQUESTS, false),
    })
}

pub(super) fn faults(state: &State) -> Value {
    let numbered = state.faults.all().iter().map(|(number, fault)| json!({ "id": number, "fault": fault }));
    numbered.collect()
}

fn organization(organization: &Organization) -> Value {
    let keys = organization.keys.iter().map(|(id, key)| (id, json!({ "expires_at": key.expires_at })));
    json!({
        "maintenance": organization.maintenance,
        "mongo_cluster_name": organization.mongo_cluster_name,
        "keys": keys.collect::<BTreeMap<_, _>>(),
        "users": organization.users,
        "projects": organization.projects,
        "tools": tools(organization),
    })
}
