//! `ToolVersion`: observe, decide, act. The intent is in the status before a publish is sent; the publish itself runs apart.

mod clean_up;
pub mod decide;
pub mod publishes;
mod refusal;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

pub use self::clean_up::gone;
use self::decide::{Flight, Intent, Plan, Sibling, Situation};
use self::publishes::State as PublishState;
use super::Context;
use super::connection::{Connection, connect, connect_for_clean_up};
use super::driver::{Kind, Visit};
use super::memory::seconds;
use super::outcome::{Interrupt, Outcome};
use super::tool::rivals::age;
use super::tool::target;
use super::tool::versions::looks;
use super::wake::by_tool;
use crate::amigo::types::{BumpType, ToolVersion as RemoteVersion, VersionNumber};
use crate::amigo::{Claim, Class, Effect, Operation, Permit, PublishRequest};
use crate::kubernetes::conditions::{State, Verdict};
use crate::kubernetes::object::Handle;
use crate::kubernetes::watch::{Cache, Change, key};
use crate::resources::tool_version::{PublishIntent, Wanted};
use crate::resources::{Reason, Resource, Tool, ToolVersion, ToolVersionStatus};
use crate::text::short;

/// A list of this age is good enough for waiting; before a publish it is read again.
const LIST_AGE: Duration = Duration::from_secs(30);

/// Longest delay after a publish that the service refuses for now, as another operation on the tool is under way. Most are
/// over after minutes.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// A list of this age is good enough for finding out what became of a publish.
const EVIDENCE_AGE: Duration = Duration::from_secs(10);

impl Kind for ToolVersion {
    /// A version is there for good.
    const READY_IS_NEWS: bool = true;

    fn cache(ctx: &Context) -> &Cache<Self> {
        &ctx.versions
    }

    fn tell_others(ctx: &Context, change: &Change<Self>) {
        ctx.tell_others_of_version(change);
    }

    async fn apply(
        handle: &mut Handle<Self>,
        status: &mut ToolVersionStatus,
        visit: Visit,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        let namespace = handle.namespace();
        let name = handle.object().spec.tool_ref.name.clone();
        let (tool, tool_id) = match target(ctx.tools.get(&namespace, &name).as_ref(), &namespace, &name) {
            Ok(target) => target,
            Err(outcome) => return without_tool(handle, status, outcome, ctx).await,
        };
        let connection = connect(ctx, &tool).await?;
        let at = &connection.established;
        status.organization = Some(at.organization.clone());
        status.endpoint = Some(at.endpoint.clone());
        if status.tool_id.as_ref().is_some_and(|before| *before != tool_id) {
            // The Tool has a new remote tool, with a person's consent, and none of the old one's versions.
            *status = ToolVersionStatus { conditions: std::mem::take(&mut status.conditions), ..fresh_status(status) };
        }
        status.tool_id = Some(tool_id.clone());
        let flight = flight(handle, status, &connection, ctx).await?;
        let looks = looks(&tool);
        let period = ctx.periods.of_versions(at, seconds(connection.object.spec.resync.versions_period_seconds));
        let (age, class) = match (visit.settled, status.publish.is_some(), visit.requested) {
            (_, _, true) => (Duration::ZERO, Class::Interactive),
            (true, _, _) if !ctx.memory.until_look(&looks, period).is_zero() => (Duration::MAX, Class::Resync),
            (true, _, _) => (period / 2, Class::Resync),
            (false, true, _) => (EVIDENCE_AGE, Class::Recovery),
            (false, false, _) => (LIST_AGE, Class::Interactive),
        };
        if age == Duration::MAX && ctx.remote.known_versions(at, &tool_id).is_none() {
            return Ok(Outcome::Unchanged { again: ctx.memory.until_look(&looks, period) });
        }
        let now = connection.client().service_time();
        let visit = Look { tool_id: &tool_id, flight, age, class, requested: visit.requested, now };
        let outcome = look(handle, status, &visit, &tool, &connection, ctx).await?;
        Ok(match outcome {
            Outcome::Ready { message, .. } => Outcome::ready(message, ctx.memory.until_look(&looks, period)),
            other => other,
        })
    }

    async fn clean_up(
        handle: &mut Handle<Self>,
        status: &mut ToolVersionStatus,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        clean_up::clean_up(handle, status, ctx).await
    }
}

