//! The budget of one operation: never more calls than the limit in any 60 seconds, as the service counts them. A pure state
//! machine with the time passed in; [`super::account`] waits on it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::operation::Class;

/// The span over which the service counts.
const WINDOW: Duration = Duration::from_secs(60);

/// The latest that a request can arrive at the service after it was sent, for counting. A call without an answer by then,
/// such as a publish, counts from here.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// A granted place that is not used for this long goes to the next.
const UNUSED: Duration = Duration::from_secs(30);

/// A place in the queue that is not asked for again for this long is given up.
const UNASKED: Duration = Duration::from_secs(120);

/// Longest freeze that the service can ask for.
const LONGEST_FREEZE: Duration = Duration::from_secs(900);

/// Every so many grants the oldest waiter goes first, whatever its class, so that none starves.
const FLOOR: u64 = 4;

/// A call that was sent or may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u64);

/// The state of one operation's budget.
#[derive(Debug)]
pub struct Limiter {
    /// The service's limit in a minute.
    limit: u32,
    /// How much of it may be used.
    percent: u32,
    /// When each slot becomes free again.
    slots: BTreeMap<Slot, Instant>,
    next_slot: u64,
    frozen_until: Option<Instant>,
    queue: VecDeque<Waiter>,
    grants: u64,
}

#[derive(Debug)]
struct Waiter {
    key: String,
    class: Class,
    asked: Instant,
    granted: Option<(Slot, Instant)>,
}

/// The answer to who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Go on.
    Granted(Slot),
    /// In the queue, for about this long.
    Queued(Duration),
}

impl Limiter {
    /// A budget of `percent` of `limit` calls a minute.
    #[must_use]
    pub fn new(limit: u32, percent: u32) -> Self {
        Self {
            limit,
            percent: percent.clamp(1, 100),
            slots: BTreeMap::new(),
            next_slot: 0,
            frozen_until: None,
            queue: VecDeque::new(),
            grants: 0,
        }
    }

    /// How many calls may be made in a minute: at least one.
    #[must_use]
    pub fn allowance(&self) -> usize {
        usize::try_from(u64::from(self.limit) * u64::from(self.percent) / 100).unwrap_or(usize::MAX).max(1)
    }

    /// Changes the part of the limit that may be used.
    pub fn set_percent(&mut self, percent: u32) {
        self.percent = percent.clamp(1, 100);
    }

    /// Asks for a place under `key`, or asks again.
    pub fn ask(&mut self, key: &str, class: Class, now: Instant) -> Place {
        match self.queue.iter_mut().find(|waiter| waiter.key == key) {
            Some(waiter) => {
                waiter.asked = now;
                waiter.class = waiter.class.min(class);
            }
            None => self.queue.push_back(Waiter { key: key.to_owned(), class, asked: now, granted: None }),
        }
        let _ = self.grant(now);
        let place = self.queue.iter().position(|waiter| waiter.key == key);
        match place.and_then(|place| self.queue[place].granted.map(|(slot, _)| (place, slot))) {
            Some((place, slot)) => {
                self.queue.remove(place);
                Place::Granted(slot)
            }
            None => Place::Queued(self.estimate(class, now)),
        }
    }

    /// Whether somebody has a place under `key`.
    #[must_use]
    pub fn has_waiter(&self, key: &str) -> bool {
        self.queue.iter().any(|waiter| waiter.key == key)
    }

    /// Gives a place up.
    pub fn release(&mut self, key: &str, now: Instant) {
        if let Some(place) = self.queue.iter().position(|waiter| waiter.key == key)
            && let Some(waiter) = self.queue.remove(place)
            && let Some((slot, _)) = waiter.granted
        {
            self.unused(slot, now);
        }
    }

