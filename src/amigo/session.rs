//! Signing in: one token for one set of credentials, however many objects wait for it. Refused credentials are not tried
//! again for a while: errors, not work, use budgets up.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::Error;
use super::key::Known;

/// A token is renewed this long before it ends, or at two thirds of its life when that is shorter.
const EARLY: Duration = Duration::from_secs(300);

/// A token counts as good for at least this long, whatever the clocks say: otherwise every call would sign in, five times a
/// minute at most. A token that has ended shows in its refusal.
const SHORTEST: Duration = Duration::from_secs(30);

/// How long refused credentials are not tried again.
pub const REFUSED_FOR: Duration = Duration::from_secs(300);

/// What the service gives for signing in.
#[derive(Clone)]
pub struct Credentials {
    /// The key.
    pub api_key: SecretString,
    /// Its id.
    pub api_key_id: String,
    /// The user as whom one signs in.
    pub user_id: String,
}

/// An entry that cannot be sent as a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is empty, too long, or has characters that cannot be sent in a header")]
pub struct InvalidCredentials {
    /// Which entry, by its name in the Secret.
    pub field: &'static str,
}

impl Credentials {
    /// Checks that every entry can be sent as a header; the user's id is also shown in statuses.
    pub fn new(api_key: SecretString, api_key_id: String, user_id: String) -> Result<Self, InvalidCredentials> {
        let sendable = |text: &str, longest: usize| {
            !text.is_empty() && text.len() <= longest && text.bytes().all(|b| (0x21..0x7f).contains(&b))
        };
        let entries = [
            ("api-key", api_key.expose_secret(), 4096),
            ("api-key-id", api_key_id.as_str(), 4096),
            ("user-id", user_id.as_str(), 256),
        ];
        match entries.iter().find(|(_, text, longest)| !sendable(text, *longest)) {
            Some((field, ..)) => Err(InvalidCredentials { field }),
            None => Ok(Self { api_key, api_key_id, user_id }),
        }
    }

    /// Tells credentials apart without keeping the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.api_key.expose_secret(), &self.api_key_id, &self.user_id] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("api_key_id", &self.api_key_id)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A token and how long it serves. Measured by a clock that only goes forward: a time of day that is set, or that differs
/// from the service's, must not make a token look older or younger than it is.
#[derive(Clone)]
pub struct Token {
    /// Sent with every call.
    pub bearer: SecretString,
    /// When it ends, as the service says.
    pub expires_at: Timestamp,
    /// When it ends.
    pub ends_at: Instant,
    /// When it is renewed.
    pub renew_at: Instant,
    /// Counts the sign-ins, so that of many calls with a refused token one signs in again.
    pub serial: u64,
}

/// How long a token lives, by the service's own time of day where that makes sense, or else by ours.
#[must_use]
pub fn life(expires_at: Timestamp, service_now: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = |now: Timestamp| Duration::try_from(expires_at.duration_since(now)).ok();
    service_now.and_then(until).or_else(|| until(now)).unwrap_or_default().max(SHORTEST)
}

/// How long after the sign-in a token is renewed.
#[must_use]
pub fn renewed_after(life: Duration) -> Duration {
    life.saturating_sub(EARLY.min(life / 3))
}

/// The state of one set of credentials.
pub struct Session {
    /// The credentials.
    pub credentials: Credentials,
    pub(super) state: Mutex<State>,
    forget: AtomicBool,
    attempts: AtomicU64,
    key: std::sync::Mutex<Known>,
}

/// Behind one lock, so that one signs in and the others wait for it.
#[derive(Default)]
pub(super) struct State {
    pub token: Option<Token>,
    pub refused: Option<Instant>,
    pub serial: u64,
    /// Why the last attempt to sign in failed.
    pub failed: Option<Error>,
}

impl State {
    /// Whether the credentials were refused a short time ago.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    /// The credentials do not serve.
    pub fn refuse(&mut self) {
        self.token = None;
        self.refused = Some(Instant::now());
    }
}

impl Session {
    /// Not signed in yet.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            state: Mutex::default(),
            forget: AtomicBool::default(),
            attempts: AtomicU64::default(),
            key: std::sync::Mutex::default(),
        }
    }

    /// The next call signs in again.
    pub fn forget_token(&self) {
        self.forget.store(true, Ordering::SeqCst);
    }

    /// Whether a token was to be forgotten; asked once.
    pub(super) fn take_forget(&self) -> bool {
        self.forget.swap(false, Ordering::SeqCst)
    }

    /// How many attempts to sign in have ended.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::SeqCst)
    }

    /// An attempt to sign in has ended.
    pub(super) fn attempted(&self) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
    }

    /// When the token that serves now ends. `None` also while somebody signs in.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        let state = self.state.try_lock().ok()?;
        state.token.as_ref().filter(|token| token.ends_at > Instant::now()).map(|token| token.expires_at)
    }

    /// What is known of the key's life.
    pub(super) fn key(&self) -> Known {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is known of the key's life.
    pub(super) fn set_key(&self, known: Known) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Whether nothing would be lost without it: no token, and no refusal that is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| {
            state.token.as_ref().is_none_or(|token| token.ends_at <= Instant::now()) && !state.is_refused()
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &str) -> Result<Credentials, InvalidCredentials> {
        Credentials::new(SecretString::from(key), "id".into(), "user".into())
    }

    #[test]
    fn credentials_must_fit_into_headers_and_never_print() {
        assert!(credentials("key").is_ok());
        for key in ["", "a b", "a\nb", "ä", "\u{7f}"] {
            assert_eq!(credentials(key).unwrap_err().field, "api-key", "{key:?}");
        }
        assert!(!format!("{:?}", credentials("canary").unwrap()).contains("canary"));
        assert_ne!(credentials("a").unwrap().fingerprint(), credentials("b").unwrap().fingerprint());
    }

    #[test]
    fn credentials_are_told_apart_by_every_part() {
        let print = |key: &str, id: &str, user: &str| {
            Credentials::new(SecretString::from(key), id.into(), user.into()).unwrap().fingerprint()
        };
        let prints = [print("a", "b", "c"), print("x", "b", "c"), print("a", "x", "c"), print("a", "b", "x")];
        assert_eq!(prints.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_ne!(print("ab", "c", "d"), print("a", "bc", "d"));
        assert_eq!(print("a", "b", "c"), prints[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_rest_for_a_while() {
        let mut state = State::default();
        assert!(!state.is_refused());
        state.refuse();
        assert!(state.is_refused() && state.token.is_none());
        tokio::time::advance(REFUSED_FOR.saturating_sub(Duration::from_secs(1))).await;
        assert!(state.is_refused());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!state.is_refused());
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        for (life, renewed) in [(3600, 3300), (900, 600), (60, 40), (30, 20)] {
            assert_eq!(renewed_after(Duration::from_secs(life)), Duration::from_secs(renewed));
        }
    }

    #[test]
    fn a_clock_that_is_wrong_does_not_make_every_call_sign_in() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        for (expires, service, ours, expected) in [
            (3600, None, 0, 3600),
            (3600, Some(0), 7200, 3600),
            (3600, Some(7200), 0, 3600),
            (3600, Some(7200), 7200, 30),
            (0, None, 0, 30),
        ] {
            let life = life(at(expires), service.map(at), at(ours));
            assert_eq!(life, Duration::from_secs(expected), "{expires} {service:?} {ours}");
        }
    }
}
