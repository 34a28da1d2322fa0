//! What other tools read in a status: kstatus, as Flux, Helm and wait scripts compute it, and Flux's rules for conditions.

use serde_json::Value;

/// What kstatus makes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kstatus {
    /// Not there yet.
    InProgress,
    /// It will not get there by itself.
    Failed,
    /// As it should be.
    Current,
    /// On its way out.
    Terminating,
}

/// `status.Compute` of a custom resource.
pub fn compute(object: &Value) -> Kstatus {
    if object["metadata"]["deletionTimestamp"].as_str().is_some_and(|time| !time.is_empty()) {
        return Kstatus::Terminating;
    }
    let observed = object["status"]["observedGeneration"].as_i64();
    match (object["metadata"]["generation"].as_i64(), observed) {
        (Some(generation), Some(observed)) if generation != observed => return Kstatus::InProgress,
        _ => {}
    }
    let deciding = conditions(object).iter().find_map(|condition| match (type_of(condition), status_of(condition)) {
        ("Reconciling", "True") => Some(Kstatus::InProgress),
        ("Stalled", "True") => Some(Kstatus::Failed),
        _ => None,
    });
    deciding.unwrap_or_else(|| match status(object, "Ready") {
        Some("False" | "Unknown") => Kstatus::InProgress,
        _ => Kstatus::Current,
    })
}

/// The conditions, in their order.
pub fn conditions(object: &Value) -> &[Value] {
    object["status"]["conditions"].as_array().map_or(&[], Vec::as_slice)
}

/// The condition of this type.
pub fn condition<'o>(object: &'o Value, type_: &str) -> Option<&'o Value> {
    conditions(object).iter().find(|condition| type_of(condition) == type_)
}

/// The status of the condition of this type.
pub fn status<'o>(object: &'o Value, type_: &str) -> Option<&'o str> {
    condition(object, type_).map(status_of)
}

fn type_of(condition: &Value) -> &str {
    condition["type"].as_str().unwrap_or_default()
}

fn status_of(condition: &Value) -> &str {
    condition["status"].as_str().unwrap_or_default()
}

/// The conditions that tell of something abnormal, the gravest first.
const NEGATIVE: [&str; 2] = ["Stalled", "Reconciling"];

/// What the rules look at.
struct Facts<'o> {
    object: &'o Value,
    generation: i64,
    observed: Option<i64>,
    ready: Option<&'o str>,
    reconciling: Option<&'o str>,
    stalled: Option<&'o str>,
}

/// Which of Flux's rules a status breaks. `Ready=Unknown` makes it one of the middle of a reconcile, anything else one of
/// the end.
pub fn violations(object: &Value) -> Vec<String> {
    let facts = Facts {
        object,
        generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
        observed: object["status"]["observedGeneration"].as_i64(),
        ready: status(object, "Ready"),
        reconciling: status(object, "Reconciling"),
        stalled: status(object, "Stalled"),
    };
    let at_end = facts.ready != Some("Unknown");
    let always = facts.always();
    let more = if at_end { facts.at_the_end() } else { facts.in_the_middle() };
    let broken = always.into_iter().chain(more).filter(|(_, holds)| !holds);
    let mut broken: Vec<String> = broken.map(|(rule, _)| rule.to_owned()).collect();
    broken.sort();
    broken
}

impl Facts<'_> {
    /// Rules for any status.
    fn always(&self) -> Vec<(&'static str, bool)> {
        let not_ready = self.ready == Some("False");
        vec![
            ("FAIL0002", self.ready.is_some()),
            ("FAIL0004", self.stalled != Some("True") || not_ready),
            ("FAIL0005", self.reconciling.is_none() || self.stalled.is_none()),
            ("FAIL0006", self.observed.is_none_or(|observed| observed <= self.generation)),
            ("WARN0003", self.reconciling != Some("False")),
            ("WARN0004", self.stalled != Some("False")),
            ("WARN0005", conditions(self.object).iter().all(|condition| observed_by(condition).is_some())),
        ]
    }

    /// Rules for the status at the end of a reconcile.
    fn at_the_end(&self) -> Vec<(&'static str, bool)> {
        let is_ready = self.ready == Some("True");
        let listed = NEGATIVE.iter().filter_map(|type_| condition(self.object, type_));
        let all = |rule: &dyn Fn(Option<i64>) -> bool| conditions(self.object).iter().all(|c| rule(observed_by(c)));
        vec![
            ("FAIL0001", !is_ready || listed.clone().all(|condition| status_of(condition) != "True")),
            ("FAIL0003", self.reconciling != Some("True") || self.ready == Some("False")),
            ("FAIL0007", !is_ready || self.observed.is_none_or(|observed| observed >= self.generation)),
            ("FAIL0008", !is_ready || all(&|observed| observed >= Some(self.generation))),
            ("FAIL0009", !is_ready || all(&|observed| observed == self.observed)),
            ("WARN0001", !is_ready || listed.count() == 0),
            ("WARN0002", self.ready_copies_the_gravest()),
        ]
    }

    /// Rules for a status that is patched in while a reconcile goes on.
    fn in_the_middle(&self) -> Vec<(&'static str, bool)> {
        vec![("FAIL0011", self.reconciling == Some("True"))]
    }

    /// Ready says the same as the gravest abnormal condition.
    fn ready_copies_the_gravest(&self) -> bool {
        let abnormal = NEGATIVE.iter().filter_map(|type_| condition(self.object, type_));
        let gravest = abnormal.into_iter().find(|condition| status_of(condition) == "True");
        match (gravest, condition(self.object, "Ready")) {
            (Some(gravest), Some(ready)) => {
                gravest["reason"] == ready["reason"] && gravest["message"] == ready["message"]
            }
            _ => true,
        }
    }
}

fn observed_by(condition: &Value) -> Option<i64> {
    condition["observedGeneration"].as_i64()
}
