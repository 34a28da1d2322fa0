//! `Tool`: observe, decide, act.

mod decide;
pub mod rivals;
pub mod versions;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use self::decide::{Desired, Observed, Plan};
use super::Context;
use super::connection::{Connection, connect, connect_for_clean_up};
use super::deprecate::{CRD_IS_GOING, Clearance, Order, clear, crd_is_going};
use super::driver::{Kind, Visit};
use super::outcome::{Interrupt, Outcome, WAITING_LOOK, of_failed_read};
use super::ownership;
use crate::amigo::types::{CreateTool, ModifyTool, Tag, Tool as RemoteTool};
use crate::amigo::{self, Claim, Class, Effect, Operation, Permit};
use crate::kubernetes::conditions::{State, Verdict};
use crate::kubernetes::object::Handle;
use crate::kubernetes::watch::{Cache, Change, key};
use crate::resources::annotations::{self, RECREATE};
use crate::resources::tool::{DeletionPolicy, ManagementPolicy};
use crate::resources::{Reason, Resource, Tool, ToolStatus};

/// How many tools the service lists in one answer.
const TOOLS_A_PAGE: usize = 20;

/// A read of this age is as good as a fresh one for a Tool that the resync has woken.
const JUST_READ: Duration = Duration::from_secs(5);

/// Most steps of one visit: unbind, look, look by name, bind, correct.
const STEPS: usize = 6;

impl Kind for Tool {
    fn cache(ctx: &Context) -> &Cache<Self> {
        &ctx.tools
    }

    fn tell_others(ctx: &Context, change: &Change<Self>) {
        ctx.tell_others_of_tool(change);
    }

    async fn apply(
        handle: &mut Handle<Self>,
        status: &mut ToolStatus,
        visit: Visit,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        let connection = connect(ctx, handle.object()).await?;
        if let Some(outcome) = rivals::taken(handle.object(), ctx) {
            return Ok(outcome);
        }
        status.name = Some(handle.object().remote_name());
        if status.endpoint.is_some() {
            locate(status, &connection);
        }
        if !visit.settled || has_drifted(handle.object(), status, &connection, ctx) {
            let class = if visit.settled { Class::Resync } else { Class::Interactive };
            if let Some(outcome) = synchronise(handle, status, &connection, class, ctx).await? {
                return Ok(outcome);
            }
        }
        let again = versions::follow(handle, status, visit, &connection, ctx).await?;
        let tool = status.tool_id.clone().unwrap_or_default();
        let name = status.name.clone().unwrap_or_default();
        Ok(Outcome::ready(format!("tool {name} ({tool}) is as the manifest says"), again))
    }

    async fn clean_up(handle: &mut Handle<Self>, status: &mut ToolStatus, ctx: &Context) -> Result<Outcome, Interrupt> {
        let tool = handle.object();
        if !wants_deprecation(tool) {
            return Ok(
                observers_first(tool, ctx).unwrap_or(Outcome::Gone { message: "the remote tool is retained".into() })
            );
        }
        // Before anything that could be waited for: the Organization may be gone with its own kind.
        if crd_is_going::<Self>(ctx).await? {
            return Ok(Outcome::Gone { message: CRD_IS_GOING.into() });
        }
        if tool.spec.suspend {
            let message = "suspended, so that the remote tool cannot be deprecated; set `spec.suspend: false`";
            return Ok(Outcome::waiting(Reason::DeletionBlocked, message));
        }
        let (endpoint, organization) = (status.endpoint.as_deref(), status.organization.as_deref());
        let is_new = endpoint.is_none();
        let connection = if is_new {
            // Nothing was done remotely for this object, but perhaps for one that had its place before: in a cluster that was
            // built anew. Where that cannot be looked up there is nothing to wait for.
            match connect(ctx, tool).await {
                Ok(connection) => connection,
                Err(Interrupt::Outcome(_)) => {
                    return Ok(Outcome::Gone { message: "nothing was ever done remotely".into() });
                }
                Err(error) => return Err(error),
            }
        } else {
            connect_for_clean_up(ctx, &handle.namespace(), endpoint, organization).await?
        };
        let uid = handle.object().uid().unwrap_or_default();
        let Some(id) = bound_or_marked(handle.object(), status, &connection, ctx).await? else {
            if !is_new && !ctx.memory.is_missing(&uid) {
                return Ok(Outcome::not_found_yet(Class::Interactive));
            }
            return Ok(Outcome::Gone { message: "no remote tool carries this object's mark".into() });
        };
        if super::tool_version::is_publishing(handle.object(), &id, connection.client().service_time(), ctx) {
            let message = "waits for a publish of the tool to end before the tool is deprecated";
            return Ok(Outcome::working(Reason::Publishing, message, Duration::from_secs(30)));
        }
        deprecate(handle, &id, &connection, ctx).await
    }
}

