//! How a reconcile ends. Three outcomes of failure, as types: *retrying* (with backoff), *waiting* (for a named thing that
//! wakes the object) and *stalled* (until somebody changes something). One function maps each to conditions.

use std::time::Duration;

use super::memory::MISSING_LOOK;
use crate::amigo;
use crate::kubernetes::conditions::{State, Verdict};
use crate::kubernetes::object;
use crate::resources::Reason;
use crate::text::one_line;

/// Safety net of an object that waits for something: the wake-up may have been missed.
pub const WAITING_LOOK: Duration = Duration::from_secs(600);

/// A stalled object is looked at again this rarely.
pub const STALLED_LOOK: Duration = Duration::from_secs(6 * 3600);

/// How a reconcile ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service matches the manifest.
    Ready {
        /// For a person.
        message: String,
        /// When the next look is due.
        again: Duration,
    },
    /// Work goes on by itself.
    Working {
        /// Why it is not done.
        reason: Reason,
        /// For a person.
        message: String,
        /// When to look again.
        again: Duration,
    },
    /// Something named must come first; its coming wakes the object.
    Waiting {
        /// What for.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// Somebody must change something.
    Stalled {
        /// Why.
        reason: Reason,
        /// For a person, with the remedy.
        message: String,
    },
    /// It failed and is tried again with backoff.
    Retrying {
        /// Why.
        reason: Reason,
        /// For a person.
        message: String,
        /// Not before this.
        after: Duration,
    },
    /// Nothing is done on purpose.
    Suspended {
        /// Who asked for that.
        message: String,
        /// How many edits of the object's spec that was.
        edits: i64,
    },
    /// Nothing to say: the status stays as it is.
    Unchanged {
        /// When to look again.
        again: Duration,
    },
    /// Cleaned up: the finalizer goes.
    Gone {
        /// What was done, for the log.
        message: String,
    },
}

impl Outcome {
    /// Waits for `reason`.
    pub fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        Self::Waiting { reason, message: message.into() }
    }

    /// Stalled for `reason`.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self::Stalled { reason, message: message.into() }
    }

    /// Tried again with backoff.
    pub fn retrying(message: impl Into<String>) -> Self {
        Self::Retrying { reason: Reason::ProgressingWithRetry, message: message.into(), after: Duration::ZERO }
    }

    /// Goes on by itself.
    pub fn working(reason: Reason, message: impl Into<String>, again: Duration) -> Self {
        Self::Working { reason, message: message.into(), again }
    }

    /// Waits in the queue for one of the organization's calls; woken when its turn comes.
    #[must_use]
    pub fn queued(what: &str, estimate: Duration) -> Self {
        let seconds = estimate.as_secs().max(1);
        let estimate = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
        let message = format!("waits for one of the organization's calls a minute to {what}; estimated: {estimate}");
        Self::Working { reason: Reason::QueuedForBudget, message, again: Duration::from_secs(60) }
    }

    /// What the object stands for was not found, which one read does not prove. A resync says nothing of it yet.
    #[must_use]
    pub fn not_found_yet(class: amigo::Class) -> Self {
        match class {
            amigo::Class::Resync | amigo::Class::Rewrite => Self::Unchanged { again: MISSING_LOOK },
            amigo::Class::Interactive | amigo::Class::Recovery => Self::Working {
                reason: Reason::ProgressingWithRetry,
                message: "the service does not find it, and is asked again before it counts as gone".into(),
                again: MISSING_LOOK,
            },
        }
    }

    /// What the conditions should say; `None` when they stay as they are.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let (state, reason, message) = match self {
            Self::Ready { message, .. } => (State::Ready, Reason::Succeeded, message),
            Self::Working { reason, message, .. }
            | Self::Waiting { reason, message }
            | Self::Retrying { reason, message, .. } => (State::Reconciling, *reason, message),
            Self::Stalled { reason, message } => (State::Stalled, *reason, message),
            Self::Suspended { message, edits } => (State::Suspended { edits: *edits }, Reason::Suspended, message),
            Self::Unchanged { .. } | Self::Gone { .. } => return None,
        };
        Some(Verdict { state, reason, message: one_line(message) })
    }
}

/// What ends a reconcile before its last line.
#[derive(Debug, thiserror::Error)]
pub enum Interrupt {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] object::Error),
    /// The remote API.
    #[error(transparent)]
    Service(#[from] amigo::Error),
    /// The outcome is clear already.
    #[error("{0:?}")]
    Outcome(Outcome),
}

impl From<Outcome> for Interrupt {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

/// What a failed call to the remote API means for the object it was made for.
#[must_use]
pub fn of_service_error(error: &amigo::Error) -> Outcome {
    use amigo::Error as E;
    let message = error.to_string();
    match error {
        E::NotLeader => Outcome::Unchanged { again: WAITING_LOOK },
        E::CredentialsRefused { .. } => Outcome::waiting(Reason::OrganizationNotReady, message),
        E::PermissionDenied { .. } => Outcome::stalled(Reason::PermissionDenied, message),
        E::RevisionMismatch { .. } => Outcome::stalled(Reason::RevisionMismatch, message),
        E::RateLimited { retry_after, .. } => Outcome::Retrying {
            reason: Reason::QueuedForBudget,
            message: "waits because the service says that the organization's calls are used up".into(),
            after: retry_after.unwrap_or(Duration::from_secs(60)),
        },
        E::Queued { estimate, .. } => Outcome::queued("read from the service", *estimate),
        E::Status { status: 422, .. } => Outcome::stalled(Reason::InvalidRequest, message),
        E::Maintenance { .. } | E::Status { .. } | E::NotSent { .. } | E::Unknown { .. } | E::Unreadable { .. } => {
            Outcome::retrying(message)
        }
    }
}
