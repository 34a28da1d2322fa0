//! Waiting for what comes true by itself.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// The longest that anything is waited for, where nothing else is said.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(250);

/// Waits until there is a value. An error of the look itself ends the waiting.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            return Err(format!("{what}: not within {} s", limit.as_secs()).into());
        }
        thread::sleep(POLL);
    }
}

/// Waits until the condition is true.
pub(crate) fn until_true(what: &str, limit: Duration, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(is_true()?.then_some(())))
}

/// Fails with this sentence unless the condition is true.
pub(crate) fn ensure(holds: bool, sentence: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(sentence().into()) }
}
