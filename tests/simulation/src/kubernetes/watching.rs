//! One watch: the changes after a version, in order, as lines of JSON.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Kubernetes;
use super::http::Request;

/// A watch that is open.
pub struct Watching {
    server: Kubernetes,
    request: Request,
    /// The last change that it has told.
    position: u64,
    changed: Arc<Notify>,
}

impl Kubernetes {
    pub(super) fn watch(&self, request: Request, version: Option<u64>) -> Watching {
        let state = self.state();
        let position = version.unwrap_or(state.version);
        Watching { server: self.clone(), request, position, changed: Arc::clone(&state.changed) }
    }
}

impl Watching {
    /// Who watches what, for the dice.
    #[must_use]
    pub fn describe(&self) -> String {
        self.request.describe()
    }

    /// Waits until there may be something to tell.
    pub async fn changed(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        if self.server.state().told <= self.position {
            changed.await;
        }
    }

    /// The next event; `None`: nothing yet. An event of type `ERROR` ends the watch.
    pub fn next(&mut self) -> Option<Value> {
        let state = self.server.state();
        if self.position < state.compacted {
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 410,
                "reason": "Expired", "message": "too old resource version", "metadata": {}});
            return Some(json!({"type": "ERROR", "object": status}));
        }
        let first = state.history.partition_point(|change| change.version <= self.position);
        for change in &state.history[first..] {
            self.position = change.version;
            if change.collection == self.request.collection && self.request.covers(&change.object) {
                return Some(json!({"type": change.kind, "object": self.request.shown(&change.object)}));
            }
        }
        None
    }
}
