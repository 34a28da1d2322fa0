//! What can go wrong with a call, and the one question that decides what to do about it: may it have had an effect?

use std::time::Duration;

use super::operation::Operation;
use super::transport::TransportError;
use crate::text::one_line;

/// Longest text of the service that is kept, in characters.
const TEXT_LIMIT: usize = 300;

/// How much of an error body is looked at, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Why a call did not do what it should. Keeps the status, the field and the service's own words, cleaned and cut; nothing
/// of the variables call, whose errors may echo values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This process does not lead any more. Nothing was sent.
    #[error("this process is not the leader and calls nobody")]
    NotLeader,
    /// 401 on the sign-in, or on a call with a token that was fresh. The same credentials are not tried again for a while.
    #[error("the service refused the credentials")]
    CredentialsRefused {},
    /// 403: the key's role lacks a permission.
    #[error("the credentials lack the permission for {}{}", operation.as_str(), shown(text.as_ref()))]
    PermissionDenied {
        /// The call.
        operation: Operation,
        /// The service's words, which name the permission.
        text: Option<String>,
    },
    /// 429: an alarm, as the budget should prevent it. Nothing happened.
    #[error("the service refused {} as too many calls", operation.as_str())]
    RateLimited {
        /// The call.
        operation: Operation,
        /// How long the service asks to wait.
        retry_after: Option<Duration>,
    },
    /// The organization's calls of this minute are used up, and many wait already. Nothing was sent.
    #[error("waits for one of the organization's calls a minute")]
    Queued {
        /// The call.
        operation: Operation,
        /// About how long.
        estimate: Duration,
    },
    /// Any other refusal.
    #[error("the service answered {} with {status}{}{}", operation.as_str(), of_field(field.as_ref()), shown(text.as_ref()))]
    Status {
        /// The call.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// The field that the service complains about.
        field: Option<String>,
        /// The service's words.
        text: Option<String>,
    },
    /// 503: planned maintenance, which passes.
    #[error("the service is in maintenance")]
    Maintenance {
        /// The call.
        operation: Operation,
    },
    /// No connection: nothing was sent.
    #[error("the service cannot be reached: {0}")]
    NotSent(String),
    /// The request may have arrived, and there is no answer.
    #[error("no answer to {}: {text}", operation.as_str())]
    Unknown {
        /// The call.
        operation: Operation,
        /// Time-out, reset, or an answer that broke off.
        text: String,
    },
    /// A success that cannot be read.
    #[error("the answer to {} cannot be read: {text}", operation.as_str())]
    Unreadable {
        /// The call.
        operation: Operation,
        /// Where it stops making sense.
        text: String,
    },
    /// The service accepts no revision of the publish call that this operator knows, or not the one that was set.
    #[error("the service does not speak the revision of the API that is set, or any that is known{}", shown(text.as_ref()))]
    RevisionMismatch {
        /// The service's words.
        text: Option<String>,
    },
}

/// Whether a call may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Certainly not: it was not sent, or was refused before any work.
    None,
    /// Perhaps: only evidence tells.
    Unknown,
}

impl Error {
    /// The error for an answer that is no success.
    #[must_use]
    pub fn from_status(
        operation: Operation,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        mask: &[&str],
    ) -> Self {
        // An error of the variables call may echo what was sent: nothing of it is kept.
        let keeps_text = operation != Operation::ModifyVariables && operation != Operation::SignIn;
        let detail = if keeps_text { Detail::read(body, mask) } else { Detail::default() };
        match status {
            403 => Self::PermissionDenied { operation, text: detail.text },
            429 => Self::RateLimited { operation, retry_after },
            503 => Self::Maintenance { operation },
            _ => Self::Status { operation, status, field: detail.field, text: detail.text },
        }
    }

    /// The error for no answer.
    #[must_use]
    pub fn from_transport(operation: Operation, error: TransportError) -> Self {
        match error {
            TransportError::NotSent(text) => Self::NotSent(text),
            TransportError::Unknown(text) => Self::Unknown { operation, text },
        }
    }

    /// The call that failed, where that is known: signing in for a call fails as the sign-in.
    #[must_use]
    pub const fn operation(&self) -> Option<Operation> {
        match self {
            Self::PermissionDenied { operation, .. }
            | Self::RateLimited { operation, .. }
            | Self::Queued { operation, .. }
            | Self::Status { operation, .. }
            | Self::Maintenance { operation }
            | Self::Unknown { operation, .. }
            | Self::Unreadable { operation, .. } => Some(*operation),
            Self::CredentialsRefused {} => Some(Operation::SignIn),
            Self::RevisionMismatch { .. } => Some(Operation::PublishVersion),
            Self::NotLeader | Self::NotSent(_) => None,
        }
    }

