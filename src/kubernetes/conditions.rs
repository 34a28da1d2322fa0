//! The three conditions, as kstatus and Flux read them: `Ready` always, `Reconciling` and `Stalled` only while true. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::resources::Reason;
use crate::text::short;

/// Longest message in a condition, in characters; the server's own limit is 32768 bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// What the conditions should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which state.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// For a person: what happened and what to do.
    pub message: String,
}

/// The state of an object, as other tools tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The service matches the manifest.
    Ready,
    /// Not yet, and the operator goes on by itself.
    Reconciling,
    /// Not, until somebody changes something.
    Stalled,
    /// Nothing is done; what was true before still counts, unless the spec changed by more than the suspending itself.
    Suspended {
        /// How many edits of the spec the suspending is: one of the object's own, none of its Organization.
        edits: i64,
    },
}

/// The conditions for a verdict. Those of other types are kept; a transition time moves only when a status does.
#[must_use]
pub fn conditions(
    previous: &[Condition],
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (ready, abnormal) = match verdict.state {
        State::Ready => ("True", None),
        State::Reconciling => ("False", Some("Reconciling")),
        State::Stalled => ("False", Some("Stalled")),
        State::Suspended { edits } => (suspended_ready(previous, generation, edits), None),
    };
    let message = message(previous, verdict, generation);
    let set = |type_: &str, status: &str| {
        let before = previous.iter().find(|c| c.type_ == type_);
        let since = before.filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: message.clone(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or(Time(now)),
        }
    };
    let mut all = vec![set("Ready", ready)];
    all.extend(abnormal.map(|type_| set(type_, "True")));
    all.extend(previous.iter().filter(|c| !matches!(c.type_.as_str(), "Ready" | "Reconciling" | "Stalled")).cloned());
    all
}

/// Suspending keeps `Ready`, unless the spec changed by more than that: then nobody has checked.
fn suspended_ready(previous: &[Condition], generation: Option<i64>, own_edits: i64) -> &'static str {
    let Some(before) = previous.iter().find(|c| c.type_ == "Ready" && c.status == "True") else { return "False" };
    let edits = generation.unwrap_or_default() - before.observed_generation.unwrap_or_default();
    let allowed = if before.reason == Reason::Suspended.as_str() { 0 } else { own_edits };
    if edits <= allowed { "True" } else { "False" }
}