    /// Hands out free slots; who got one now.
    pub fn grant(&mut self, now: Instant) -> Vec<String> {
        self.expire(now);
        let mut granted = Vec::new();
        while self.free(now) > 0 {
            let Some(next) = self.next_waiter() else { break };
            let slot = Slot(self.next_slot);
            self.next_slot += 1;
            self.grants += 1;
            self.slots.insert(slot, now + ARRIVES_WITHIN + WINDOW);
            let waiter = &mut self.queue[next];
            waiter.granted = Some((slot, now));
            granted.push(waiter.key.clone());
        }
        granted
    }

    /// When to grant again; `None` when nobody waits.
    #[must_use]
    pub fn next_grant(&self, now: Instant) -> Option<Instant> {
        let waits = self.queue.iter().any(|waiter| waiter.granted.is_none());
        let lapse = self.queue.iter().filter_map(|waiter| waiter.granted.map(|(_, at)| at + UNUSED)).min();
        if !waits {
            return lapse;
        }
        let frozen = self.frozen_until.filter(|until| *until > now);
        let slot = if self.slots.len() < self.allowance() { None } else { self.slots.values().min().copied() };
        let free = frozen.into_iter().chain(slot).max().unwrap_or(now);
        Some(lapse.map_or(free, |lapse| lapse.min(free)))
    }

    /// The call is about to be sent.
    pub fn sent(&mut self, slot: Slot, now: Instant) {
        self.slots.insert(slot, now + ARRIVES_WITHIN + WINDOW);
    }

    /// The answer came: the service has counted the call by now.
    pub fn answered(&mut self, slot: Slot, now: Instant) {
        if let Some(free) = self.slots.get_mut(&slot) {
            *free = (*free).min(now + WINDOW);
        }
    }

    /// The call was not sent after all.
    pub fn unused(&mut self, slot: Slot, _now: Instant) {
        self.slots.remove(&slot);
    }

