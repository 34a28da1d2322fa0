//! The scenarios, one file each.

pub(crate) mod converge;
pub(crate) mod growth;
pub(crate) mod limits;
pub(crate) mod restart;
pub(crate) mod rotate;

use std::time::Duration;

use amigo_operator::sandbox::{RateLimits, Settings};

/// The longest that a fleet may take to become Ready where no limit holds it up.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A service that publishes at once and whose limits nobody reaches. It still tells them: an operator that hears of none goes
/// by those of the documentation.
fn generous() -> Settings {
    Settings { rate_limits: RateLimits::Scaled(10_000.0), publish_seconds: 0.0, ..Settings::default() }
}