/// Notes where the remote tool is. Not before the first write to it: for an object without it nothing was done remotely, and
/// one look at what is known of all marks will do.
fn locate(status: &mut ToolStatus, connection: &Connection) {
    status.organization = Some(connection.established.organization.clone());
    status.endpoint = Some(connection.established.endpoint.clone());
}

/// Whether the tool, as the resync has last read it, is other than the manifest says.
fn has_drifted(tool: &Tool, status: &ToolStatus, connection: &Connection, ctx: &Context) -> bool {
    let Some(id) = status.tool_id.as_deref() else { return true };
    let Some(remote) = ctx.remote.known_tool(&connection.established, id) else { return false };
    let manifest = Manifest::of(tool, ctx);
    decide::decide(&manifest.desired(tool), &Observed::Bound { id, tool: remote.as_deref() }) != Plan::InSync
}

/// Observes, decides and acts until nothing is left to do (`None`) or something must be waited for.
async fn synchronise(
    handle: &mut Handle<Tool>,
    status: &mut ToolStatus,
    connection: &Connection,
    class: Class,
    ctx: &Context,
) -> Result<Option<Outcome>, Interrupt> {
    let tool = handle.object().clone();
    let spec = Manifest::of(&tool, ctx);
    let desired = spec.desired(&tool);
    let uid = tool.uid().unwrap_or_default();
    let mut named: Option<Option<RemoteTool>> = None;
    let mut permit: Option<Permit> = None;
    for _ in 0..STEPS {
        let plan = if let Some(id) = status.tool_id.as_deref() {
            bound_plan(&desired, id, connection, class, ctx).await?
        } else {
            unbound_plan(&tool, &desired, named.as_ref(), &mut permit, connection, class, ctx).await?
        };
        tracing::debug!(?plan, "decided");
        if !is_settled_fact(&plan, &uid, ctx) {
            return Ok(Some(Outcome::not_found_yet(class)));
        }
        match plan {
            Plan::InSync => return Ok(None),
            Plan::End(outcome) => return Ok(Some(outcome)),
            Plan::LookByName => named = Some(by_name(&desired, connection, class, ctx).await?),
            Plan::Unbind => unbind(status),
            Plan::Bind { id } => {
                locate(status, connection);
                status.tool_id = Some(id);
            }
            Plan::Adopt { id, modify } => {
                write_ahead(handle, status, connection, ctx).await?;
                ctx.remote.sends_mark(&connection.established, desired.mark);
                write(handle, &id, &modify, connection, ctx).await?;
                status.tool_id = Some(id);
            }
            Plan::Modify { id, modify } => {
                write(handle, &id, &modify, connection, ctx).await?;
                // What a new manifest asks for was changed by nobody else.
                if status.observed_generation == tool.metadata.generation {
                    ctx.metrics.drift_corrected();
                    tracing::info!(toolID = id, "others changed the tool; it is as the manifest says again");
                }
                return Ok(None);
            }
            Plan::Create(body) => {
                write_ahead(handle, status, connection, ctx).await?;
                let permit = match permit.take() {
                    Some(permit) => permit,
                    None => create_permit(&tool, connection, ctx)?,
                };
                ctx.remote.sends_mark(&connection.established, desired.mark);
                if let Some(id) = create(&body, permit, connection, ctx).await? {
                    ctx.remote.made_tool(&connection.established, &id, &body);
                    created(handle, status, id, ctx).await?;
                    return Ok(None);
                }
                named = Some(by_name(&desired, connection, class, ctx).await?);
                if named == Some(None) {
                    let message = "the service says that the name is taken, and lists no active tool of that name";
                    return Ok(Some(Outcome::retrying(message)));
                }
            }
        }
    }
    Ok(Some(Outcome::retrying("the service's tools change while they are read")))
}

