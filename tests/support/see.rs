//! What a test sees, and waits for.

use std::thread;
use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Operation, ToolView};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::audit::{self, Request};
use super::oracle::{Kstatus, compute, condition, status};
use super::recorder::Id;
use super::{ACME, PATIENCE, World};

/// How often something is looked at that does not tell when it changes.
const LOOK: Duration = Duration::from_millis(20);

impl World {
    fn id(&self, kind: &str, name: &str) -> Id {
        (self.namespace.clone(), kind.to_owned(), name.to_owned())
    }

    /// The object as it was last seen.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.recorder.now(&self.id(kind, name))
    }

    /// Waits until the object is as it should be.
    pub fn wait_for(&self, kind: &str, name: &str, holds: impl Fn(&Value) -> bool, what: &str) -> Value {
        self.wait_in(&self.namespace, kind, name, holds, what)
    }

    /// Waits until an object of another namespace is as it should be.
    pub fn wait_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        holds: impl Fn(&Value) -> bool,
        what: &str,
    ) -> Value {
        let id = (namespace.to_owned(), kind.to_owned(), name.to_owned());
        match self.recorder.wait(&id, Instant::now() + PATIENCE, |object| object.is_some_and(&holds)) {
            Ok(object) => object.unwrap(),
            Err(object) => panic!("{kind} {name}: waited in vain until it {what}; it is {object:?}"),
        }
    }

    /// Waits until the object is Ready at its generation.
    pub fn ready(&self, kind: &str, name: &str) -> Value {
        self.wait_for(kind, name, is_ready, "is Ready")
    }

    /// Waits until Ready gives this reason at the object's generation.
    pub fn reason(&self, kind: &str, name: &str, reason: &str) -> Value {
        self.wait_for(kind, name, |object| has_reason(object, reason), &format!("says {reason}"))
    }

    /// Waits until the object is gone.
    pub fn gone(&self, kind: &str, name: &str) {
        self.gone_in(&self.namespace, kind, name);
    }

    /// Waits until an object of another namespace is gone.
    pub fn gone_in(&self, namespace: &str, kind: &str, name: &str) {
        let id = (namespace.to_owned(), kind.to_owned(), name.to_owned());
        let waited = self.recorder.wait(&id, Instant::now() + PATIENCE, |object| object.is_none());
        if let Err(object) = waited {
            panic!("{kind} {name} does not go; it is {object:?}");
        }
    }

    /// Waits until something else holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        self.until_within(PATIENCE, what, holds);
    }

    /// Waits until something else holds, which may take longer.
    #[track_caller]
    #[allow(clippy::unused_self, reason = "reads as the other waits do")]
    pub fn until_within(&self, patience: Duration, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + patience;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            thread::sleep(LOOK);
        }
    }

    /// How many states of objects were seen.
    pub fn states(&self) -> usize {
        self.recorder.history().len()
    }

    /// The reasons that Ready of an object has given, each when it changed.
    pub fn reasons(&self, kind: &str, name: &str) -> Vec<String> {
        let id = self.id(kind, name);
        let states = self.recorder.history().into_iter().filter(|state| state.id == id);
        let mut reasons: Vec<String> = states.filter_map(|state| reason_of(&state.object)).collect();
        reasons.dedup();
        reasons
    }

    /// The Events about an object: reason and note.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name);
        let events = self.all_events().into_iter().filter(about);
        events.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
    }

    pub(super) fn all_events(&self) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        self.block_on(api.list(&ListParams::default())).unwrap().items
    }

    /// What the operator asked of the API server.
    pub fn requests(&self) -> Vec<Request> {
        audit::of_account(&self.cluster, &self.system, &self.account)
    }

    /// How many calls of an operation made something, whether or not the answer arrived.
    pub fn made(&self, operation: Operation) -> u64 {
        let counters = self.sandbox.counters();
        counters.get(&operation).and_then(|counter| counter.answers.get(&201)).copied().unwrap_or_default()
    }

    /// How many calls were made to the service.
    pub fn calls(&self) -> u64 {
        self.sandbox.counters().values().map(|counter| counter.calls).sum()
    }

    /// Who holds the lease: the identity of a replica.
    pub fn lease_holder(&self) -> Option<String> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.system);
        let leases = self.block_on(api.list(&ListParams::default())).unwrap();
        let lease = leases.items.into_iter().next()?;
        lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty())
    }

    /// How often the operator has written to the API server.
    pub fn writes(&self) -> usize {
        self.requests().iter().filter(|request| request.writes()).count()
    }

    /// A tool of the service, by id or name.
    pub fn tool(&self, tool: &str) -> ToolView {
        self.sandbox.tool(ACME, tool).unwrap()
    }

    /// The numbers of a tool's versions in the order they were made.
    pub fn versions(&self, tool: &str) -> Vec<String> {
        self.tool(tool).versions.iter().map(|version| version.version.to_string()).collect()
    }

    /// The value of a variable of a tool.
    pub fn variable(&self, tool: &str, name: &str) -> Option<String> {
        self.tool(tool).variables.get(name).map(|variable| variable.value.clone())
    }
}

/// Whether kstatus calls the object Current, and it says so itself.
pub fn is_ready(object: &Value) -> bool {
    compute(object) == Kstatus::Current && status(object, "Ready") == Some("True")
}

/// Whether Ready gives this reason at the object's generation.
pub fn has_reason(object: &Value, reason: &str) -> bool {
    condition(object, "Ready").is_some_and(|ready| {
        ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
    })
}

/// The reason of Ready.
pub fn reason_of(object: &Value) -> Option<String> {
    condition(object, "Ready").and_then(|ready| ready["reason"].as_str()).map(str::to_owned)
}

/// The message of Ready.
pub fn message(object: &Value) -> String {
    condition(object, "Ready").and_then(|ready| ready["message"].as_str()).unwrap_or_default().to_owned()
}

/// A field of the status, as text.
pub fn field(object: &Value, name: &str) -> String {
    object["status"][name].as_str().unwrap_or_default().to_owned()
}
