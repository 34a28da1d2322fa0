//! Watches the three kinds as a person's dashboard would, and counts which objects are Ready.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use amigo_operator::resources::{Resource, Tool, ToolEnvSecret, ToolVersion};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};

use crate::Result;
use crate::world::NAMESPACE;

/// Which objects are Ready.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    ready: BTreeSet<(String, String)>,
    /// When the number of Ready objects last changed.
    changed: Option<Instant>,
}

impl Readiness {
    /// Watches until the runtime ends.
    pub(crate) fn start(client: &Client) -> Self {
        let this = Self::default();
        this.watch::<Tool>(client);
        this.watch::<ToolEnvSecret>(client);
        this.watch::<ToolVersion>(client);
        this
    }

    fn watch<K: Resource>(&self, client: &Client) {
        let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
        let this = self.clone();
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::InitApply(object) | Event::Apply(object)) = event {
                    this.saw(&object);
                }
            }
        });
    }

    fn saw<K: Resource>(&self, object: &K) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (K::kind(&()).into_owned(), object.name_any());
        let changed = if object.is_ready() { seen.ready.insert(key) } else { seen.ready.remove(&key) };
        if changed {
            seen.changed = Some(Instant::now());
        }
    }

    /// How many objects are Ready.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ready.len()
    }

    /// Waits until so many are Ready; when the last of them was seen to be.
    pub(crate) async fn reached(&self, count: usize, patience: Duration) -> Result<Instant> {
        let began = Instant::now();
        while self.count() < count {
            if began.elapsed() > patience {
                return Err(
                    format!("{} of {count} objects are Ready after {} s", self.count(), patience.as_secs()).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).changed.unwrap_or(began))
    }
}
