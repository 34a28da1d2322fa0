//! Signing in: one token for one set of credentials, however many objects wait for it. Refused credentials are not tried
//! again for a while: errors, not work, use budgets up.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A token is renewed this long before it ends, or at two thirds of its life when that is shorter.
const EARLY: SignedDuration = SignedDuration::from_mins(5);

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
#[error("{field} is empty or has characters that cannot be sent in a header")]
pub struct InvalidCredentials {
    /// Which entry, by its name in the Secret.
    pub field: &'static str,
}

impl Credentials {
    /// Checks that every entry can be sent as a header.
    pub fn new(api_key: SecretString, api_key_id: String, user_id: String) -> Result<Self, InvalidCredentials> {
        let sendable =
            |text: &str| !text.is_empty() && text.len() <= 4096 && text.bytes().all(|b| (0x21..0x7f).contains(&b));
        let entries =
            [("api-key", api_key.expose_secret()), ("api-key-id", api_key_id.as_str()), ("user-id", user_id.as_str())];
        match entries.iter().find(|(_, text)| !sendable(text)) {
            Some((field, _)) => Err(InvalidCredentials { field }),
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

/// A token and how long it serves.
#[derive(Clone)]
pub struct Token {
    /// Sent with every call.
    pub bearer: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it is renewed.
    pub renew_at: Timestamp,
    /// Counts the sign-ins, so that of many calls with a refused token one signs in again.
    pub serial: u64,
}

/// When a token that was given at `now` is renewed.
#[must_use]
pub fn renew_at(now: Timestamp, expires_at: Timestamp) -> Timestamp {
    let life = expires_at.duration_since(now);
    let early = EARLY.min(life / 3);
    expires_at.saturating_sub(early).unwrap_or(expires_at)
}

/// The state of one set of credentials.
pub struct Session {
    /// The credentials.
    pub credentials: Credentials,
    pub(super) state: Mutex<State>,
    forget: std::sync::atomic::AtomicBool,
}

/// Behind one lock, so that one signs in and the others wait for it.
#[derive(Default)]
pub(super) struct State {
    pub token: Option<Token>,
    pub refused: Option<Instant>,
    pub serial: u64,
}

impl State {
    /// Whether the credentials were refused a short time ago.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }
}

impl Session {
    /// Not signed in yet.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, state: Mutex::default(), forget: std::sync::atomic::AtomicBool::new(false) }
    }

    /// The next call signs in again.
    pub fn forget_token(&self) {
        self.forget.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Whether a token was to be forgotten; asked once.
    pub(super) fn take_forget(&self) -> bool {
        self.forget.swap(false, std::sync::atomic::Ordering::SeqCst)
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
    fn a_token_is_renewed_before_it_ends() {
        let now = Timestamp::from_second(0).unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(renew_at(now, at(3600)), at(3300));
        assert_eq!(renew_at(now, at(60)), at(40));
        assert_eq!(renew_at(now, at(0)), at(0));
    }
}
