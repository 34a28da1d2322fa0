//! What the operator asked of the API server, from the audit log.

use std::fs;

use controlplane::Cluster;
use serde_json::Value;

/// One request that the operator made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The group of the resource; empty for the core.
    pub group: String,
    /// The resource with its subresource: `tools/status`.
    pub resource: String,
    /// The namespace, where the request names one. A Namespace is in itself.
    pub namespace: String,
    /// The object, where the request names one.
    pub name: String,
    /// The status of the answer.
    pub code: u64,
    /// Which token asked.
    pub credential: String,
    /// When it was answered, as the log writes it: later times are greater.
    pub at: String,
}

impl Request {
    /// From a line of the log.
    pub fn from(line: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &line["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let code = line["responseStatus"]["code"].as_u64().unwrap_or_default();
        let credential = text(&line["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]);
        let at = text(&line["stageTimestamp"]);
        let (group, namespace) = (text(&object["apiGroup"]), text(&object["namespace"]));
        let (verb, name) = (text(&line["verb"]), text(&object["name"]));
        Self { verb, group, resource, namespace, name, code, credential, at }
    }

    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "")
    }

    /// Whether the operator ever has a reason to make it.
    pub fn is_the_operators(&self) -> bool {
        const KINDS: [&str; 4] = ["organizations", "tools", "toolversions", "toolenvsecrets"];
        let kind = self.resource.strip_suffix("/status").unwrap_or(&self.resource);
        match self.verb.as_str() {
            "patch" => KINDS.contains(&self.resource.as_str()),
            "update" => KINDS.contains(&kind) && kind != self.resource || self.resource == "leases",
            // The reviews are of who asks for its metrics.
            "create" => {
                matches!(self.resource.as_str(), "events" | "leases" | "tokenreviews" | "subjectaccessreviews")
            }
            _ => !self.writes(),
        }
    }
}

/// The lines of the audit log that mention the text.
pub fn lines(cluster: &Cluster, text: &str) -> Vec<String> {
    let log = fs::read_to_string(cluster.audit_log()).unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// The requests of a ServiceAccount.
pub fn of_account(cluster: &Cluster, namespace: &str, account: &str) -> Vec<Request> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let lines = lines(cluster, &user);
    let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["user"]["username"] == user.as_str()).map(|line| Request::from(&line)).collect()
}
