//! What is left to do before a ToolEnvSecret may go: to remove the variables that it has set, except those that must stay.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use super::decide::{Member, Plan, decide};
use super::resolve::Resolved;
use super::{Answer, Sync};
use crate::amigo::Class;
use crate::controllers::Context;
use crate::controllers::connection::connect_for_clean_up;
use crate::controllers::deprecate::{CRD_IS_GOING, crd_is_going};
use crate::controllers::outcome::{Interrupt, Outcome};
use crate::controllers::tool::rivals::age;
use crate::controllers::tool_env_secret::decide::Freshness;
use crate::controllers::wake::by_tool;
use crate::kubernetes::object::{self, Handle};
use crate::resources::tool::DeletionPolicy;
use crate::resources::tool_env_secret::VariableDeletionPolicy;
use crate::resources::{Reason, Resource, ToolEnvSecret, ToolEnvSecretStatus, annotations};

/// Cleans up.
pub async fn clean_up(
    handle: &mut Handle<ToolEnvSecret>,
    status: &mut ToolEnvSecretStatus,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    if handle.object().spec.deletion_policy == VariableDeletionPolicy::Retain {
        return Ok(Outcome::Gone { message: "the variables are retained".into() });
    }
    let Some(tool_id) = status.tool_id.clone().filter(|_| !status.variables.is_empty()) else {
        return Ok(Outcome::Gone { message: "it has set no variables".into() });
    };
    if crd_is_going::<ToolEnvSecret>(ctx).await? {
        return Ok(Outcome::Gone { message: CRD_IS_GOING.into() });
    }
    if handle.object().spec.suspend {
        let message = "suspended, so that the variables cannot be removed; set `spec.suspend: false`";
        return Ok(Outcome::waiting(Reason::DeletionBlocked, message));
    }
    let (endpoint, organization) = (status.endpoint.as_deref(), status.organization.as_deref());
    let connection = connect_for_clean_up(ctx, &handle.namespace(), endpoint, organization).await?;
    let lock = ctx.sent.lock(&tool_id);
    let _turn = lock.lock().await;
    let sync = Sync { tool_id: &tool_id, connection: &connection, ctx };
    remove(&sync, handle, status).await
}

async fn remove(
    sync: &Sync<'_>,
    handle: &mut Handle<ToolEnvSecret>,
    status: &mut ToolEnvSecretStatus,
) -> Result<Outcome, Interrupt> {
    let at = &sync.connection.established;
    let tool = sync.ctx.remote.tool(at, sync.tool_id, Duration::ZERO, Class::Interactive).await?;
    let uid = handle.object().uid().unwrap_or_default();
    let tool = match tool {
        Some(tool) if tool.deprecated => {
            return Ok(Outcome::Gone { message: "the remote tool is deprecated".into() });
        }
        Some(tool) => tool,
        None if sync.ctx.memory.is_missing(&uid) => {
            return Ok(Outcome::Gone { message: "the service has the remote tool no more".into() });
        }
        None => return Ok(Outcome::not_found_yet(Class::Interactive)),
    };
    sync.ctx.memory.found(&uid);
    let (versions, _) =
        sync.ctx.list_versions(handle.object(), at, sync.tool_id, Duration::ZERO, Class::Interactive).await?;
    let members = members(sync, handle).await?;
    let Plan { delta, shares } = decide(&members, &tool, Some(&versions), |_, _, _| Freshness::Sent);
    if !handle.fresh().await?.is_some_and(|fresh| fresh.spec.deletion_policy == VariableDeletionPolicy::Delete) {
        return Ok(Outcome::Unchanged { again: Duration::from_secs(1) });
    }
    match sync.send(handle, &members, &delta, Class::Interactive).await? {
        Answer::Done => {}
        Answer::Disagrees(outcome) => return Ok(outcome),
    }
    let share = shares.get(&uid).cloned().unwrap_or_default();
    status.variables = share.variables;
    if share.problems.is_empty() {
        return Ok(Outcome::Gone { message: "its variables are removed".into() });
    }
    let required = share.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
    if may_leave(handle, sync.ctx).await? {
        return Ok(Outcome::Gone { message: required });
    }
    let message = format!("{required}; deprecate those versions, or set `deletionPolicy: Retain` to leave it");
    Ok(Outcome::waiting(Reason::VariableInUse, message))
}

/// This object with nothing wanted, and the others with what they want, so that nothing of theirs is removed.
async fn members(sync: &Sync<'_>, handle: &Handle<ToolEnvSecret>) -> Result<Vec<Member>, Interrupt> {
    let mut members = sync.members(handle).await?;
    let uid = handle.object().uid().unwrap_or_default();
    for member in &mut members {
        member.acts = member.uid == uid;
        if member.acts {
            member.resolved = Resolved::default();
            member.age = age(handle.object());
        }
    }
    Ok(members)
}

/// A variable that active versions require cannot be removed. It is left behind when nothing here will lift that: the Tool is
/// gone or going, or the namespace is, and no object that is being deleted still deprecates a version.
async fn may_leave(handle: &Handle<ToolEnvSecret>, ctx: &Context) -> Result<bool, object::Error> {
    let (namespace, tool) = (handle.namespace(), handle.object().spec.tool_ref.name.clone());
    let tool_object = ctx.tools.get(&namespace, &tool);
    let deprecates = |policy| policy == DeletionPolicy::Deprecate;
    let tool_deprecates =
        tool_object.as_ref().is_some_and(|tool| deprecates(tool.spec.deletion_policy) && owes_work(&**tool));
    let versions = ctx.versions.by(&by_tool(&namespace, &tool));
    let versions_deprecate = versions.iter().any(|v| deprecates(v.spec.deletion_policy) && owes_work(&**v));
    if tool_deprecates || versions_deprecate {
        return Ok(false);
    }
    if tool_object.is_none_or(|tool| is_going(&*tool)) {
        return Ok(true);
    }
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let found = object::get_opt(&api, &namespace).await?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

fn owes_work<K: Resource>(object: &K) -> bool {
    is_going(object) && !annotations::is_abandoned(object)
}

fn is_going<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}
