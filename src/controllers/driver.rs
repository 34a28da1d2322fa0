//! The steps that every reconcile goes through, whatever the kind: suspended, deleting or to be applied; then the status,
//! in one place, on success and failure alike; then when to look again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::ResourceExt;

use super::Context;
use super::ending::{Again, End, Ending};
use super::memory::{LONGEST_RETRY, jittered};
use super::outcome::{Interrupt, NOT_LEADER_LOOK, Outcome, STALLED_LOOK, WAITING_LOOK, of_service_error};
use super::wake::is_edited;
use crate::kubernetes::conditions::{MESSAGE_LIMIT, State, Verdict};
use crate::kubernetes::events;
use crate::kubernetes::object::{self, Handle, Witness};
use crate::kubernetes::watch::{Cache, Change};
use crate::resources::annotations;
use crate::resources::{CommonStatus, Reason, Resource};
use crate::scope::{Scope, Subject};
use crate::text::short;

/// What a kind does; the rest is common.
pub trait Kind: Resource {
    /// The objects of this kind.
    fn cache(ctx: &Context) -> &Cache<Self>;

    /// Wakes others that a change concerns.
    fn tell_others(ctx: &Context, change: &Change<Self>);

    /// Whether a new object that becomes Ready is worth an Event.
    const READY_IS_NEWS: bool = false;

    /// Longest delay after a failure.
    const LONGEST_RETRY: Duration = LONGEST_RETRY;

    /// Makes the service match the manifest, as far as it goes in one visit, and fills in the status.
    fn apply(
        handle: &mut Handle<Self>,
        status: &mut Self::Status,
        visit: Visit,
        ctx: &Context,
    ) -> impl Future<Output = Result<Outcome, Interrupt>> + Send;

    /// Does what is left to do remotely before the object may go: [`Outcome::Gone`] lets it go.
    fn clean_up(
        handle: &mut Handle<Self>,
        status: &mut Self::Status,
        ctx: &Context,
    ) -> impl Future<Output = Result<Outcome, Interrupt>> + Send;
}

/// Why an object is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// A person asked for it by annotation: read the remote state afresh, and try again also out of Stalled.
    pub requested: bool,
    /// The object was Ready at this very generation: only what is due is looked at.
    pub settled: bool,
}

/// A new object that waits for others, which are new as well as a rule, says so after this time only: most have what they wait
/// for by then, and each write counts where thousands of objects are applied.
const GRACE: Duration = Duration::from_secs(10);

/// Reconciles one object, and says when to look again. A panic stays its own.
pub async fn reconcile<K: Kind>(object: Arc<K>, ctx: Arc<Context>) -> Again {
    let mut span = ctx.traces.reconcile(object.as_ref());
    let scope = Scope::new(Arc::clone(&object) as Arc<dyn Subject>, span.context());
    let looked = async {
        let timer = ctx.metrics.reconcile_started(&K::kind(&()));
        let uid = object.uid().unwrap_or_default();
        let ending = match AssertUnwindSafe(visit(object, &ctx)).catch_unwind().await {
            Ok(ending) => ending,
            Err(_) => Ending {
                end: End::Panicked,
                reason: None,
                text: String::new(),
                again: Some(ctx.memory.failed(&uid, K::LONGEST_RETRY)),
            },
        };
        ending.log();
        span.ended(&ending);
        timer.ended(ending.ended());
        ending.again
    };
    scope.of(looked).await
}

