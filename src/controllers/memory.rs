//! What this process remembers of objects between reconciles. Nothing here must survive: a restart only looks again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// First delay after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest delay after a failure, unless a kind has a shorter one.
pub const LONGEST_RETRY: Duration = Duration::from_secs(900);

/// How long something must not be found before it counts as gone.
const MISSING_AFTER: Duration = Duration::from_secs(45);

/// How far apart those go that nobody waits for.
const TURNS_APART: Duration = Duration::from_millis(100);

/// How soon to look again for something that was not found.
pub const MISSING_LOOK: Duration = Duration::from_secs(15);

/// Memory of one process, by the uid of the object.
#[derive(Debug)]
pub struct Memory {
    started: Instant,
    objects: Mutex<BTreeMap<String, Remembered>>,
    next_turn: Mutex<Instant>,
}

#[derive(Debug, Default, Clone)]
struct Remembered {
    failures: u32,
    retry: Option<Instant>,
    looked: Option<Instant>,
    missing: Option<Instant>,
    left: Left,
    met: Option<Instant>,
    turn: Option<Instant>,
}

/// The status that the visits of an object have left behind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// There was no visit yet.
    #[default]
    Nothing,
    /// A visit has begun and not ended.
    Open,
    /// The digest of the status.
    Status(u64),
}

impl Default for Memory {
    fn default() -> Self {
        let now = Instant::now();
        Self { started: now, objects: Mutex::default(), next_turn: Mutex::new(now) }
    }
}

impl Memory {
    /// Counts a failure and says how long to wait before the next try, at `longest`.
    pub fn failed(&self, uid: &str, longest: Duration) -> Duration {
        self.with(uid, |object| {
            object.failures = object.failures.saturating_add(1);
            let doubled = FIRST_RETRY.saturating_mul(1 << object.failures.saturating_sub(1).min(10));
            let delay = jittered(uid, doubled.min(longest));
            object.retry = Instant::now().checked_add(delay);
            delay
        })
    }

    /// How long until what failed is tried again; zero when nothing failed. For what must not be repeated sooner, whatever
    /// wakes the object.
    #[must_use]
    pub fn until_retry(&self, uid: &str) -> Duration {
        let retry = self.objects.lock().ok().and_then(|objects| objects.get(uid)?.retry);
        retry.map_or(Duration::ZERO, |retry| retry.saturating_duration_since(Instant::now()))
    }

    /// The last try did not fail, or says nothing of the next.
    pub fn succeeded(&self, uid: &str) {
        if let Some(object) = self.objects.lock().ok().as_mut().and_then(|objects| objects.get_mut(uid)) {
            (object.failures, object.retry) = (0, None);
        }
    }

    /// The remote state of the object was looked at just now.
    pub fn looked(&self, uid: &str) {
        self.with(uid, |object| object.looked = Some(Instant::now()));
    }

    /// A read did not find what the object stands for; whether that has been so for long enough to count. A list can be
    /// stale or empty for a moment.
    pub fn is_missing(&self, uid: &str) -> bool {
        self.with(uid, |object| object.missing.get_or_insert_with(Instant::now).elapsed() >= MISSING_AFTER)
    }

    /// A read found it.
    pub fn found(&self, uid: &str) {
        self.with(uid, |object| object.missing = None);
    }

    /// How long until the next look is due; zero when it is. After a start the looks are spread over the period by the uid,
    /// so that neither a restart nor an apply of many objects bunches them.
    #[must_use]
    pub fn until_look(&self, uid: &str, period: Duration) -> Duration {
        let looked = self.with(uid, |object| object.looked);
        let due = match looked {
            Some(looked) => looked + jittered(uid, period),
            None => self.started + period.mul_f64(fraction(uid)),
        };
        due.saturating_duration_since(Instant::now())
    }

    /// How long until it is the object's turn for something that nobody waits for; zero when it is. Ten objects a second have
    /// theirs, in the order in which they asked first.
    #[must_use]
    pub fn until_turn(&self, uid: &str) -> Duration {
        let now = Instant::now();
        self.with(uid, |object| {
            let turn = object.turn.unwrap_or_else(|| self.new_turn(now));
            object.turn = Some(turn).filter(|turn| *turn > now);
            turn.saturating_duration_since(now)
        })
    }

    fn new_turn(&self, now: Instant) -> Instant {
        let Ok(mut next) = self.next_turn.lock() else { return now };
        let turn = now.max(*next);
        *next = turn + TURNS_APART;
        turn
    }

    /// A visit begins, from what the cache shows: what the cache is told of the status from now on, the visit does not know.
    pub fn visits(&self, uid: &str) {
        self.with(uid, |object| {
            object.left = Left::Open;
            object.met.get_or_insert_with(Instant::now);
        });
    }

    /// How long ago the object was visited for the first time.
    #[must_use]
    pub fn known_for(&self, uid: &str) -> Duration {
        self.with(uid, |object| object.met).map_or(Duration::ZERO, |met| met.elapsed())
    }

    /// The visit leaves this status behind, as far as it knows: its write may be lost, and the cache that it started
    /// from may have been behind.
    pub fn left<S: Serialize>(&self, uid: &str, status: &S) {
        let digest = digest(status);
        self.with(uid, |object| object.left = digest.map_or(Left::Open, Left::Status));
    }

    /// Whether this status, as the cache is told it, is another than the last visit has left behind.
    #[must_use]
    pub fn surprises<S: Serialize>(&self, uid: &str, status: &S) -> bool {
        match self.with(uid, |object| object.left) {
            Left::Nothing => false,
            Left::Open => true,
            Left::Status(left) => Some(left) != digest(status),
        }
    }

