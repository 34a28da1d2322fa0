//! What a seed stands for: which stories, how many replicas, how the service behaves, what goes wrong and how often. A
//! plan can be made smaller by leaving things out.

use std::collections::BTreeSet;
use std::time::Duration;

use amigo_operator::sandbox::{Numbering, OnDisconnect, RateLimits, Revision, Settings, SeveralTags};
use jiff::SignedDuration;

use crate::dice::Dice;
use crate::stories::Story;

/// How often things go wrong, from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Requests to Kubernetes.
    pub kubernetes: f64,
    /// Events of watches that come late.
    pub lag: f64,
    /// Requests to the remote API.
    pub service: f64,
}

/// Something that happens to processes or servers.
#[derive(Debug, Clone, PartialEq)]
pub enum Disturbance {
    /// SIGKILL of a replica, and a start after a while.
    Kill(usize, Duration),
    /// SIGSTOP of a replica for a while.
    Freeze(usize, Duration),
    /// SIGTERM of a replica, and a start once it has ended.
    Restart(usize),
    /// Kubernetes is away for a while.
    NoKubernetes(Duration),
    /// One replica does not reach Kubernetes for a while. It reaches the service, and the other replica reaches both.
    CutOff(usize, Duration),
    /// The service is away for a while.
    NoService(Duration),
    /// The service says 503 for a while.
    Maintenance(Duration),
    /// Watches that are behind must list again.
    Compaction,
    /// All tokens end.
    TokensEnd,
    /// The organization's key is replaced: the old one is revoked, and the Secret follows after a while.
    NewKey(Duration),
}

/// What is left out of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Whole parts, as [`Plan::parts`] names them.
    pub without: BTreeSet<String>,
    /// The only faults that may still happen; none: all that the seed says.
    pub faults: Option<BTreeSet<String>>,
}

/// What a seed stands for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The stories, by their number in the whole plan.
    pub stories: Vec<(usize, Story)>,
    /// One, without a Lease, or two.
    pub replicas: usize,
    /// How far the clock of the last replica is off.
    pub skew: SignedDuration,
    /// How changes of Secrets are seen.
    pub secret_access: &'static str,
    /// How the service behaves.
    pub service: Settings,
    /// How often things go wrong.
    pub rates: Rates,
    /// What happens when, by its number in the whole plan.
    pub disturbances: Vec<(usize, Duration, Disturbance)>,
    /// The only faults that may happen; none: all that the seed says.
    pub faults: Option<BTreeSet<String>>,
}

impl Plan {
    /// The plan of a seed, with stories of one kind only if one is named.
    #[must_use]
    pub fn new(seed: u64, only: Option<Story>) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let count = 1 + dice.below(4);
        let mut stories: Vec<(usize, Story)> =
            (0..count).map(|number| (number, only.unwrap_or(*dice.pick(&Story::ALL)))).collect();
        // These take everything else with them.
        if let Some(alone) = stories.iter().copied().find(|(_, story)| story.is_alone()) {
            stories = vec![alone];
        }
        let replicas = if dice.chance(0.4) { 2 } else { 1 };
        let rate = |dice: &mut Dice, of: &[f64]| *dice.pick(of);
        let rates = Rates {
            kubernetes: rate(&mut dice, &[0.0, 0.01, 0.05, 0.15]),
            lag: rate(&mut dice, &[0.0, 0.1, 0.3]),
            service: rate(&mut dice, &[0.0, 0.02, 0.1, 0.3]),
        };
        let skews = [0, 0, 90, -90, 3600, -3600];
        Self {
            seed,
            stories,
            replicas,
            skew: SignedDuration::from_secs(*dice.pick(&skews)),
            secret_access: *dice.pick(&["watch", "watch", "named"]),
            service: service(seed, &mut dice),
            rates,
            disturbances: disturbances(replicas, &mut dice),
            faults: None,
        }
    }

    /// The plan without some of its parts.
    #[must_use]
    pub fn cut(mut self, cut: &Cut) -> Self {
        let parts = &cut.without;
        self.stories.retain(|(number, _)| !parts.contains(&format!("story:{number}")));
        self.disturbances.retain(|(number, ..)| !parts.contains(&format!("event:{number}")));
        for (part, rate) in [
            ("faults:kube", &mut self.rates.kubernetes),
            ("faults:lag", &mut self.rates.lag),
            ("faults:amigo", &mut self.rates.service),
        ] {
            if parts.contains(part) {
                *rate = 0.0;
            }
        }
        if parts.contains("skew") {
            self.skew = SignedDuration::ZERO;
        }
        self.faults.clone_from(&cut.faults);
        self
    }

    /// Everything that can be left out, but single faults.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let stories = self.stories.iter().map(|(number, _)| format!("story:{number}"));
        let events = self.disturbances.iter().map(|(number, ..)| format!("event:{number}"));
        let rates = ["faults:kube", "faults:lag", "faults:amigo", "skew"].map(ToOwned::to_owned);
        rates.into_iter().chain(events).chain(stories).collect()
    }
}

fn service(seed: u64, dice: &mut Dice) -> Settings {
    Settings {
        seed,
        revision: *dice.pick(&[Revision::July2025, Revision::July2025, Revision::September2025, Revision::Year2026]),
        refuse_extra_fields: dice.chance(0.5),
        rate_limits: if dice.chance(0.8) { RateLimits::Real } else { RateLimits::Scaled(*dice.pick(&[0.5, 0.15])) },
        token_seconds: *dice.pick(&[3600.0, 900.0, 120.0]),
        publish_seconds: *dice.pick(&[0.5, 20.0, 90.0, 250.0]),
        deprecate_seconds: *dice.pick(&[0.0, 0.0, 15.0]),
        on_disconnect: *dice.pick(&[OnDisconnect::GoesOn, OnDisconnect::Aborts]),
        numbering: *dice.pick(&[Numbering::All, Numbering::Active]),
        several_tags: *dice.pick(&[SeveralTags::Any, SeveralTags::All]),
        sparse: dice.chance(0.3),
        log_size: 10,
        ..Settings::default()
    }
}

fn disturbances(replicas: usize, dice: &mut Dice) -> Vec<(usize, Duration, Disturbance)> {
    let count = *dice.pick(&[0, 1, 3, 6]);
    (0..count)
        .map(|number| {
            let at = dice.seconds(0.0, 1200.0);
            let replica = dice.below(replicas);
            let what = match dice.below(14) {
                0..=3 => Disturbance::Kill(replica, dice.seconds(0.0, 90.0)),
                4 | 5 => Disturbance::Freeze(replica, dice.seconds(1.0, 120.0)),
                6 => Disturbance::Restart(replica),
                7 => Disturbance::NoKubernetes(dice.seconds(1.0, 300.0)),
                8 => Disturbance::NoService(dice.seconds(1.0, 600.0)),
                9 => Disturbance::Maintenance(dice.seconds(1.0, 600.0)),
                10 => Disturbance::Compaction,
                11 | 12 => Disturbance::CutOff(replica, dice.seconds(1.0, 120.0)),
                _ if dice.chance(0.5) => Disturbance::TokensEnd,
                _ => Disturbance::NewKey(dice.seconds(0.0, 120.0)),
            };
            (number, at, what)
        })
        .collect()
}
