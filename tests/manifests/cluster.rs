//! The API server with the definitions installed, reached as a person reaches it: with kubectl.

use std::collections::BTreeSet;

use controlplane::{Cluster, Error};
use serde_json::{Value, json};

/// A namespace of one test.
pub struct Namespace {
    cluster: &'static Cluster,
    name: String,
}

impl Namespace {
    /// Makes a namespace on the shared server.
    pub fn create(prefix: &str) -> Self {
        let cluster = controlplane::shared().expect("control plane");
        let name = cluster.create_namespace(prefix).expect("namespace");
        Self { cluster, name }
    }

    /// What kubectl prints in this namespace, or what it complains about.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let arguments = [&["--namespace", &self.name], arguments].concat();
        self.cluster.kubectl_with_input(&arguments, input).map_err(|error| match error {
            Error::Kubectl { stderr, .. } => stderr,
            other => other.to_string(),
        })
    }

    /// What kubectl prints in this namespace; fails the test unless kubectl is content.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "").expect("kubectl is content")
    }

    /// Applies one manifest. The error is what the server complains about, without the object's name.
    pub fn apply(&self, manifest: &Value) -> Result<(), BTreeSet<String>> {
        let applied = self.try_kubectl(&["apply", "--filename=-"], &manifest.to_string());
        applied.map(drop).map_err(|error| complaints(&error))
    }

    /// The object of a manifest, as the server has it.
    pub fn read(&self, manifest: &Value) -> Value {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        self.get(&text(&manifest["kind"]), &text(&manifest["metadata"]["name"]))
    }

    /// An object, as the server has it.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", kind, name, "--output=json"]);
        serde_json::from_str(&text).expect("kubectl writes JSON")
    }

    /// Sets the status, as the operator does. The server drops what the definition does not know.
    pub fn set_status(&self, kind: &str, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        self.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &patch]);
    }

    /// A table of `kubectl get`: its words, line by line.
    pub fn table(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let text = self.kubectl(&[&["get"], arguments].concat());
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }
}

/// What the server adds when a complaint of the schema keeps it from asking the rules.
const UNCHECKED: &str = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
                         correct the existing errors to complete validation";

/// The single complaints in what kubectl says: after `is invalid:`, one a line when there are several.
fn complaints(error: &str) -> BTreeSet<String> {
    let text = ["is invalid:", "strict decoding error:"].iter().find_map(|mark| Some(error.split_once(mark)?.1));
    text.unwrap_or(error)
        .lines()
        .map(|line| line.trim().trim_start_matches("* ").to_owned())
        .filter(|line| !line.is_empty() && line != UNCHECKED)
        .collect()
}