    /// The object is gone, and with it what is remembered of its parts (`uid/part`).
    pub fn forget(&self, uid: &str) {
        if let Ok(mut objects) = self.objects.lock() {
            let of_it = objects.range(uid.to_owned()..).map(|(key, _)| key).take_while(|key| key.starts_with(uid));
            for key in of_it.cloned().collect::<Vec<_>>() {
                objects.remove(&key);
            }
        }
    }

    fn with<T: Default>(&self, uid: &str, act: impl FnOnce(&mut Remembered) -> T) -> T {
        match self.objects.lock() {
            Ok(mut objects) => act(objects.entry(uid.to_owned()).or_default()),
            Err(_) => T::default(),
        }
    }
}

/// Tells two statuses apart.
fn digest<S: Serialize>(status: &S) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(status).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// A number of seconds as it stands in a manifest, where it is never negative.
#[must_use]
pub fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// A period of 90 to 110 %, always the same for a uid.
#[must_use]
pub fn jittered(uid: &str, period: Duration) -> Duration {
    period.mul_f64(0.9 + 0.2 * fraction(uid))
}

/// A number from 0 to 1 that a uid always gives.
fn fraction(uid: &str) -> f64 {
    let digest = Sha256::digest(uid);
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_up_to_a_limit() {
        let memory = Memory::default();
        let failed = |uid| memory.failed(uid, LONGEST_RETRY);
        let first = failed("a");
        assert!(first >= FIRST_RETRY.mul_f64(0.9) && first <= FIRST_RETRY.mul_f64(1.1));
        assert!(failed("a") > first);
        for _ in 0..40 {
            failed("a");
        }
        assert!(failed("a") <= LONGEST_RETRY.mul_f64(1.1));
        assert!(memory.failed("a", FIRST_RETRY) <= FIRST_RETRY.mul_f64(1.1));
        memory.succeeded("a");
        assert_eq!(memory.until_retry("a"), Duration::ZERO);
        assert_eq!(failed("a"), first);
        assert_eq!(memory.until_retry("a"), first);
        tokio::time::advance(first).await;
        assert_eq!(memory.until_retry("a"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_known_since_its_first_visit() {
        let memory = Memory::default();
        for uid in ["a", "a", "b"] {
            memory.visits(uid);
            tokio::time::advance(Duration::from_secs(7)).await;
        }
        let known = |uid| memory.known_for(uid).as_secs();
        assert_eq!([known("a"), known("b"), known("c")], [21, 7, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_found_counts_as_gone_once_that_has_been_so_for_long_enough() {
        let memory = Memory::default();
        assert!(!memory.is_missing("a"), "one read proves nothing");
        tokio::time::advance(MISSING_AFTER.saturating_sub(Duration::from_secs(1))).await;
        assert!(!memory.is_missing("a"));
        memory.found("b");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(memory.is_missing("a") && !memory.is_missing("b"));
        memory.found("a");
        assert!(!memory.is_missing("a"), "it was found in between, and the time starts anew");
        tokio::time::advance(MISSING_AFTER).await;
        assert!(memory.is_missing("a"));
        assert!(!memory.is_missing("a/part") && !memory.is_missing("c"));
        tokio::time::advance(MISSING_AFTER).await;
        memory.forget("a");
        assert!(!memory.is_missing("a") && !memory.is_missing("a/part"), "another object may have the place");
        assert!(memory.is_missing("c"), "another object");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_nobody_waits_for_go_one_after_another() {
        let memory = Memory::default();
        let turn = |uid| memory.until_turn(uid);
        assert_eq!(["a", "b", "c", "b"].map(turn), [Duration::ZERO, TURNS_APART, TURNS_APART * 2, TURNS_APART]);
        tokio::time::advance(TURNS_APART).await;
        assert_eq!(turn("c"), TURNS_APART);
        assert_eq!(turn("b"), Duration::ZERO, "its turn has come");
        assert_eq!(turn("b"), TURNS_APART * 2, "the next goes behind the others");
        tokio::time::advance(TURNS_APART * 50).await;
        assert_eq!(turn("d"), Duration::ZERO, "turns that nobody asked for are not saved up");
        assert_eq!(turn("e"), TURNS_APART);
    }

    #[test]
    fn a_number_of_seconds_is_a_duration_and_never_negative() {
        for (number, expected) in [(0, 0), (1, 1), (3600, 3600), (-1, 0)] {
            assert_eq!(seconds(number), Duration::from_secs(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_the_last_visit_did_not_leave_is_a_surprise() {
        let memory = Memory::default();
        assert!(!memory.surprises("a", &"anything"), "nothing is expected before the first visit");
        memory.visits("a");
        assert!(memory.surprises("a", &"Ready"), "a visit that has begun does not know what comes now");
        memory.left("a", &"Ready");
        assert!(!memory.surprises("a", &"Ready") && memory.surprises("a", &"Stalled"));
        assert!(!memory.surprises("b", &"Stalled"));
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_spread_after_a_start() {
        let memory = Memory::default();
        let period = Duration::from_secs(600);
        let early = (0..1000).filter(|n| memory.until_look(&n.to_string(), period) < period / 10).count();
        assert!((50..200).contains(&early), "{early} of 1000 in the first tenth");
        memory.looked("a");
        assert!(memory.until_look("a", period) >= period.mul_f64(0.9));
        tokio::time::advance(period * 2).await;
        assert_eq!(memory.until_look("a", period), Duration::ZERO);
    }
}
