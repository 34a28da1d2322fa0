//! Whether the service works at all: one fact for all who call it. Each of them waits longer and longer between its own
//! attempts; when the service is back, none should wait any more.

use std::time::Duration;

use tokio::time::Instant;

/// When no call has found the service working for this long, it is looked at.
const SUSPECTED_AFTER: Duration = Duration::from_secs(30);

/// No two looks begin closer together, whoever looks.
const BETWEEN_LOOKS: Duration = Duration::from_secs(20);

/// What the calls so far say. That somebody's calls fail is no outage yet: a look, a call that nothing but an outage can make
/// fail, must fail as well.
#[derive(Debug, Default)]
pub struct Outage {
    /// Since when no call has found the service working.
    failing_since: Option<Instant>,
    /// When it was last looked at.
    looked: Option<Instant>,
    /// Whether a look has failed since then.
    is_certain: bool,
    ended: u64,
}

impl Outage {
    /// A call did not find the service working.
    pub fn failed(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
    }

    /// A look did not find the service working.
    pub fn look_failed(&mut self) {
        self.is_certain = self.failing_since.is_some();
    }

    /// A call found the service working; whether an outage has ended with that.
    pub fn answered(&mut self) -> bool {
        self.failing_since = None;
        let ends = std::mem::take(&mut self.is_certain);
        self.ended += u64::from(ends);
        ends
    }

    /// Whether there may be one.
    #[must_use]
    pub fn is_suspected(&self, now: Instant) -> bool {
        self.failing_since.is_some_and(|since| now.duration_since(since) >= SUSPECTED_AFTER)
    }

    /// Whether somebody should look now.
    #[must_use]
    pub fn is_look_due(&self, now: Instant) -> bool {
        self.is_suspected(now) && self.looked.is_none_or(|looked| now.duration_since(looked) >= BETWEEN_LOOKS)
    }

    /// Somebody looks.
    pub fn looks(&mut self, now: Instant) {
        self.looked = Some(now);
    }

    /// How many have ended.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Call {
        Fails,
        LookFails,
        Works,
    }
    use Call::{Fails, LookFails, Works};

    #[test]
    fn an_outage_is_what_a_look_has_confirmed_and_ends_with_an_answer() {
        let start = Instant::now();
        let mut outage = Outage::default();
        // The second, what happens, whether an outage is suspected after it, and how many have ended.
        let calls = [
            (0, Fails, false, 0),
            (29, Fails, false, 0),
            (30, Works, false, 0),
            (31, Fails, false, 0),
            (60, Fails, false, 0),
            (61, Fails, true, 0),
            // Somebody's own trouble.
            (62, Works, false, 0),
            (70, Fails, false, 0),
            (100, Fails, true, 0),
            (101, LookFails, true, 0),
            (900, Fails, true, 0),
            (901, Works, false, 1),
            (902, Works, false, 1),
            // A look that was on its way.
            (903, LookFails, false, 1),
            (904, Works, false, 1),
        ];
        for (second, call, is_suspected, ended) in calls {
            let now = start + Duration::from_secs(second);
            match call {
                Fails => outage.failed(now),
                LookFails => outage.look_failed(),
                Works => assert_eq!(outage.answered(), ended > 0 && second == 901),
            }
            assert_eq!((outage.is_suspected(now), outage.ended()), (is_suspected, ended), "second {second}");
        }
    }

    #[test]
    fn looks_are_due_while_an_outage_is_suspected_and_not_more_often_than_needed() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut outage = Outage::default();
        assert!(!outage.is_look_due(at(0)));
        outage.failed(at(0));
        assert!(!outage.is_look_due(at(29)) && outage.is_look_due(at(30)));
        outage.looks(at(30));
        assert!(!outage.is_look_due(at(49)) && outage.is_look_due(at(50)));
        outage.answered();
        assert!(!outage.is_look_due(at(100)));
    }
}
