//! The Helm chart and the Kustomize bases: what they render, what they refuse, that their generated parts are up to date, and
//! what a real API server makes of them. Helm 4 and Helm 3 are built from pinned modules, like the control plane.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod generated;
mod helm;
mod kustomize;
mod lifecycle;
mod metrics;
mod permissions;
#[path = "../promtool/mod.rs"]
mod promtool;
mod proof;
mod refused;
mod rendered;
mod rights;
mod server;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where an installation without values is, also that of the Kustomize bases.
const NAMESPACE: &str = "amigo-system";

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file or folder of the chart.
fn chart(path: &str) -> PathBuf {
    repository("deploy/helm/amigo-operator").join(path)
}

/// The names of the profiles in `ci/`, each a file of values.
fn profiles() -> Vec<String> {
    let names = fs::read_dir(chart("ci")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut profiles: Vec<_> = names.map(|name| name.strip_suffix("-values.yaml").unwrap().to_owned()).collect();
    profiles.sort_unstable();
    assert!(profiles.len() > 5, "{profiles:?}");
    profiles
}

/// The objects of YAML documents, without empty ones.
fn objects(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Kind, namespace and name of an object.
fn identity(object: &Value) -> String {
    let part = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", part("/kind"), part("/metadata/namespace"), part("/metadata/name"))
}

/// The only object of this kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there is more than one {kind}");
    object
}

/// Whether there is an object of this kind.
fn has(objects: &[Value], kind: &str) -> bool {
    objects.iter().any(|object| object["kind"] == kind)
}
