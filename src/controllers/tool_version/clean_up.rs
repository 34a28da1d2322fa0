//! What is left to do before a ToolVersion may go: nothing, or to deprecate its version.

use std::time::Duration;

use kube::ResourceExt;

use super::decide::{Flight, Plan};
use super::{Look, plan, record};
use crate::amigo::types::VersionNumber;
use crate::amigo::{Class, Operation, Specifier};
use crate::controllers::Context;
use crate::controllers::connection::{Connection, connect_for_clean_up};
use crate::controllers::deprecate::{CRD_IS_GOING, Clearance, Order, clear, crd_is_going};
use crate::controllers::memory::seconds;
use crate::controllers::outcome::{Interrupt, Outcome};
use crate::controllers::ownership;
use crate::controllers::tool_version::publishes::State;
use crate::kubernetes::object::Handle;
use crate::kubernetes::watch::key;
use crate::resources::tool::{DeletionPolicy, ManagementPolicy};
use crate::resources::{Reason, ToolVersion, ToolVersionStatus};

/// Cleans up.
pub async fn clean_up(
    handle: &mut Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    if handle.object().spec.deletion_policy == DeletionPolicy::Retain {
        return Ok(Outcome::Gone { message: "the version is retained".into() });
    }
    let Some(tool_id) = status.tool_id.clone().filter(|_| status.version_id.is_some() || status.publish.is_some())
    else {
        return Ok(Outcome::Gone { message: "nothing was published for it".into() });
    };
    // Before anything that could be waited for: the Organization may be gone with its own kind.
    if crd_is_going::<ToolVersion>(ctx).await? {
        return Ok(Outcome::Gone { message: CRD_IS_GOING.into() });
    }
    if handle.object().spec.suspend {
        let message = "suspended, so that the version cannot be deprecated; set `spec.suspend: false`";
        return Ok(Outcome::waiting(Reason::DeletionBlocked, message));
    }
    let (endpoint, organization) = (status.endpoint.as_deref(), status.organization.as_deref());
    let connection = connect_for_clean_up(ctx, &handle.namespace(), endpoint, organization).await?;
    if status.version_id.is_none()
        && let Some(outcome) = resolve(handle, status, &tool_id, &connection, ctx).await?
    {
        return Ok(outcome);
    }
    deprecate(handle, status, &tool_id, &connection, ctx).await
}

/// The object has gone, with all that it said of a publish whose outcome may be open. Should the manifest be applied again, its
/// publish must not be sent beside that one.
pub fn gone(object: &ToolVersion, ctx: &Context) {
    let uid = object.uid().unwrap_or_default();
    let status = object.status.as_ref().filter(|status| status.version_id.is_none());
    if let Some((intent, tool_id)) = status.and_then(|status| status.publish.as_ref().zip(status.tool_id.as_deref())) {
        let now = ctx.clock.now();
        let began = intent.start_time.parse().unwrap_or(now);
        let elapsed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
        let rest = seconds(object.spec.publish_timeout_seconds).saturating_sub(elapsed);
        ctx.publishes.leave(&uid, tool_id, intent.attempt, rest);
    }
    ctx.publishes.forget(&uid);
}

/// Finds out what became of a publish before the object goes: its version is to be deprecated, not forgotten.
async fn resolve(
    handle: &Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    tool_id: &str,
    connection: &Connection,
    ctx: &Context,
) -> Result<Option<Outcome>, Interrupt> {
    let uid = handle.object().uid().unwrap_or_default();
    let attempt = status.publish.as_ref().map(|intent| intent.attempt);
    let flight = match ctx.publishes.state(&uid, tool_id, attempt) {
        Some(State::Running) => Flight::Running,
        Some(State::Confirmed(number)) => Flight::Confirmed(number),
        Some(State::Refused(..)) => return Ok(Some(Outcome::Gone { message: "the publish was refused".into() })),
        Some(State::Lost) | None => Flight::Unknown,
    };
    let now = connection.client().service_time();
    let look = Look { tool_id, flight, age: Duration::ZERO, class: Class::Recovery, requested: false, now };
    let (versions, _) =
        ctx.list_versions(handle.object(), &connection.established, tool_id, look.age, look.class).await?;
    match plan(handle, status, &look, &versions, ctx)? {
        Plan::Claim(version) | Plan::Keep(version) => {
            record(status, &version);
            Ok(None)
        }
        Plan::End(outcome @ Outcome::Working { reason: Reason::Publishing, .. }) => Ok(Some(outcome)),
        Plan::End(_) | Plan::Publish { .. } => Ok(Some(Outcome::Gone { message: "the publish did not happen".into() })),
    }
}

async fn deprecate(
    handle: &Handle<ToolVersion>,
    status: &ToolVersionStatus,
    tool_id: &str,
    connection: &Connection,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let Some(number) = status.version.as_ref().and_then(|text| text.parse::<VersionNumber>().ok()) else {
        return Ok(Outcome::Gone { message: "its version has no number".into() });
    };
    let at = &connection.established;
    let (versions, _) = ctx.list_versions(handle.object(), at, tool_id, Duration::ZERO, Class::Interactive).await?;
    let uid = handle.object().uid().unwrap_or_default();
    match versions.iter().find(|version| Some(&version.id) == status.version_id.as_ref()) {
        Some(version) if version.deprecated => {
            return Ok(Outcome::Gone { message: format!("version {number} is deprecated already") });
        }
        Some(_) => ctx.memory.found(&uid),
        None if ctx.memory.is_missing(&uid) => {
            return Ok(Outcome::Gone { message: format!("the service has version {number} no more") });
        }
        None => return Ok(Outcome::not_found_yet(Class::Interactive)),
    }
    if ctx.publishes.is_busy(tool_id) {
        let message = "waits for a publish of the tool to end before the version is deprecated";
        return Ok(Outcome::working(Reason::Publishing, message, Duration::from_secs(30)));
    }
    let (namespace, tool) = (handle.namespace(), handle.object().spec.tool_ref.name.clone());
    let mark = ownership::mark(&ctx.settings.owner_id, &namespace, &tool);
    let observed = ctx.tools.get(&namespace, &tool).is_some_and(|tool| {
        let bound = tool.status.as_ref().and_then(|s| s.tool_id.as_deref()) == Some(tool_id);
        bound && tool.spec.management_policy == ManagementPolicy::Observe
    });
    let order = Order {
        stands: &|fresh: &ToolVersion| {
            fresh.metadata.deletion_timestamp.is_some() && fresh.spec.deletion_policy == DeletionPolicy::Deprecate
        },
        operation: Operation::DeprecateVersions,
        count: 1,
        what: &format!("version {number} of tool {tool_id}"),
        tool_id,
        mark: (!observed).then_some(mark.as_str()),
    };
    let permit = match clear(&order, handle, connection, ctx).await? {
        Clearance::Go(permit) => permit,
        Clearance::Retain(message) | Clearance::Done(message) => return Ok(Outcome::Gone { message }),
    };
    let done = connection.client().deprecate_versions(permit, tool_id, &Specifier::exact(number)).await;
    ctx.remote.age_versions(at, tool_id);
    match done {
        Err(error) if error.status() != Some(404) => Err(error.into()),
        Ok(()) | Err(_) => {
            ctx.deprecations.done(&key(&*connection.object), &uid);
            ctx.wake_dependants_of_tool(&namespace, &tool);
            ctx.queues.tools.push(&namespace, &tool);
            Ok(Outcome::Gone { message: format!("version {number} is deprecated") })
        }
    }
}
