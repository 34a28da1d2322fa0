//! Records every state of every object of ours, as anybody who watches sees it, and judges them all at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::Value;

use super::kinds::{self, KINDS};
use super::oracle::violations;

/// How long before an edit of a spec a reconcile may have begun that writes its status after it.
const RACE: Duration = Duration::from_secs(2);

/// Namespace, kind, name.
pub type Id = (String, String, String);

/// One state of one object.
#[derive(Debug, Clone)]
pub struct State {
    /// Whose.
    pub id: Id,
    /// When it was seen.
    pub at: Instant,
    /// The object; what it was last, if it is gone.
    pub object: Value,
}

#[derive(Default)]
struct Seen {
    now: BTreeMap<Id, Value>,
    history: Vec<State>,
    late: Duration,
}

/// Everything that was seen so far.
#[derive(Clone, Default)]
pub struct Recorder {
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

impl Recorder {
    /// Watches the four kinds in a namespace, until the task that awaits this ends.
    pub async fn watch(self, client: Client, namespace: String) {
        let watches = KINDS.map(|kind| self.clone().watch_kind(client.clone(), namespace.clone(), kind));
        futures::future::join_all(watches).await;
    }

    async fn watch_kind(self, client: Client, namespace: String, kind: &'static str) {
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &kinds::resource(kind));
        let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => self.see(kind, &object, false),
                Ok(watcher::Event::Delete(object)) => self.see(kind, &object, true),
                Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
            }
        }
    }

    fn see(&self, kind: &str, object: &DynamicObject, gone: bool) {
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let id = (namespace.unwrap_or_default(), kind.to_owned(), name.unwrap_or_default());
        let object = serde_json::to_value(object).unwrap_or_default();
        let mut seen = self.seen();
        if gone {
            seen.now.remove(&id);
        } else {
            seen.now.insert(id.clone(), object.clone());
        }
        seen.history.push(State { id, at: Instant::now(), object });
        self.shared.1.notify_all();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it was last seen; `None` when it is not there.
    pub fn now(&self, id: &Id) -> Option<Value> {
        self.seen().now.get(id).cloned()
    }

    /// The operator sees changes so much later.
    pub fn late_by(&self, late: Duration) {
        self.seen().late = late;
    }

    /// All states so far.
    pub fn history(&self) -> Vec<State> {
        self.seen().history.clone()
    }

    /// Waits until the object, or its absence, is as it should be. The error is what it was last.
    pub fn wait(
        &self,
        id: &Id,
        deadline: Instant,
        holds: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, Option<Value>> {
        let mut seen = self.seen();
        loop {
            let object = seen.now.get(id);
            if holds(object) {
                return Ok(object.cloned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(object.cloned());
            }
            let woken = self.shared.1.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Every state that breaks a rule, in words.
    pub fn complaints(&self) -> Vec<String> {
        let race = RACE + self.seen().late;
        let mut complaints = Vec::new();
        let mut before: BTreeMap<String, Before> = BTreeMap::new();
        for state in self.history() {
            let uid = state.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let previous = before.remove(&uid);
            complaints.extend(
                complaint(&state, previous.as_ref(), race)
                    .map(|text| format!("{:?} {text}: {}", state.id, state.object)),
            );
            before.insert(uid, Before::of(&state, previous));
        }
        complaints
    }
}

/// What is remembered of an object's state before.
struct Before {
    status: Value,
    generation: Option<i64>,
    edited: Instant,
}

impl Before {
    fn of(state: &State, previous: Option<Self>) -> Self {
        let generation = state.object["metadata"]["generation"].as_i64();
        let unedited = previous.filter(|previous| previous.generation == generation);
        let edited = unedited.map_or(state.at, |previous| previous.edited);
        Self { status: state.object["status"].clone(), generation, edited }
    }
}

/// What is wrong with a state.
fn complaint(state: &State, before: Option<&Before>, race: Duration) -> Option<String> {
    let status = &state.object["status"];
    let observed = |status: &Value| status["observedGeneration"].as_i64().unwrap_or(-1);
    if before.is_some_and(|before| observed(status) < observed(&before.status)) {
        return Some("observes an older generation than before".to_owned());
    }
    // A change of the spec alone says nothing about the operator.
    if !status["conditions"].is_array() || before.is_some_and(|before| before.status == *status) {
        return None;
    }
    let mut judged = state.object.clone();
    let generation = judged["metadata"]["generation"].as_i64().unwrap_or_default();
    // A status that was on its way when the spec was edited speaks of the generation before, and other tools see that.
    let raced = before.is_some_and(|before| state.at.duration_since(before.edited) < race);
    if raced && observed(status) < generation {
        judged["metadata"]["generation"] = status["observedGeneration"].clone();
    }
    let broken = violations(&judged);
    (!broken.is_empty()).then(|| format!("breaks {broken:?}"))
}
