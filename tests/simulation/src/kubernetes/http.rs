//! From the requests that kube sends to the server's rules, and back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Collection, Kubernetes, NOT_FOUND, Part, Refusal, Watching};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// All objects.
    List,
    /// All changes.
    Watch,
    /// A new object.
    Create,
    /// An object instead of another.
    Update,
    /// A status instead of another.
    UpdateStatus,
    /// A merge patch.
    Patch,
}

impl Verb {
    /// Whether it changes something.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// A request, read.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub verb: Verb,
    /// Of what.
    pub collection: Collection,
    /// In which namespace; empty: everywhere, or none.
    pub namespace: String,
    /// Which; empty for collections.
    pub name: String,
    /// What is sent.
    pub body: Value,
    /// `metadata.name` of a field selector.
    selected: Option<String>,
    /// Where a watch begins.
    version: Option<u64>,
    /// Whether only metadata is wanted.
    metadata_only: bool,
}

/// What comes back.
pub enum Answer {
    /// One document.
    Document(u16, Value),
    /// A watch.
    Watch(Watching),
}

impl Request {
    /// Reads a request. The operator's own client writes them, so that one that cannot be read is a defect of this file.
    ///
    /// # Panics
    /// When the request is not one of those that the operator makes.
    #[must_use]
    pub fn read(head: &http::request::Parts, body: &[u8]) -> Self {
        let mut path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let group = if path.first() == Some(&"apis") { path.get(1).copied().unwrap_or_default() } else { "" };
        path.drain(..if group.is_empty() { 2 } else { 3 });
        let mut namespace = "";
        if path.len() > 2 && path[0] == "namespaces" {
            namespace = path[1];
            path.drain(..2);
        }
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let verb = match (head.method.as_str(), path.get(1), path.get(2).copied(), asked("watch")) {
            ("GET", None, None, Some("1" | "true")) => Verb::Watch,
            ("GET", None, None, _) => Verb::List,
            ("GET", Some(_), None, _) => Verb::Get,
            ("POST", None, None, _) => Verb::Create,
            ("PUT", Some(_), None, _) => Verb::Update,
            ("PUT", Some(_), Some("status"), _) => Verb::UpdateStatus,
            ("PATCH", Some(_), None, _) => Verb::Patch,
            other => unreachable!("the simulated server has no {other:?} {}", head.uri),
        };
        let accept = head.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            verb,
            collection: format!("{group}/{}", path[0]),
            namespace: namespace.to_owned(),
            name: path.get(1).copied().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(body).unwrap_or_default(),
            selected: asked("fieldSelector").and_then(|s| s.strip_prefix("metadata.name=")).map(ToOwned::to_owned),
            version: asked("resourceVersion").and_then(|version| version.parse().ok()),
            metadata_only: accept.contains("as=PartialObjectMetadata"),
        }
    }

    /// For people and for the dice.
    #[must_use]
    pub fn describe(&self) -> String {
        let plural = self.collection.rsplit('/').next().unwrap_or_default();
        format!("{:?} {plural} {}", self.verb, self.name)
    }

    /// Whether an object is among what is asked for.
    pub(super) fn covers(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace.as_str())
            && self.selected.as_ref().is_none_or(|name| object["metadata"]["name"] == name.as_str())
    }

    /// An object as it is asked for.
    pub(super) fn shown(&self, object: &Value) -> Value {
        if self.metadata_only {
            let (version, kind) = ("meta.k8s.io/v1", "PartialObjectMetadata");
            json!({"apiVersion": version, "kind": kind, "metadata": object["metadata"]})
        } else {
            object.clone()
        }
    }
}

impl Kubernetes {
    /// Answers a request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        let served = self.state().serves(&request.collection);
        if !served {
            return refused(&NOT_FOUND);
        }
        let written = match request.verb {
            Verb::Watch => return Answer::Watch(self.watch(request.clone(), request.version)),
            Verb::List => return Answer::Document(200, self.list(request)),
            Verb::Get => self.get(&request.collection, &request.namespace, &request.name).ok_or(NOT_FOUND),
            Verb::Create => self.create(&request.collection, named(request)),
            Verb::Update => self.write(&request.collection, named(request), Part::Main),
            Verb::UpdateStatus => self.write(&request.collection, named(request), Part::Status),
            Verb::Patch => self.patch(request),
        };
        match written {
            Ok(object) => {
                Answer::Document(if request.verb == Verb::Create { 201 } else { 200 }, request.shown(&object))
            }
            Err(refusal) => refused(&refusal),
        }
    }

    fn patch(&self, request: &Request) -> Result<Arc<Value>, Refusal> {
        self.merge(&request.collection, &request.namespace, &request.name, &request.body)
    }

    fn list(&self, request: &Request) -> Value {
        let all = self.all(&request.collection);
        let items: Vec<Value> = all.iter().filter(|o| request.covers(o)).map(|o| request.shown(o)).collect();
        let version = self.version().to_string();
        let (api_version, kind) =
            if request.metadata_only { ("meta.k8s.io/v1", "PartialObjectMetadataList") } else { ("v1", "List") };
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"resourceVersion": version}, "items": items})
    }
}

/// The object that is sent, with the namespace and name of the path.
fn named(request: &Request) -> Value {
    let mut object = request.body.clone();
    if !request.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(request.namespace);
    }
    if !request.name.is_empty() {
        object["metadata"]["name"] = json!(request.name);
    }
    object
}

/// A refusal, as the server words it.
#[must_use]
pub fn refused(refusal: &Refusal) -> Answer {
    Answer::Document(
        refusal.code,
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": refusal.code,
            "reason": refusal.reason, "message": format!("simulated: {}", refusal.reason), "metadata": {}}),
    )
}
