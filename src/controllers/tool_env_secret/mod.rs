//! `ToolEnvSecret`: observe, decide, act. The variables of a tool are decided and sent for all its ToolEnvSecrets together;
//! each then writes its own share into its status.

mod clean_up;
pub mod decide;
pub mod resolve;
pub mod sent;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use secrecy::SecretString;

use self::decide::{Delta, Freshness, Member, Plan};
use self::resolve::{Problem, Resolved, Secrets, resolve};
use super::Context;
use super::connection::{Connection, connect};
use super::driver::{Kind, Visit};
use super::memory::{jittered, seconds};
use super::outcome::{Interrupt, Outcome, of_obstacle};
use super::tool::rivals::age;
use super::tool::target;
use super::wake::{by_tool, variables_secrets};
use crate::amigo::types::Tool as RemoteTool;
use crate::amigo::{Claim, Class, DeleteVariable, Effect, InsertVariable, Operation, UpdateVariable, VariablesDelta};
use crate::kubernetes::conditions::{State, Verdict};
use crate::kubernetes::events;
use crate::kubernetes::object::{Handle, has_finalizer};
use crate::kubernetes::watch::{Cache, Change};
use crate::resources::tool_env_secret::{SyncedVariable, Visibility};
use crate::resources::{Reason, ToolEnvSecret, ToolEnvSecretStatus};

/// How long a new or changed object waits for others of the same tool, so that they share one call.
const GATHERING: Duration = Duration::from_millis(200);

/// How often a delta is decided anew in one visit, because the service has other names than were read.
const ATTEMPTS: usize = 3;

impl Kind for ToolEnvSecret {
    fn cache(ctx: &Context) -> &Cache<Self> {
        &ctx.variables
    }

    fn tell_others(ctx: &Context, change: &Change<Self>) {
        ctx.tell_others_of_variables(change);
    }

    async fn apply(
        handle: &mut Handle<Self>,
        status: &mut ToolEnvSecretStatus,
        visit: Visit,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        let namespace = handle.namespace();
        let name = handle.object().spec.tool_ref.name.clone();
        let (tool, tool_id) = target(ctx.tools.get(&namespace, &name).as_ref(), &namespace, &name)?;
        let connection = connect(ctx, &tool).await?;
        status.organization = Some(connection.established.organization.clone());
        status.endpoint = Some(connection.established.endpoint.clone());
        status.tool_id = Some(tool_id.clone());
        let sync = Sync { tool_id: &tool_id, connection: &connection, ctx };
        if visit.settled && sync.is_as_sent(handle.object(), status) {
            return Ok(sync.ready(&handle.object().uid().unwrap_or_default(), status));
        }
        if !visit.settled {
            // One that is alone has nobody who could send its variables along, and saves a read of its Secrets.
            if sync.others(handle.object()).next().is_some() {
                sync.announce(handle, status).await?;
            }
            tokio::time::sleep(GATHERING).await;
        }
        let lock = ctx.sent.lock(&tool_id);
        let _turn = lock.lock().await;
        let members = sync.members(handle).await?;
        sync.run(handle, status, visit, members).await
    }

    async fn clean_up(
        handle: &mut Handle<Self>,
        status: &mut ToolEnvSecretStatus,
        ctx: &Context,
    ) -> Result<Outcome, Interrupt> {
        clean_up::clean_up(handle, status, ctx).await
    }
}

/// One synchronisation of a tool's variables.
struct Sync<'a> {
    tool_id: &'a str,
    connection: &'a Connection,
    ctx: &'a Context,
}