/// A queue's estimate changes all the time and is worth one write, so the first one stays.
fn message(previous: &[Condition], verdict: &Verdict, generation: Option<i64>) -> String {
    let queued = Reason::QueuedForBudget.as_str();
    let before =
        previous.iter().find(|c| c.type_ == "Ready" && c.reason == queued && c.observed_generation == generation);
    match before {
        Some(before) if verdict.reason == Reason::QueuedForBudget => before.message.clone(),
        _ => short(&verdict.message, MESSAGE_LIMIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(state: State, reason: Reason) -> Verdict {
        Verdict { state, reason, message: "text".into() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn shown(conditions: &[Condition]) -> Vec<(&str, &str, &str)> {
        conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
    }

    #[test]
    fn every_state_obeys_the_rules() {
        let table = [
            (State::Ready, Reason::Succeeded, vec![("Ready", "True", "Succeeded")]),
            (
                State::Reconciling,
                Reason::Publishing,
                vec![("Ready", "False", "Publishing"), ("Reconciling", "True", "Publishing")],
            ),
            (
                State::Stalled,
                Reason::NameTaken,
                vec![("Ready", "False", "NameTaken"), ("Stalled", "True", "NameTaken")],
            ),
            (State::Suspended { edits: 1 }, Reason::Suspended, vec![("Ready", "False", "Suspended")]),
        ];
        for (state, reason, expected) in table {
            assert_eq!(shown(&conditions(&[], &verdict(state, reason), Some(1), at(1))), expected);
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let first = conditions(&[], &verdict(State::Reconciling, Reason::Progressing), Some(1), at(1));
        let second = conditions(&first, &verdict(State::Reconciling, Reason::Publishing), Some(1), at(2));
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        let third = conditions(&second, &verdict(State::Ready, Reason::Succeeded), Some(1), at(3));
        assert_eq!(third[0].last_transition_time, Time(at(3)));
        assert_eq!(third.len(), 1);
    }

    #[test]
    fn suspending_keeps_ready_for_the_one_edit_that_suspends() {
        let ready = conditions(&[], &verdict(State::Ready, Reason::Succeeded), Some(4), at(1));
        let suspended = verdict(State::Suspended { edits: 1 }, Reason::Suspended);
        let kept = conditions(&ready, &suspended, Some(5), at(2));
        assert_eq!(shown(&kept), [("Ready", "True", "Suspended")]);
        assert_eq!(kept[0].observed_generation, Some(5));
        assert_eq!(shown(&conditions(&ready, &suspended, Some(6), at(2))), [("Ready", "False", "Suspended")]);
        assert_eq!(shown(&conditions(&kept, &suspended, Some(6), at(3))), [("Ready", "False", "Suspended")]);
        let by_organization = verdict(State::Suspended { edits: 0 }, Reason::Suspended);
        assert_eq!(shown(&conditions(&ready, &by_organization, Some(4), at(2))), [("Ready", "True", "Suspended")]);
        assert_eq!(shown(&conditions(&ready, &by_organization, Some(5), at(2))), [("Ready", "False", "Suspended")]);
    }

    #[test]
    fn an_estimate_is_written_once() {
        let mut queued = verdict(State::Reconciling, Reason::QueuedForBudget);
        let first = conditions(&[], &queued, Some(1), at(1));
        queued.message = "another estimate".into();
        assert_eq!(conditions(&first, &queued, Some(1), at(2)), first);
        assert_ne!(conditions(&first, &queued, Some(2), at(2))[0].message, first[0].message);
        let told = |before: &Condition, verdict: &Verdict| {
            conditions(std::slice::from_ref(before), verdict, Some(1), at(2))[0].clone()
        };
        let other_reason = Condition { reason: "Progressing".into(), ..first[0].clone() };
        let other_type = Condition { type_: "Synced".into(), ..first[0].clone() };
        for before in [other_reason, other_type] {
            assert_eq!(told(&before, &queued).message, "another estimate", "{before:?}");
        }
        let mut done = verdict(State::Ready, Reason::Succeeded);
        done.message = "done".into();
        assert_eq!(told(&first[0], &done).message, "done");
    }

    #[test]
    fn conditions_of_other_types_are_kept_and_say_nothing_about_ready() {
        let condition = |type_: &str, observed_generation| Condition {
            type_: type_.into(),
            status: "True".into(),
            reason: "Theirs".into(),
            message: String::new(),
            observed_generation: Some(observed_generation),
            last_transition_time: Time(at(1)),
        };
        let mut previous = vec![condition("Synced", 5), condition("Stalled", 5)];
        previous.extend(conditions(&[], &verdict(State::Reconciling, Reason::Progressing), Some(5), at(1)));
        let suspended = verdict(State::Suspended { edits: 1 }, Reason::Suspended);
        let kept = conditions(&previous, &suspended, Some(5), at(2));
        assert_eq!(shown(&kept), [("Ready", "False", "Suspended"), ("Synced", "True", "Theirs")]);
        assert_eq!(kept[1], previous[0]);
        let theirs_first = [condition("Synced", 5), Condition { reason: "Succeeded".into(), ..condition("Ready", 3) }];
        let kept = conditions(&theirs_first, &suspended, Some(5), at(2));
        assert_eq!(
            shown(&kept)[0],
            ("Ready", "False", "Suspended"),
            "two edits since Ready, whatever else was observed"
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for (length, cut) in [(0, false), (1, false), (MESSAGE_LIMIT, false), (MESSAGE_LIMIT + 1, true), (5000, true)] {
            let message = "ü".repeat(length);
            let long = Verdict { message: message.clone(), ..verdict(State::Ready, Reason::Succeeded) };
            let told = &conditions(&[], &long, Some(1), at(1))[0].message;
            assert_eq!(told.chars().count(), length.min(MESSAGE_LIMIT), "{length}");
            assert_eq!((told == &message, told.ends_with('…')), (!cut, cut), "{length}");
        }
    }
}
