//! The alerts, the dashboard and the metrics as Prometheus sees them: promtool reads the rules that the chart renders, lets them
//! fire in its unit tests, and reads every query of the dashboard and every metric that the operator has.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::helm::Helm;
use crate::metrics::{emitted_text, expressions};
use crate::promtool::{check_metrics, promtool};
use crate::repository;

/// The unit tests of the alerts.
const TESTS: &str = "tests/chart/alerts.yaml";

/// What Grafana puts in place of the variables of a dashboard.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "4m"), ("$__range", "6h"), ("$namespace", ".*"), ("$job", "amigo-operator")];

/// The groups of the PrometheusRule that the chart renders.
fn rendered_groups() -> Value {
    let objects = Helm::four().objects("prometheusRule: {enabled: true, renderMode: alwaysRender}");
    crate::only(&objects, "PrometheusRule")["spec"]["groups"].clone()
}

fn rules(groups: &mut Value) -> impl Iterator<Item = &mut Value> {
    groups.as_array_mut().unwrap().iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap())
}

/// Each of a folder's files is what promtool is given; JSON is YAML.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// Refuses rules that Prometheus cannot load.
fn check_rules(groups: &Value) {
    let folder = folder(&[("rules.yaml", &json!({"groups": groups}).to_string())]);
    let file = folder.path().join("rules.yaml");
    let checked = promtool(&["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()], "");
    checked.unwrap_or_else(|complaints| panic!("{complaints}"));
}

#[test]
fn prometheus_loads_the_rules() {
    check_rules(&rendered_groups());
}

/// As rules that record: promtool reads no dashboards.
#[test]
fn prometheus_understands_the_queries_of_the_dashboard() {
    let queries = expressions().into_iter().enumerate().map(|(index, (_, query))| {
        let query = VARIABLES.iter().fold(query, |query, (name, value)| query.replace(name, value));
        json!({"record": format!("query_{index}"), "expr": query})
    });
    check_rules(&json!([{"name": "dashboard", "rules": queries.collect::<Vec<_>>()}]));
}

#[test]
fn every_alert_fires_when_it_should_and_not_else() {
    let mut groups = rendered_groups();
    for rule in rules(&mut groups) {
        let description = rule["annotations"].as_object_mut().unwrap().remove("description").unwrap();
        assert!(!description.as_str().unwrap().contains("{{"), "the tests do not see what this becomes: {description}");
    }
    let tests = fs::read_to_string(repository(TESTS)).unwrap();
    let folder = folder(&[("rules.yaml", &json!({"groups": groups}).to_string()), ("tests.yaml", &tests)]);
    let file = folder.path().join("tests.yaml");
    let tested = promtool(&["test", "rules", file.to_str().unwrap()], "");
    tested.unwrap_or_else(|complaints| panic!("{complaints}"));
}

#[test]
fn every_alert_is_tested_to_fire_and_to_keep_quiet() {
    let tests: Value = serde_saphyr::from_str(&fs::read_to_string(repository(TESTS)).unwrap()).unwrap();
    // How often an alert is expected, and how often it is expected not to be.
    let mut expected: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let cases = tests["tests"].as_array().unwrap().iter().filter_map(|test| test["alert_rule_test"].as_array());
    for case in cases.flatten() {
        let (fires, quiet) = expected.entry(case["alertname"].as_str().unwrap()).or_default();
        *if case["exp_alerts"].as_array().unwrap().is_empty() { quiet } else { fires } += 1;
    }
    let mut groups = rendered_groups();
    let alerts: Vec<String> = rules(&mut groups).map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in &alerts {
        // In good times, before its time is over, and after its end.
        let (fires, quiet) = expected.remove(alert.as_str()).unwrap_or_default();
        assert!(fires >= 1 && quiet >= 3, "{alert}: fires in {fires} tests and keeps quiet in {quiet}");
    }
    assert!(expected.is_empty(), "there is no such alert: {expected:?}");
}

#[test]
fn prometheus_has_nothing_to_say_about_the_metrics() {
    check_metrics(&emitted_text());
}
