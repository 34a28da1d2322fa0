//! The budget of one operation: never more calls than the limit in any 60 seconds, as the service counts them. A pure state
//! machine with the time passed in; [`super::account`] waits on it.
//!
//! A call is counted by the service when it arrives there, which is some time between its sending and its answer. A slot is
//! therefore free again 60 seconds after the answer; or, without an answer, 60 seconds after the latest time at which the
//! call can have arrived. What the service has counted of others, of a process that led before this one or was killed, its
//! answers tell, each until the time that it tells as well. Where nothing is known, one call goes alone, and its answer tells.
//! A bucket that fills steadily would allow a burst and then a steady flow within the same minute,
//! which is more than the limit: hence a log of calls.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::headers::{LONGEST_FREEZE, Told};
use super::operation::Class;
use super::turns::Turns;

/// The span over which the service counts.
const WINDOW: Duration = Duration::from_secs(60);

/// The latest that a request can arrive at the service after it was sent, for counting. A call without an answer by then,
/// such as a publish, counts from here.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// A granted place that is not used for this long goes to the next.
const UNUSED: Duration = Duration::from_secs(30);

/// A place in the queue that is not asked for again for this long is given up.
const UNASKED: Duration = Duration::from_secs(1200);

/// A call that was sent or may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u64);

/// What is known of the call of a slot.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// Granted and not sent yet, for however long: whoever holds it gives it back or sends.
    Held,
    /// Sent at this time; counted as arrived [`ARRIVES_WITHIN`] later.
    Sent(Instant),
    /// Answered at this time: it was counted by then.
    Answered(Instant),
}

impl Call {
    /// When the service has certainly forgotten the call; `None` while it may still be sent.
    fn forgotten(self) -> Option<Instant> {
        match self {
            Self::Held => None,
            Self::Sent(at) => Some(at + ARRIVES_WITHIN + WINDOW),
            Self::Answered(at) => Some(at + WINDOW),
        }
    }

    /// Whether the service may not have counted the call yet.
    fn is_under_way(self, now: Instant) -> bool {
        match self {
            Self::Held => true,
            Self::Sent(at) => now < at + ARRIVES_WITHIN,
            Self::Answered(_) => false,
        }
    }
}

/// How many calls the service has left for us, by its own count, which includes other clients. Known until it starts anew;
/// then calls of others come and go unseen.
#[derive(Debug, Clone, Copy)]
struct Ceiling {
    /// The largest number where the service does not tell.
    left: usize,
    told: Instant,
    until: Instant,
}

/// The state of one operation's budget. `W` is what wakes a waiter.
pub struct Limiter<W> {
    /// The service's limit in a minute.
    limit: u32,
    /// How much of it may be used.
    percent: u32,
    slots: BTreeMap<Slot, Call>,
    next_slot: u64,
    ceiling: Option<Ceiling>,
    frozen_until: Option<Instant>,
    turns: Turns<W>,
    /// Those whose turn it is and who have not come yet, by key, and since when.
    granted: BTreeMap<String, (Slot, Instant)>,
    /// Those who got a slot and were not told yet.
    to_wake: Vec<W>,
}

/// What a budget is at, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// How many calls may be made in a minute.
    pub allowance: usize,
    /// How many count towards it now.
    pub used: usize,
    /// How many more the service allows, by its own count of all clients, where that is known.
    pub remaining: Option<usize>,
    /// Who waits, the best class first; classes for which nobody waits are left out.
    pub waiting: Vec<Waiting>,
}

/// The calls of one class that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How urgent they are.
    pub class: Class,
    /// How many they are.
    pub calls: usize,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

/// The answer to who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Go on.
    Granted(Slot),
    /// In the queue, for about this long.
    Queued(Duration),
}