/// What to do about an object that is bound to no tool.
async fn unbound_plan(
    tool: &Tool,
    desired: &Desired<'_>,
    named: Option<&Option<RemoteTool>>,
    permit: &mut Option<Permit>,
    connection: &Connection,
    class: Class,
    ctx: &Context,
) -> Result<Plan, Interrupt> {
    let is_first_look = named.is_none() && permit.is_none();
    if is_first_look && desired.management == ManagementPolicy::Manage {
        // The place for the create comes first: a queue of new tools would else read their marks over and over. Where
        // the name turned out to be taken, there is nothing to create.
        *permit = Some(create_permit(tool, connection, ctx)?);
    }
    let marked = marked(tool, desired, connection, class, ctx).await?;
    Ok(decide::decide(desired, &Observed::Unbound { marked: &marked, named: named.map(Option::as_ref) }))
}

/// What to do about the tool that the object is bound to.
async fn bound_plan(
    desired: &Desired<'_>,
    id: &str,
    connection: &Connection,
    class: Class,
    ctx: &Context,
) -> Result<Plan, Interrupt> {
    // What the resync has read just now need not be read again.
    let age = if class == Class::Resync { JUST_READ } else { Duration::ZERO };
    let read = ctx.remote.tool(&connection.established, id, age, class).await;
    let remote = read.map_err(|error| of_failed_read(error, class))?;
    Ok(decide::decide(desired, &Observed::Bound { id, tool: remote.as_deref() }))
}

/// One read that does not find the tool proves nothing; several over some time do.
fn is_settled_fact(plan: &Plan, uid: &str, ctx: &Context) -> bool {
    if matches!(plan, Plan::End(Outcome::Stalled { reason: Reason::RemoteMissing, .. })) {
        return ctx.memory.is_missing(uid);
    }
    ctx.memory.found(uid);
    true
}

/// The parts of the manifest that the decision needs, in its own types.
struct Manifest {
    name: String,
    tags: Option<Vec<Tag>>,
    mark: String,
    hint: String,
}

impl Manifest {
    fn of(tool: &Tool, ctx: &Context) -> Self {
        let (namespace, name) = (tool.namespace().unwrap_or_default(), tool.name_any());
        let tags = tool
            .spec
            .tags
            .as_ref()
            .map(|tags| tags.iter().map(|tag| Tag { key: tag.key.clone(), value: tag.value.clone() }).collect());
        Self {
            name: tool.remote_name(),
            tags,
            mark: ownership::mark(&ctx.settings.owner_id, &namespace, &name),
            hint: ownership::hint(&namespace, &name),
        }
    }

    fn desired<'a>(&'a self, tool: &'a Tool) -> Desired<'a> {
        Desired {
            name: &self.name,
            description: tool.spec.description.as_deref(),
            tags: self.tags.as_deref(),
            mark: &self.mark,
            hint: &self.hint,
            adoption: tool.spec.adoption_policy,
            management: tool.spec.management_policy,
            recreate: annotations::value(tool, RECREATE),
        }
    }
}

/// The active tools with this object's mark. An object that only observes has none. For one that nothing was ever written for,
/// what is known of all marks will do; where many are new, they are read together.
async fn marked(
    tool: &Tool,
    desired: &Desired<'_>,
    connection: &Connection,
    class: Class,
    ctx: &Context,
) -> Result<Vec<RemoteTool>, amigo::Error> {
    if desired.management == ManagementPolicy::Observe {
        return Ok(Vec::new());
    }
    let at = &connection.established;
    let is_new = tool.status.as_ref().is_none_or(|status| status.endpoint.is_none());
    if is_new && !ctx.remote.lacks_mark(at, desired.mark) && is_sweep_cheaper(connection, ctx) {
        let began = Instant::now();
        let tools = connection.client().tools_with_key(ownership::OWNER_TAG, class).await?;
        let marks = tools.iter().filter_map(|tool| tool.tag(ownership::OWNER_TAG).flatten());
        ctx.remote.note_marks(at, began, marks);
    }
    if is_new && ctx.remote.lacks_mark(at, desired.mark) {
        return Ok(Vec::new());
    }
    let found = ctx.tools_with_tag(tool, at, (ownership::OWNER_TAG, desired.mark), class).await?;
    Ok(found.into_iter().filter(|tool| !ctx.remote.was_deprecated(at, &tool.id)).collect())
}

