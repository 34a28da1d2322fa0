//! How a reconcile ended, as the log, the trace and the metrics tell it: one line for each reconcile, quiet where nothing
//! changed.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tracing::Level;

use crate::kubernetes::conditions::{State, Verdict};
use crate::operator::metrics::Ended;
use crate::resources::Reason;

/// When to look again, if nothing wakes the object before.
pub type Again = Option<Duration>;

/// How a reconcile ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// In one word.
    pub end: End,
    /// What the conditions say, where it is known.
    pub reason: Option<Reason>,
    /// For a person; empty when the word says it all.
    pub text: String,
    /// When to look again.
    pub again: Again,
}

/// How a reconcile ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The object is in another state, for another reason or by another spec than before.
    Changed,
    /// The same, and it needs a person.
    Stalled,
    /// It is as it was; at most the words differ.
    Unchanged,
    /// It changed or went meanwhile, or this process leads no more: nothing was decided.
    Overtaken,
    /// It is cleaned up, and goes.
    CleanedUp,
    /// It is tried again.
    Failed,
    /// A defect of the operator.
    Panicked,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 7] =
        [Self::Changed, Self::Stalled, Self::Unchanged, Self::Overtaken, Self::CleanedUp, Self::Failed, Self::Panicked];

    /// What a verdict on a spec of this generation means, where `before` is the condition Ready that the reconcile began with.
    #[must_use]
    pub fn of(before: Option<&Condition>, verdict: &Verdict, generation: Option<i64>) -> Self {
        let (is_ready, reason) = (verdict.state == State::Ready, verdict.reason.as_str());
        let is_suspended = matches!(verdict.state, State::Suspended { .. });
        let same = |it: &Condition| {
            it.reason == reason
                && it.observed_generation == generation
                && (is_suspended || (it.status == "True") == is_ready)
        };
        match (before.is_some_and(same), verdict.state) {
            (true, _) => Self::Unchanged,
            (false, State::Stalled) => Self::Stalled,
            (false, State::Ready | State::Reconciling | State::Suspended { .. }) => Self::Changed,
        }
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Stalled => "stalled",
            Self::Unchanged => "unchanged",
            Self::Overtaken => "overtaken",
            Self::CleanedUp => "cleaned-up",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }

    /// Whether something went wrong in the reconcile itself.
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::Panicked)
    }

    /// How loud the line is.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Unchanged | Self::Overtaken => Level::DEBUG,
            Self::Changed | Self::CleanedUp => Level::INFO,
            Self::Stalled | Self::Failed => Level::WARN,
            Self::Panicked => Level::ERROR,
        }
    }
}

impl Ending {
    /// Nothing was decided.
    #[must_use]
    pub const fn overtaken(again: Again) -> Self {
        Self { end: End::Overtaken, reason: None, text: String::new(), again }
    }

    /// It is tried again after this time.
    #[must_use]
    pub const fn failed(text: String, after: Duration) -> Self {
        Self { end: End::Failed, reason: None, text, again: Some(after) }
    }

    /// For the metrics.
    #[must_use]
    pub const fn ended(&self) -> Ended {
        match (self.end, self.again) {
            (End::Panicked, _) => Ended::Panicked,
            (End::Failed, _) => Ended::Failed,
            (_, Some(_)) => Ended::Again,
            (_, None) => Ended::Success,
        }
    }

    /// The one line of the reconcile.
    pub fn log(&self) {
        macro_rules! line {
            ($level:ident, $text:ident, $message:literal) => {
                tracing::event!(
                    Level::$level,
                    outcome = self.end.as_str(),
                    reason = self.reason.map(Reason::as_str),
                    $text = Some(self.text.as_str()).filter(|text| !text.is_empty()),
                    againSeconds = self.again.map(|again| again.as_secs()),
                    $message
                )
            };
        }
        match (self.end, self.end.level()) {
            (End::Panicked, _) => line!(ERROR, err, "a reconcile panicked; the others go on"),
            (End::Failed, _) => line!(WARN, err, "a reconcile failed"),
            (_, Level::WARN) => line!(WARN, detail, "reconciled"),
            (_, Level::INFO) => line!(INFO, detail, "reconciled"),
            (_, _) => line!(DEBUG, detail, "reconciled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn ready(status: &str, reason: Reason, generation: i64) -> Condition {
        Condition {
            type_: "Ready".into(),
            status: status.into(),
            reason: reason.as_str().into(),
            message: "words".into(),
            observed_generation: Some(generation),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn only_another_state_reason_or_spec_is_a_change() {
        let succeeded = || Some(ready("True", Reason::Succeeded, 2));
        let (waits, suspended) = (State::Reconciling, State::Suspended { edits: 1 });
        for (case, before, state, reason, end) in [
            ("new", None, State::Ready, Reason::Succeeded, End::Changed),
            ("new, and stalled", None, State::Stalled, Reason::InvalidSpec, End::Stalled),
            ("as it was", succeeded(), State::Ready, Reason::Succeeded, End::Unchanged),
            ("edited", Some(ready("True", Reason::Succeeded, 1)), State::Ready, Reason::Succeeded, End::Changed),
            ("ready no more", succeeded(), waits, Reason::Publishing, End::Changed),
            ("another reason", Some(ready("False", Reason::Progressing, 2)), waits, Reason::Publishing, End::Changed),
            ("other words", Some(ready("False", Reason::Publishing, 2)), waits, Reason::Publishing, End::Unchanged),
            (
                "still stalled",
                Some(ready("False", Reason::NameTaken, 2)),
                State::Stalled,
                Reason::NameTaken,
                End::Unchanged,
            ),
            ("suspended", succeeded(), suspended, Reason::Suspended, End::Changed),
            (
                "still suspended",
                Some(ready("True", Reason::Suspended, 2)),
                suspended,
                Reason::Suspended,
                End::Unchanged,
            ),
        ] {
            let verdict = Verdict { state, reason, message: "other words".into() };
            assert_eq!(End::of(before.as_ref(), &verdict, Some(2)), end, "{case}");
        }
    }

    #[test]
    fn what_is_at_rest_is_quiet_what_failed_is_an_error_and_every_end_has_a_name_of_its_own() {
        let quiet: Vec<_> = End::ALL.into_iter().filter(|end| end.level() > Level::INFO).collect();
        assert_eq!(quiet, [End::Unchanged, End::Overtaken]);
        let errors: Vec<_> = End::ALL.into_iter().filter(|end| end.is_error()).collect();
        assert_eq!(errors, [End::Failed, End::Panicked]);
        let names: std::collections::BTreeSet<_> = End::ALL.into_iter().map(End::as_str).collect();
        assert_eq!(names.len(), End::ALL.len());
    }
}