    /// Whether the call may have had an effect.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotLeader
            | Self::CredentialsRefused {}
            | Self::PermissionDenied { .. }
            | Self::RateLimited { .. }
            | Self::Queued { .. }
            | Self::NotSent(_)
            | Self::RevisionMismatch { .. } => Effect::None,
            // 408 comes from something between that gave up waiting for the service.
            Self::Status { status: 400..=407 | 409..=499, .. } => Effect::None,
            Self::Status { operation, .. }
            | Self::Maintenance { operation }
            | Self::Unknown { operation, .. }
            | Self::Unreadable { operation, .. } => without_answer(*operation),
        }
    }

    /// Whether the service is not there, or does not work, whatever it is asked.
    #[must_use]
    pub const fn is_of_the_service(&self) -> bool {
        matches!(
            self,
            Self::NotSent(_) | Self::Unknown { .. } | Self::Maintenance { .. } | Self::Status { status: 500..=599, .. }
        )
    }

    /// The HTTP status of the call itself. `None` when there was none, and when it is that of signing in for the call: an
    /// unknown organization is no unknown tool.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::CredentialsRefused {} => Some(401),
            Self::PermissionDenied { operation: Operation::SignIn, .. }
            | Self::RateLimited { operation: Operation::SignIn, .. }
            | Self::Status { operation: Operation::SignIn, .. }
            | Self::Maintenance { operation: Operation::SignIn }
            | Self::NotLeader
            | Self::Queued { .. }
            | Self::NotSent(_)
            | Self::Unknown { .. }
            | Self::Unreadable { .. }
            | Self::RevisionMismatch { .. } => None,
            Self::PermissionDenied { .. } => Some(403),
            Self::RateLimited { .. } => Some(429),
            Self::Status { status, .. } => Some(*status),
            Self::Maintenance { .. } => Some(503),
        }
    }

    /// The outcome in metrics, from a closed set.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Queued { .. } => "queued",
            Self::CredentialsRefused {} => "401",
            Self::PermissionDenied { .. } => "403",
            Self::RateLimited { .. } => "429",
            Self::Maintenance { .. } => "503",
            Self::Status { status: 400, .. } => "400",
            Self::Status { status: 404, .. } => "404",
            Self::Status { status: 409, .. } => "409",
            Self::Status { status: 422, .. } => "422",
            Self::Status { status: 300..=399, .. } => "3xx",
            Self::Status { status: 400..=499, .. } => "4xx",
            Self::Status { .. } => "5xx",
            Self::NotSent(_) => "not_sent",
            Self::Unknown { .. } => "no_answer",
            Self::Unreadable { .. } => "unreadable",
            Self::RevisionMismatch { .. } => "revision_mismatch",
        }
    }
}

/// What a call without a readable answer may have done: a read changes nothing, and signing in nothing that matters.
const fn without_answer(operation: Operation) -> Effect {
    if operation.writes() { Effect::Unknown } else { Effect::None }
}

fn shown(text: Option<&String>) -> String {
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

fn of_field(field: Option<&String>) -> String {
    field.map(|field| format!(" for field {field}")).unwrap_or_default()
}

/// What an error body says. Error bodies have no schema: this is for people only.
#[derive(Debug, Default, PartialEq, Eq)]
struct Detail {
    field: Option<String>,
    text: Option<String>,
}

impl Detail {
    fn read(body: &[u8], mask: &[&str]) -> Self {
        let (body, rest) = body.split_at(body.len().min(BODY_LIMIT));
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else {
            let text = String::from_utf8_lossy(body);
            // A secret that the cut goes through is not whole any more, and would not be found.
            let text = if rest.is_empty() { &text } else { without_beginning_of(&text, mask) };
            return Self { field: None, text: clean(text, mask) };
        };
        let detail = json.get("detail").or_else(|| json.get("message")).or_else(|| json.get("error")).unwrap_or(&json);
        match detail {
            serde_json::Value::String(text) => Self { field: None, text: clean(text, mask) },
            serde_json::Value::Array(entries) => Self::of_validation(entries, mask),
            other => Self { field: None, text: clean(&other.to_string(), mask) },
        }
    }

    /// A list of complaints, each with `loc` and `msg`; what was submitted (`input`) is left out.
    fn of_validation(entries: &[serde_json::Value], mask: &[&str]) -> Self {
        let field = entries.first().and_then(|entry| entry.get("loc")).and_then(|loc| loc.as_array()).map(|loc| {
            let parts = loc.iter().filter_map(|part| part.as_str().filter(|p| *p != "body"));
            parts.collect::<Vec<_>>().join(".")
        });
        let texts = entries.iter().filter_map(|entry| entry.get("msg").and_then(serde_json::Value::as_str));
        let text = texts.take(3).collect::<Vec<_>>().join("; ");
        Self { field: field.and_then(|field| clean(&field, mask)), text: clean(&text, mask) }
    }
}

/// The text without the beginning of a secret at its end.
fn without_beginning_of<'t>(text: &'t str, mask: &[&str]) -> &'t str {
    let begins = |secret: &&str| (4..secret.len()).rev().find(|n| secret.get(..*n).is_some_and(|s| text.ends_with(s)));
    let longest = mask.iter().filter_map(begins).max().unwrap_or_default();
    &text[..text.len() - longest]
}

/// Foreign text as it may stand in a condition: without control characters and known secrets, in one line, cut.
fn clean(text: &str, mask: &[&str]) -> Option<String> {
    let mut secrets: Vec<&str> = mask.iter().copied().filter(|secret| secret.len() >= 4).collect();
    // One secret may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret, "***");
        if let Ok(written) = serde_json::to_string(secret) {
            text = text.replace(written.trim_matches('"'), "***");
        }
    }
    let cut: String = one_line(&text).chars().take(TEXT_LIMIT).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