/// Whether all marks of the organization take fewer calls to read than those of its new Tools one by one.
fn is_sweep_cheaper(connection: &Connection, ctx: &Context) -> bool {
    let (namespace, name) = key(&*connection.object);
    let tools = ctx.tools_of_organization(&namespace, &name);
    let bound = tools.iter().filter(|tool| tool.status.as_ref().is_some_and(|status| status.tool_id.is_some())).count();
    tools.len() - bound > bound / TOOLS_A_PAGE + 1
}

/// The active tool of this object's name. The service lists a tool for a while after its deprecation.
async fn by_name(
    desired: &Desired<'_>,
    connection: &Connection,
    class: Class,
    ctx: &Context,
) -> Result<Option<RemoteTool>, amigo::Error> {
    let found = connection.client().tool_by_name(desired.name, class).await?;
    Ok(found.filter(|tool| !ctx.remote.was_deprecated(&connection.established, &tool.id)))
}

fn unbind(status: &mut ToolStatus) {
    status.tool_id = None;
    status.latest_version = None;
    status.active_versions = None;
}

fn create_permit(tool: &Tool, connection: &Connection, ctx: &Context) -> Result<Permit, Outcome> {
    match ctx.claim(tool, &connection.established, Operation::CreateTool, Class::Interactive) {
        Claim::Granted(permit) => Ok(permit),
        Claim::Queued { estimate } => Err(Outcome::queued("create the tool", estimate)),
    }
}

