//! A value with its recent past, so that a list can be answered as it was some seconds ago.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How far back the past is kept.
const HORIZON: Duration = Duration::from_mins(10);

/// What a value was, and since when; `None` where it did not exist.
#[derive(Debug)]
pub(super) struct Timeline<T> {
    entries: VecDeque<(Instant, Option<Arc<T>>)>,
}

impl<T> Timeline<T> {
    pub(super) fn new(now: Instant, value: Arc<T>) -> Self {
        Self { entries: VecDeque::from([(now, Some(value))]) }
    }

    pub(super) fn current(&self) -> Option<&Arc<T>> {
        self.entries.back().and_then(|(_, value)| value.as_ref())
    }

    pub(super) fn at(&self, then: Instant) -> Option<&Arc<T>> {
        self.entries.iter().rev().find(|(since, _)| *since <= then).and_then(|(_, value)| value.as_ref())
    }

    pub(super) fn set(&mut self, now: Instant, value: Option<Arc<T>>) {
        self.entries.push_back((now, value));
        // An entry is needed until the one after it has left the horizon.
        while self.entries.get(1).is_some_and(|(since, _)| now.duration_since(*since) > HORIZON) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn shows_the_past_within_the_horizon() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut line = Timeline::new(after(10), Arc::new('a'));
        line.set(after(20), Some(Arc::new('b')));
        line.set(after(30), None);
        assert_eq!(line.at(after(9)), None);
        assert_eq!(line.at(after(10)).map(|v| **v), Some('a'));
        assert_eq!(line.at(after(29)).map(|v| **v), Some('b'));
        assert_eq!(line.at(after(30)), None);
        line.set(after(700), Some(Arc::new('c')));
        assert_eq!(line.entries.len(), 2, "only what bounds the horizon is kept");
        assert_eq!(line.current().map(|v| **v), Some('c'));
    }
}
