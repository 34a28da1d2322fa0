//! The scenes of the demo. Each does what a person would do, and waits until the operator has done its part.

use std::error::Error;

use controlplane::Cluster;
use serde_json::{Value, json};

use super::actors::{Actors, NAMESPACE};
use super::display::{Display, Look};
use super::{PATIENCE, service};
use crate::{Outcome, cargo};

const KINDS: &str = "organizations,tools,toolversions,toolenvsecrets";

/// Tells the story.
pub(crate) struct Story<'a> {
    cluster: &'a Cluster,
    actors: &'a Actors,
    display: &'a Display,
}

impl<'a> Story<'a> {
    /// The story on this cluster, with these actors.
    pub fn new(cluster: &'a Cluster, actors: &'a Actors, display: &'a Display) -> Self {
        Self { cluster, actors, display }
    }

    /// All scenes in their order.
    pub fn tell(&self) -> Outcome {
        self.display.title("Manifests become a tool, its variables and a published version");
        self.display.step("kubectl apply: the connection, its credentials and the samples", || self.apply_samples())?;
        self.wait_until_ready("every object becomes Ready")?;
        self.display.title("A Secret is rotated");
        self.display.step("kubectl patch secret weather-credentials", || self.rotate("rotated-by-the-demo"))?;
        self.wait_for_variable("API_KEY", "rotated-by-the-demo")?;
        self.display.title("Somebody changes the tool by hand");
        self.display.step("the description is changed in the service", || self.change_by_hand())?;
        self.mend()?;
        self.display.title("The next version");
        self.display.step("kubectl apply: ToolVersion weather-1.1.0", || self.apply(&next_version()))?;
        self.wait_until_ready("version 1.1.0 is published")
    }

    fn apply(&self, manifest: &Value) -> Outcome {
        let arguments = ["apply", "--namespace", NAMESPACE, "--filename", "-"];
        self.cluster.kubectl_with_input(&arguments, &manifest.to_string())?;
        Ok(())
    }

    /// The samples as they are, but for the connection, which points at the sandbox.
    fn apply_samples(&self) -> Outcome {
        for manifest in connection(&self.actors.api) {
            self.apply(&manifest)?;
        }
        for sample in ["tool", "toolenvsecret", "toolversion"] {
            let file = cargo::workspace().join(format!("deploy/kustomize/samples/{sample}.yaml"));
            self.cluster.kubectl(&["apply", "--namespace", NAMESPACE, "--filename", &file.display().to_string()])?;
        }
        Ok(())
    }

    fn wait_until_ready(&self, what: &str) -> Outcome {
        self.display.wait(what, PATIENCE, || {
            let list: Value = serde_json::from_str(&self.kubectl_get(KINDS)?)?;
            let objects = list["items"].as_array().cloned().unwrap_or_default();
            let waiting: Vec<String> = objects.iter().filter_map(not_ready).collect();
            Ok(if waiting.is_empty() { Look::Done } else { Look::NotYet(waiting.join(", ")) })
        })
    }

    fn kubectl_get(&self, what: &str) -> Result<String, Box<dyn Error>> {
        Ok(self.cluster.kubectl(&["get", what, "--namespace", NAMESPACE, "--output", "json"])?)
    }

    fn rotate(&self, value: &str) -> Outcome {
        let patch = json!({"stringData": {"token": value}}).to_string();
        self.cluster.kubectl(&[
            "patch",
            "secret",
            "weather-credentials",
            "--namespace",
            NAMESPACE,
            "--patch",
            &patch,
        ])?;
        Ok(())
    }

    fn tool(&self) -> Result<Value, Box<dyn Error>> {
        service::get(&self.tool_url())
    }

    fn tool_url(&self) -> String {
        format!("{}/organizations/acme/tools/weather", self.actors.control)
    }

    fn wait_for_variable(&self, name: &str, value: &str) -> Outcome {
        self.display.wait("the service has the new value", PATIENCE, || {
            let has = self.tool()?["variables"][name]["value"] == json!(value);
            Ok(if has { Look::Done } else { Look::NotYet(format!("{name} has the old value")) })
        })
    }

    fn change_by_hand(&self) -> Outcome {
        service::put(&self.tool_url(), &json!({"description": "Changed by hand."}))
    }

    /// Drift is found at the next resync, ten minutes at most; a person who does not want to wait annotates.
    fn mend(&self) -> Outcome {
        self.display.step("kubectl annotate: looks at once instead of at the next resync", || {
            let annotation = "amigo.ai/reconcile-requested-at=demo";
            self.cluster.kubectl(&[
                "annotate",
                "--overwrite",
                "tool",
                "weather",
                "--namespace",
                NAMESPACE,
                annotation,
            ])?;
            Ok(())
        })?;
        self.display.wait("the description is mended", PATIENCE, || {
            let now = self.tool()?["description"].as_str().unwrap_or_default().to_owned();
            Ok(if now == "Changed by hand." { Look::NotYet(now) } else { Look::Done })
        })
    }
}

/// Name and reason of an object that is not Ready at its generation.
fn not_ready(object: &Value) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    if current && ready.is_some_and(|condition| condition["status"] == "True") {
        return None;
    }
    let reason = ready.and_then(|condition| condition["reason"].as_str()).unwrap_or("not looked at yet");
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Some(format!("{kind} {name}: {reason}"))
}

/// The connection to the sandbox, with the credentials that it knows, and the values of the sample's variables.
fn connection(api: &str) -> [Value; 3] {
    [
        json!({
            "apiVersion": "amigo.ai/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
            "spec": {"organization": "acme", "endpoint": api, "credentialsRef": {"name": "acme-api-key"}},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-api-key"},
            "stringData": {"api-key": "demo-key", "api-key-id": "demo-key-id", "user-id": "demo-user"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weather-credentials"},
            "stringData": {"token": "first-value", "REGION": "eu"},
        }),
    ]
}

fn next_version() -> Value {
    json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "ToolVersion", "metadata": {"name": "weather-1.1.0"},
        "spec": {"toolRef": {"name": "weather"}, "version": "1.1.0", "projectPath": "tools/weather"},
    })
}
