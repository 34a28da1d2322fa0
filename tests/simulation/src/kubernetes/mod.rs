//! Kubernetes in memory, with the rules of the API server that matter to a controller: resourceVersions and conflicts, the
//! status subresource, generations, finalizers and deletion, watches over a history that can be compacted. No validation:
//! that is the business of the tests on a real server.

mod http;
mod watching;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use amigo_operator::clock::Clock;
use amigo_operator::resources;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::Notify;

pub use http::{Answer, Request, Verb, refused};
pub use watching::Watching;

/// Group and plural, as in `amigo.ai/tools`; the core group is empty.
pub type Collection = String;

/// Namespace and name.
pub type Key = (String, String);

/// Where the Custom Resource Definitions are.
pub const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// The four kinds, as collections.
pub const KINDS: [&str; 4] =
    ["amigo.ai/organizations", "amigo.ai/tools", "amigo.ai/toolversions", "amigo.ai/toolenvsecrets"];

/// A change, as watches see it.
#[derive(Debug, Clone)]
struct Change {
    version: u64,
    collection: Collection,
    kind: &'static str,
    object: Arc<Value>,
}

/// Why the server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// As in a `Status`.
    pub reason: &'static str,
}

const NOT_FOUND: Refusal = Refusal { code: 404, reason: "NotFound" };
const CONFLICT: Refusal = Refusal { code: 409, reason: "Conflict" };
const EXISTS: Refusal = Refusal { code: 409, reason: "AlreadyExists" };

struct State {
    clock: Clock,
    version: u64,
    /// The last change that watches can see.
    told: u64,
    objects: BTreeMap<Collection, BTreeMap<Key, Arc<Value>>>,
    history: Vec<Change>,
    compacted: u64,
    uids: u64,
    /// Wakes watches in the order in which they wait; a `watch` channel would in no order.
    changed: Arc<Notify>,
}

/// The server. Clones share one state.
#[derive(Clone)]
pub struct Kubernetes(Arc<Mutex<State>>);

/// What an update touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Main,
    Status,
}

