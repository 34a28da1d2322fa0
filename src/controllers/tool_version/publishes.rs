//! Publishes in flight. Each runs in a task of its own and occupies no worker; at most one runs for a tool. What is here is
//! lost with the process, and then the intent in the object's status and the list of versions decide.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::amigo;
use crate::amigo::types::VersionNumber;

/// The publishes that this process sent, by the uid of the ToolVersion.
#[derive(Debug, Default, Clone)]
pub struct Publishes(Arc<Mutex<HashMap<String, Publish>>>);

#[derive(Debug, Clone)]
struct Publish {
    tool_id: String,
    state: State,
}

/// What became of a publish.
#[derive(Debug, Clone)]
pub enum State {
    /// No answer yet.
    Running,
    /// It was answered with this number.
    Confirmed(VersionNumber),
    /// It was refused, or its answer was lost, after this time.
    Failed(Arc<amigo::Error>, Duration),
}

impl Publishes {
    /// Takes the tool's one place for the object `uid`; false when another publish of the tool runs.
    #[must_use]
    pub fn begin(&self, tool_id: &str, uid: &str) -> bool {
        let Ok(mut all) = self.0.lock() else { return false };
        let busy =
            all.iter().any(|(other, p)| other != uid && p.tool_id == tool_id && matches!(p.state, State::Running));
        let running = all.get(uid).is_some_and(|publish| matches!(publish.state, State::Running));
        if busy || running {
            return false;
        }
        all.insert(uid.to_owned(), Publish { tool_id: tool_id.to_owned(), state: State::Running });
        true
    }

    /// Runs the call in a task of its own and keeps its answer.
    pub fn run(
        &self,
        uid: String,
        tasks: &tokio_util::task::TaskTracker,
        call: impl Future<Output = Result<VersionNumber, amigo::Error>> + Send + 'static,
        wake: impl FnOnce() + Send + 'static,
    ) {
        let publishes = self.clone();
        tasks.spawn(async move {
            let started = Instant::now();
            let state = match call.await {
                Ok(number) => State::Confirmed(number),
                Err(error) => State::Failed(Arc::new(error), started.elapsed()),
            };
            publishes.end(&uid, state);
            wake();
        });
    }

    fn end(&self, uid: &str, state: State) {
        if let Ok(mut all) = self.0.lock()
            && let Some(publish) = all.get_mut(uid)
        {
            publish.state = state;
        }
    }

    /// What became of the object's publish.
    #[must_use]
    pub fn state(&self, uid: &str) -> Option<State> {
        Some(self.0.lock().ok()?.get(uid)?.state.clone())
    }

    /// The object is gone; a publish that still runs keeps its place until it ends.
    pub fn forget_ended(&self, uid: &str) {
        if let Ok(mut all) = self.0.lock()
            && all.get(uid).is_some_and(|publish| !matches!(publish.state, State::Running))
        {
            all.remove(uid);
        }
    }

    /// The answer was dealt with, or the publish was not sent after all.
    pub fn forget(&self, uid: &str) {
        if let Ok(mut all) = self.0.lock() {
            all.remove(uid);
        }
    }

    /// Whether a publish of the tool runs.
    #[must_use]
    pub fn is_busy(&self, tool_id: &str) -> bool {
        self.0.lock().is_ok_and(|all| all.values().any(|p| p.tool_id == tool_id && matches!(p.state, State::Running)))
    }
}
