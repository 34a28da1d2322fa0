//! Change the environment variables of a tool: all of a request or nothing.

use std::collections::BTreeMap;

use super::{Inbound, writable};
use crate::sandbox::access::Caller;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::settings::{Settings, seconds};
use crate::sandbox::state::{Moment, State, ToolRecord, Variable};
use crate::sandbox::validate::{self, VariableChanges};

pub(super) fn modify(state: &mut State, caller: &Caller, inbound: &Inbound, now: &Moment) -> Outcome {
    inbound.check_tool_id()?;
    let changes = validate::modify_variables(&inbound.document()?, &state.settings)?;
    let tool = writable(state, caller, inbound)?;
    let deleted = still_blocked(&tool, &state.settings, now);
    let variables = changed(&tool, &changes, &deleted)?;
    state.organization_mut(&inbound.organization)?.change_tool(&tool.id, now, |tool| {
        tool.variables = variables;
        tool.deleted = deleted;
        tool.deleted.extend(changes.deletes.into_iter().map(|name| (name, now.instant)));
    });
    Ok(Answer::no_content())
}

/// Names that cannot be inserted yet.
fn still_blocked(tool: &ToolRecord, settings: &Settings, now: &Moment) -> BTreeMap<String, tokio::time::Instant> {
    let blocked = seconds(settings.blocked_name_seconds);
    let recent = tool.deleted.iter().filter(|(_, since)| now.instant.duration_since(**since) < blocked);
    recent.map(|(name, since)| (name.clone(), *since)).collect()
}

/// The variables after the changes, each judged by what was there before.
fn changed(
    tool: &ToolRecord,
    changes: &VariableChanges,
    blocked: &BTreeMap<String, tokio::time::Instant>,
) -> Result<BTreeMap<String, Variable>, Answer> {
    let mut variables = tool.variables.clone();
    for (name, value) in &changes.updates {
        let Some(variable) = variables.get_mut(name) else {
            return Err(Answer::bad_request(format!("Environment variable {name} does not exist")));
        };
        variable.value.clone_from(value);
    }
    for name in &changes.deletes {
        let updated = changes.updates.iter().any(|(other, _)| other == name);
        if updated || variables.remove(name).is_none() {
            return Err(Answer::bad_request(format!("Environment variable {name} does not exist")));
        }
        if tool.requires(name) {
            return Err(Answer::bad_request(format!("Environment variable {name} is required by a version")));
        }
    }
    for insert in &changes.inserts {
        if blocked.contains_key(&insert.name) {
            return Err(Answer::conflict(format!("Environment variable {} was deleted recently", insert.name)));
        }
        let variable = Variable { value: insert.value.clone(), is_secret: insert.is_secret };
        if tool.variables.contains_key(&insert.name) || variables.insert(insert.name.clone(), variable).is_some() {
            return Err(Answer::conflict(format!("Environment variable {} already exists", insert.name)));
        }
    }
    Ok(variables)
}
