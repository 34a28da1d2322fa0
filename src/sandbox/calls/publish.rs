//! Publish a version: checks that answer at once, a build that takes its time, and a number at its end.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::underway::{Work, run};
use super::{Inbound, enter, writable};
use crate::amigo::types::{BumpType, Creator, PublishVersion, Published, ToolVersion, VersionNumber};
use crate::sandbox::Sandbox;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::settings::{Numbering, Settings, seconds};
use crate::sandbox::state::{Moment, Project, State, ToolRecord, VersionRecord};
use crate::sandbox::validate;

/// A build that has been admitted.
pub(in crate::sandbox) struct Build {
    pub organization: String,
    pub tool_id: String,
    pub wanted: PublishVersion,
    pub project: Project,
    pub creator: Creator,
}

pub(super) async fn publish(sandbox: &Sandbox, inbound: &Inbound) -> Outcome {
    let (build, duration) = admit(sandbox, inbound)?;
    let effect = move |state: &mut State, now: &Moment| build.finish(state, now);
    run(sandbox, inbound, Work { name: "publish", duration, effect }).await
}

/// Everything that can be told without building.
fn admit(sandbox: &Sandbox, inbound: &Inbound) -> Result<(Build, Duration), Answer> {
    let state = &mut *sandbox.state();
    let caller = enter(state, inbound, &sandbox.moment())?;
    inbound.check_tool_id()?;
    let wanted = validate::publish_version(&inbound.document()?, &state.settings)?;
    let tool = writable(state, &caller, inbound)?;
    let organization = state.organization(&inbound.organization)?;
    if let Some(other) = organization.running.get(&inbound.tool_id) {
        return Err(Answer::conflict(format!("A related operation is in progress: {other}")));
    }
    let project = match organization.projects.get(&wanted.project_path) {
        Some(project) => project.clone(),
        None if state.settings.projects_exist => Project::default(),
        None => return Err(Answer::not_found("Project directory")),
    };
    publishable(&tool, &wanted, &project, &state.settings)?;
    let duration = seconds(project.publish_seconds.unwrap_or(state.settings.publish_seconds));
    let creator = caller.creator();
    let (organization, tool_id) = (inbound.organization.clone(), inbound.tool_id.clone());
    Ok((Build { organization, tool_id, wanted, project, creator }, duration))
}

/// The reasons for a quick 400.
fn publishable(
    tool: &ToolRecord,
    wanted: &PublishVersion,
    project: &Project,
    settings: &Settings,
) -> Result<(), Answer> {
    if tool.versions.is_empty() && wanted.bump_type != BumpType::Major {
        return Err(Answer::bad_request("The first version of a tool needs a major bump"));
    }
    if project.outdated {
        return Err(Answer::bad_request("The commit is older than that of the last version"));
    }
    let has = |name: &String, secret| tool.variables.get(name).is_some_and(|variable| variable.is_secret == secret);
    let plain = project.required_envvars.iter().filter(|name| !has(name, false));
    let secret = project.required_secret_envvars.iter().filter(|name| !has(name, true));
    let missing: Vec<&str> = plain.chain(secret).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Answer::bad_request(format!("Missing environment variables: {}", missing.join(", "))));
    }
    if settings.active_versions.is_some_and(|most| tool.active_versions().count() >= most) {
        return Err(Answer::bad_request("The tool has too many active versions"));
    }
    Ok(())
}

impl Build {
    /// The end of the build.
    fn finish(self, state: &mut State, now: &Moment) -> Outcome {
        if self.project.build_fails {
            return Err(Answer::bad_request("The build failed"));
        }
        let tool = state.organization(&self.organization)?.tool(&self.tool_id);
        let tool = tool.filter(|tool| !tool.deprecated).ok_or_else(|| Answer::not_found("Tool"))?;
        let number = next_number(tool, self.wanted.bump_type, state.settings.numbering);
        self.record(state, number, now)?;
        Ok(Answer::json(StatusCode::CREATED, &Published { new_version: number.to_string() }))
    }

    /// Adds the version to the tool.
    pub(in crate::sandbox) fn record(
        self,
        state: &mut State,
        number: VersionNumber,
        now: &Moment,
    ) -> Result<(), Answer> {
        let id = state.ids.object();
        let commit = self.project.commit.unwrap_or_else(|| state.ids.commit());
        let version = VersionRecord {
            org_id: self.organization.clone(),
            branch: self.wanted.branch.or(self.wanted.repo).unwrap_or_default(),
            wire: ToolVersion {
                id,
                tool_id: self.tool_id.clone(),
                version: number,
                required_envvars: self.project.required_envvars.into_iter().collect(),
                required_secret_envvars: self.project.required_secret_envvars.into_iter().collect(),
                tool_commit_hash: Some(commit),
                project_directory: Some(self.wanted.project_path),
                creator: Some(self.creator),
                created_at: Some(now.time),
                deprecated: false,
            },
        };
        let organization = state.organization_mut(&self.organization)?;
        organization.change_tool(&self.tool_id, now, |tool| tool.versions.push(Arc::new(version)));
        Ok(())
    }
}

/// The number of the next version; 1.0.0 for the first.
pub(in crate::sandbox) fn next_number(tool: &ToolRecord, bump: BumpType, numbering: Numbering) -> VersionNumber {
    let counted = tool.versions.iter().filter(|version| numbering == Numbering::All || !version.wire.deprecated);
    let Some(highest) = counted.map(|version| version.wire.version).max() else {
        return free(tool, VersionNumber::new(1, 0, 0), BumpType::Major);
    };
    free(tool, highest.bumped(bump), bump)
}

/// The first number from `number` on that the tool does not have.
fn free(tool: &ToolRecord, mut number: VersionNumber, bump: BumpType) -> VersionNumber {
    while tool.versions.iter().any(|version| version.wire.version == number) {
        number = number.bumped(bump);
    }
    number
}