/// The Tool is gone, going or adrift: nothing new is begun, but what was begun is still found out and written down. The Tool's
/// own deprecation waits for that.
async fn without_tool(
    handle: &mut Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    outcome: Outcome,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let Some(tool_id) = status.tool_id.clone().filter(|_| status.publish.is_some() && status.version_id.is_none())
    else {
        return Ok(outcome);
    };
    let (endpoint, organization) = (status.endpoint.as_deref(), status.organization.as_deref());
    let Ok(connection) = connect_for_clean_up(ctx, &handle.namespace(), endpoint, organization).await else {
        return Ok(outcome);
    };
    let flight = flight(handle, status, &connection, ctx).await?;
    let now = connection.client().service_time();
    let look = Look { tool_id: &tool_id, flight, age: EVIDENCE_AGE, class: Class::Recovery, requested: false, now };
    let (versions, _) =
        ctx.list_versions(handle.object(), &connection.established, &tool_id, look.age, look.class).await?;
    match plan(handle, status, &look, &versions, ctx)? {
        Plan::Claim(version) | Plan::Keep(version) => {
            record(status, &version);
            Ok(outcome)
        }
        Plan::End(publishing @ Outcome::Working { reason: Reason::Publishing, .. }) => Ok(publishing),
        Plan::End(_) | Plan::Publish { .. } => Ok(outcome),
    }
}

/// A status that knows of no version, and keeps what every status has.
fn fresh_status(status: &ToolVersionStatus) -> ToolVersionStatus {
    ToolVersionStatus {
        observed_generation: status.observed_generation,
        last_handled_reconcile_at: status.last_handled_reconcile_at.clone(),
        organization: status.organization.clone(),
        endpoint: status.endpoint.clone(),
        ..ToolVersionStatus::default()
    }
}

/// How the list is read in this visit, and what is known besides.
struct Look<'a> {
    tool_id: &'a str,
    flight: Flight,
    age: Duration,
    class: Class,
    requested: bool,
    /// The time by the service's clock. The clocks of replicas may differ, and what one writes down another reads.
    now: Timestamp,
}

/// Reads the list, decides, and acts; a publish is decided twice, the second time on a list that was read for it.
async fn look(
    handle: &mut Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    look: &Look<'_>,
    tool: &Tool,
    connection: &Connection,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let at = &connection.established;
    let uid = handle.object().uid().unwrap_or_default();
    if !is_its_turn(handle, status, look, connection, ctx) {
        let (versions, changed) = ctx.list_versions(handle.object(), at, look.tool_id, look.age, look.class).await?;
        if look.age != Duration::MAX {
            ctx.memory.looked(&looks(tool));
        }
        if changed {
            // Others may have waited for just this: a version between, or one that is gone.
            let (namespace, name) = key(tool);
            ctx.wake_versions_of_tool(&namespace, &name);
            ctx.queues.tools.push(&namespace, &name);
        }
        match plan(handle, status, look, &versions, ctx)? {
            Plan::Publish { .. } => {}
            other => return Ok(settle(handle, status, look, other, ctx)),
        }
    }
    // Whatever has woken the object: the service has refused it just now.
    let rest = ctx.memory.until_retry(&refusals(&uid));
    let waits = ctx.places.waits(&uid, Operation::PublishVersion);
    if !look.requested && !waits && !rest.is_zero() {
        return Ok(Outcome::Unchanged { again: rest });
    }
    let permit = match ctx.claim(handle.object(), at, Operation::PublishVersion, Class::Interactive) {
        Claim::Granted(permit) => permit,
        Claim::Queued { estimate } => return Ok(Outcome::queued("publish the version", estimate)),
    };
    let (versions, _) = ctx.list_versions(handle.object(), at, look.tool_id, Duration::ZERO, look.class).await?;
    connection.for_write(ctx)?;
    match plan(handle, status, look, &versions, ctx)? {
        Plan::Publish { bump, expected } if ctx.publishes.begin(look.tool_id, &uid, next_attempt(status)) => {
            let sent = send(handle, status, look, (bump, expected), &versions, permit, connection, ctx).await;
            if sent.is_err() {
                ctx.publishes.cancel(&uid);
            }
            sent
        }
        Plan::Publish { .. } => {
            Ok(Outcome::waiting(Reason::VersionPending, "waits for another publish of the tool to end"))
        }
        other => Ok(settle(handle, status, look, other, ctx)),
    }
}

