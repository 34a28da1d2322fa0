//! Whether the service answers at all: one fact for all who call it. Each of them waits longer and longer between its own
//! attempts; when the service is back, none should wait any more.

use std::time::Duration;

use tokio::time::Instant;

/// When no call has been answered for this long, it is an outage. Before, it is the trouble of single calls.
const OUTAGE_AFTER: Duration = Duration::from_secs(30);

/// What the calls so far say.
#[derive(Debug, Default)]
pub struct Outage {
    /// Since when no call was answered.
    failing_since: Option<Instant>,
    /// Whether that counts as an outage.
    lasts: bool,
    ended: u64,
}

impl Outage {
    /// A call had no answer, or one that says that the service does not work; whether an outage is certain from now on.
    pub fn failed(&mut self, now: Instant) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        let begins = !self.lasts && now.duration_since(since) >= OUTAGE_AFTER;
        self.lasts |= begins;
        begins
    }

    /// A call was answered; whether an outage has ended with that.
    pub fn answered(&mut self) -> bool {
        self.failing_since = None;
        let ends = std::mem::take(&mut self.lasts);
        self.ended += u64::from(ends);
        ends
    }

    /// Whether there is one.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        self.lasts
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

    #[test]
    fn an_outage_begins_when_nothing_was_answered_for_long_enough_and_ends_with_an_answer() {
        let start = Instant::now();
        let mut outage = Outage::default();
        // Seconds, whether the call was answered, whether that begins or ends an outage, and whether there is one after.
        let calls = [
            (0, false, false, false),
            (29, false, false, false),
            (29, true, false, false),
            (31, false, false, false),
            (60, false, false, false),
            (61, false, true, true),
            (62, false, false, true),
            (300, true, true, false),
            (301, true, false, false),
            (302, false, false, false),
            (332, false, true, true),
            (333, true, true, false),
        ];
        for (second, answered, turns, lasts) in calls {
            let now = start + Duration::from_secs(second);
            let turned = if answered { outage.answered() } else { outage.failed(now) };
            assert_eq!((turned, outage.lasts()), (turns, lasts), "second {second}");
        }
        assert_eq!(outage.ended(), 2);
    }
}