impl Sync<'_> {
    /// All ToolEnvSecrets of the tool; this object as it is in hand, the others as the cache shows them.
    async fn members(&self, handle: &Handle<ToolEnvSecret>) -> Result<Vec<Member>, Interrupt> {
        let mut members = vec![Member { in_hand: true, ..self.member(handle.object()).await? }];
        for other in self.others(handle.object()) {
            let member = match self.member(&other).await {
                Ok(member) => member,
                Err(error) => {
                    tracing::info!(kind = "ToolEnvSecret", namespace = other.namespace(), name = other.name_any(), %error, "its Secrets cannot be read; its variables are left alone");
                    Self::unreadable(&other)
                }
            };
            members.push(member);
        }
        Ok(members)
    }

    /// The other ToolEnvSecrets of the tool, but those that are going.
    fn others(&self, object: &ToolEnvSecret) -> impl Iterator<Item = Arc<ToolEnvSecret>> + use<> {
        let namespace = object.namespace().unwrap_or_default();
        let all = self.ctx.variables.by(&by_tool(&namespace, &object.spec.tool_ref.name));
        let uid = object.uid();
        all.into_iter().filter(move |other| other.uid() != uid && other.metadata.deletion_timestamp.is_none())
    }

    /// A member whose Secrets cannot be read keeps what it has, and holds nobody up.
    fn unreadable(object: &ToolEnvSecret) -> Member {
        let recorded = object.status.as_ref().map(|status| status.variables.clone()).unwrap_or_default();
        let held = recorded.iter().map(|variable| variable.name.clone()).collect();
        Member {
            uid: object.uid().unwrap_or_default(),
            name: object.name_any(),
            age: age(object),
            resolved: Resolved { held, hold_all: true, ..Resolved::default() },
            recorded,
            deletion_policy: object.spec.deletion_policy,
            acts: false,
            synced: false,
            in_hand: false,
        }
    }

    async fn member(&self, object: &ToolEnvSecret) -> Result<Member, Interrupt> {
        let secrets = read_secrets(object, self.ctx).await?;
        Ok(Member {
            uid: object.uid().unwrap_or_default(),
            name: object.name_any(),
            age: age(object),
            resolved: resolve(&object.spec, &secrets),
            recorded: object.status.as_ref().map(|status| status.variables.clone()).unwrap_or_default(),
            deletion_policy: object.spec.deletion_policy,
            acts: has_finalizer(object) && !object.spec.suspend && object.metadata.deletion_timestamp.is_none(),
            synced: is_synced(object, self.tool_id, &secrets),
            in_hand: false,
        })
    }

    async fn run(
        &self,
        handle: &mut Handle<ToolEnvSecret>,
        status: &mut ToolEnvSecretStatus,
        visit: Visit,
        mut members: Vec<Member>,
    ) -> Result<Outcome, Interrupt> {
        let uid = handle.object().uid().unwrap_or_default();
        let Some(own) = members.iter().find(|member| member.uid == uid).cloned() else {
            return Ok(Outcome::retrying("the object is not among those of its tool"));
        };
        self.recall(&members);
        let rewrite = self.until_rewrite(&uid, status).is_zero();
        let period = seconds(self.connection.object.spec.resync.tools_period_seconds);
        let settled = visit.settled && own.synced && self.all_sent(&own) && !rewrite && self.are_there(status);
        if settled {
            return Ok(self.ready(&uid, status));
        }
        let class = if visit.settled && rewrite { Class::Rewrite } else { Class::Interactive };
        // What the resync has read will do: where it is out of date the service refuses what follows from it. A read of ours
        // would hold a rotation up. Only what would be told to a person is looked up first.
        let mut age = if visit.requested { Duration::ZERO } else { period * 2 };
        for attempt in 1..=ATTEMPTS {
            let remote = self.remote_tool(age, Class::Interactive).await?;
            let plan = self.plan(handle.object(), &members, &remote, rewrite.then_some(uid.as_str())).await?;
            if !age.is_zero() && finds_fault(&plan, &own) {
                age = Duration::ZERO;
                continue;
            }
            self.write_ahead(handle, status, &plan).await?;
            let gone = self.gone(handle, &members, &plan.delta).await?;
            if !gone.is_empty() {
                members.retain(|member| !gone.contains(&member.uid));
                continue;
            }
            match self.send(handle, &members, &plan.delta, class).await? {
                Answer::Done => {
                    return Ok(self.settle(handle, status, &own, &plan).await);
                }
                Answer::Disagrees(problem) if attempt == ATTEMPTS => return Ok(problem),
                Answer::Disagrees(_) => age = Duration::ZERO,
            }
        }
        Ok(Outcome::retrying("the tool's variables change while they are sent"))
    }

    /// After a start, what the status says was sent counts as sent.
    fn recall(&self, members: &[Member]) {
        for member in members.iter().filter(|member| member.synced) {
            for (name, variable) in &member.resolved.variables {
                let at = &self.connection.established;
                let recorded = member.recorded.iter().any(|recorded| &recorded.name == name);
                if recorded && self.ctx.sent.is_last(at, self.tool_id, name, &variable.value).is_none() {
                    self.ctx.sent.note(at, self.tool_id, name, &variable.value);
                }
            }
        }
    }

    fn is_sent(&self, name: &str, value: &SecretString) -> bool {
        self.ctx.sent.is_last(&self.connection.established, self.tool_id, name, value) == Some(true)
    }

    fn all_sent(&self, own: &Member) -> bool {
        let names: BTreeSet<&String> = own.recorded.iter().map(|variable| &variable.name).collect();
        let wanted: BTreeSet<&String> = own.resolved.variables.keys().collect();
        names == wanted && own.resolved.variables.iter().all(|(name, variable)| self.is_sent(name, &variable.value))
    }

    /// Whether the tool, as the resync has last read it, has the variables that the status names.
    fn are_there(&self, status: &ToolEnvSecretStatus) -> bool {
        let known = self.ctx.remote.known_tool(&self.connection.established, self.tool_id).flatten();
        let has =
            |tool: &RemoteTool, v: &SyncedVariable| decide::remote_visibility(tool, &v.name) == Some(v.visibility);
        known.is_none_or(|tool| status.variables.iter().all(|variable| has(&tool, variable)))
    }

    async fn remote_tool(&self, age: Duration, class: Class) -> Result<Arc<RemoteTool>, Interrupt> {
        let tool = self.ctx.remote.tool(&self.connection.established, self.tool_id, age, class).await?;
        match tool {
            Some(tool) if !tool.deprecated => Ok(tool),
            Some(_) => Err(Outcome::waiting(Reason::ToolNotReady, "the remote tool is deprecated").into()),
            None => Err(Outcome::retrying("the service does not find the remote tool").into()),
        }
    }

    async fn plan(
        &self,
        object: &ToolEnvSecret,
        members: &[Member],
        remote: &RemoteTool,
        rewrite: Option<&str>,
    ) -> Result<Plan, Interrupt> {
        let versions = if decide::may_delete(members) {
            let at = &self.connection.established;
            Some(self.ctx.list_versions(object, at, self.tool_id, Duration::ZERO, Class::Interactive).await?.0)
        } else {
            None
        };
        let freshness = |uid: &str, name: &str, value: &SecretString| {
            if rewrite != Some(uid) && self.is_sent(name, value) { Freshness::Sent } else { Freshness::Unsent }
        };
        Ok(decide::decide(members, remote, versions.as_deref().map(Vec::as_slice), freshness))
    }

    /// Writes the object's new names down before it waits for others, so that whoever has the first turn can send them too.
    async fn announce(
        &self,
        handle: &mut Handle<ToolEnvSecret>,
        status: &mut ToolEnvSecretStatus,
    ) -> Result<(), Interrupt> {
        let members = self.members(handle).await?;
        let period = seconds(self.connection.object.spec.resync.tools_period_seconds);
        let remote = self.remote_tool(period * 2, Class::Interactive).await?;
        let plan = decide::decide(&members, &remote, None, |_, _, _| Freshness::Sent);
        self.write_ahead(handle, status, &plan).await
    }

    /// Names that are about to be inserted are written down first, so that a clean-up after a lost answer knows them.
    async fn write_ahead(
        &self,
        handle: &mut Handle<ToolEnvSecret>,
        status: &mut ToolEnvSecretStatus,
        plan: &Plan,
    ) -> Result<(), Interrupt> {
        let uid = handle.object().uid().unwrap_or_default();
        let Some(share) = plan.shares.get(&uid) else { return Ok(()) };
        self.connection.for_write(self.ctx)?;
        if !write_down(status, &share.variables) {
            return Ok(());
        }
        let message = "sends the variables".to_owned();
        let verdict = Verdict { state: State::Reconciling, reason: Reason::Progressing, message };
        handle.write_status(status.clone(), &verdict, self.ctx.clock.now()).await?;
        Ok(())
    }

    /// Which members, of those whose variables are about to be added, are there no more: a cache that is behind shows them,
    /// and nobody would ever remove what was added for them.
    async fn gone(
        &self,
        handle: &Handle<ToolEnvSecret>,
        members: &[Member],
        delta: &Delta,
    ) -> Result<BTreeSet<String>, Interrupt> {
        let adding = |member: &&Member| {
            let owns = |name: &String| owner_of(members, name).is_some_and(|owner| owner.uid == member.uid);
            delta.inserts.keys().any(owns)
        };
        let mut gone = BTreeSet::new();
        for member in members.iter().filter(adding) {
            if member.in_hand {
                handle.must_be_current().await?;
            } else if !handle.is_there(&member.name, &member.uid).await? {
                gone.insert(member.uid.clone());
            }
        }
        Ok(gone)
    }

    /// Sends one delta for the whole tool.
    async fn send(
        &self,
        handle: &Handle<ToolEnvSecret>,
        members: &[Member],
        delta: &Delta,
        class: Class,
    ) -> Result<Answer, Interrupt> {
        if delta.is_empty() {
            return Ok(Answer::Done);
        }
        let at = &self.connection.established;
        let permit = match self.ctx.claim(handle.object(), at, Operation::ModifyVariables, class) {
            Claim::Granted(permit) => permit,
            Claim::Queued { estimate } => return Err(Outcome::queued("send the variables", estimate).into()),
        };
        let body = body(members, delta);
        match self.connection.for_write(self.ctx)?.modify_variables(permit, self.tool_id, &body).await {
            Ok(()) => {
                self.sent(members, delta);
                Ok(Answer::Done)
            }
            Err(error) if matches!(error.status(), Some(400 | 409)) => {
                self.ctx.remote.forget_tool(at, self.tool_id);
                Ok(Answer::Disagrees(refused(error.status(), delta)))
            }
            Err(error) => {
                if error.effect() == Effect::Unknown {
                    let touched = delta.inserts.keys().chain(&delta.updates).chain(&delta.deletes);
                    touched.for_each(|name| self.ctx.sent.forget(at, self.tool_id, name));
                }
                self.ctx.remote.forget_tool(at, self.tool_id);
                Err(error.into())
            }
        }
    }

    /// Notes what the service has now.
    fn sent(&self, members: &[Member], delta: &Delta) {
        let at = &self.connection.established;
        let now = self.ctx.clock.now();
        let names: BTreeSet<&String> = delta.inserts.keys().chain(&delta.updates).collect();
        for member in members.iter().filter(|member| member.acts) {
            for (name, variable) in member.resolved.variables.iter().filter(|(name, _)| names.contains(name)) {
                if owner_of(members, name).is_some_and(|owner| owner.uid == member.uid) {
                    self.ctx.sent.note(at, self.tool_id, name, &variable.value);
                    self.ctx.sent.note_sender(at, self.tool_id, name, &member.uid);
                    self.ctx.sent.set_time(&member.uid, now);
                }
            }
        }
        for name in &delta.deletes {
            self.ctx.sent.forget(at, self.tool_id, name);
        }
        if !delta.inserts.is_empty() || !delta.deletes.is_empty() {
            self.ctx.sent.changed(self.tool_id);
        }
        self.ctx.remote.change_tool(at, self.tool_id, |tool| apply_names(tool, delta));
        tracing::info!(
            toolID = self.tool_id,
            inserted = delta.inserts.len(),
            updated = delta.updates.len(),
            deleted = delta.deletes.len(),
            "variables were sent"
        );
    }

    async fn settle(
        &self,
        handle: &Handle<ToolEnvSecret>,
        status: &mut ToolEnvSecretStatus,
        own: &Member,
        plan: &Plan,
    ) -> Outcome {
        let share = plan.shares.get(&own.uid).cloned().unwrap_or_default();
        let skipped: Vec<String> = own.resolved.skipped.iter().take(256).cloned().collect();
        if !skipped.is_empty() && skipped != status.skipped_keys {
            let note = format!("keys that cannot be names of variables are skipped: {}", skipped.join(", "));
            let now = self.ctx.clock.now();
            self.ctx.events.publish(handle.object(), events::Kind::Warning, Reason::KeysSkipped, &note, now).await;
        }
        status.skipped_keys = skipped;
        status.variables.clone_from(&share.variables);
        status.synced_generation = handle.object().metadata.generation;
        status.synced_secrets.clone_from(&own.resolved.secrets);
        status.last_sync_time = last_sync_time(status, self.ctx.sent.time(&own.uid), self.ctx.clock.now());
        problem(&share.problems).unwrap_or_else(|| self.ready(&own.uid, status))
    }

    /// Whether it can be told without a look at any Secret that all is as it was sent, and there.
    fn is_as_sent(&self, object: &ToolEnvSecret, status: &ToolEnvSecretStatus) -> bool {
        let (at, uid) = (&self.connection.established, object.uid().unwrap_or_default());
        let wanted = variables_secrets(object);
        let sent = &status.synced_secrets;
        let is_as_sent = |(namespace, name): &(String, String)| {
            let state = sent.iter().find(|secret| secret.name == *name);
            state.is_some_and(|s| self.ctx.secrets.is(namespace, name, &s.uid, &s.resource_version) == Some(true))
        };
        let recorded = object.status.as_ref().and_then(|status| status.tool_id.as_deref());
        recorded == Some(self.tool_id)
            && status.synced_generation == object.metadata.generation
            && wanted.len() == sent.len()
            && wanted.iter().all(is_as_sent)
            && self.are_there(status)
            && !status.variables.iter().any(|v| self.ctx.sent.is_of_another(at, self.tool_id, &v.name, &uid))
            && !self.until_rewrite(&uid, status).is_zero()
    }

    fn ready(&self, uid: &str, status: &ToolEnvSecretStatus) -> Outcome {
        let again = self.until_rewrite(uid, status);
        let count = status.variables.len();
        let message = format!("{count} {} in the service", if count == 1 { "variable is" } else { "variables are" });
        Outcome::ready(message, again)
    }

    /// How long until everything is sent again, because values cannot be read back.
    fn until_rewrite(&self, uid: &str, status: &ToolEnvSecretStatus) -> Duration {
        let period = self.connection.object.spec.resync.variables_rewrite_period_seconds;
        let last = status.last_sync_time.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        let anything = period > 0 && !status.variables.is_empty();
        let (Some(last), true) = (self.ctx.sent.time(uid).or(last), anything) else { return Duration::MAX };
        let period = SignedDuration::try_from(jittered(uid, seconds(period))).unwrap_or(SignedDuration::MAX);
        Duration::try_from(period - self.ctx.clock.now().duration_since(last)).unwrap_or(Duration::ZERO)
    }
}