async fn visit<K: Kind>(object: Arc<K>, ctx: &Arc<Context>) -> Ending {
    let uid = object.uid().unwrap_or_default();
    let witness = Arc::new(WriteThrough(Arc::clone(ctx)));
    let mut handle = Handle::new(ctx.client.clone(), ctx.may_write(), witness, (*object).clone());
    ctx.memory.visits(&uid);
    let mut status = handle.status();
    let requested = handle.requested();
    let is_requested = requested.is_some();
    let outcome = match steps(&mut handle, &mut status, is_requested, ctx).await {
        Ok(outcome) => outcome,
        Err(interrupt) => match outcome_of(interrupt, &handle, ctx) {
            Ok(outcome) => outcome,
            Err(error) => return failed::<K>(&error, &uid, ctx),
        },
    };
    if !outcome.keeps_places() {
        ctx.places.give_up(&uid);
    }
    if let Outcome::Gone { message } = &outcome {
        return let_go(handle, message, ctx).await;
    }
    if let Some(requested) =
        requested.filter(|_| !matches!(outcome, Outcome::Suspended { .. } | Outcome::Unchanged { .. }))
    {
        status.set_last_handled_reconcile_at(Some(requested));
    }
    let Some(verdict) = outcome.verdict() else {
        ctx.memory.left(&uid, &handle.status());
        let again = next::<K>(&outcome, &uid, ctx);
        return Ending { end: End::Unchanged, reason: None, text: String::new(), again };
    };
    if verdict.state == State::Stalled {
        ctx.metrics.reconcile_stalled(&K::kind(&()));
    }
    let grace = GRACE.saturating_sub(ctx.memory.known_for(&uid));
    if !is_requested && is_passing(&verdict, handle.object()) && !grace.is_zero() {
        ctx.memory.left(&uid, &handle.status());
        let again = next::<K>(&outcome, &uid, ctx).map(|again| again.min(grace));
        return Ending { end: End::Unchanged, reason: Some(verdict.reason), text: verdict.message, again };
    }
    let (before, now) = (handle.object().clone(), ctx.clock.now());
    match handle.write_status(status, &verdict, now).await {
        Ok(true) => announce(&before, &verdict, ctx).await,
        Ok(false) => ctx.memory.left(&uid, &handle.status()),
        Err(error) => return failed::<K>(&error, &uid, ctx),
    }
    let end = match outcome {
        Outcome::Retrying { .. } => End::Failed,
        _ => End::of(object.condition("Ready"), &verdict, object.meta().generation),
    };
    let again = next::<K>(&outcome, &uid, ctx);
    Ending { end, reason: Some(verdict.reason), text: verdict.message, again }
}

/// What is written is in the cache at once, and wakes whom it concerns without the detour of the watch.
struct WriteThrough(Arc<Context>);

impl<K: Kind> Witness<K> for WriteThrough {
    fn writes(&self, object: &K, status: &K::Status) {
        self.0.memory.left(&object.uid().unwrap_or_default(), status);
    }

    fn wrote(&self, object: &K) {
        if let Some(change) = K::cache(&self.0).wrote(object.clone()) {
            K::tell_others(&self.0, &change);
            if is_edited(&change) {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                self.0.queues.push(&K::kind(&()), &namespace, &name);
            }
        }
    }
}

/// The one decision that all kinds share: what is to be done with the object at all.
async fn steps<K: Kind>(
    handle: &mut Handle<K>,
    status: &mut K::Status,
    requested: bool,
    ctx: &Context,
) -> Result<Outcome, Interrupt> {
    let deleting = handle.object().meta().deletion_timestamp.is_some();
    match (deleting, handle.has_finalizer(), handle.object().suspended()) {
        (true, false, _) => Ok(Outcome::Unchanged { again: STALLED_LOOK }),
        (true, true, _) if annotations::is_abandoned(handle.object()) => {
            Ok(Outcome::Gone { message: "abandoned: nothing was done remotely".into() })
        }
        (true, true, _) => K::clean_up(handle, status, ctx).await,
        (false, _, true) => Ok(Outcome::Suspended { message: "`spec.suspend` is true".into(), edits: 1 }),
        (false, _, false) => {
            handle.ensure_finalizer().await?;
            let visit = Visit { requested, settled: !requested && handle.object().is_ready() };
            K::apply(handle, status, visit, ctx).await
        }
    }
}

/// Turns what ended a reconcile early into an outcome; failures of the API server stay errors.
fn outcome_of<K: Kind>(interrupt: Interrupt, handle: &Handle<K>, ctx: &Context) -> Result<Outcome, object::Error> {
    match interrupt {
        Interrupt::Outcome(outcome) => Ok(outcome),
        // The server refused a read, for want of a permission perhaps: that belongs into the status.
        Interrupt::Kubernetes(object::Error::Server(error)) if matches!(*error, kube::Error::Api(_)) => {
            Ok(Outcome::retrying(object::Error::Server(error).to_string()))
        }
        Interrupt::Kubernetes(error) => Err(error),
        Interrupt::Service(error) => {
            ctx.call_failed(handle.object(), &error);
            let outcome = of_service_error(&error);
            if handle.object().meta().deletion_timestamp.is_none() {
                return Ok(outcome);
            }
            Ok(blocked(outcome))
        }
    }
}

