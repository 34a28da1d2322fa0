//! Alerts and dashboards ask for metrics that the operator has, and for labels that these have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::chart;
use crate::helm::Helm;

#[allow(dead_code, reason = "the page of the metrics is another test's")]
#[path = "../generated/metrics.rs"]
mod example;

/// What Prometheus adds to every sample of a target.
const TARGET_LABELS: [&str; 3] = ["namespace", "job", "instance"];

#[test]
fn alerts_and_dashboards_ask_for_what_there_is() {
    let emitted = emitted();
    let expressions = expressions();
    assert!(expressions.len() > 10, "{expressions:?}");
    for (place, expression) in expressions {
        let (names, labels) = words(&expression);
        assert!(!names.is_empty(), "{place} asks for no metric: {expression}");
        let mut known: BTreeSet<&str> = TARGET_LABELS.into();
        for name in &names {
            let labels = emitted.get(name).unwrap_or_else(|| panic!("{place}: the operator has no {name}"));
            known.extend(labels.iter().map(String::as_str));
        }
        let unknown: Vec<_> = labels.iter().filter(|label| !known.contains(label.as_str())).collect();
        assert!(unknown.is_empty(), "{place}: {names:?} has no {unknown:?}: {expression}");
    }
}

/// What `/metrics` shows once everything has happened.
pub fn emitted_text() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(example::example())
}

/// Every metric that the operator has, and its labels.
fn emitted() -> BTreeMap<String, BTreeSet<String>> {
    let mut emitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in emitted_text().lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels =
            labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        emitted.entry(name.to_owned()).or_default().extend(labels);
    }
    emitted
}

/// Where an expression stands, and the expression.
pub fn expressions() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(chart("files/alerts")).unwrap() {
        let file: Value = serde_saphyr::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        for rule in file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{rule}");
            found.push((text(&rule["alert"]), text(&rule["expr"])));
        }
    }
    for entry in fs::read_dir(chart("files/dashboards")).unwrap() {
        let file: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        // A row is a heading.
        for panel in file["panels"].as_array().unwrap().iter().filter(|it| it["type"] != "row") {
            for target in panel["targets"].as_array().unwrap() {
                found.push((text(&panel["title"]), text(&target["expr"])));
            }
        }
        for variable in file["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
            // `label_values(query, label)`
            let query = text(&variable["query"]["query"]);
            let (query, _) = query.trim_start_matches("label_values(").rsplit_once(", ").unwrap();
            found.push((text(&variable["name"]), query.to_owned()));
        }
    }
    found
}

/// The metrics and the labels of an expression. Words in quotes are values, words before `(` functions.
fn words(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let (mut rest, mut braces) = (expression, 0);
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if first == '"' {
            rest = rest[1..].split_once('"').unwrap().1;
        } else if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if end == 0 {
            braces += i32::from(first == '{') - i32::from(first == '}');
            rest = &rest[first.len_utf8()..];
        } else {
            let word = &rest[..end];
            let prefixes =
                ["amigo_", "controller_runtime_", "leader_election_", "process_", "rest_client_", "workqueue_"];
            if prefixes.iter().any(|prefix| word.starts_with(prefix)) {
                names.insert(word.to_owned());
            } else if braces > 0 {
                labels.insert(word.to_owned());
            }
            rest = &rest[end..];
            if matches!(word, "by" | "on") {
                let (list, after) = rest.trim_start()[1..].split_once(')').unwrap();
                labels.extend(list.split(',').filter(|label| !label.is_empty()).map(|label| label.trim().to_owned()));
                rest = after;
            }
        }
    }
    (names, labels)
}

/// Their text arrives as it is, whatever Helm could take for a template in it.
#[test]
fn alerts_and_dashboards_arrive_as_they_are() {
    let objects = Helm::four().objects(
        "{prometheusRule: {enabled: true, renderMode: alwaysRender, labels: {release: p}}, grafanaDashboard: {enabled: true}}",
    );
    let rule = crate::only(&objects, "PrometheusRule");
    let file: Value =
        serde_saphyr::from_str(&fs::read_to_string(chart("files/alerts/amigo-operator.yaml")).unwrap()).unwrap();
    assert_eq!(rule["spec"]["groups"], file["groups"]);
    assert_eq!(rule["metadata"]["labels"]["release"], "p");
    let dashboards = crate::only(&objects, "ConfigMap");
    let rendered = dashboards["data"]["amigo-operator.json"].as_str().unwrap();
    let rendered: Value = serde_json::from_str(rendered).unwrap();
    let file: Value =
        serde_json::from_str(&fs::read_to_string(chart("files/dashboards/amigo-operator.json")).unwrap()).unwrap();
    assert_eq!(rendered, file);
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
}
