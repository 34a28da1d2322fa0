//! Changes that somebody makes in the service, past the operator: tools and versions that appear, change and vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::{ControlError, Done};
use crate::amigo::types::{Branch, BumpType, Creator, PublishVersion, Tags, VersionNumber};
use crate::sandbox::Sandbox;
use crate::sandbox::calls::{Build, next_number};
use crate::sandbox::query;
use crate::sandbox::state::{Organization, Project, ToolRecord, Variable};

/// Who makes what is made by hand, unless somebody is named.
const SOMEBODY: &str = "somebody-else";

/// A tool to make by hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTool {
    /// The name. It may be that of an active tool: by hand, anything can be brought about.
    pub name: String,
    /// The description.
    pub description: String,
    /// The tags.
    pub tags: Tags,
    /// The variables.
    pub variables: BTreeMap<String, Variable>,
    /// Who makes it.
    pub user_id: Option<String>,
}

/// A change of a tool by hand; absent leaves as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolEdit {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The tags, all of them.
    pub tags: Option<Tags>,
    /// Whether it is deprecated, and with it its versions. By hand this can be undone.
    pub deprecated: Option<bool>,
    /// The variables, all of them.
    pub variables: Option<BTreeMap<String, Variable>>,
}

/// A version to make by hand, at once.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewVersion {
    /// The number; absent: the one that follows by `bump_type`.
    pub version: Option<String>,
    /// Which part of the number rises; `patch` when absent.
    pub bump_type: Option<BumpType>,
    /// The project path; `tools/by_hand` when absent.
    pub project_path: Option<String>,
    /// The branch.
    pub branch: Branch,
    /// The commit; a new one when absent.
    pub commit: Option<String>,
    /// Plain variables that it requires.
    pub required_envvars: BTreeSet<String>,
    /// Secret variables that it requires.
    pub required_secret_envvars: BTreeSet<String>,
    /// Who makes it.
    pub user_id: Option<String>,
}

/// A tool by id or by name; of several of one name the active one, or the last.
pub(super) fn find(organization: &Organization, tool: &str) -> Done<Arc<ToolRecord>> {
    let last_named = || organization.all_tools(None).into_iter().rev().find(|record| record.name == tool);
    let found = organization.tool(tool).or_else(|| organization.active_named(tool)).or_else(last_named);
    found.cloned().ok_or(ControlError::NotFound("tool"))
}

impl Sandbox {
    /// Makes a tool by hand and tells its id.
    pub fn add_tool(&self, organization: &str, tool: NewTool) -> Done<String> {
        let now = self.moment();
        let state = &mut *self.state();
        let id = state.ids.object();
        let record = ToolRecord {
            id: id.clone(),
            org_id: organization.to_owned(),
            name: tool.name,
            description: tool.description,
            deprecated: false,
            tags: tool.tags,
            variables: tool.variables,
            deleted: BTreeMap::new(),
            versions: Vec::new(),
            created_at: now.time,
            updated_at: now.time,
            creator: somebody(organization, tool.user_id),
        };
        state.controlled(organization)?.insert_tool(record, &now);
        Ok(id)
    }

    /// Changes a tool by hand.
    pub fn edit_tool(&self, organization: &str, tool: &str, edit: ToolEdit) -> Done {
        self.change_by_hand(organization, tool, |tool| {
            let ToolEdit { name, description, tags, deprecated, variables } = edit;
            if let Some(deprecated) = deprecated {
                tool.deprecated = deprecated;
                tool.deprecate_versions(|_| deprecated);
            }
            tool.name = name.unwrap_or_else(|| tool.name.clone());
            tool.description = description.unwrap_or_else(|| tool.description.clone());
            tool.tags = tags.unwrap_or_else(|| tool.tags.clone());
            tool.variables = variables.unwrap_or_else(|| tool.variables.clone());
        })
    }

    /// Deletes a tool wholly, which the API cannot do: no list shows it any more.
    pub fn remove_tool(&self, organization: &str, tool: &str) -> Done {
        let now = self.moment();
        let state = &mut *self.state();
        let organization = state.controlled(organization)?;
        let tool = find(organization, tool)?;
        if let Some(line) = organization.tools.get_mut(&tool.id) {
            line.set(now.instant, None);
        }
        Ok(())
    }

    /// Makes a version by hand and tells its number.
    pub fn add_version(&self, organization: &str, tool: &str, version: NewVersion) -> Done<VersionNumber> {
        let now = self.moment();
        let state = &mut *self.state();
        let record = find(state.controlled(organization)?, tool)?;
        let bump_type = version.bump_type.unwrap_or(BumpType::Patch);
        let number = match version.version {
            Some(text) => text.parse().map_err(|error| ControlError::Invalid(format!("{error}")))?,
            None => next_number(&record, bump_type, state.settings.numbering),
        };
        if record.versions.iter().any(|other| other.wire.version == number) {
            return Err(ControlError::Invalid(format!("version {number} exists")));
        }
        let project_path = version.project_path.unwrap_or_else(|| "tools/by_hand".to_owned());
        let build = Build {
            organization: organization.to_owned(),
            tool_id: record.id.clone(),
            wanted: PublishVersion { branch: Some(version.branch), repo: None, project_path, bump_type },
            project: Project {
                required_envvars: version.required_envvars,
                required_secret_envvars: version.required_secret_envvars,
                commit: version.commit,
                ..Project::default()
            },
            creator: somebody(organization, version.user_id),
        };
        build.record(state, number, &now).map_err(|_| ControlError::NotFound("organization"))?;
        Ok(number)
    }

    /// Deprecates the versions of a PEP 440 specifier by hand and tells how many were active.
    pub fn deprecate_versions(&self, organization: &str, tool: &str, versions: &str) -> Done<usize> {
        let within = query::specifier(versions).map_err(|_| invalid_specifier(versions))?;
        let mut deprecated = 0;
        self.change_by_hand(organization, tool, |tool| {
            deprecated = tool.deprecate_versions(|number| query::contains(&within, number));
        })?;
        Ok(deprecated)
    }

    /// Deletes the versions of a PEP 440 specifier wholly, which the API cannot do, and tells how many there were.
    pub fn remove_versions(&self, organization: &str, tool: &str, versions: &str) -> Done<usize> {
        let within = query::specifier(versions).map_err(|_| invalid_specifier(versions))?;
        let mut removed = 0;
        self.change_by_hand(organization, tool, |tool| {
            let before = tool.versions.len();
            tool.versions.retain(|version| !query::contains(&within, version.wire.version));
            removed = before - tool.versions.len();
        })?;
        Ok(removed)
    }

    fn change_by_hand(&self, organization: &str, tool: &str, change: impl FnOnce(&mut ToolRecord)) -> Done {
        let now = self.moment();
        let state = &mut *self.state();
        let organization = state.controlled(organization)?;
        let id = find(organization, tool)?.id.clone();
        organization.change_tool(&id, &now, change);
        Ok(())
    }
}

fn somebody(organization: &str, user_id: Option<String>) -> Creator {
    Creator { user_id: user_id.unwrap_or_else(|| SOMEBODY.to_owned()), user_org_id: organization.to_owned() }
}

fn invalid_specifier(text: &str) -> ControlError {
    ControlError::Invalid(format!("{text:?} is not a PEP 440 specifier"))
}