/// A clean-up that fails says that it blocks the deletion, and why.
fn blocked(outcome: Outcome) -> Outcome {
    let message = |message: &str| {
        format!("{message}; set `deletionPolicy: Retain` or annotate `amigo.ai/abandon: \"true\"` to let the object go")
    };
    match outcome {
        Outcome::Stalled { message: text, .. } | Outcome::Waiting { message: text, .. } => {
            Outcome::waiting(Reason::DeletionBlocked, message(&text))
        }
        Outcome::Retrying { message: text, after, .. } => {
            Outcome::Retrying { reason: Reason::DeletionBlocked, message: message(&text), after }
        }
        other => other,
    }
}

async fn let_go<K: Kind>(mut handle: Handle<K>, message: &str, ctx: &Context) -> Ending {
    let uid = handle.object().uid().unwrap_or_default();
    match handle.remove_finalizer().await {
        Ok(()) => {
            ctx.memory.forget(&uid);
            Ending { end: End::CleanedUp, reason: None, text: message.to_owned(), again: None }
        }
        Err(error) => failed::<K>(&error, &uid, ctx),
    }
}

/// Whether a verdict only says that others come first, and takes nothing back that the status says.
fn is_passing<K: Kind>(verdict: &Verdict, object: &K) -> bool {
    let others_first = matches!(
        verdict.reason,
        Reason::Progressing | Reason::ToolNotReady | Reason::VariablesNotSynced | Reason::VersionPending
    );
    others_first && verdict.state == State::Reconciling && !object.is_ready() && !object.is_stalled()
}

/// Reasons that are no news: what they wait for tells itself, or is in the status of the object.
const ROUTINE: [Reason; 7] = [
    Reason::Progressing,
    Reason::Publishing,
    Reason::QueuedForBudget,
    Reason::VersionPending,
    Reason::VariablesNotSynced,
    Reason::ToolNotReady,
    Reason::OrganizationNotReady,
];

/// Whether an outcome is worth an Event: a change of it that is no routine. That a new object is Ready is routine as well,
/// unless its kind makes an Event of it.
fn is_news<K: Kind>(before: &K, verdict: &Verdict) -> bool {
    let is_routine = |reason: &str| ROUTINE.iter().any(|routine| routine.as_str() == reason);
    let known = before.condition("Ready").map(|c| (c.status.as_str() == "True", c.reason.as_str()));
    let is_ready = verdict.state == State::Ready;
    let went_well = is_ready && !K::READY_IS_NEWS && known.is_none_or(|(_, reason)| is_routine(reason));
    known != Some((is_ready, verdict.reason.as_str())) && !is_routine(verdict.reason.as_str()) && !went_well
}

/// One Event for each outcome that is news.
async fn announce<K: Kind>(before: &K, verdict: &Verdict, ctx: &Context) {
    if !is_news(before, verdict) {
        return;
    }
    let kind = match (verdict.state, verdict.reason) {
        (State::Ready, Reason::Succeeded) | (State::Suspended { .. }, _) => events::Kind::Normal,
        (State::Ready | State::Reconciling | State::Stalled, _) => events::Kind::Warning,
    };
    ctx.events.publish(before, kind, verdict.reason, &verdict.message, ctx.clock.now()).await;
}

/// How a reconcile ends that the API server did not let come to its end.
fn failed<K: Kind>(error: &object::Error, uid: &str, ctx: &Context) -> Ending {
    match error {
        object::Error::Gone(_) => Ending::overtaken(None),
        // Should the lease be renewed after all, what could not be written is written soon.
        object::Error::NotLeader => Ending::overtaken(Some(NOT_LEADER_LOOK)),
        // The cache is behind: its next event brings the object again.
        object::Error::Changed(_) => Ending::overtaken(Some(Duration::from_secs(1))),
        object::Error::Server(_) | object::Error::Timeout => {
            Ending::failed(short(&error.to_string(), MESSAGE_LIMIT), ctx.memory.failed(uid, K::LONGEST_RETRY))
        }
    }
}

/// When to look again.
fn next<K: Kind>(outcome: &Outcome, uid: &str, ctx: &Context) -> Again {
    let again = match outcome {
        Outcome::Retrying { after, .. } => return Some(ctx.memory.failed(uid, K::LONGEST_RETRY).max(*after)),
        Outcome::Ready { again, .. } | Outcome::Working { again, .. } | Outcome::Unchanged { again } => *again,
        Outcome::Waiting { .. } => jittered(uid, WAITING_LOOK),
        Outcome::Stalled { .. } => jittered(uid, STALLED_LOOK),
        Outcome::Suspended { .. } | Outcome::Gone { .. } => return None,
    };
    ctx.memory.succeeded(uid);
    Some(again.max(Duration::from_millis(100)))
}