impl<W: Clone> Limiter<W> {
    /// A budget of `percent` of `limit` calls a minute.
    #[must_use]
    pub fn new(limit: u32, percent: u32) -> Self {
        Self {
            limit,
            percent: percent.clamp(1, 100),
            slots: BTreeMap::new(),
            next_slot: 0,
            ceiling: None,
            frozen_until: None,
            turns: Turns::new(),
            granted: BTreeMap::new(),
            to_wake: Vec::new(),
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

    /// Asks for a place under `key`, or asks again; `party` is whom it is for. `wake` is for when the place is granted later.
    pub fn ask(&mut self, key: &str, party: &str, class: Class, wake: W, now: Instant) -> Place {
        self.expire(now);
        if let Some((slot, _)) = self.granted.remove(key) {
            return Place::Granted(slot);
        }
        self.turns.join(key, party, class, wake, now);
        self.grant_but_wake(now, Some(key));
        match self.granted.remove(key) {
            Some((slot, _)) => Place::Granted(slot),
            None => Place::Queued(self.wait(self.turns.before(key).unwrap_or_default() + 1, now)),
        }
    }

    /// Gives a place up.
    pub fn release(&mut self, key: &str) {
        self.turns.leave(key);
        if let Some((slot, _)) = self.granted.remove(key) {
            self.unused(slot);
        }
    }

    /// Hands out free slots.
    pub fn grant(&mut self, now: Instant) {
        self.expire(now);
        self.grant_but_wake(now, None);
    }

    /// Those who got a slot since this was last asked.
    pub fn take_woken(&mut self) -> Vec<W> {
        std::mem::take(&mut self.to_wake)
    }

    /// Hands out free slots; `asking` needs no waking.
    fn grant_but_wake(&mut self, now: Instant, asking: Option<&str>) {
        while self.free(now) > 0 {
            let Some((key, wake)) = self.turns.next() else { break };
            let slot = Slot(self.next_slot);
            self.next_slot += 1;
            self.slots.insert(slot, Call::Held);
            if let Some(ceiling) = &mut self.ceiling {
                ceiling.left = ceiling.left.saturating_sub(1);
            }
            if asking != Some(key.as_str()) {
                self.to_wake.push(wake);
            }
            self.granted.insert(key, (slot, now));
        }
    }

    /// When to grant again; `None` when nothing but a call's end can make a difference.
    #[must_use]
    pub fn next_grant(&self, now: Instant) -> Option<Instant> {
        let lapse = self.granted.values().map(|(_, at)| *at + UNUSED).min();
        if self.turns.is_empty() {
            return lapse;
        }
        let ceiling = self.ceiling.filter(|ceiling| ceiling.left == 0).map(|ceiling| ceiling.until);
        let full = self.slots.len() >= self.allowance();
        let alone = self.sounding(now) && self.is_any_under_way(now);
        let arrives = self.arrives(now).filter(|_| alone);
        if alone && arrives.is_none() {
            return lapse;
        }
        let slot = self.slots.values().filter_map(|call| call.forgotten()).min().filter(|_| full);
        if full && slot.is_none() {
            return lapse;
        }
        let free = [self.frozen_until, ceiling, slot, arrives].into_iter().flatten().fold(now, Instant::max);
        Some(lapse.map_or(free, |lapse| lapse.min(free)))
    }

    /// The call is about to be sent.
    pub fn sent(&mut self, slot: Slot, now: Instant) {
        self.slots.insert(slot, Call::Sent(now));
    }

    /// The answer came: the service has counted the call by now, and tells how it counts.
    pub fn answered(&mut self, slot: Slot, told: &Told, now: Instant) {
        let sent = match self.slots.get(&slot) {
            Some(Call::Sent(at)) => Some(*at),
            _ => None,
        };
        // A late answer frees the slot no later than no answer would.
        if sent.is_some_and(|at| now <= at + ARRIVES_WITHIN) {
            self.slots.insert(slot, Call::Answered(now));
        }
        if let Some(limit) = told.limit.filter(|limit| *limit > 0) {
            self.limit = limit;
        }
        let until = now + told.reset.unwrap_or(WINDOW).min(WINDOW);
        if told.remaining == Some(0) {
            self.freeze(until.duration_since(now), now);
        }
        if let Some(sent) = sent {
            let remaining = told.remaining.and_then(|remaining| usize::try_from(remaining).ok());
            self.lower_ceiling(remaining.unwrap_or(usize::MAX), sent, until, now);
        }
        if let Some(wait) = told.freeze {
            self.freeze(wait, now);
        }
    }

    /// Calls under way may or may not be in the service's count: they are taken as not counted yet.
    fn lower_ceiling(&mut self, remaining: usize, sent: Instant, until: Instant, now: Instant) {
        let under_way = self.slots.values().filter(|call| call.is_under_way(now)).count();
        let left = remaining.saturating_sub(under_way);
        // Answers of calls that overlap may come in any order; the lowest of them is the latest.
        let overlapping = self.ceiling.filter(|ceiling| ceiling.until > now && sent <= ceiling.told);
        self.ceiling = Some(Ceiling {
            left: overlapping.map_or(left, |ceiling| ceiling.left.min(left)),
            told: now,
            until: overlapping.map_or(until, |ceiling| ceiling.until.max(until)),
        });
    }

    /// The call was not sent after all, or never arrived.
    pub fn unused(&mut self, slot: Slot) {
        if self.slots.remove(&slot).is_some()
            && let Some(ceiling) = &mut self.ceiling
        {
            ceiling.left = ceiling.left.saturating_add(1);
        }
    }

    /// The service asks to wait.
    pub fn freeze(&mut self, wait: Duration, now: Instant) {
        let until = now + wait.min(LONGEST_FREEZE);
        self.frozen_until = Some(self.frozen_until.map_or(until, |frozen| frozen.max(until)));
    }

    /// What the budget is at; `None` while nobody has drawn on it.
    #[must_use]
    pub fn state(&self, now: Instant) -> Option<State> {
        let waiting = self.turns.waiting();
        if self.next_slot == 0 && waiting.is_empty() {
            return None;
        }
        let counts = |call: &&Call| call.forgotten().is_none_or(|at| at > now);
        let ceiling = self.ceiling.filter(|ceiling| ceiling.until > now && ceiling.left < usize::MAX);
        Some(State {
            allowance: self.allowance(),
            used: self.slots.values().filter(counts).count(),
            remaining: ceiling.map(|ceiling| ceiling.left),
            waiting: waiting
                .into_iter()
                .map(|(class, calls, since)| Waiting { class, calls, oldest: now.saturating_duration_since(since) })
                .collect(),
        })
    }

    /// About how long a new waiter waits.
    #[must_use]
    pub fn estimate(&self, party: &str, class: Class, now: Instant) -> Duration {
        self.wait(self.turns.before_new(party, class) + 1, now)
    }

    /// Whether somebody of the class, or of a better one, waits already.
    #[must_use]
    pub fn is_waited_for(&self, class: Class) -> bool {
        self.turns.is_any(class)
    }

    /// About how long until so many slots were handed out.
    fn wait(&self, places: usize, now: Instant) -> Duration {
        let frozen = self.frozen_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let capped = self.ceiling.filter(|ceiling| places > ceiling.left);
        let at_least = frozen.max(capped.map_or(Duration::ZERO, |c| c.until.saturating_duration_since(now)));
        let Some(behind) = places.checked_sub(self.allowance().saturating_sub(self.slots.len()) + 1) else {
            return at_least;
        };
        // Those that are not sent yet are taken as sent now.
        let freed = |call: &Call| call.forgotten().unwrap_or(now + WINDOW).saturating_duration_since(now);
        let mut next: Vec<Duration> = self.slots.values().map(freed).collect();
        next.sort_unstable();
        let round = behind / self.allowance();
        let first = next.get(behind % self.allowance()).copied().unwrap_or(WINDOW);
        at_least.max(first.saturating_add(WINDOW.saturating_mul(u32::try_from(round).unwrap_or(u32::MAX))))
    }

    fn free(&self, now: Instant) -> usize {
        if self.frozen_until.is_some_and(|until| until > now) {
            return 0;
        }
        let left = self.ceiling.map_or(usize::MAX, |ceiling| ceiling.left);
        let alone = if self.sounding(now) { usize::from(!self.is_any_under_way(now)) } else { usize::MAX };
        self.allowance().saturating_sub(self.slots.len()).min(left).min(alone)
    }

    /// Whether it is not known how many calls are left.
    fn sounding(&self, now: Instant) -> bool {
        self.ceiling.is_none_or(|ceiling| now >= ceiling.until)
    }

    fn is_any_under_way(&self, now: Instant) -> bool {
        self.slots.values().any(|call| call.is_under_way(now))
    }

    /// When the last call under way has certainly arrived; `None` while one is not sent, or when there is none.
    fn arrives(&self, now: Instant) -> Option<Instant> {
        let under_way = self.slots.values().filter(|call| call.is_under_way(now));
        let arrives = under_way.map(|call| match call {
            Call::Sent(at) => Some(*at + ARRIVES_WITHIN),
            Call::Held | Call::Answered(_) => None,
        });
        arrives.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn expire(&mut self, now: Instant) {
        self.slots.retain(|_, call| call.forgotten().is_none_or(|at| at > now));
        self.ceiling = self.ceiling.filter(|ceiling| ceiling.until > now);
        let lapsed = self.granted.extract_if(.., |_, (_, at)| now.duration_since(*at) >= UNUSED);
        for (_, (slot, _)) in lapsed.collect::<Vec<_>>() {
            self.unused(slot);
        }
        if let Some(since) = now.checked_sub(UNASKED) {
            self.turns.lapse(since);
        }
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
