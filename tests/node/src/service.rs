//! The service: the sandbox as a Pod, which lives as long as the node. What it was asked tells what the operator has done.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::Result;
use crate::node::Node;

const NAMESPACE: &str = "amigo-service";

/// Its name for Pods, as that of a Service.
const HOST: &str = "sandbox.amigo-service.svc.cluster.local";

/// Where Organizations find it.
pub(crate) fn endpoint() -> String {
    format!("http://{HOST}:8081")
}

/// The service as seen by a person who may look behind its API.
pub(crate) struct Service {
    control: String,
    agent: Agent,
    /// The address of its Pod.
    pub address: Ipv4Addr,
}

impl Service {
    /// Starts it on the node, and gives it its name.
    pub fn start(node: &Node) -> Result<Self> {
        node.kubectl(&["create", "namespace", NAMESPACE])?;
        node.apply(NAMESPACE, &pod())?;
        node.ready(NAMESPACE, "pod/sandbox")?;
        let pod = node.get(NAMESPACE, "pod/sandbox")?;
        let address: Ipv4Addr = pod["status"]["podIP"].as_str().ok_or("a Pod without an address")?.parse()?;
        node.names.put(HOST, address);
        let agent = Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).proxy(None).build().into();
        Ok(Self { control: format!("http://{address}:8082"), agent, address })
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: &str) -> Result<u64> {
        Ok(self.get("counters")?[operation]["calls"].as_u64().unwrap_or_default())
    }

    /// How often anything was called that changes something: tools made, changed, deprecated; variables; versions.
    pub fn writes(&self) -> Result<Vec<(String, u64)>> {
        let counters = self.get("counters")?;
        let counters = counters.as_object().cloned().unwrap_or_default().into_iter();
        let writes = counters.filter(|(operation, _)| !operation.starts_with("list-") && operation != "sign-in");
        Ok(writes.map(|(operation, counter)| (operation, counter["calls"].as_u64().unwrap_or_default())).collect())
    }

    /// The names of all tools, in the order they were made.
    pub fn tools(&self) -> Result<Vec<String>> {
        let tools = self.get("organizations/acme/tools")?;
        Ok(each(&tools, |tool| tool["name"].as_str().unwrap_or_default().to_owned()))
    }

    /// The versions of a tool, in the order they were made.
    pub fn versions(&self, tool: &str) -> Result<Vec<String>> {
        let tool = self.get(&format!("organizations/acme/tools/{tool}"))?;
        Ok(each(&tool["versions"], |version| {
            let number = &version["version"];
            ["major", "minor", "patch"].map(|part| number[part].to_string()).join(".")
        }))
    }

    /// Whether a publish of the tool is under way.
    pub fn publishes(&self, tool: &str) -> Result<bool> {
        Ok(self.get(&format!("organizations/acme/tools/{tool}"))?["under_way"] == "publish")
    }

    /// Lets a publish take so long from now on.
    pub fn publish_takes(&self, seconds: u32) -> Result<()> {
        let settings = json!({"publish_seconds": seconds}).to_string();
        let request = self.agent.put(format!("{}/settings", self.control)).content_type("application/json");
        request.send(settings)?;
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Value> {
        let mut answer = self.agent.get(format!("{}/{path}", self.control)).call()?;
        Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
    }
}

fn each(list: &Value, text: impl Fn(&Value) -> String) -> Vec<String> {
    list.as_array().into_iter().flatten().map(text).collect()
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sandbox"},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "sandbox",
                "image": format!("localhost/amigo-sandbox:{}", env!("CARGO_PKG_VERSION")),
                "imagePullPolicy": "Never",
                // The control address is not for everybody; here nobody else is.
                "args": ["--listen=0.0.0.0:8081", "--control-listen=0.0.0.0:8082"],
                "readinessProbe": {"tcpSocket": {"port": 8081}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