/// Creates the tool; `None` when an active tool has the name.
async fn create(
    body: &CreateTool,
    permit: Permit,
    connection: &Connection,
    ctx: &Context,
) -> Result<Option<String>, Interrupt> {
    match connection.for_write(ctx)?.create_tool(permit, body).await {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.status() == Some(409) => Ok(None),
        Err(error) if error.effect() == Effect::Unknown => {
            Err(Outcome::retrying(format!("{error}; whether the tool was created is found out by its mark")).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What a clean-up needs is written down before the first remote write: should its answer be lost, or the status write that
/// follows it, the object still knows where to look. Either way the object must be the one that the server has: another tool
/// may be bound already, and a cache that is behind does not show it.
async fn write_ahead(
    handle: &mut Handle<Tool>,
    status: &mut ToolStatus,
    connection: &Connection,
    ctx: &Context,
) -> Result<(), Interrupt> {
    connection.for_write(ctx)?;
    locate(status, connection);
    if handle.status().endpoint.is_some() {
        return Ok(handle.must_be_current().await?);
    }
    let message = "the remote tool is about to be created or taken over".to_owned();
    let verdict = Verdict { state: State::Reconciling, reason: Reason::Progressing, message };
    handle.write_status(status.clone(), &verdict, ctx.clock.now()).await?;
    Ok(())
}

/// The tool is there. Its id is written down at once where more is to be done in the same visit, so that what follows cannot
/// lose it.
async fn created(
    handle: &mut Handle<Tool>,
    status: &mut ToolStatus,
    id: String,
    ctx: &Context,
) -> Result<(), Interrupt> {
    status.tool_id = Some(id);
    status.active_versions = Some(0);
    if !wants_specifier(handle.object()) {
        return Ok(());
    }
    let message = "the tool was created".to_owned();
    let verdict = Verdict { state: State::Reconciling, reason: Reason::Progressing, message };
    handle.write_status(status.clone(), &verdict, ctx.clock.now()).await?;
    Ok(())
}

async fn write(
    handle: &Handle<Tool>,
    id: &str,
    modify: &ModifyTool,
    connection: &Connection,
    ctx: &Context,
) -> Result<(), Interrupt> {
    let permit = match ctx.claim(handle.object(), &connection.established, Operation::ModifyTool, Class::Interactive) {
        Claim::Granted(permit) => permit,
        Claim::Queued { estimate } => return Err(Outcome::queued("correct the tool", estimate).into()),
    };
    let written = connection.for_write(ctx)?.modify_tool(permit, id, modify).await;
    ctx.remote.forget_tool(&connection.established, id);
    Ok(written?)
}

fn wants_deprecation(tool: &Tool) -> bool {
    tool.spec.deletion_policy == DeletionPolicy::Deprecate && tool.spec.management_policy == ManagementPolicy::Manage
}

/// Whether versions are to be deprecated by specifier.
fn wants_specifier(tool: &Tool) -> bool {
    tool.spec.deprecated_versions.is_some() && tool.spec.management_policy == ManagementPolicy::Manage
}

/// An observed tool carries no mark of ours, so that its ToolVersions need this object to deprecate a version: they go first.
fn observers_first(tool: &Tool, ctx: &Context) -> Option<Outcome> {
    if tool.spec.management_policy != ManagementPolicy::Observe {
        return None;
    }
    let (namespace, name) = key(tool);
    let owing = ctx.versions.by(&super::wake::by_tool(&namespace, &name)).into_iter().find(|version| {
        let deprecates = version.spec.deletion_policy == DeletionPolicy::Deprecate;
        deprecates && version.metadata.deletion_timestamp.is_some() && !annotations::is_abandoned(&**version)
    })?;
    let message = format!("{} is cleaned up first", owing.describe());
    Some(Outcome::working(Reason::Progressing, message, WAITING_LOOK))
}

/// The tool to deprecate: the bound one, or the one that a create with a lost answer has left.
async fn bound_or_marked(
    tool: &Tool,
    status: &ToolStatus,
    connection: &Connection,
    ctx: &Context,
) -> Result<Option<String>, Interrupt> {
    if let Some(id) = &status.tool_id {
        return Ok(Some(id.clone()));
    }
    let manifest = Manifest::of(tool, ctx);
    let found = marked(tool, &manifest.desired(tool), connection, Class::Interactive, ctx).await?;
    Ok(found.into_iter().next().map(|tool| tool.id))
}

async fn deprecate(
    handle: &Handle<Tool>,
    id: &str,
    connection: &Connection,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let tool = handle.object();
    let manifest = Manifest::of(tool, ctx);
    let order = Order {
        stands: &|fresh: &Tool| fresh.metadata.deletion_timestamp.is_some() && wants_deprecation(fresh),
        operation: Operation::DeprecateTool,
        count: 1,
        what: &format!("tool {} ({id})", manifest.name),
        tool_id: id,
        mark: Some(&manifest.mark),
    };
    let permit = match clear(&order, handle, connection, ctx).await? {
        Clearance::Go(permit) => permit,
        Clearance::Retain(message) | Clearance::Done(message) => return Ok(Outcome::Gone { message }),
    };
    let done = connection.client().deprecate_tool(permit, id).await;
    ctx.remote.forget_tool(&connection.established, id);
    ctx.remote.age_versions(&connection.established, id);
    match done {
        Err(error) if error.status() != Some(404) => Err(error.into()),
        Ok(()) | Err(_) => {
            ctx.remote.note_deprecated(&connection.established, id);
            ctx.deprecations.done(&key(&*connection.object), &tool.uid().unwrap_or_default());
            Ok(Outcome::Gone { message: format!("tool {} ({id}) is deprecated", manifest.name) })
        }
    }
}

/// Whether the Tool's remote tool is not its own any more. Whatever else stalls a Tool is no obstacle for what belongs to it.
fn is_adrift(tool: &Tool) -> bool {
    let adrift = [Reason::NameTaken, Reason::OwnershipLost, Reason::DeprecatedRemotely, Reason::RemoteMissing];
    tool.condition("Stalled").is_some_and(|stalled| adrift.iter().any(|reason| stalled.reason == reason.as_str()))
}

/// The remote tool that the objects of a Tool work on, or why they must wait.
pub fn target(tool: Option<&Arc<Tool>>, namespace: &str, name: &str) -> Result<(Arc<Tool>, String), Outcome> {
    let Some(tool) = tool else {
        let message = format!("Tool {namespace}/{name} does not exist; apply it, or correct `spec.toolRef.name`");
        return Err(Outcome::waiting(Reason::ToolNotFound, message));
    };
    let reason = tool.condition("Ready").map(|c| c.reason.clone()).unwrap_or_default();
    match tool.status.as_ref().and_then(|status| status.tool_id.clone()) {
        _ if tool.metadata.deletion_timestamp.is_some() => {
            Err(Outcome::waiting(Reason::ToolNotFound, format!("Tool {namespace}/{name} is being deleted")))
        }
        Some(id) if !is_adrift(tool) => Ok((Arc::clone(tool), id)),
        Some(_) => Err(Outcome::waiting(Reason::ToolNotReady, format!("Tool {namespace}/{name} is stalled: {reason}"))),
        None => Err(Outcome::waiting(Reason::ToolNotReady, format!("Tool {namespace}/{name} has no remote tool yet"))),
    }
}
