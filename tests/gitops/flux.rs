//! Flux' health checks: the expressions of `deploy/flux`, evaluated as Flux does it.

use std::collections::BTreeMap;

use cel::{Context, Program, Value as Cel};
use serde_json::{Value, json};

use crate::states::KINDS;
use crate::support::oracle::Kstatus;
use crate::{files, kstatus};

/// Where the expressions are.
const SNIPPET: &str = "deploy/flux/health-checks.yaml";

/// The expressions for one kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Checks {
    api_version: String,
    kind: String,
    in_progress: String,
    failed: String,
    current: String,
}

impl Checks {
    /// As Flux' evaluator takes them.
    pub fn as_json(&self) -> Value {
        json!({"inProgress": self.in_progress, "failed": self.failed, "current": self.current})
    }

    /// What Flux makes of an object: first its generation, then the expressions in their order, then InProgress.
    pub fn evaluate(&self, object: &Value) -> Result<Kstatus, String> {
        let observed = object["status"]["observedGeneration"].as_i64();
        if observed.is_some() && observed != object["metadata"]["generation"].as_i64() {
            return Ok(Kstatus::InProgress);
        }
        let steps = [
            (&self.in_progress, Kstatus::InProgress),
            (&self.failed, Kstatus::Failed),
            (&self.current, Kstatus::Current),
        ];
        for (expression, status) in steps {
            if holds(expression, object)? {
                return Ok(status);
            }
        }
        Ok(Kstatus::InProgress)
    }
}

fn holds(expression: &str, object: &Value) -> Result<bool, String> {
    let program = Program::compile(expression).map_err(|error| error.to_string())?;
    let mut context = Context::default();
    for (field, value) in object.as_object().into_iter().flatten() {
        context.add_variable(field.as_str(), value).map_err(|error| error.to_string())?;
    }
    match program.execute(&context) {
        Ok(Cel::Bool(holds)) => Ok(holds),
        other => Err(format!("{expression:?} is {other:?}")),
    }
}

/// The expressions by kind.
pub fn checks() -> BTreeMap<String, Checks> {
    let exprs = &files::yaml(SNIPPET)["spec"]["healthCheckExprs"];
    let checks: Vec<Checks> = serde_json::from_value(exprs.clone()).expect("expressions for kinds");
    checks.into_iter().map(|checks| (checks.kind.clone(), checks)).collect()
}

#[test]
fn every_kind_has_the_same_expressions() {
    let checks = checks();
    assert_eq!(checks.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut kinds = KINDS;
        kinds.sort_unstable();
        kinds
    });
    for check in checks.values() {
        assert_eq!(*check, Checks { kind: check.kind.clone(), ..checks["Tool"].clone() });
        assert_eq!(check.api_version, "amigo.ai/v1alpha1");
    }
}

/// Objects that no state of the operator's makes, or only for a moment, and that must not be taken for healthy.
#[test]
fn what_the_operator_does_not_write_is_not_current() {
    let conditions = |conditions: Value| json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": conditions}});
    let ready =
        |status: &str, observed: i64| json!({"type": "Ready", "status": status, "observedGeneration": observed});
    let stalled = |observed: i64| json!({"type": "Stalled", "status": "True", "observedGeneration": observed});
    let mut deleted = conditions(json!([ready("True", 2)]));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let table = [
        (deleted, Kstatus::InProgress),
        (conditions(json!([])), Kstatus::InProgress),
        (json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2}}), Kstatus::InProgress),
        (conditions(json!([ready("True", 2)])), Kstatus::Current),
        (conditions(json!([ready("True", 1)])), Kstatus::InProgress),
        (conditions(json!([ready("true", 2)])), Kstatus::InProgress),
        (conditions(json!([ready("Unknown", 2)])), Kstatus::InProgress),
        (conditions(json!([ready("False", 2), stalled(2)])), Kstatus::Failed),
        (conditions(json!([ready("False", 2), stalled(1)])), Kstatus::InProgress),
        // A condition of somebody else, without an observedGeneration.
        (conditions(json!([{"type": "Synced", "status": "True"}, ready("True", 2)])), Kstatus::Current),
    ];
    let checks = checks();
    let questions = table.each_ref().map(|(object, _)| json!({"object": object, "checks": checks["Tool"].as_json()}));
    for ((object, expected), answer) in table.iter().zip(kstatus::ask(&questions)) {
        assert_eq!(checks["Tool"].evaluate(object), Ok(*expected), "{object}");
        assert_eq!(answer.flux, format!("{expected:?}"), "{object}");
    }
}