/// Whether the object only waits for its turn to publish, as far as the last list says: the list is read when the turn has
/// come, and not before as well.
fn is_its_turn(
    handle: &Handle<ToolVersion>,
    status: &ToolVersionStatus,
    look: &Look<'_>,
    connection: &Connection,
    ctx: &Context,
) -> bool {
    let waits =
        !look.requested && ctx.places.waits(&handle.object().uid().unwrap_or_default(), Operation::PublishVersion);
    let known = ctx.remote.known_versions(&connection.established, look.tool_id).filter(|_| waits);
    known.is_some_and(|versions| matches!(plan(handle, status, look, &versions, ctx), Ok(Plan::Publish { .. })))
}

/// Gathers what the decision looks at, and decides.
fn plan(
    handle: &Handle<ToolVersion>,
    status: &ToolVersionStatus,
    look: &Look<'_>,
    versions: &[RemoteVersion],
    ctx: &Context,
) -> Result<Plan, Outcome> {
    let object = handle.object();
    let (namespace, _) = key(object);
    let wanted = object.wanted().map_err(|error| Outcome::stalled(Reason::InvalidSpec, error.to_string()))?;
    let intent = status.publish.as_ref().map(|intent| recorded_intent(intent, look.now));
    let siblings = siblings(object, look.now, ctx);
    let variables = variables_obstacle(&namespace, &object.spec.tool_ref.name, ctx);
    let situation = Situation {
        wanted,
        project_path: &object.spec.project_path,
        age: age(object),
        created: object.creation_timestamp().map(|time| time.0),
        version_id: status.version_id.as_deref(),
        intent: intent.as_ref(),
        flight: look.flight,
        publish_timeout: seconds(object.spec.publish_timeout_seconds),
        versions,
        siblings: &siblings,
        variables: variables.as_deref(),
        refused: !look.requested && was_refused(object, look.tool_id, versions, ctx),
        now: look.now,
    };
    let plan = decide::decide(&situation);
    tracing::debug!(?plan, "decided");
    Ok(plan)
}

fn recorded_intent(intent: &PublishIntent, now: Timestamp) -> Intent {
    Intent {
        // A time that cannot be read counts as now: too long a wait does less harm than a second publish.
        started: intent.start_time.parse().unwrap_or(now),
        known: intent.known_versions.iter().filter_map(|text| text.parse().ok()).collect::<BTreeSet<_>>(),
        expected: intent.expected_version.as_ref().and_then(|text| text.parse().ok()),
        user_id: intent.user_id.clone(),
    }
}

fn siblings(object: &ToolVersion, now: Timestamp, ctx: &Context) -> Vec<Sibling> {
    let (namespace, _) = key(object);
    let others = ctx.versions.by(&by_tool(&namespace, &object.spec.tool_ref.name));
    others.iter().filter(|other| other.uid() != object.uid()).map(|other| sibling(other, now)).collect()
}

fn sibling(other: &Arc<ToolVersion>, now: Timestamp) -> Sibling {
    let status = other.status.clone().unwrap_or_default();
    let over = status.publish.as_ref().is_some_and(|intent| intent_is_over(other, intent, now));
    let going = other.metadata.deletion_timestamp.is_some();
    Sibling {
        name: other.name_any(),
        age: age(&**other),
        wanted: other.wanted().ok(),
        publishing: status.publish.is_some() && status.version_id.is_none() && !over,
        version_id: status.version_id,
        active: !going && !other.spec.suspend && !other.is_stalled(),
        created: other.creation_timestamp().map(|time| time.0),
    }
}

fn intent_is_over(object: &ToolVersion, intent: &PublishIntent, now: Timestamp) -> bool {
    let started: Timestamp = intent.start_time.parse().unwrap_or(now);
    let elapsed = now.duration_since(started);
    elapsed.as_secs() >= i64::from(object.spec.publish_timeout_seconds)
}

/// Whether a publish of the tool is under way, or its outcome is open at `now`, by the service's clock: its deprecation
/// waits for that.
pub fn is_publishing(tool: &Tool, tool_id: &str, now: Timestamp, ctx: &Context) -> bool {
    let (namespace, name) = key(tool);
    let open = |version: &Arc<ToolVersion>| {
        let status = version.status.as_ref();
        let intent = status.filter(|s| s.version_id.is_none()).and_then(|s| s.publish.as_ref());
        intent.is_some_and(|intent| !intent_is_over(version, intent, now))
    };
    ctx.publishes.is_busy(tool_id) || ctx.versions.by(&by_tool(&namespace, &name)).iter().any(open)
}