/// When the variables were last sent: as this process knows, or as the status says. Those that were there already count from now.
fn last_sync_time(status: &ToolEnvSecretStatus, sent: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let known = sent.map(|sent| sent.to_string()).or_else(|| status.last_sync_time.clone());
    known.or_else(|| (!status.variables.is_empty()).then(|| now.to_string()))
}

/// Adds variables that are about to be sent for the first time to what the status names; whether there are any. Until they
/// are sent the status must not say that all of it was: a variable can come to an object whose manifest and Secrets stay
/// the same, when the older object that had it goes.
fn write_down(status: &mut ToolEnvSecretStatus, variables: &[SyncedVariable]) -> bool {
    let is_new = |variable: &&SyncedVariable| !status.variables.iter().any(|v| v.name == variable.name);
    let new: Vec<SyncedVariable> = variables.iter().filter(is_new).cloned().collect();
    if new.is_empty() {
        return false;
    }
    status.variables.extend(new);
    status.variables.sort_by(|a, b| a.name.cmp(&b.name));
    status.synced_generation = None;
    true
}

/// Whether the plan finds more in the object's way than its manifest and Secrets alone.
fn finds_fault(plan: &Plan, own: &Member) -> bool {
    plan.shares.get(&own.uid).is_some_and(|share| share.problems != own.resolved.problems)
}

