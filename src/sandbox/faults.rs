//! Faults: what goes wrong between a client and the service, and around the effect of a call. Which requests are hit is
//! decided under the lock ([`Faults::plan`]); what happens to them is played out by [`Plan::play`].

use std::future::Future;
use std::time::Duration;

use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Answer;
use super::operation::Operation;
use super::settings::seconds;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// Some other status, before the call has its effect or after.
    Status {
        /// The status.
        status: u16,
        /// The body; a sentence when absent.
        #[serde(default)]
        body: Option<Value>,
        /// Whether the call has its effect first.
        #[serde(default)]
        after_effect: bool,
        /// With `after_effect`: how long the call is waited for, as by a proxy; until its answer when absent. A
        /// publish goes on, or not, as it does when its client goes away.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// The answer takes longer. Goes together with one other fault.
    Delay {
        /// How much longer.
        seconds: f64,
        /// Whether the time passes after the effect.
        #[serde(default)]
        after_effect: bool,
    },
    /// The connection breaks before the call has its effect.
    LostBeforeEffect,
    /// The connection breaks after the call had its effect, or when it has been waited for this long.
    LostAfterEffect {
        /// How long the connection holds; until the answer when absent.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// No connection is made. Over sockets it is made, and closed at once.
    NotConnected,
    /// The call has its effect; the answer breaks off in the middle of its body.
    TruncatedBody,
    /// The call has its effect; the body is no JSON.
    GarbageBody,
    /// A list is answered as it was some time ago.
    StaleList {
        /// How long ago.
        seconds: f64,
    },
    /// A list is answered as if there were nothing.
    EmptyList,
    /// 429, although the limit was kept.
    TooManyRequests {
        /// The value of `Retry-After`: seconds or an HTTP date. Absent: no header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 503.
    Unavailable,
    /// A redirect to somewhere else.
    Redirect {
        /// Where to.
        location: String,
        /// The status.
        #[serde(default = "temporary_redirect")]
        status: u16,
    },
}

const fn temporary_redirect() -> u16 {
    307
}

/// A fault: what goes wrong, in which requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A name of an operation, `*`, or a name with one `*` at an end.
    #[serde(default = "every_operation")]
    pub operations: String,
    /// Only requests to this organization.
    #[serde(default)]
    pub organization: Option<String>,
    /// Only requests that name this tool in their path.
    #[serde(default)]
    pub tool_id: Option<String>,
    /// Matching requests that pass first.
    #[serde(default)]
    pub skip: u64,
    /// Requests that are hit; null: all until the fault is removed.
    #[serde(default = "one_time")]
    pub times: Option<u64>,
    /// How likely a matching request is hit.
    #[serde(default = "always")]
    pub probability: f64,
    /// What goes wrong.
    pub effect: Effect,
}

fn every_operation() -> String {
    "*".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
const fn one_time() -> Option<u64> {
    Some(1)
}

const fn always() -> f64 {
    1.0
}

impl Fault {
    /// Hits the next request of `operations`.
    #[must_use]
    pub fn once(operations: &str, effect: Effect) -> Self {
        Self {
            operations: operations.to_owned(),
            organization: None,
            tool_id: None,
            skip: 0,
            times: one_time(),
            probability: always(),
            effect,
        }
    }

    /// Hits every request of `operations` until it is removed.
    #[must_use]
    pub fn always(operations: &str, effect: Effect) -> Self {
        Self { times: None, ..Self::once(operations, effect) }
    }

    /// Hits so many requests.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn skipping(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Hits a matching request with this probability.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    /// Hits only requests that name this tool.
    #[must_use]
    pub fn for_tool(self, tool_id: &str) -> Self {
        Self { tool_id: Some(tool_id.to_owned()), ..self }
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        target.operation.matches(&self.operations)
            && self.organization.as_deref().is_none_or(|organization| organization == target.organization)
            && self.tool_id.as_deref().is_none_or(|id| Some(id) == target.tool_id)
    }
}

/// What a fault is matched with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub operation: Operation,
    pub organization: &'a str,
    pub tool_id: Option<&'a str>,
}

/// The faults that are set, by number in the order they were set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<(u64, Fault)>,
    last: u64,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) -> u64 {
        self.last = self.last.saturating_add(1);
        self.set.push((self.last, fault));
        self.last
    }

    pub(super) fn remove(&mut self, number: u64) -> bool {
        let before = self.set.len();
        self.set.retain(|(other, _)| *other != number);
        self.set.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
    }

    pub(super) fn all(&self) -> &[(u64, Fault)] {
        &self.set
    }

    /// The faults that hit a request: all delays, and the first of the others. They are used up by it.
    pub(super) fn plan(&mut self, target: &Target<'_>, dice: &mut StdRng) -> Plan {
        let mut plan = Plan::default();
        for (number, fault) in &mut self.set {
            let delay = matches!(fault.effect, Effect::Delay { .. });
            if !fault.matches(target) || fault.times == Some(0) || (!delay && plan.effect.is_some()) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.probability < 1.0 && dice.random::<f64>() >= fault.probability {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            plan.faults.push(*number);
            plan.include(&fault.effect);
        }
        self.set.retain(|(_, fault)| fault.times != Some(0));
        plan
    }
}

/// What a list shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Now,
    /// What was there so long ago.
    Ago(Duration),
    Nothing,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// An answer.
    Whole(Answer),
    /// A body that is no JSON.
    Garbage(Answer),
    /// An answer that breaks off.
    Truncated(Answer),
    /// None; what the answer would have been, when the call had its effect.
    Lost(Option<Answer>),
    /// Not even a connection.
    NotConnected,
}