    /// What an answer tells about the service's own count.
    pub fn learn(&mut self, limit: Option<u32>, remaining: Option<u32>, reset: Option<Duration>, now: Instant) {
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            self.limit = limit;
        }
        if remaining == Some(0) {
            self.freeze(reset.unwrap_or(WINDOW).min(WINDOW), now);
        }
    }

    /// The service asks to wait.
    pub fn freeze(&mut self, wait: Duration, now: Instant) {
        let until = now + wait.min(LONGEST_FREEZE);
        self.frozen_until = Some(self.frozen_until.map_or(until, |frozen| frozen.max(until)));
    }

    /// About how long a new waiter of the class waits.
    #[must_use]
    pub fn estimate(&self, class: Class, now: Instant) -> Duration {
        let waiting = self.queue.iter().filter(|waiter| waiter.granted.is_none());
        let ahead = waiting.filter(|waiter| waiter.class <= class).count();
        let frozen = self.frozen_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if ahead <= self.free(now) {
            return frozen;
        }
        let first = self.slots.values().min().map_or(Duration::ZERO, |free| free.saturating_duration_since(now));
        let windows = u32::try_from(ahead.saturating_sub(1) / self.allowance()).unwrap_or(u32::MAX);
        frozen.max(first).saturating_add(WINDOW.saturating_mul(windows))
    }

    fn free(&self, now: Instant) -> usize {
        if self.frozen_until.is_some_and(|until| until > now) {
            return 0;
        }
        self.allowance().saturating_sub(self.slots.len())
    }

    fn expire(&mut self, now: Instant) {
        self.slots.retain(|_, free| *free > now);
        let lapsed = |waiter: &Waiter| match waiter.granted {
            Some((_, at)) => now.duration_since(at) >= UNUSED,
            None => now.duration_since(waiter.asked) >= UNASKED,
        };
        for waiter in self.queue.iter().filter(|waiter| lapsed(waiter)) {
            if let Some((slot, _)) = waiter.granted {
                self.slots.remove(&slot);
            }
        }
        self.queue.retain(|waiter| !lapsed(waiter));
    }

    /// The best class first, the oldest within it; every so often the oldest of all.
    fn next_waiter(&self) -> Option<usize> {
        let waiting = || self.queue.iter().enumerate().filter(|(_, waiter)| waiter.granted.is_none());
        if self.grants % FLOOR == FLOOR - 1 {
            return waiting().next().map(|(place, _)| place);
        }
        waiting().min_by_key(|(place, waiter)| (waiter.class, *place)).map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(place: &Place) -> Option<Slot> {
        match place {
            Place::Granted(slot) => Some(*slot),
            Place::Queued(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_sixty_seconds_see_more_than_the_limit() {
        let mut limiter = Limiter::new(10, 80);
        let start = Instant::now();
        let mut arrivals: Vec<Duration> = Vec::new();
        let mut number = 0u64;
        for step in 0..6000u64 {
            let now = start + Duration::from_millis(step * 100);
            number += 1;
            if let Some(slot) = granted(&limiter.ask(&format!("{number}"), Class::Interactive, now)) {
                limiter.sent(slot, now);
                // Some calls arrive late, some are answered late.
                let latency = Duration::from_millis((step * 7919) % 9000);
                arrivals.push(now.duration_since(start) + latency / 2);
                limiter.answered(slot, now + latency);
            } else {
                limiter.release(&format!("{number}"), now);
            }
        }
        arrivals.sort();
        assert!(arrivals.len() > 60, "{} calls in ten minutes", arrivals.len());
        for (i, first) in arrivals.iter().enumerate() {
            let in_window = arrivals[i..].iter().filter(|at| at.saturating_sub(*first) < WINDOW).count();
            assert!(in_window <= 8, "{in_window} calls within a minute from {first:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_serves_the_best_class_first_and_starves_none() {
        let mut limiter = Limiter::new(1, 100);
        let start = Instant::now();
        let slot = granted(&limiter.ask("first", Class::Interactive, start)).unwrap();
        limiter.answered(slot, start);
        let _ = limiter.ask("rewrite", Class::Rewrite, start);
        for n in 0..5 {
            let _ = limiter.ask(&format!("person{n}"), Class::Interactive, start);
        }
        let mut order = Vec::new();
        let mut now = start;
        for _ in 0..6 {
            now += Duration::from_secs(61);
            for key in ["rewrite", "person0", "person1", "person2", "person3", "person4"] {
                if order.contains(&key) {
                    continue;
                }
                let class = if key == "rewrite" { Class::Rewrite } else { Class::Interactive };
                if let Place::Granted(slot) = limiter.ask(key, class, now) {
                    limiter.answered(slot, now);
                    order.push(key);
                }
            }
        }
        let place = order.iter().position(|key| *key == "rewrite").unwrap();
        assert_eq!(order[0], "person0");
        assert!(place > 0 && place < 5, "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_s_count_is_believed() {
        let mut limiter = Limiter::new(50, 100);
        let now = Instant::now();
        limiter.learn(Some(10), Some(0), Some(Duration::from_secs(20)), now);
        assert_eq!(limiter.allowance(), 10);
        assert!(granted(&limiter.ask("a", Class::Interactive, now)).is_none());
        assert_eq!(limiter.next_grant(now), Some(now + Duration::from_secs(20)));
        assert_eq!(limiter.grant(now + Duration::from_secs(20)), ["a"]);
        limiter.freeze(Duration::from_secs(100_000), now);
        assert!(limiter.next_grant(now + Duration::from_secs(901)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_nobody_uses_lapse() {
        let mut limiter = Limiter::new(1, 100);
        let now = Instant::now();
        let slot = granted(&limiter.ask("a", Class::Interactive, now)).unwrap();
        let _ = limiter.ask("gone", Class::Interactive, now);
        limiter.unused(slot, now);
        assert_eq!(limiter.grant(now), ["gone"]);
        let _ = limiter.ask("b", Class::Interactive, now);
        assert_eq!(limiter.grant(now + UNUSED), ["b"]);
    }

    #[test]
    fn a_small_share_still_allows_one_call() {
        assert_eq!(Limiter::new(20, 80).allowance(), 16);
        assert_eq!(Limiter::new(10, 1).allowance(), 1);
    }
}
