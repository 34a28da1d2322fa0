//! How long an API key lives, as the service tells those who may see keys. Nothing depends on it: it is told to people in time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::types::ApiKey;

/// How long before its end a key is to be replaced; of a key that lives shorter than six weeks a third of its life.
const IN_TIME: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long the answer to a look is good for.
const KNOWN_FOR: Duration = Duration::from_hours(24);

/// How long nobody looks again after a look that failed.
const ASKED_AGAIN: Duration = Duration::from_hours(1);

/// What the service tells of a key.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It has not answered yet.
    #[default]
    Unknown,
    /// It does not show the key to this user, or the key has no end.
    Untold,
    /// It tells when the key ends.
    Lives(KeyLife),
}

/// The life of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// When the key ends.
    pub ends_at: Timestamp,
    /// From when on it is time to replace it.
    pub replace_from: Timestamp,
}

impl Key {
    /// What is told of the key of this id by a list of those that the user may see.
    #[must_use]
    pub fn of(key_id: &str, keys: &[ApiKey]) -> Self {
        KeyLife::of(key_id, keys).map_or(Self::Untold, Self::Lives)
    }

    /// Its life, where that is told.
    #[must_use]
    pub const fn life(self) -> Option<KeyLife> {
        match self {
            Self::Lives(life) => Some(life),
            Self::Unknown | Self::Untold => None,
        }
    }
}

impl KeyLife {
    fn of(key_id: &str, keys: &[ApiKey]) -> Option<Self> {
        let is_it = |key: &&ApiKey| [&key.key_id, &key.id].into_iter().flatten().any(|id| id == key_id);
        let key = keys.iter().find(is_it)?;
        let ends_at = key.expires_at?;
        let life = key.created_at.map(|created| ends_at.duration_since(created)).filter(SignedDuration::is_positive);
        let early = life.map_or(IN_TIME, |life| IN_TIME.min(life / 3));
        Some(Self { ends_at, replace_from: ends_at.saturating_sub(early).unwrap_or(Timestamp::MIN) })
    }
}

/// What is known of the life of one set of credentials' key, and until when that is good.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    /// What the service told last.
    pub key: Key,
    good_until: Option<Instant>,
}

impl Known {
    /// Whether it is time to ask.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.good_until.is_none_or(|until| now >= until)
    }

    /// The service has told.
    pub fn told(key: Key, now: Instant) -> Self {
        Self { key, good_until: Some(now + KNOWN_FOR) }
    }

    /// The look has failed: what was known stands.
    pub fn failed(self, now: Instant) -> Self {
        Self { good_until: Some(now + ASKED_AGAIN), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn key(key_id: Option<&str>, id: Option<&str>, created: Option<i64>, expires: Option<i64>) -> ApiKey {
        ApiKey {
            key_id: key_id.map(str::to_owned),
            id: id.map(str::to_owned),
            created_at: created.map(at),
            expires_at: expires.map(at),
        }
    }

    #[test]
    fn a_key_is_replaced_two_weeks_before_its_end_or_after_two_thirds_of_a_short_life() {
        for (created, expires, expected) in [
            (Some(0), Some(90), Some((90, 76))),
            (Some(0), Some(42), Some((42, 28))),
            (Some(0), Some(9), Some((9, 6))),
            (None, Some(90), Some((90, 76))),
            (Some(100), Some(90), Some((90, 76))),
            (Some(0), None, None),
        ] {
            let life = Key::of("mine", &[key(Some("mine"), None, created, expires)]).life();
            let expected = expected.map(|(ends, from)| KeyLife { ends_at: at(ends), replace_from: at(from) });
            assert_eq!(life, expected, "{created:?} {expires:?}");
        }
    }

    #[test]
    fn only_the_key_itself_counts() {
        let others = [key(Some("other"), Some("another"), None, Some(1)), key(None, None, None, Some(2))];
        assert_eq!(Key::of("mine", &others), Key::Untold);
        assert_eq!(Key::of("mine", &[]), Key::Untold);
        for mine in [key(Some("mine"), Some("x"), None, Some(9)), key(Some("x"), Some("mine"), None, Some(9))] {
            let keys = [others[0].clone(), mine];
            assert_eq!(Key::of("mine", &keys).life().map(|life| life.ends_at), Some(at(9)));
        }
    }

    #[test]
    fn what_was_told_is_good_for_a_day_and_a_failure_for_an_hour() {
        let (key, start) = (Key::Lives(KeyLife { ends_at: at(9), replace_from: at(6) }), Instant::now());
        let told = Known::told(key, start);
        let failed = told.failed(start);
        assert!(Known::default().is_stale(start), "nobody has asked yet");
        for (minutes, stale) in [(0, [false, false]), (59, [false, false]), (60, [false, true]), (1440, [true, true])] {
            let now = start + Duration::from_mins(minutes);
            assert_eq!([told.is_stale(now), failed.is_stale(now)], stale, "{minutes}");
        }
        assert_eq!((told.key, failed.key), (key, key), "a failure takes nothing back");
    }
}
