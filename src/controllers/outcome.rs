//! How a reconcile ends. Three outcomes of failure, as types: *retrying* (with backoff), *waiting* (for a named thing that
//! wakes the object) and *stalled* (until somebody changes something). One function maps each to conditions.

use std::time::Duration;

use super::memory::MISSING_LOOK;
use crate::amigo;
use crate::kubernetes::conditions::{MESSAGE_LIMIT, State, Verdict};
use crate::kubernetes::object;
use crate::resources::Reason;
use crate::text::short;

/// Safety net of an object that waits for something: the wake-up may have been missed.
pub const WAITING_LOOK: Duration = Duration::from_secs(600);

/// Safety net of an object that has a place in a queue, and is woken when its turn comes.
const PLACE_LOOK: Duration = Duration::from_secs(600);

/// How soon to ask again for a read that others may have made meanwhile.
const READ_LOOK: Duration = Duration::from_secs(60);

/// A stalled object is looked at again this rarely.
pub const STALLED_LOOK: Duration = Duration::from_secs(6 * 3600);

/// How soon to look again when something was not done for want of the lease: as a rule the process looks no more at all.
pub const NOT_LEADER_LOOK: Duration = Duration::from_secs(10);

/// How a reconcile ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service matches the manifest.
    Ready {
        /// `Succeeded`, or what a person should know of all the same.
        reason: Reason,
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
    /// Nothing is left to do until the next look.
    pub fn ready(message: impl Into<String>, again: Duration) -> Self {
        Self::Ready { reason: Reason::Succeeded, message: message.into(), again }
    }

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
        Self::queued_until(what, estimate, PLACE_LOOK)
    }

    fn queued_until(what: &str, estimate: Duration, again: Duration) -> Self {
        let seconds = estimate.as_secs().max(1);
        let estimate = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
        let message = format!("waits for one of the organization's calls a minute to {what}; estimated: {estimate}");
        Self::Working { reason: Reason::QueuedForBudget, message, again }
    }

    /// Whether the object still waits for the calls that it has asked for.
    #[must_use]
    pub fn keeps_places(&self) -> bool {
        matches!(self, Self::Working { reason: Reason::QueuedForBudget, .. } | Self::Unchanged { .. })
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
            Self::Ready { reason, message, .. } => (State::Ready, *reason, message),
            Self::Working { reason, message, .. }
            | Self::Waiting { reason, message }
            | Self::Retrying { reason, message, .. } => (State::Reconciling, *reason, message),
            Self::Stalled { reason, message } => (State::Stalled, *reason, message),
            Self::Suspended { message, edits } => (State::Suspended { edits: *edits }, Reason::Suspended, message),
            Self::Unchanged { .. } | Self::Gone { .. } => return None,
        };
        Some(Verdict { state, reason, message: short(message, MESSAGE_LIMIT) })
    }
}