/// How the service took a delta.
enum Answer {
    Done,
    /// It has other names than were read; if that stays so, this is the outcome.
    Disagrees(Outcome),
}

/// The Secrets that an object names, read one by one.
async fn read_secrets(object: &ToolEnvSecret, ctx: &Context) -> Result<Secrets, Interrupt> {
    let mut all = Secrets::new();
    for (namespace, name) in variables_secrets(object) {
        let secret = ctx.read_secret(&namespace, &name).await?;
        all.insert(name, secret);
    }
    Ok(all)
}

/// Whether the status says that this very state of manifest and Secrets was sent to this tool.
fn is_synced(object: &ToolEnvSecret, tool_id: &str, secrets: &Secrets) -> bool {
    let Some(status) = &object.status else { return false };
    status.tool_id.as_deref() == Some(tool_id)
        && status.synced_generation == object.metadata.generation
        && status.synced_secrets == resolve(&object.spec, secrets).secrets
        && secrets.values().all(|found| found.here().is_some())
}

/// The member that may set a variable: the oldest that names it.
fn owner_of<'m>(members: &'m [Member], name: &str) -> Option<&'m Member> {
    members.iter().filter(|member| member.resolved.names(name)).min_by(|a, b| a.age.cmp(&b.age))
}

/// The body of the call: the only place where values are looked up by name.
fn body(members: &[Member], delta: &Delta) -> VariablesDelta {
    let value = |name: &str| {
        let variable = owner_of(members, name).and_then(|owner| owner.resolved.variables.get(name));
        variable.map(|variable| variable.value.clone())
    };
    VariablesDelta {
        inserts: delta
            .inserts
            .iter()
            .filter_map(|(name, visibility)| {
                let is_secret = *visibility == Visibility::Secret;
                Some(InsertVariable { name: name.clone(), value: value(name)?, is_secret })
            })
            .collect(),
        updates: delta
            .updates
            .iter()
            .filter_map(|name| Some(UpdateVariable { name: name.clone(), value: value(name)? }))
            .collect(),
        deletes: delta.deletes.iter().map(|name| DeleteVariable { name: name.clone() }).collect(),
    }
}

