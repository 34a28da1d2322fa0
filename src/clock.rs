//! The time of day, on tokio's clock: real in the process, virtual where a test pauses the runtime.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time of day. Durations are measured with [`tokio::time::Instant`] instead.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A given time that moves with tokio's clock, so that a paused runtime has a paused day.
    Tokio {
        /// The time of day at `origin`.
        epoch: Timestamp,
        /// When `epoch` was.
        origin: Instant,
    },
}

impl Clock {
    /// A clock that shows `epoch` now and moves with tokio's clock.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self::Tokio { epoch, origin: Instant::now() }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { epoch, origin } => {
                let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
                epoch.saturating_add(elapsed).unwrap_or(*epoch)
            }
        }
    }
}