/// What a named obstacle means. What is waited for tells when it comes, a Secret for one; a permission does not, and the read is
/// tried again.
#[must_use]
pub fn of_obstacle(reason: Reason, message: String) -> Outcome {
    match reason {
        Reason::SecretAccessDenied => Outcome::Retrying { reason, message, after: Duration::ZERO },
        _ => Outcome::Waiting { reason, message },
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

/// What a failed read means. A resync that must wait for its turn says nothing of it: what is Ready stays so.
#[must_use]
pub fn of_failed_read(error: amigo::Error, class: amigo::Class) -> Interrupt {
    match (error, class) {
        (amigo::Error::Queued { .. }, amigo::Class::Resync | amigo::Class::Rewrite) => {
            Outcome::Unchanged { again: READ_LOOK }.into()
        }
        (error, _) => error.into(),
    }
}

/// What a failed call to the remote API means for the object it was made for.
#[must_use]
pub fn of_service_error(error: &amigo::Error) -> Outcome {
    use amigo::Error as E;
    let message = error.to_string();
    match error {
        // Should the lease be renewed after all, work goes on soon.
        E::NotLeader => Outcome::Unchanged { again: NOT_LEADER_LOOK },
        E::CredentialsRefused { .. } => Outcome::waiting(Reason::OrganizationNotReady, message),
        E::PermissionDenied { .. } => Outcome::stalled(Reason::PermissionDenied, message),
        E::RevisionMismatch { .. } => Outcome::stalled(Reason::RevisionMismatch, message),
        E::RateLimited { retry_after, .. } => Outcome::Retrying {
            reason: Reason::QueuedForBudget,
            message: "waits because the service says that the organization's calls are used up".into(),
            after: retry_after.unwrap_or(Duration::from_secs(60)),
        },
        E::Queued { estimate, .. } => Outcome::queued_until("read from the service", *estimate, READ_LOOK),
        E::Status { status: 413 | 422, .. } => Outcome::stalled(Reason::InvalidRequest, message),
        E::Maintenance { .. } | E::Status { .. } | E::NotSent { .. } | E::Unknown { .. } | E::Unreadable { .. } => {
            Outcome::retrying(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amigo::{Class, Operation};

    #[test]
    fn a_stalled_object_is_looked_at_far_less_often_than_one_that_waits() {
        assert!(WAITING_LOOK * 10 < STALLED_LOOK);
    }

    #[test]
    fn an_estimate_is_told_in_seconds_below_two_minutes() {
        for (seconds, told) in [(0, "1 s"), (1, "1 s"), (119, "119 s"), (120, "2 min"), (121, "3 min"), (600, "10 min")]
        {
            let message = Outcome::queued("read", Duration::from_secs(seconds)).verdict().unwrap().message;
            assert!(message.ends_with(&format!("estimated: {told}")), "{seconds}: {message}");
        }
    }

    #[test]
    fn every_outcome_has_its_state_and_reason() {
        let text = || "text".to_owned();
        let (again, after) = (Duration::ZERO, Duration::ZERO);
        let shown = |state, reason| Some((state, reason));
        let table = [
            (Outcome::ready("text", again), shown(State::Ready, Reason::Succeeded)),
            (
                Outcome::Ready { reason: Reason::CredentialExpiring, message: text(), again },
                shown(State::Ready, Reason::CredentialExpiring),
            ),
            (Outcome::working(Reason::Publishing, "text", again), shown(State::Reconciling, Reason::Publishing)),
            (Outcome::waiting(Reason::ToolNotFound, "text"), shown(State::Reconciling, Reason::ToolNotFound)),
            (Outcome::retrying("text"), shown(State::Reconciling, Reason::ProgressingWithRetry)),
            (
                Outcome::Retrying { reason: Reason::QueuedForBudget, message: text(), after },
                shown(State::Reconciling, Reason::QueuedForBudget),
            ),
            (Outcome::stalled(Reason::NameTaken, "text"), shown(State::Stalled, Reason::NameTaken)),
            (Outcome::Suspended { message: text(), edits: 1 }, shown(State::Suspended { edits: 1 }, Reason::Suspended)),
            (Outcome::Unchanged { again }, None),
            (Outcome::Gone { message: text() }, None),
        ];
        for (outcome, expected) in table {
            let verdict = outcome.verdict();
            assert!(verdict.as_ref().is_none_or(|verdict| verdict.message == "text"), "{outcome:?}");
            assert_eq!(verdict.map(|verdict| (verdict.state, verdict.reason)), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_secret_that_comes_is_waited_for_and_a_permission_is_tried_for() {
        for (reason, tried) in [
            (Reason::SecretAccessDenied, true),
            (Reason::SecretNotFound, false),
            (Reason::SecretNotLabelled, false),
            (Reason::SecretKeyNotFound, false),
        ] {
            let outcome = of_obstacle(reason, "text".into());
            assert_eq!(matches!(outcome, Outcome::Retrying { .. }), tried, "{outcome:?}");
            assert_eq!(
                outcome.verdict().map(|verdict| (verdict.state, verdict.reason)),
                Some((State::Reconciling, reason))
            );
        }
    }

    #[test]
    fn who_waits_for_its_turn_keeps_its_place_and_nobody_else() {
        let again = Duration::ZERO;
        for (outcome, keeps) in [
            (Outcome::queued("read", again), true),
            (Outcome::Unchanged { again }, true),
            (Outcome::working(Reason::Publishing, "text", again), false),
            (Outcome::ready("text", again), false),
            (Outcome::waiting(Reason::ToolNotFound, "text"), false),
            (Outcome::retrying("text"), false),
            (Outcome::stalled(Reason::NameTaken, "text"), false),
            (Outcome::Gone { message: "text".into() }, false),
        ] {
            assert_eq!(outcome.keeps_places(), keeps, "{outcome:?}");
        }
    }

    #[test]
    fn one_read_that_finds_nothing_is_told_only_to_a_person_who_waits() {
        for (class, told) in
            [(Class::Interactive, true), (Class::Recovery, true), (Class::Resync, false), (Class::Rewrite, false)]
        {
            assert_eq!(Outcome::not_found_yet(class).verdict().is_some(), told, "{class:?}");
        }
    }

    #[test]
    fn a_read_that_waits_for_its_turn_is_told_unless_it_is_one_of_the_resync() {
        let operation = Operation::ListVersions;
        let queued = || amigo::Error::Queued { operation, estimate: Duration::from_secs(90) };
        let lost = || amigo::Error::Unknown { operation, text: "reset".into() };
        for (class, told) in
            [(Class::Interactive, true), (Class::Recovery, true), (Class::Resync, false), (Class::Rewrite, false)]
        {
            let silent = matches!(of_failed_read(queued(), class), Interrupt::Outcome(Outcome::Unchanged { .. }));
            assert_eq!(silent, !told, "{class:?}");
            assert!(matches!(of_failed_read(lost(), class), Interrupt::Service(_)), "{class:?}");
        }
    }

    #[test]
    fn every_error_of_the_service_has_its_outcome() {
        let operation = Operation::ModifyTool;
        let status = |status| amigo::Error::Status { operation, status, field: None, text: None };
        let limited = |seconds: Option<u64>| amigo::Error::RateLimited {
            operation,
            retry_after: seconds.map(Duration::from_secs),
        };
        let retrying = ("retrying", Some(Reason::ProgressingWithRetry), 0);
        let table = [
            (amigo::Error::NotLeader, ("unchanged", None, 0)),
            (amigo::Error::CredentialsRefused {}, ("waiting", Some(Reason::OrganizationNotReady), 0)),
            (amigo::Error::PermissionDenied { operation, text: None }, ("stalled", Some(Reason::PermissionDenied), 0)),
            (amigo::Error::RevisionMismatch { text: None }, ("stalled", Some(Reason::RevisionMismatch), 0)),
            (limited(None), ("retrying", Some(Reason::QueuedForBudget), 60)),
            (limited(Some(7)), ("retrying", Some(Reason::QueuedForBudget), 7)),
            (
                amigo::Error::Queued { operation, estimate: Duration::ZERO },
                ("working", Some(Reason::QueuedForBudget), 0),
            ),
            (status(422), ("stalled", Some(Reason::InvalidRequest), 0)),
            (status(400), retrying),
            (status(500), retrying),
            (amigo::Error::Maintenance { operation }, retrying),
            (amigo::Error::NotSent("refused".into()), retrying),
            (amigo::Error::Unknown { operation, text: "reset".into() }, retrying),
            (amigo::Error::Unreadable { operation, text: "line 1".into() }, retrying),
        ];
        for (error, expected) in table {
            let outcome = of_service_error(&error);
            let (kind, after) = match &outcome {
                Outcome::Unchanged { .. } => ("unchanged", 0),
                Outcome::Working { .. } => ("working", 0),
                Outcome::Waiting { .. } => ("waiting", 0),
                Outcome::Stalled { .. } => ("stalled", 0),
                Outcome::Retrying { after, .. } => ("retrying", after.as_secs()),
                Outcome::Ready { .. } | Outcome::Suspended { .. } | Outcome::Gone { .. } => ("none of these", 0),
            };
            assert_eq!((kind, outcome.verdict().map(|verdict| verdict.reason), after), expected, "{error:?}");
        }
    }
}
