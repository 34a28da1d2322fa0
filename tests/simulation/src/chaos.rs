//! What goes wrong, and when: decided by the seed at every exchange with either API and every event of a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use amigo_operator::sandbox::Effect;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::plan::{Plan, Rates};

/// Decides on faults.
pub struct Chaos {
    seed: u64,
    rates: Rates,
    only: Option<BTreeSet<String>>,
    calm: AtomicBool,
    /// How often each place was asked about.
    asked: Mutex<BTreeMap<String, u32>>,
    /// The faults that were injected, in order.
    injected: Mutex<Vec<String>>,
    outages: Mutex<BTreeMap<String, Instant>>,
}

/// What goes wrong with a request to Kubernetes.
#[derive(Debug, Clone, Copy)]
pub enum KubeFault {
    /// The request, or its answer, takes this long; the effect is between the two.
    Slow(Duration, Duration),
    /// 500, without effect.
    Refused(u16),
    /// No connection.
    NotConnected,
    /// The request is lost; this is noticed after a while.
    LostBefore(Duration),
    /// The answer is lost.
    LostAfter(Duration),
}

/// What goes wrong with a request to the remote API.
#[derive(Debug, Clone)]
pub enum RemoteFault {
    /// Something that the sandbox plays.
    Effect(Effect),
    /// The request is on its way for this part of the time that it is waited for, and arrives whether or not somebody
    /// still waits.
    Slow(f64),
}

impl Chaos {
    /// The chaos of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            rates: plan.rates,
            only: plan.faults.clone(),
            calm: AtomicBool::new(false),
            asked: Mutex::default(),
            injected: Mutex::default(),
            outages: Mutex::default(),
        }
    }

    /// From now on nothing goes wrong.
    pub fn end(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// `kubernetes` or `service` is away for a while; or, for the replica of this name, Kubernetes.
    pub fn outage(&self, of: &str, until: Instant) {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).insert(of.to_owned(), until);
    }

    /// Whether it is away now.
    #[must_use]
    pub fn is_away(&self, of: &str) -> bool {
        let outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        outages.get(of).is_some_and(|until| Instant::now() < *until)
    }

    /// The faults that were injected.
    #[must_use]
    pub fn injected(&self) -> Vec<String> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The dice of this place and time, if a fault of this rate happens there.
    fn strikes(&self, place: &str, rate: f64) -> Option<Dice> {
        let number = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let number = asked.entry(place.to_owned()).or_default();
            *number += 1;
            *number
        };
        if self.has_ended() || rate <= 0.0 {
            return None;
        }
        let place = format!("{place}#{number}");
        let mut dice = Dice::new(self.seed, &place);
        if !dice.chance(rate) || self.only.as_ref().is_some_and(|only| !only.contains(&place)) {
            return None;
        }
        self.injected.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        Some(dice)
    }

    /// About a request to Kubernetes.
    #[must_use]
    pub fn kube(&self, place: &str) -> Option<KubeFault> {
        let mut dice = self.strikes(place, self.rates.kubernetes)?;
        Some(match dice.below(10) {
            0..=3 => KubeFault::Slow(dice.seconds(0.0, 5.0), dice.seconds(0.0, 5.0)),
            4 => KubeFault::Slow(dice.seconds(0.0, 60.0), dice.seconds(0.0, 60.0)),
            5 => KubeFault::Refused(*dice.pick(&[500, 503, 429, 504, 409])),
            6 => KubeFault::NotConnected,
            7 => KubeFault::LostBefore(dice.seconds(0.1, 40.0)),
            _ => KubeFault::LostAfter(dice.seconds(0.1, 40.0)),
        })
    }

    /// How far behind an event of a watch is told.
    #[must_use]
    pub fn lag(&self, place: &str) -> Duration {
        let Some(mut dice) = self.strikes(place, self.rates.lag) else { return Duration::ZERO };
        if dice.chance(0.2) { dice.seconds(10.0, 120.0) } else { dice.seconds(0.1, 10.0) }
    }

    /// Whether a watch breaks now: `Some(true)` in the middle of an event, `Some(false)` between two.
    #[must_use]
    pub fn breaks(&self, place: &str) -> Option<bool> {
        self.strikes(place, self.rates.lag / 8.0).map(|mut dice| dice.chance(0.5))
    }

    /// Whether an event is told twice.
    #[must_use]
    pub fn repeats(&self, place: &str) -> bool {
        self.strikes(place, self.rates.lag / 4.0).is_some()
    }

    /// About a request to the remote API.
    #[must_use]
    pub fn remote(&self, place: &str, is_list: bool) -> Option<RemoteFault> {
        let mut dice = self.strikes(place, self.rates.service)?;
        let effect = |effect| RemoteFault::Effect(effect);
        Some(match dice.below(16) {
            0 => effect(Effect::NotConnected),
            1 | 2 => effect(Effect::LostBeforeEffect),
            3..=5 => effect(Effect::LostAfterEffect { seconds: None }),
            6 => effect(Effect::LostAfterEffect { seconds: Some(dice.between(0.0, 30.0)) }),
            7 => effect(Effect::Status {
                status: *dice.pick(&[500, 502, 504]),
                body: None,
                after_effect: false,
                seconds: None,
            }),
            8 => effect(Effect::Status {
                status: *dice.pick(&[500, 502, 504]),
                body: None,
                after_effect: true,
                seconds: None,
            }),
            9 => effect(Effect::Unavailable),
            10 => effect(Effect::TooManyRequests {
                retry_after: dice.chance(0.7).then(|| format!("{}", 1 + dice.below(90))),
            }),
            11 => effect(Effect::TruncatedBody),
            12 => effect(Effect::GarbageBody),
            13 => RemoteFault::Slow(dice.between(0.0, 1.05)),
            14 if is_list => effect(Effect::StaleList { seconds: dice.between(1.0, 60.0) }),
            15 if is_list => effect(Effect::EmptyList),
            _ => effect(Effect::Delay { seconds: dice.between(0.0, 100.0), after_effect: dice.chance(0.5) }),
        })
    }
}
