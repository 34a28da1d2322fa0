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
    name: String,
    me: String,
    clock: Clock,
    valid_until: watch::Sender<Option<Instant>>,
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// A candidate for the lease of this name in `namespace`; `me` is unique to this process.
    #[must_use]
    pub fn new(client: Client, (namespace, name): (&str, &str), me: String, clock: Clock) -> (Self, Leadership) {
        let (valid_until, receiver) = watch::channel(None);
        let api = Api::namespaced(client, namespace);
        (Self { api, name: name.to_owned(), me, clock, valid_until, seen: None }, Leadership(receiver))
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
        let found = object::get_opt(&self.api, &self.name).await?;
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
        let found = object::get_opt(&self.api, &self.name).await?;
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
        Self::written(bounded(self.api.replace(&self.name, &PostParams::default(), &lease)).await)
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
            metadata: ObjectMeta { name: Some(self.name.clone()), resource_version, ..ObjectMeta::default() },
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

    #[tokio::test(start_paused = true)]
    async fn a_process_leads_until_the_time_of_its_last_renewal_and_not_at_it() {
        let (sender, receiver) = watch::channel(None);
        let leadership = Leadership(receiver);
        assert!(!leadership.is_leader());
        sender.send_replace(Some(Instant::now() + RENEW_DEADLINE));
        tokio::time::advance(RENEW_DEADLINE.saturating_sub(Duration::from_nanos(1))).await;
        assert!(leadership.is_leader());
        tokio::time::advance(Duration::from_nanos(1)).await;
        assert!(!leadership.is_leader());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_shares_its_work_with_nobody_leads_for_decades() {
        let leadership = Leadership::unconditional();
        assert!(leadership.is_leader());
        tokio::time::advance(Duration::from_secs(20 * 365 * 86_400)).await;
        assert!(leadership.is_leader());
    }

    /// How long `wait` takes, in seconds; `None` when it does not end within an hour.
    async fn takes(wait: impl Future<Output = ()>) -> Option<u64> {
        let started = Instant::now();
        let ended = tokio::time::timeout(Duration::from_secs(3600), wait).await;
        ended.ok().map(|()| started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_is_gained_with_the_first_renewal() {
        let (sender, receiver) = watch::channel(None);
        let mut leadership = Leadership(receiver);
        assert_eq!(takes(leadership.gained()).await, None);
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                sender.send_replace(None);
            }
            sender.send_replace(Some(Instant::now() + RENEW_DEADLINE));
        });
        assert_eq!(takes(leadership.gained()).await, Some(15));
        assert_eq!(takes(leadership.gained()).await, Some(0));
        tokio::time::advance(RENEW_DEADLINE).await;
        assert_eq!(takes(leadership.gained()).await, None, "nobody renews any more");
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_is_lost_when_it_is_not_renewed_in_time_or_given_up() {
        let renewals = [(8, true), (8, true), (3, false)];
        for (count, lost_after) in [(0, 10), (1, 18), (2, 26), (3, 19)] {
            let (sender, receiver) = watch::channel(Some(Instant::now() + RENEW_DEADLINE));
            let mut leadership = Leadership(receiver);
            tokio::spawn(async move {
                for (pause, renewed) in &renewals[..count] {
                    tokio::time::sleep(Duration::from_secs(*pause)).await;
                    sender.send_replace(renewed.then(|| Instant::now() + RENEW_DEADLINE));
                }
                std::future::pending::<()>().await;
            });
            assert_eq!(takes(leadership.lost()).await, Some(lost_after), "{count}");
        }
    }

    fn candidate(me: &str) -> Candidate {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is there"))
        });
        let clock = Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        Candidate::new(Client::new(nobody, "amigo"), ("amigo", "leads"), me.to_owned(), clock).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_as_old_as_this_process_has_seen_it_unchanged() {
        let mut candidate = candidate("me");
        let started = Instant::now();
        let mut seen = async |spec: Option<&LeaseSpec>| {
            let seen = candidate.first_seen(spec);
            tokio::time::advance(Duration::from_secs(1)).await;
            seen.duration_since(started).as_secs()
        };
        let (one, two) = (spec("one", 15), spec("two", 15));
        for (second, record, since) in [
            (0, Some(&one), 0),
            (1, Some(&one), 0),
            (2, Some(&two), 2),
            (3, Some(&two), 2),
            (4, None, 4),
            (5, None, 5),
            (6, Some(&two), 6),
            (7, Some(&one), 7),
            (8, Some(&one), 7),
        ] {
            assert_eq!(seen(record).await, since, "second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_tells_who_holds_the_lease_since_when_and_how_often_it_changed_hands() {
        let candidate = candidate("me");
        let time = |second| MicroTime(jiff::Timestamp::from_second(second).unwrap());
        let before = |holder: &str| LeaseSpec {
            acquire_time: Some(time(-500)),
            renew_time: Some(time(-7)),
            lease_transitions: Some(3),
            ..spec(holder, 60)
        };
        for (what, previous, acquired, transitions) in [
            ("new", None, 0, 1),
            ("taken", Some(before("other")), 0, 4),
            ("taken after it was given up", Some(before("")), 0, 4),
            ("renewed", Some(before("me")), -500, 3),
        ] {
            let lease = candidate.record(Some("7".into()), "me".into(), previous);
            assert_eq!(lease.metadata.name.as_deref(), Some("leads"), "{what}");
            assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"), "{what}");
            let expected = LeaseSpec {
                acquire_time: Some(time(acquired)),
                renew_time: Some(time(0)),
                lease_transitions: Some(transitions),
                ..spec("me", 15)
            };
            assert_eq!(lease.spec, Some(expected), "{what}");
        }
    }

    #[test]
    fn only_a_lost_race_is_no_error() {
        let answer = |code: u16, reason: &str| {
            let status = serde_json::json!({"status": "Failure", "message": "", "reason": reason, "code": code});
            let status = serde_json::from_value(status).unwrap();
            Candidate::written(Err(object::Error::Server(Box::new(kube::Error::Api(status)))))
        };
        assert!(matches!(Candidate::written(Ok(Lease::default())), Ok(true)));
        for (code, reason) in [(409, "Conflict"), (409, "AlreadyExists")] {
            assert!(matches!(answer(code, reason), Ok(false)), "{reason}");
        }
        for (code, reason) in [(403, "Forbidden"), (404, "NotFound"), (500, "InternalError")] {
            assert!(answer(code, reason).is_err(), "{reason}");
        }
    }

    #[test]
    fn no_two_processes_have_one_name() {
        assert_ne!(identity(), identity());
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
