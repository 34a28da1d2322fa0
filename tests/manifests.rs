//! Good and bad manifests, applied with kubectl to a real API server: what is accepted, what is refused and with which
//! words, what a person reads back.
//!
//! The tables in `tests/manifests/` have a `base` manifest and `cases`. A case lays `with` over the base's spec (a null
//! removes a field) or gives the whole `spec` as it is; `then` is laid over for an update afterwards. The last step is
//! `refused` with exactly these complaints, or accepted when there is no `refused`; `reads` is what comes back. Long texts
//! are written `<a x 253>`, long lists `[{$times: 19, $entry: {name: "a<n>"}}]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use amigo_operator::resources::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::Namespace;

#[path = "manifests/cluster.rs"]
mod cluster;
#[path = "manifests/views.rs"]
mod views;

#[test]
fn organizations() {
    check("organization");
}

#[test]
fn tools() {
    check("tool");
}

#[test]
fn tool_versions() {
    check("toolversion");
}

#[test]
fn tool_env_secrets() {
    check("toolenvsecret");
}

const TABLES: [&str; 4] = ["organization", "tool", "toolversion", "toolenvsecret"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    base: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    with: Value,
    spec: Option<Value>,
    then: Option<Value>,
    refused: Option<BTreeSet<String>>,
    reads: Option<Reads>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reads {
    spec: Value,
    status: Option<Value>,
}

fn table(name: &str) -> Table {
    let path = folder("tests/manifests").join(name).with_extension("yaml");
    let text = std::fs::read_to_string(&path).expect("table can be read");
    serde_saphyr::from_str(&text).expect("table can be understood")
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Tries every case and shows all that went wrong at once.
fn check(name: &str) {
    let Table { base, cases } = table(name);
    let namespace = Namespace::create(name);
    let wrong: Vec<_> = cases
        .iter()
        .enumerate()
        .filter_map(|(number, case)| case.check(&namespace, &base, &format!("case-{number}")).err())
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

impl Case {
    fn check(&self, namespace: &Namespace, base: &Value, object: &str) -> Result<(), String> {
        let mut manifest = base.clone();
        manifest["metadata"] = json!({"name": object});
        match &self.spec {
            Some(spec) => manifest["spec"] = expand(spec),
            None => merge(&mut manifest["spec"], &expand(&self.with)),
        }
        let mut outcome = namespace.apply(&manifest);
        if let Some(change) = &self.then {
            outcome.map_err(|found| self.complaint("refused before the update:", &found))?;
            merge(&mut manifest["spec"], &expand(change));
            outcome = namespace.apply(&manifest);
        }
        match (outcome, &self.refused) {
            (Err(found), Some(wanted)) if found == *wanted => Ok(()),
            (Err(found), _) => Err(self.complaint("refused with other words:", &found)),
            (Ok(()), Some(wanted)) => Err(self.complaint("accepted, in spite of:", wanted)),
            (Ok(()), None) => self.check_read(&namespace.read(&manifest)),
        }
    }

    fn check_read(&self, found: &Value) -> Result<(), String> {
        let Some(wanted) = &self.reads else { return Ok(()) };
        let same =
            wanted.spec == found["spec"] && wanted.status.as_ref().is_none_or(|status| *status == found["status"]);
        if same { Ok(()) } else { Err(self.complaint("reads back otherwise:", &BTreeSet::from([found.to_string()]))) }
    }

    fn complaint(&self, what: &str, lines: &BTreeSet<String>) -> String {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        format!("- {}\n  {what}\n  - {}\n", self.name, lines.join("\n  - "))
    }
}

/// Lays `patch` over `target`: objects field by field, null removes, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match (value, target.as_object_mut()) {
            (Value::Null, Some(target)) => drop(target.remove(name)),
            (_, _) => merge(&mut target[name], value),
        }
    }
}

/// Writes out the short forms of long texts and lists.
fn expand(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(expand_text(text)),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), expand(value))).collect(),
        Value::Array(entries) => entries.iter().flat_map(expand_entry).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn expand_text(text: &str) -> String {
    let parts = text.rsplit_once('<').and_then(|(before, rest)| {
        let (repeated, times) = rest.strip_suffix('>')?.split_once(" x ")?;
        Some(format!("{before}{}", repeated.repeat(times.parse().ok()?)))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

fn expand_entry(entry: &Value) -> Vec<Value> {
    let Some(times) = entry.get("$times").and_then(Value::as_u64) else { return vec![expand(entry)] };
    let text = entry["$entry"].to_string();
    let numbered = |n: u64| serde_json::from_str(&text.replace("<n>", &n.to_string())).expect("entry stays JSON");
    (0..times).map(numbered).collect()
}

/// A rule without a bad manifest is a rule that nobody has seen at work.
#[test]
fn every_rule_refuses_something() {
    let refused: Vec<String> =
        TABLES.iter().flat_map(|name| table(name).cases).flat_map(|case| case.refused.unwrap_or_default()).collect();
    let mut rules = Vec::new();
    for crd in crds() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            collect_rules(&crd.spec.names.kind, schema.expect("every version has a schema"), &mut rules);
        }
    }
    assert!(rules.len() > 40, "found {} rules only", rules.len());
    rules.retain(|(_, message)| !refused.iter().any(|complaint| complaint.ends_with(message)));
    assert!(rules.is_empty(), "no bad manifest for {rules:#?}");
}

fn collect_rules(path: &str, schema: &JSONSchemaProps, rules: &mut Vec<(String, String)>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        rules.push((path.to_owned(), rule.message.clone().expect("every rule has a message")));
    }
    for (name, property) in schema.properties.iter().flatten() {
        collect_rules(&format!("{path}.{name}"), property, rules);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect_rules(&format!("{path}[]"), items, rules);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect_rules(&format!("{path}{{}}"), values, rules);
    }
}