/// What a refused delta means if it stays refused on a fresh read. Its text is never looked at: it may echo values.
fn refused(status: Option<u16>, delta: &Delta) -> Outcome {
    let names = delta.inserts.keys().cloned().collect::<Vec<_>>().join(", ");
    if status == Some(409) && !delta.inserts.is_empty() {
        return Outcome::Retrying {
            reason: Reason::VariableBlocked,
            message: format!(
                "the service refuses to add {names} for now; a name that was deleted is blocked for a while"
            ),
            after: Duration::from_secs(15),
        };
    }
    Outcome::retrying("the service refused the change of variables, as it has other names or versions than were read")
}

fn apply_names(tool: &mut RemoteTool, delta: &Delta) {
    for (name, visibility) in &delta.inserts {
        match visibility {
            Visibility::Plain => tool.envvars.push(name.clone()),
            Visibility::Secret => tool.secret_envvars.push(name.clone()),
        }
    }
    tool.envvars.retain(|name| !delta.deletes.contains(name));
    tool.secret_envvars.retain(|name| !delta.deletes.contains(name));
}

/// The outcome of a member with problems: the gravest decides the reason, the message has them all.
fn problem(problems: &BTreeSet<Problem>) -> Option<Outcome> {
    let gravest = problems.iter().map(|problem| problem.reason).min_by_key(|reason| gravity(*reason))?;
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| gravity(problem.reason));
    let message = sorted.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
    Some(match gravest {
        Reason::SecretAccessDenied
        | Reason::SecretNotFound
        | Reason::SecretNotLabelled
        | Reason::SecretKeyNotFound
        | Reason::VariableInUse => of_obstacle(gravest, message),
        _ => Outcome::stalled(gravest, message),
    })
}