/// The faults of one request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub faults: Vec<u64>,
    before: Duration,
    after: Duration,
    effect: Option<Effect>,
}

impl Plan {
    fn include(&mut self, effect: &Effect) {
        match effect {
            Effect::Delay { seconds: delay, after_effect: true } => {
                self.after = self.after.saturating_add(seconds(*delay));
            }
            Effect::Delay { seconds: delay, after_effect: false } => {
                self.before = self.before.saturating_add(seconds(*delay));
            }
            other => self.effect = Some(other.clone()),
        }
    }

    /// Whether the request does not reach the service.
    pub(super) fn is_unreachable(&self) -> bool {
        self.effect == Some(Effect::NotConnected)
    }

    /// What a list shows to this request.
    pub(super) fn view(&self) -> View {
        match self.effect {
            Some(Effect::StaleList { seconds: ago }) => View::Ago(seconds(ago)),
            Some(Effect::EmptyList) => View::Nothing,
            _ => View::Now,
        }
    }

    /// Plays the faults around `work`, which has the effect of the call.
    pub(super) async fn play(self, work: impl Future<Output = Answer>) -> Reply {
        pause(self.before).await;
        if let Some(reply) = self.effect.as_ref().and_then(instead_of_effect) {
            return reply;
        }
        let holds = match self.effect {
            Some(Effect::LostAfterEffect { seconds } | Effect::Status { seconds, .. }) => seconds,
            _ => None,
        };
        let answer = match holds {
            None => Some(work.await),
            Some(holds) => tokio::time::timeout(seconds(holds), work).await.ok(),
        };
        pause(self.after).await;
        match (self.effect, answer) {
            (Some(Effect::Status { status, body, .. }), _) => Reply::Whole(status_answer(status, body)),
            (Some(Effect::LostAfterEffect { .. }), answer) => Reply::Lost(answer),
            (Some(Effect::TruncatedBody), Some(answer)) => Reply::Truncated(answer),
            (Some(Effect::GarbageBody), Some(answer)) => Reply::Garbage(answer),
            (_, Some(answer)) => Reply::Whole(answer),
            (_, None) => Reply::Lost(None),
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The reply of a fault that keeps the call from its effect.
fn instead_of_effect(effect: &Effect) -> Option<Reply> {
    let answer = match effect {
        Effect::LostBeforeEffect => return Some(Reply::Lost(None)),
        Effect::NotConnected => return Some(Reply::NotConnected),
        Effect::Status { status, body, after_effect: false, .. } => status_answer(*status, body.clone()),
        Effect::Unavailable => Answer::unavailable(),
        Effect::TooManyRequests { retry_after } => {
            let answer = Answer::refusal(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
            retry_after.iter().fold(answer, |answer, value| with_text(answer, RETRY_AFTER, value))
        }
        Effect::Redirect { location, status } => with_text(status_answer(*status, None), LOCATION, location),
        _ => return None,
    };
    Some(Reply::Whole(answer))
}

fn status_answer(status: u16, body: Option<Value>) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let sentence = || json!({ "detail": status.canonical_reason().unwrap_or("Fault") });
    let body = (status != StatusCode::NO_CONTENT).then(|| body.unwrap_or_else(sentence));
    Answer { status, body, headers: Vec::new() }
}

/// Adds a header unless its text cannot be one.
fn with_text(answer: Answer, name: HeaderName, text: &str) -> Answer {
    match HeaderValue::from_str(text) {
        Ok(value) => answer.with_header(name, value),
        Err(_) => answer,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const LIST: Target<'static> = Target { operation: Operation::ListTools, organization: "acme", tool_id: Some("1f") };

    fn hits(faults: &mut Faults, times: usize) -> Vec<Vec<u64>> {
        let mut dice = StdRng::seed_from_u64(1);
        (0..times).map(|_| faults.plan(&LIST, &mut dice).faults).collect()
    }

    #[test]
    fn faults_are_used_up_in_order() {
        let mut faults = Faults::default();
        faults.add(Fault::once("list-*", Effect::Unavailable).skipping(1));
        faults.add(Fault::once("*", Effect::EmptyList).times(2));
        faults.add(Fault::once("publish-version", Effect::EmptyList));
        faults.add(Fault::once("*", Effect::EmptyList).for_tool("2f"));
        faults.add(Fault::always("*", Effect::Delay { seconds: 1.0, after_effect: false }));
        assert_eq!(hits(&mut faults, 4), [vec![2, 5], vec![1, 5], vec![2, 5], vec![5]]);
        assert_eq!(faults.all().len(), 3);
    }

    #[test]
    fn dice_are_seeded() {
        let roll = || {
            let mut faults = Faults::default();
            faults.add(Fault::always("*", Effect::Unavailable).with_probability(0.3));
            hits(&mut faults, 200).into_iter().filter(|hit| !hit.is_empty()).count()
        };
        assert_eq!(roll(), roll());
        assert!((30..90).contains(&roll()), "{}", roll());
    }

    #[test]
    fn a_fault_is_short_in_json() {
        let fault: Fault = serde_json::from_value(json!({"effect": {"kind": "lost-after-effect"}})).unwrap();
        assert_eq!(fault, Fault::once("*", Effect::LostAfterEffect { seconds: None }));
        assert!(serde_json::from_value::<Fault>(json!({"effect": {"kind": "explodes"}})).is_err());
        assert!(serde_json::from_value::<Fault>(json!({"effect": {"kind": "empty-list"}, "tims": 2})).is_err());
    }
}