/// Why the tool's variables are not ready. A variable that only waits to be removed is no obstacle.
fn variables_obstacle(namespace: &str, tool: &str, ctx: &Context) -> Option<String> {
    let unsynced = ctx.variables.by(&by_tool(namespace, tool)).into_iter().find(|variables| {
        let in_use = variables.condition("Ready").is_some_and(|c| {
            c.reason == Reason::VariableInUse.as_str() && c.observed_generation == variables.metadata.generation
        });
        variables.metadata.deletion_timestamp.is_none() && !variables.is_ready() && !in_use
    })?;
    Some(format!("waits for {} to be synced", unsynced.describe()))
}

/// Whether the last publish was refused for a reason that only a person, or other variables, can mend.
fn was_refused(object: &ToolVersion, tool_id: &str, versions: &[RemoteVersion], ctx: &Context) -> bool {
    let Some(stalled) = object.condition("Stalled").filter(|_| object.is_stalled()) else { return false };
    let for_good = [Reason::BuildFailed, Reason::ProjectNotFound, Reason::InvalidRequest];
    if for_good.iter().any(|reason| stalled.reason == reason.as_str()) {
        return true;
    }
    let uid = object.uid().unwrap_or_default();
    let curable = [Reason::VariablesMissing, Reason::PublishRefused];
    curable.iter().any(|reason| stalled.reason == reason.as_str())
        && !ctx.sent.changed_since_refusal(&uid, tool_id, active(versions))
}

fn active(versions: &[RemoteVersion]) -> usize {
    versions.iter().filter(|version| !version.deprecated).count()
}

/// Under what refused publishes of an object are remembered, apart from failures to find out anything.
#[must_use]
pub fn refusals(uid: &str) -> String {
    format!("{uid}/publish")
}

/// What this process knows of the object's publish. A refusal ends the intent and the visit.
async fn flight(
    handle: &mut Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    connection: &Connection,
    ctx: &Context,
) -> Result<Flight, Interrupt> {
    let uid = handle.object().uid().unwrap_or_default();
    let tool_id = status.tool_id.clone().unwrap_or_default();
    let attempt = status.publish.as_ref().map(|intent| intent.attempt);
    match ctx.publishes.state(&uid, &tool_id, attempt) {
        None | Some(PublishState::Lost) => Ok(Flight::Unknown),
        Some(PublishState::Running) => Ok(Flight::Running),
        Some(PublishState::Confirmed(number)) => {
            ctx.remote.age_versions(&connection.established, &tool_id);
            let wanted = handle.object().wanted();
            if wanted.is_ok_and(|wanted| wanted == Wanted::Version(number) || matches!(wanted, Wanted::Bump(_))) {
                return Ok(Flight::Confirmed(number));
            }
            tracing::warn!(version = %number, "a publish came out with another number: somebody else published meanwhile");
            status.publish = None;
            Ok(Flight::Unknown)
        }
        Some(PublishState::Refused(error, elapsed)) => {
            let at = &connection.established;
            let (versions, _) = ctx.list_versions(handle.object(), at, &tool_id, LIST_AGE, Class::Interactive).await?;
            let tool = ctx.remote.tool(at, &tool_id, LIST_AGE, Class::Interactive).await?;
            let path = &handle.object().spec.project_path;
            let outcome = refusal::outcome(&error, elapsed, path, &versions, tool.as_deref());
            ctx.sent.note_refusal(&uid, &tool_id, active(&versions));
            if matches!(outcome, Outcome::Retrying { .. }) {
                ctx.memory.failed(&refusals(&uid), LONGEST_REFUSAL);
            }
            status.publish = None;
            Err(outcome.into())
        }
    }
}

/// Everything but a publish.
fn settle(
    handle: &Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    look: &Look<'_>,
    plan: Plan,
    ctx: &Context,
) -> Outcome {
    match plan {
        Plan::Keep(version) | Plan::Claim(version) => {
            let uid = handle.object().uid().unwrap_or_default();
            let is_new = status.version_id.is_none();
            record(status, &version);
            ctx.memory.found(&uid);
            if is_new {
                ctx.memory.succeeded(&refusals(&uid));
                let (namespace, name) = (handle.namespace(), handle.object().spec.tool_ref.name.clone());
                ctx.queues.tools.push(&namespace, &name);
                ctx.wake_organization_of_tool(&namespace, &name);
            }
            standing(handle.object(), &version, look.tool_id)
        }
        Plan::End(Outcome::Stalled { reason: Reason::RemoteMissing, .. })
            if !ctx.memory.is_missing(&handle.object().uid().unwrap_or_default()) =>
        {
            Outcome::not_found_yet(look.class)
        }
        Plan::End(outcome) => outcome,
        Plan::Publish { .. } => {
            Outcome::working(Reason::Progressing, "is about to be published", Duration::from_secs(1))
        }
    }
}