impl Kubernetes {
    /// A server with the operator's CRDs and two namespaces.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state = State {
            clock,
            version: 100,
            told: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            compacted: 0,
            uids: 0,
            changed: Arc::default(),
        };
        let this = Self(Arc::new(Mutex::new(state)));
        for namespace in ["kube-system", "travel"] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let _ = this.create("/namespaces", object);
        }
        this.install_crds();
        this
    }

    /// Installs those CRDs that are missing.
    pub fn install_crds(&self) {
        static CRD: OnceLock<Vec<CustomResourceDefinition>> = OnceLock::new();
        for crd in CRD.get_or_init(resources::crds) {
            let Ok(mut object) = serde_json::to_value(crd) else { continue };
            object["metadata"]["name"] = json!(crd.name_any());
            // Nothing is validated here, and the schemas are long.
            object["spec"]["versions"] = json!([{"name": "v1alpha1", "served": true, "storage": true}]);
            let _ = self.create(CRDS, object.clone());
            let conditions = json!([{"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            let accepted = json!({"kind": crd.spec.names.kind, "plural": crd.spec.names.plural});
            object["status"] =
                json!({"conditions": conditions, "acceptedNames": accepted, "storedVersions": ["v1alpha1"]});
            let _ = self.write(CRDS, object, Part::Status);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an object.
    pub fn create(&self, collection: &str, object: Value) -> Result<Arc<Value>, Refusal> {
        self.state().create(collection, object)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.state().get(collection, &(namespace.to_owned(), name.to_owned()))
    }

    /// All objects of a collection.
    #[must_use]
    pub fn all(&self, collection: &str) -> Vec<Arc<Value>> {
        self.state().objects.get(collection).map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    /// Writes an object, with the resourceVersion that stands in it, if one does.
    fn write(&self, collection: &str, object: Value, part: Part) -> Result<Arc<Value>, Refusal> {
        self.state().write(collection, object, part)
    }

    /// Changes an object as a JSON merge patch says.
    pub fn merge(&self, collection: &str, namespace: &str, name: &str, patch: &Value) -> Result<Arc<Value>, Refusal> {
        let mut state = self.state();
        let key = (namespace.to_owned(), name.to_owned());
        let before = state.get(collection, &key).ok_or(NOT_FOUND)?;
        let mut object = (*before).clone();
        object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        json_patch::merge(&mut object, patch);
        state.write(collection, object, Part::Main)
    }

    /// Changes an object as a person does, whatever its resourceVersion.
    pub fn edit(
        &self,
        collection: &str,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Refusal> {
        let mut state = self.state();
        let before = state.get(collection, &(namespace.to_owned(), name.to_owned())).ok_or(NOT_FOUND)?;
        let mut object = (*before).clone();
        edit(&mut object);
        state.write(collection, object, Part::Main)
    }

    /// Asks for an object to be deleted. One with finalizers only begins to go.
    pub fn delete(&self, collection: &str, namespace: &str, name: &str) -> Result<(), Refusal> {
        self.state().delete(collection, &(namespace.to_owned(), name.to_owned()))
    }

    /// Removes the CRDs, and with them their objects: those with finalizers keep their CRD until they are gone.
    pub fn delete_crds(&self) {
        for collection in KINDS {
            let name = crd_name(collection);
            let _ = self.merge(CRDS, "", &name, &json!({"metadata": {"finalizers": ["customresourcecleanup"]}}));
            let _ = self.delete(CRDS, "", &name);
            for object in self.all(collection) {
                let (namespace, name) = key_of(&object);
                let _ = self.delete(collection, &namespace, &name);
            }
        }
        self.state().crds_without_objects_go();
    }

    /// Forgets the history: watches that are behind must list again.
    pub fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.history.clear();
    }

    /// The number of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state().version
    }
}

impl State {
    fn get(&self, collection: &str, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(collection)?.get(key).cloned()
    }

    /// A collection of the four kinds is there while its CRD is.
    fn serves(&self, collection: &str) -> bool {
        !KINDS.contains(&collection) || self.get(CRDS, &(String::new(), crd_name(collection))).is_some()
    }

    fn create(&mut self, collection: &str, mut object: Value) -> Result<Arc<Value>, Refusal> {
        if !self.serves(collection) {
            return Err(NOT_FOUND);
        }
        let key = key_of(&object);
        if self.get(collection, &key).is_some() {
            return Err(EXISTS);
        }
        self.uids += 1;
        object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.uids));
        object["metadata"]["creationTimestamp"] = json!(seconds(self.clock.now()));
        object["metadata"]["generation"] = json!(1);
        if KINDS.contains(&collection) {
            object["status"] = json!({"observedGeneration": -1});
        }
        Ok(self.keep(collection, "ADDED", object))
    }

    fn write(&mut self, collection: &str, mut object: Value, part: Part) -> Result<Arc<Value>, Refusal> {
        if !self.serves(collection) {
            return Err(NOT_FOUND);
        }
        let before = self.get(collection, &key_of(&object)).ok_or(NOT_FOUND)?;
        let given = |field: &str| object["metadata"][field].as_str().map(ToOwned::to_owned);
        let same =
            |field: &str| given(field).is_none_or(|value| Some(value.as_str()) == before["metadata"][field].as_str());
        if !same("resourceVersion") || !same("uid") {
            return Err(CONFLICT);
        }
        if part == Part::Status {
            let mut next = (*before).clone();
            next["status"] = object["status"].take();
            object = next;
        } else {
            for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp"] {
                object["metadata"][field] = before["metadata"][field].clone();
            }
            object["status"] = before["status"].clone();
            if object["spec"] != before["spec"] {
                object["metadata"]["generation"] =
                    json!(before["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
            }
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        prune(&mut object);
        if object == *before {
            return Ok(before);
        }
        let going = object["metadata"]["deletionTimestamp"].is_string();
        if going && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return Ok(self.remove(collection, object));
        }
        Ok(self.keep(collection, "MODIFIED", object))
    }

    fn delete(&mut self, collection: &str, key: &Key) -> Result<(), Refusal> {
        let before = self.get(collection, key).ok_or(NOT_FOUND)?;
        let mut object = (*before).clone();
        if object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.remove(collection, object);
        } else if !object["metadata"]["deletionTimestamp"].is_string() {
            object["metadata"]["deletionTimestamp"] = json!(seconds(self.clock.now()));
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
            self.keep(collection, "MODIFIED", object);
        }
        Ok(())
    }

    fn keep(&mut self, collection: &str, kind: &'static str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        prune(&mut object);
        let object = Arc::new(object);
        self.objects.entry(collection.to_owned()).or_default().insert(key_of(&object), Arc::clone(&object));
        self.tell(collection, kind, &object);
        object
    }

    fn remove(&mut self, collection: &str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        if let Some(all) = self.objects.get_mut(collection) {
            all.remove(&key_of(&object));
        }
        self.tell(collection, "DELETED", &object);
        self.crds_without_objects_go();
        object
    }

    fn crds_without_objects_go(&mut self) {
        for collection in KINDS {
            let key = (String::new(), crd_name(collection));
            let Some(crd) = self.get(CRDS, &key) else { continue };
            let empty = self.objects.get(collection).is_none_or(BTreeMap::is_empty);
            if empty && crd["metadata"]["deletionTimestamp"].is_string() {
                self.objects.get_mut(CRDS).and_then(|all| all.remove(&key));
                self.version += 1;
            }
        }
    }

    fn tell(&mut self, collection: &str, kind: &'static str, object: &Arc<Value>) {
        // Nobody watches these, and there are many.
        if !collection.ends_with("/leases") && !collection.ends_with("/events") {
            let change =
                Change { version: self.version, collection: collection.to_owned(), kind, object: Arc::clone(object) };
            self.history.push(change);
            self.told = self.version;
            self.changed.notify_waiters();
        }
    }
}

/// The namespace, empty if there is none, and the name.
#[must_use]
pub fn key_of(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn crd_name(collection: &str) -> String {
    let plural = collection.rsplit('/').next().unwrap_or_default();
    format!("{plural}.{}", resources::GROUP)
}

fn seconds(time: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// An API server keeps no nulls.
fn prune(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    }
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
}