/// The order in which problems matter.
const fn gravity(reason: Reason) -> u8 {
    match reason {
        // Before those that wait: nobody tells when the permission is there.
        Reason::SecretAccessDenied => 0,
        Reason::SecretNotFound | Reason::SecretNotLabelled => 1,
        Reason::SecretKeyNotFound => 2,
        Reason::SecretValueInvalid => 3,
        Reason::VisibilityMismatch => 4,
        Reason::VariableConflict => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_was_sent_where_no_variable_is_there() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let some = vec![SyncedVariable { name: "A".into(), visibility: Visibility::Plain }];
        for (variables, before, sent, expected) in [
            (vec![], None, None, None),
            (some.clone(), None, None, Some(at(9))),
            (some.clone(), Some(at(3)), None, Some(at(3))),
            (some, Some(at(3)), Some(at(5)), Some(at(5))),
            (vec![], Some(at(3)), None, Some(at(3))),
        ] {
            let last_sync_time = before.map(|before: Timestamp| before.to_string());
            let status = ToolEnvSecretStatus { variables, last_sync_time, ..ToolEnvSecretStatus::default() };
            let expected = expected.map(|at: Timestamp| at.to_string());
            assert_eq!(super::last_sync_time(&status, sent, at(9)), expected, "{status:?} {sent:?}");
        }
    }

    #[test]
    fn the_gravest_problem_decides_and_all_are_told() {
        let outcome = |reasons: &[Reason]| {
            let problems = reasons.iter().map(|reason| Problem::new(*reason, format!("of {reason}")));
            problem(&problems.collect())
        };
        assert_eq!(outcome(&[]), None);
        let (denied, absent) = (Reason::SecretAccessDenied, Reason::SecretNotFound);
        let both = "of SecretAccessDenied; of SecretNotFound".to_owned();
        let tried = Outcome::Retrying { reason: denied, message: both, after: Duration::ZERO };
        assert_eq!(outcome(&[absent, denied]), Some(tried), "nobody tells when a permission is there");
        assert_eq!(outcome(&[absent]), Some(Outcome::waiting(absent, "of SecretNotFound")));
        let in_use = Reason::VariableInUse;
        assert_eq!(outcome(&[in_use]), Some(Outcome::waiting(in_use, "of VariableInUse")));
        let conflict = Reason::VariableConflict;
        assert_eq!(outcome(&[conflict]), Some(Outcome::stalled(conflict, "of VariableConflict")));
    }

    #[test]
    fn what_is_about_to_be_sent_does_not_count_as_sent() {
        let variable = |name: &str| SyncedVariable { name: name.into(), visibility: Visibility::Plain };
        let before = ToolEnvSecretStatus {
            variables: vec![variable("B")],
            synced_generation: Some(1),
            ..ToolEnvSecretStatus::default()
        };
        let mut status = before.clone();
        assert!(!write_down(&mut status, &[variable("B")]) && status == before);
        assert!(write_down(&mut status, &[variable("A"), variable("B")]));
        assert_eq!(status.variables, [variable("A"), variable("B")]);
        assert_eq!(status.synced_generation, None);
    }
}
