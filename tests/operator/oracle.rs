//! What other tools read in a status: kstatus, as Flux and Helm compute it, and Flux's rules for conditions.

use serde_json::Value;

/// What kstatus makes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kstatus {
    Terminating,
    InProgress,
    Failed,
    Current,
}

fn conditions(object: &Value) -> &[Value] {
    object["status"]["conditions"].as_array().map_or(&[], Vec::as_slice)
}

/// The status of a condition, if it is listed.
pub fn status<'o>(object: &'o Value, type_: &str) -> Option<&'o str> {
    conditions(object).iter().find(|c| c["type"] == type_).and_then(|c| c["status"].as_str())
}

/// `status.Compute` for a custom resource.
pub fn kstatus(object: &Value) -> Kstatus {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Kstatus::Terminating;
    }
    let (generation, observed) = (&object["metadata"]["generation"], &object["status"]["observedGeneration"]);
    if generation.is_i64() && observed.is_i64() && generation != observed {
        return Kstatus::InProgress;
    }
    for condition in conditions(object) {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return Kstatus::InProgress,
            (Some("Stalled"), Some("True")) => return Kstatus::Failed,
            _ => {}
        }
    }
    match status(object, "Ready") {
        Some("False" | "Unknown") => Kstatus::InProgress,
        _ => Kstatus::Current,
    }
}

/// Which of Flux's rules for the end of a reconcile an object breaks.
pub fn violations(object: &Value) -> Vec<&'static str> {
    let ready = status(object, "Ready");
    let (reconciling, stalled) = (status(object, "Reconciling"), status(object, "Stalled"));
    let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
    let observed = object["status"]["observedGeneration"].as_i64().unwrap_or_default();
    let is_true = ready == Some("True");
    let observed_of = |c: &Value| c["observedGeneration"].as_i64();
    let all = |rule: &dyn Fn(&Value) -> bool| conditions(object).iter().all(rule);
    let rules = [
        ("FAIL0001", !is_true || (reconciling != Some("True") && stalled != Some("True"))),
        ("FAIL0002", ready.is_some()),
        ("FAIL0003", reconciling != Some("True") || ready == Some("False")),
        ("FAIL0004", stalled != Some("True") || ready == Some("False")),
        ("FAIL0005", reconciling.is_none() || stalled.is_none()),
        ("FAIL0006", observed <= generation),
        ("FAIL0007", observed >= generation || !is_true),
        ("FAIL0008", !is_true || all(&|c| observed_of(c) >= Some(generation))),
        ("FAIL0009", !is_true || all(&|c| observed_of(c) == Some(observed))),
        ("WARN0001", !is_true || (reconciling.is_none() && stalled.is_none())),
        ("WARN0003/4", reconciling != Some("False") && stalled != Some("False")),
        ("WARN0005", all(&|c| observed_of(c).is_some())),
    ];
    rules.iter().filter(|(_, holds)| !holds).map(|(rule, _)| *rule).collect()
}

/// What must hold of a state that somebody may read at any moment. The spec may be newer than the status, which then still
/// speaks of the generation before; what it says must be consistent in itself.
pub fn violations_at_any_moment(object: &Value) -> Vec<&'static str> {
    if conditions(object).is_empty() {
        return Vec::new();
    }
    let mut at_its_generation = object.clone();
    at_its_generation["metadata"]["generation"] = object["status"]["observedGeneration"].clone();
    let mut broken = violations(&at_its_generation);
    let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
    if object["status"]["observedGeneration"].as_i64().unwrap_or_default() > generation {
        broken.push("FAIL0006");
    }
    broken
}

mod tests {
    use super::*;
    use serde_json::json;

    fn object(generation: i64, observed: i64, conditions: &[(&str, &str)]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status)| json!({"type": type_, "status": status, "observedGeneration": observed}))
            .collect();
        json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": conditions}})
    }

    #[test]
    fn kstatus_is_computed_as_cli_utils_does() {
        let table: [(Value, Kstatus); 8] = [
            (object(1, 1, &[("Ready", "True")]), Kstatus::Current),
            (object(2, 1, &[("Ready", "True")]), Kstatus::InProgress),
            (object(1, -1, &[]), Kstatus::InProgress),
            (object(1, 1, &[("Ready", "False")]), Kstatus::InProgress),
            (object(1, 1, &[("Ready", "False"), ("Reconciling", "True")]), Kstatus::InProgress),
            (object(1, 1, &[("Ready", "False"), ("Stalled", "True")]), Kstatus::Failed),
            (json!({"metadata": {"generation": 1}}), Kstatus::Current),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), Kstatus::Terminating),
        ];
        for (object, expected) in table {
            assert_eq!(kstatus(&object), expected, "{object}");
        }
    }

    #[test]
    fn every_rule_can_be_broken() {
        let table: [(Value, &[&str]); 8] = [
            (object(1, 1, &[("Ready", "True")]), &[]),
            (object(1, 1, &[("Ready", "True"), ("Stalled", "True")]), &["FAIL0001", "FAIL0004", "WARN0001"]),
            (object(1, 1, &[("Reconciling", "True")]), &["FAIL0002", "FAIL0003"]),
            (object(1, 1, &[("Ready", "Unknown"), ("Reconciling", "True")]), &["FAIL0003"]),
            (object(1, 1, &[("Ready", "False"), ("Reconciling", "True"), ("Stalled", "True")]), &["FAIL0005"]),
            (object(1, 2, &[("Ready", "False")]), &["FAIL0006"]),
            (object(2, 1, &[("Ready", "True")]), &["FAIL0007", "FAIL0008"]),
            (object(1, 1, &[("Ready", "False"), ("Stalled", "False")]), &["WARN0003/4"]),
        ];
        for (object, expected) in table {
            assert_eq!(violations(&object), expected, "{object}");
        }
    }
}