/// Longest text of the service that is shown in the status, in characters, and most names. Only shown: what is decided is
/// decided by what the service lists.
const LONGEST_TEXT: usize = 256;
const MOST_NAMES: usize = 512;

/// A text of the service as it fits into the status, which could not be written otherwise.
fn shown(text: &str) -> String {
    short(text, LONGEST_TEXT)
}

/// Fills in what is known of the version; the publish is over.
fn record(status: &mut ToolVersionStatus, version: &RemoteVersion) {
    status.version = Some(version.version.to_string());
    status.version_id = Some(version.id.clone());
    status.commit = version.tool_commit_hash.as_deref().map(shown);
    status.created_time = version.created_at.map(|time| time.to_string());
    status.creator = version.creator.as_ref().map(|creator| shown(&creator.user_id));
    status.required_variables = version.required_envvars.iter().take(MOST_NAMES).map(|name| shown(name)).collect();
    status.required_secret_variables =
        version.required_secret_envvars.iter().take(MOST_NAMES).map(|name| shown(name)).collect();
    status.deprecated = Some(version.deprecated);
    status.publish = None;
}

/// Whether the version is what the manifest asks for.
fn standing(object: &ToolVersion, version: &RemoteVersion, tool_id: &str) -> Outcome {
    let number = version.version;
    if version.deprecated {
        return Outcome::stalled(
            Reason::VersionDeprecated,
            format!(
                "version {number} is deprecated, which cannot be undone; publish a new version and delete this object"
            ),
        );
    }
    let commit = version.tool_commit_hash.as_deref();
    match object.spec.expected_commit.as_deref().zip(commit) {
        Some((expected, built)) if !built.to_lowercase().starts_with(&expected.to_lowercase()) => Outcome::stalled(
            Reason::CommitMismatch,
            format!("version {number} was built from commit {built}, not from {expected}; publish another version"),
        ),
        _ => Outcome::ready(format!("version {number} of tool {tool_id} is published"), Duration::MAX),
    }
}

/// Counts on from the publish whose outcome was waited for in vain.
fn next_attempt(status: &ToolVersionStatus) -> i32 {
    status.publish.as_ref().map_or(0, |intent| intent.attempt).saturating_add(1)
}

/// Writes the intent, then sends the publish in a task of its own. A failed write sends nothing.
#[allow(clippy::too_many_arguments, reason = "one call site; a struct would only rename the arguments")]
async fn send(
    handle: &mut Handle<ToolVersion>,
    status: &mut ToolVersionStatus,
    look: &Look<'_>,
    (bump, expected): (BumpType, VersionNumber),
    versions: &[RemoteVersion],
    permit: Permit,
    connection: &Connection,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let started = connection.client().service_time();
    let attempt = next_attempt(status);
    status.publish = Some(PublishIntent {
        attempt,
        start_time: started.to_string(),
        known_versions: versions.iter().map(|version| version.version.to_string()).collect(),
        expected_version: Some(expected.to_string()),
        user_id: Some(connection.established.user_id.clone()),
    });
    let message = decide::publishes(expected);
    let verdict = Verdict { state: State::Reconciling, reason: Reason::Publishing, message: message.clone() };
    handle.write_status(status.clone(), &verdict, ctx.clock.now()).await?;
    let object = handle.object();
    let request = PublishRequest { branch: object.spec.branch, project_path: object.spec.project_path.clone(), bump };
    let (namespace, _) = key(object);
    let client = connection.client().clone();
    let tool_id = look.tool_id.to_owned();
    let (queue, metrics, versions) = (ctx.queues.versions.clone(), ctx.metrics.clone(), ctx.versions.clone());
    let of_the_tool = by_tool(&namespace, &object.spec.tool_ref.name);
    tracing::info!(version = %expected, attempt, "publishes");
    ctx.publishes.run(
        object.uid().unwrap_or_default(),
        &ctx.tasks,
        async move {
            let answer = client.publish(permit, &tool_id, &request).await;
            if answer.as_ref().is_err_and(|error| error.effect() == Effect::Unknown) {
                metrics.publish_unknown();
            }
            answer
        },
        // Also those that wait for this one to end: the object itself may be gone by then.
        move || versions.by(&of_the_tool).iter().for_each(|version| queue.push(&namespace, &version.name_any())),
    );
    Ok(Outcome::working(Reason::Publishing, message, Duration::from_secs(60)))
}
