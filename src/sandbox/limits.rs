//! Rate limits: calls of one organization over a sliding window of 60 seconds, one window an operation.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::operation::Operation;
use super::settings::{RateLimits, Settings};

const WINDOW: Duration = Duration::from_mins(1);

/// The calls of the last 60 seconds.
#[derive(Debug, Default)]
pub(super) struct Windows {
    calls: BTreeMap<Operation, VecDeque<Instant>>,
}

/// What the rate-limit headers of an answer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Calls per window.
    pub limit: usize,
    /// Calls left now.
    pub remaining: usize,
    /// Until the oldest call leaves the window.
    pub reset: Duration,
    /// Whether the call was within the limit.
    pub admitted: bool,
}

impl Windows {
    /// Counts a call and tells how things stand; `None` when nothing is limited. A refused call is not counted.
    pub(super) fn admit(&mut self, operation: Operation, settings: &Settings, now: Instant) -> Option<Standing> {
        let limit = limit(operation, settings)?;
        let calls = self.recent(operation, now);
        let admitted = calls.len() < limit;
        if admitted {
            calls.push_back(now);
        }
        let oldest = calls.front().copied().unwrap_or(now);
        Some(Standing {
            limit,
            remaining: limit.saturating_sub(calls.len()),
            reset: WINDOW.saturating_sub(now.duration_since(oldest)),
            admitted,
        })
    }

    /// Takes back the last call that was counted: it did not arrive.
    pub(super) fn take_back(&mut self, operation: Operation) {
        self.calls.entry(operation).or_default().pop_back();
    }

    /// Counts `calls` calls of some other client.
    pub(super) fn use_up(&mut self, operation: Operation, calls: usize, now: Instant) {
        self.recent(operation, now).extend(std::iter::repeat_n(now, calls));
    }

    fn recent(&mut self, operation: Operation, now: Instant) -> &mut VecDeque<Instant> {
        let calls = self.calls.entry(operation).or_default();
        while calls.front().is_some_and(|call| now.duration_since(*call) >= WINDOW) {
            calls.pop_front();
        }
        calls
    }
}

fn limit(operation: Operation, settings: &Settings) -> Option<usize> {
    let base = settings.limits.get(&operation).copied().unwrap_or_else(|| operation.limit());
    match settings.rate_limits {
        RateLimits::Off => None,
        RateLimits::Real => usize::try_from(base).ok(),
        // The cast saturates, and a factor is positive and finite.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        RateLimits::Scaled(factor) => Some((f64::from(base) * factor).ceil().max(1.0) as usize),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn holds_over_any_sixty_seconds() {
        let (settings, start) = (Settings::default(), Instant::now());
        let mut windows = Windows::default();
        let mut admit = |seconds| windows.admit(Operation::SignIn, &settings, start + Duration::from_secs(seconds));
        for second in [0, 1, 2, 30] {
            assert!(admit(second).unwrap().admitted);
        }
        let last = admit(40).unwrap();
        assert_eq!((last.limit, last.remaining, last.reset, last.admitted), (5, 0, Duration::from_secs(20), true));
        assert!(!admit(59).unwrap().admitted);
        assert!(admit(60).unwrap().admitted, "the first call has left the window, the refused one never entered");
        assert!(!admit(60).unwrap().admitted);
    }

    #[test]
    fn can_be_scaled_replaced_and_switched_off() {
        let mut settings = Settings { rate_limits: RateLimits::Scaled(0.01), ..Settings::default() };
        assert_eq!(limit(Operation::ListTools, &settings), Some(1));
        settings.rate_limits = RateLimits::Scaled(2.5);
        assert_eq!(limit(Operation::SignIn, &settings), Some(13));
        settings.rate_limits = RateLimits::Real;
        settings.limits.insert(Operation::SignIn, 3);
        assert_eq!(limit(Operation::SignIn, &settings), Some(3));
        settings.rate_limits = RateLimits::Off;
        assert_eq!(limit(Operation::SignIn, &settings), None);
    }
}
