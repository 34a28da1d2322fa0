//! The leader lease. Only its holder writes; a holder that cannot renew knows it before anybody else can take over. No
//! clocks of different machines are compared: a candidate measures on its own clock how long a record stays the same.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::object::{self, bounded};
use crate::clock::Clock;

/// Name of the Lease.
pub const NAME: &str = "amigo-operator";

/// How long a record must stay unchanged before another may take the lease.
const LEASE: Duration = Duration::from_secs(15);

/// How long a holder may act on one successful renewal, from the start of its request. Below [`LEASE`].
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Pause between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Longest duration of one attempt.
const ATTEMPT: Duration = Duration::from_secs(4);

/// What to do about the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// Nobody holds it, or the holder has not renewed for as long as it promised: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// Decides on the lease as it was read. `seen` is when this process first saw the record as it is now.
#[must_use]
pub fn decide(now: Instant, me: &str, lease: Option<&LeaseSpec>, seen: Instant) -> Step {
    let Some(spec) = lease else { return Step::Create };
    let promised = Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().max(0).unsigned_abs().into());
    match spec.holder_identity.as_deref() {
        None | Some("") => Step::Take,
        Some(holder) if holder == me => Step::Renew,
        Some(_) if now.duration_since(seen) >= promised => Step::Take,
        Some(_) => Step::Wait,
    }
}

/// Until when this process is the leader; `None` when it is not. Ask it before every write.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// The leadership of a process that shares its work with nobody.
    #[must_use]
    pub fn unconditional() -> Self {
        let for_ever = Instant::now() + Duration::from_secs(86_400 * 365 * 30);
        let (sender, receiver) = watch::channel(Some(for_ever));
        drop(sender);
        Self(receiver)
    }

    /// Whether this process may write now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process is the leader.
    pub async fn gained(&mut self) {
        while !self.is_leader() {
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until this process is not the leader any more.
    pub async fn lost(&mut self) {
        loop {
            let Some(until) = *self.0.borrow_and_update() else { return };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => if !self.is_leader() { return },
                changed = self.0.changed() => if changed.is_err() { tokio::time::sleep_until(until).await; return },
            }
        }
    }
}

/// A candidate for the lease.
pub struct Candidate {
    api: Api<Lease>,
    me: String,
    clock: Clock,
    valid_until: watch::Sender<Option<Instant>>,
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// A candidate for the lease in `namespace`; `me` is unique to this process.
    #[must_use]
    pub fn new(client: Client, namespace: &str, me: String, clock: Clock) -> (Self, Leadership) {
        let (valid_until, receiver) = watch::channel(None);
        let api = Api::namespaced(client, namespace);
        (Self { api, me, clock, valid_until, seen: None }, Leadership(receiver))
    }

    /// Takes and renews the lease until `stop`, then gives it up.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let started = Instant::now();
            match tokio::time::timeout(ATTEMPT, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.valid_until.send_replace(Some(started + RENEW_DEADLINE));
                }
                Ok(Ok(false)) => {
                    self.valid_until.send_replace(None);
                }
                Ok(Err(error)) => tracing::warn!(%error, "the leader lease could not be read or written"),
                Err(_) => tracing::warn!("the API server gave no answer about the leader lease in time"),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => break,
            }
        }
        let was_leader = self.valid_until.send_replace(None).is_some();
        if was_leader {
            let _ = tokio::time::timeout(ATTEMPT, self.give_up()).await;
        }
    }

    /// One look at the lease; whether this process holds it afterwards.
    async fn attempt(&mut self) -> Result<bool, object::Error> {
        let found = object::get_opt(&self.api, NAME).await?;
        let spec = found.as_ref().and_then(|lease| lease.spec.clone());
        let seen = self.first_seen(spec.as_ref());
        match decide(Instant::now(), &self.me, spec.as_ref(), seen) {
            Step::Wait => Ok(false),
            Step::Create => {
                let lease = self.record(None, self.me.clone(), None);
                Self::written(bounded(self.api.create(&PostParams::default(), &lease)).await)
            }
            Step::Take | Step::Renew => self.replace(found, self.me.clone()).await,
        }
    }

    async fn give_up(&mut self) -> Result<bool, object::Error> {
        let found = object::get_opt(&self.api, NAME).await?;
        let holder = found.as_ref().and_then(|l| l.spec.as_ref()).and_then(|s| s.holder_identity.as_deref());
        if holder != Some(self.me.as_str()) {
            return Ok(false);
        }
        self.replace(found, String::new()).await
    }

    /// Writes the lease with the resourceVersion just read: of two that try, one loses.
    async fn replace(&self, found: Option<Lease>, holder: String) -> Result<bool, object::Error> {
        let Some(found) = found else { return Ok(false) };
        let lease = self.record(found.metadata.resource_version, holder, found.spec);
        Self::written(bounded(self.api.replace(NAME, &PostParams::default(), &lease)).await)
    }

    fn written(answer: Result<Lease, object::Error>) -> Result<bool, object::Error> {
        match answer {
            Ok(_) => Ok(true),
            Err(object::Error::Server(error)) if is_lost_race(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn record(&self, resource_version: Option<String>, holder: String, previous: Option<LeaseSpec>) -> Lease {
        let now = MicroTime(self.clock.now());
        let previous = previous.unwrap_or_default();
        let renewed = previous.holder_identity.as_deref() == Some(holder.as_str());
        let transitions = previous.lease_transitions.unwrap_or_default();
        Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), resource_version, ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: if renewed { previous.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(if renewed { transitions } else { transitions.saturating_add(1) }),
                ..LeaseSpec::default()
            }),
        }
    }

    fn first_seen(&mut self, spec: Option<&LeaseSpec>) -> Instant {
        let now = Instant::now();
        match (&self.seen, spec) {
            (Some((known, since)), Some(spec)) if known == spec => *since,
            (_, Some(spec)) => {
                self.seen = Some((spec.clone(), now));
                now
            }
            (_, None) => {
                self.seen = None;
                now
            }
        }
    }
}

fn is_lost_race(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}

/// A name for this process that no other has: the pod's or host's name and a random suffix.
#[must_use]
pub fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "operator".into());
    format!("{host}_{:08x}{:08x}", rand::random::<u32>(), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, seconds: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn decides_on_every_state_of_the_lease() {
        let seen = Instant::now();
        let later = |seconds| seen + Duration::from_secs(seconds);
        let table = [
            (None, later(0), Step::Create),
            (Some(spec("", 15)), later(0), Step::Take),
            (Some(spec("me", 15)), later(100), Step::Renew),
            (Some(spec("other", 15)), later(14), Step::Wait),
            (Some(spec("other", 15)), later(15), Step::Take),
            (Some(spec("other", 60)), later(15), Step::Wait),
            (Some(spec("other", -1)), later(0), Step::Take),
        ];
        for (lease, now, expected) in table {
            assert_eq!(decide(now, "me", lease.as_ref(), seen), expected, "{lease:?}");
        }
    }

    #[test]
    fn a_holder_stops_before_another_may_take_over() {
        assert!(RENEW_DEADLINE < LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_ends_by_itself_when_it_is_not_renewed() {
        let (sender, receiver) = watch::channel(Some(Instant::now() + RENEW_DEADLINE));
        let mut leadership = Leadership(receiver);
        assert!(leadership.is_leader());
        leadership.lost().await;
        assert!(!leadership.is_leader());
        drop(sender);
    }
}
