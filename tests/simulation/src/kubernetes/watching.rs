//! One watch: the changes after a version, in order, as lines of JSON.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Kubernetes;
use super::http::Request;

/// A watch that is open.
pub struct Watching {
    server: Kubernetes,
    request: Request,
    /// The last change that it has told.
    position: u64,
    changed: watch::Receiver<u64>,
}

impl Kubernetes {
    pub(super) fn watch(&self, request: Request, version: Option<u64>) -> Watching {
        let state = self.state();
        let position = version.unwrap_or(state.version);
        Watching { server: self.clone(), request, position, changed: state.changed.subscribe() }
    }
}

impl Watching {
    /// Who watches what, for the dice.
    #[must_use]
    pub fn describe(&self) -> String {
        self.request.describe()
    }

    /// Waits until there may be something to tell.
    pub async fn changed(&mut self) {
        let position = self.position;
        // The sender lives in the server, which this holds.
        let _ = self.changed.wait_for(|version| *version > position).await;
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
