//! The chart on the node, by Helm: the operator as its users install it.

use std::path::{Path, PathBuf};
use std::process::Command;

use controlplane::{Program, print_progress};
use serde_json::{Value, json};

use crate::node::Node;
use crate::service;
use crate::wait::{PATIENCE, until, until_true};
use crate::{Result, objects};

/// Where the operator is.
pub(crate) const NAMESPACE: &str = "amigo-system";

/// The name of the release, and so of the Deployment.
pub(crate) const NAME: &str = "amigo-operator";

/// How long Helm waits for Pods.
const HELM_PATIENCE: &str = "--timeout=180s";

/// The chart, and Helm to install it with.
pub(crate) struct Release {
    helm: PathBuf,
    chart: PathBuf,
}

impl Release {
    /// Nothing is installed by this.
    pub fn new(chart: &Path) -> Result<Self> {
        Ok(Self { helm: Program::Helm.provide(&print_progress)?, chart: chart.to_owned() })
    }

    /// The same with another chart.
    pub fn of(&self, chart: &Path) -> Self {
        Self { helm: self.helm.clone(), chart: chart.to_owned() }
    }

    /// Installs, and waits until everything is ready. `more` are flags such as `--set=replicaCount=2`.
    pub fn install(&self, node: &Node, more: &[&str]) -> Result<()> {
        self.install_without_waiting(node, &[more, &["--wait", HELM_PATIENCE]].concat())
    }

    /// Installs.
    pub fn install_without_waiting(&self, node: &Node, more: &[&str]) -> Result<()> {
        self.with_chart(node, "install", more)
    }

    /// Upgrades to exactly these values, and waits until everything is ready.
    pub fn upgrade(&self, node: &Node, more: &[&str]) -> Result<()> {
        self.upgrade_without_waiting(node, &[more, &["--wait", HELM_PATIENCE]].concat())
    }

    /// Upgrades to exactly these values.
    pub fn upgrade_without_waiting(&self, node: &Node, more: &[&str]) -> Result<()> {
        self.with_chart(node, "upgrade", more)
    }

    /// Rolls back to the revision before, and waits until everything is ready.
    pub fn roll_back(&self, node: &Node) -> Result<()> {
        self.run(node, &["rollback", NAME, "--wait", HELM_PATIENCE])
    }

    /// Uninstalls, and waits until the operator is gone.
    pub fn uninstall(&self, node: &Node) -> Result<()> {
        self.run(node, &["uninstall", NAME, "--wait", HELM_PATIENCE])?;
        until_true("the operator's Pods go", PATIENCE, || Ok(pods(node)?.is_empty()))
    }

    fn with_chart(&self, node: &Node, verb: &str, more: &[&str]) -> Result<()> {
        let values = node.directory().join("values.json");
        std::fs::write(&values, own_values().to_string())?;
        let (chart, values) = (self.chart.to_string_lossy(), values.to_string_lossy());
        let fixed = [verb, NAME, &chart, "--values", &values];
        let create = if verb == "install" { &["--create-namespace"][..] } else { &[] };
        self.run(node, &[&fixed[..], create, more].concat())
    }

    fn run(&self, node: &Node, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.helm)
            .args(arguments)
            .args(["--namespace", NAMESPACE, "--kubeconfig"])
            .arg(node.admin_kubeconfig())
            .env_clear()
            .env("HOME", node.directory().join("helm"))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("helm {}: {}", arguments.join(" "), said.trim()).into())
    }
}

/// What every installation here has in common: the image, and where the service is. All else is as the chart has it.
fn own_values() -> Value {
    json!({
        "image": {"registry": "localhost", "pullPolicy": "Never"},
        "allowedEndpoints": [service::endpoint(), objects::other_endpoint()],
    })
}

/// The operator's Pods.
pub(crate) fn pods(node: &Node) -> Result<Vec<Value>> {
    let all = node.get(NAMESPACE, "pods")?;
    Ok(all["items"].as_array().cloned().unwrap_or_default())
}

/// The only Pod of the operator, as soon as there is only one and it runs.
pub(crate) fn pod(node: &Node) -> Result<Value> {
    until("there is one Pod, and it runs", PATIENCE, || {
        let pods = pods(node)?;
        let is_one = pods.len() == 1 && pods[0]["metadata"]["deletionTimestamp"].is_null();
        Ok(pods.into_iter().next().filter(|pod| is_one && pod["status"]["phase"] == "Running"))
    })
}

/// The name of a Pod, as kubectl takes it.
pub(crate) fn name(pod: &Value) -> String {
    format!("pod/{}", pod["metadata"]["name"].as_str().unwrap_or_default())
}

/// What the kubelet says of the operator's container.
pub(crate) fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// How often the container was started again.
pub(crate) fn restarts(pod: &Value) -> u64 {
    container(pod)["restartCount"].as_u64().unwrap_or_default()
}

/// Whether Kubernetes sends it work.
pub(crate) fn is_ready(pod: &Value) -> bool {
    container(pod)["ready"] == true
}

/// Who holds the Lease, a name that begins with its Pod's; empty if nobody does.
pub(crate) fn leader(node: &Node) -> Result<String> {
    let lease = node.get(NAMESPACE, "lease/amigo-operator")?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}
