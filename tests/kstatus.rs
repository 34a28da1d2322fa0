//! The oracle that judges the operator's statuses, tried on statuses of which the answer is known, and compared with kstatus itself.

#![allow(dead_code, reason = "the operator's tests use the rest of the oracle")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/kstatus.rs"]
mod kstatus;
#[path = "support/oracle.rs"]
mod oracle;

use oracle::{Kstatus, compute, violations};
use serde_json::{Value, json};

/// An object of this generation whose status, and each of whose conditions, speaks of another.
fn object(generation: i64, observed: i64, conditions: &[(&str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(type_, status)| json!({"type": type_, "status": status, "observedGeneration": observed}))
        .collect();
    json!({
        "metadata": {"generation": generation},
        "status": {"observedGeneration": observed, "conditions": conditions},
    })
}

#[test]
fn computes_what_kstatus_computes() {
    let generation = json!({"generation": 1});
    let stale = json!({"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let table: [(Value, Kstatus); 18] = [
        (json!({"metadata": generation}), Kstatus::Current),
        (json!({"metadata": generation, "status": {"observedGeneration": -1}}), Kstatus::InProgress),
        (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "generation": 1}}), Kstatus::Terminating),
        (json!({"metadata": {"deletionTimestamp": "", "generation": 1}}), Kstatus::Current),
        (stale, Kstatus::Current),
        (object(1, 1, &[("Ready", "True")]), Kstatus::Current),
        (object(2, 1, &[("Ready", "True")]), Kstatus::InProgress),
        (object(1, 2, &[("Ready", "True")]), Kstatus::InProgress),
        (object(2, 1, &[("Ready", "False"), ("Stalled", "True")]), Kstatus::InProgress),
        (object(1, 1, &[("Ready", "False")]), Kstatus::InProgress),
        (object(1, 1, &[("Ready", "Unknown")]), Kstatus::InProgress),
        (object(1, 1, &[("Ready", "true")]), Kstatus::Current),
        (object(1, 1, &[("Ready", "False"), ("Stalled", "True")]), Kstatus::Failed),
        (object(1, 1, &[("Ready", "True"), ("Reconciling", "True")]), Kstatus::InProgress),
        (object(1, 1, &[("Reconciling", "True"), ("Stalled", "True")]), Kstatus::InProgress),
        (object(1, 1, &[("Stalled", "True"), ("Reconciling", "True")]), Kstatus::Failed),
        (object(1, 1, &[("Stalled", "False"), ("Ready", "True")]), Kstatus::Current),
        (object(1, 1, &[("Other", "True")]), Kstatus::Current),
    ];
    for (object, expected) in table {
        assert_eq!(compute(&object), expected, "{object}");
        assert_same_as_kstatus(&[object]);
    }
}

/// The port and the library that Flux and Helm link answer alike.
fn assert_same_as_kstatus(objects: &[Value]) {
    let questions: Vec<Value> = objects.iter().map(|object| json!({"object": object})).collect();
    for (object, answer) in objects.iter().zip(kstatus::ask(&questions)) {
        assert_eq!(format!("{:?}", compute(object)), answer.kstatus, "{object}");
    }
}

/// Every list of these conditions, in every order, with every status.
fn lists_of_conditions() -> Vec<Vec<(&'static str, &'static str)>> {
    let mut lists = vec![Vec::new()];
    let mut longest = lists.clone();
    for _ in 0..3 {
        let longer = longest.iter().flat_map(|list| {
            let unused =
                ["Ready", "Reconciling", "Stalled"].into_iter().filter(|it| list.iter().all(|(type_, _)| type_ != it));
            unused.flat_map(|type_| {
                ["True", "False", "Unknown", "true"].map(|status| [&list[..], &[(type_, status)]].concat())
            })
        });
        longest = longer.collect();
        lists.extend(longest.clone());
    }
    lists
}

#[test]
fn answers_as_kstatus_does_whatever_the_status() {
    let mut objects = Vec::new();
    for list in lists_of_conditions() {
        for (generation, observed) in [(1, 1), (2, 1), (1, 2), (1, -1)] {
            let object = object(generation, observed, &list);
            let mut unobserved = object.clone();
            unobserved["status"].as_object_mut().unwrap().remove("observedGeneration");
            let mut going = object.clone();
            going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            objects.extend([object, unobserved, going]);
        }
    }
    assert_eq!(objects.len(), 493 * 12);
    assert_same_as_kstatus(&objects);
}

#[test]
fn finds_nothing_in_statuses_as_they_should_be() {
    for object in [
        object(1, 1, &[("Ready", "True")]),
        object(2, 1, &[("Ready", "False")]),
        object(1, 1, &[("Ready", "False"), ("Reconciling", "True")]),
        object(1, 1, &[("Ready", "False"), ("Stalled", "True")]),
        object(2, 1, &[("Ready", "Unknown"), ("Reconciling", "True")]),
    ] {
        assert_eq!(violations(&object), [""; 0], "{object}");
    }
}

#[test]
fn every_rule_can_be_broken() {
    let table: [(Value, &[&str]); 15] = [
        (object(1, 1, &[("Ready", "True"), ("Stalled", "True")]), &["FAIL0001", "FAIL0004", "WARN0001"]),
        (object(1, 1, &[("Ready", "True"), ("Reconciling", "True")]), &["FAIL0001", "FAIL0003", "WARN0001"]),
        (object(1, 1, &[]), &["FAIL0002"]),
        (object(1, 1, &[("Reconciling", "True")]), &["FAIL0002", "FAIL0003"]),
        (object(1, 1, &[("Stalled", "True")]), &["FAIL0002", "FAIL0004"]),
        (object(1, 1, &[("Ready", "Unknown"), ("Stalled", "True")]), &["FAIL0004", "FAIL0011"]),
        (object(1, 1, &[("Ready", "False"), ("Reconciling", "True"), ("Stalled", "True")]), &["FAIL0005"]),
        (object(1, 2, &[("Ready", "False")]), &["FAIL0006"]),
        (object(2, 1, &[("Ready", "True")]), &["FAIL0007", "FAIL0008"]),
        (object(1, 2, &[("Ready", "True")]), &["FAIL0006"]),
        (object(1, 1, &[("Ready", "Unknown")]), &["FAIL0011"]),
        (object(1, 1, &[("Ready", "True"), ("Reconciling", "False")]), &["WARN0001", "WARN0003"]),
        (object(1, 1, &[("Ready", "False"), ("Stalled", "False")]), &["WARN0004"]),
        (
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 3},
            ]}}),
            &["FAIL0009"],
        ),
        (
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": "False", "reason": "A", "message": "a"},
                {"type": "Stalled", "status": "True", "reason": "B", "message": "a", "observedGeneration": 1},
            ]}}),
            &["WARN0002", "WARN0005"],
        ),
    ];
    for (object, expected) in table {
        assert_eq!(violations(&object), expected, "{object}");
    }
}
