//! The labels of all namespaces, from one metadata watch. Nothing else of them is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use super::watch;

/// Labels by namespace.
#[derive(Debug, Clone, Default)]
pub struct Labels(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    listing: BTreeSet<String>,
    is_complete: bool,
}

impl Labels {
    /// The labels of a namespace, none if it does not exist; `None` where namespaces are not watched, or not listed yet.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.is_complete.then(|| known.labels.get(namespace).cloned().unwrap_or_default())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the watch tells; the namespace whose labels are others now.
    fn take(&self, event: Event<PartialObjectMeta<Namespace>>) -> Option<String> {
        let mut known = self.write();
        match event {
            Event::Init => known.listing.clear(),
            Event::InitDone => {
                let listing = std::mem::take(&mut known.listing);
                known.labels.retain(|namespace, _| listing.contains(namespace));
                known.is_complete = true;
            }
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                let (name, labels) = (namespace.name_any(), namespace.metadata.labels.unwrap_or_default());
                known.listing.insert(name.clone());
                let before = known.labels.insert(name.clone(), labels.clone());
                return (before != Some(labels)).then_some(name);
            }
            Event::Delete(namespace) => {
                known.labels.remove(&namespace.name_any());
            }
        }
        None
    }
}

/// Keeps the labels up for ever, and tells by `on_change(namespace)` where they changed.
pub async fn run(client: Client, labels: Labels, on_change: impl Fn(&str)) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let mut events = watcher::watcher(api, watch::config()).backoff(watch::backoff()).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some(namespace) = labels.take(event) {
                    on_change(&namespace);
                }
            }
            Err(error) => {
                tracing::warn!(error = watch::trouble(&error), "the watch of namespaces failed and is tried again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, team: &str) -> PartialObjectMeta<Namespace> {
        let metadata = serde_json::json!({"name": name, "labels": {"team": team}});
        serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn labels_are_known_once_all_are_listed_and_told_when_they_change() {
        let labels = Labels::default();
        let team = |name: &str| labels.of(name).map(|labels| labels.get("team").cloned());
        let travel = || Some("travel".to_owned());
        assert_eq!(labels.take(Event::Init), None);
        assert_eq!(labels.take(Event::InitApply(namespace("a", "travel"))), Some("a".into()));
        assert_eq!(team("a"), None, "not all are listed");
        labels.take(Event::InitDone);
        assert_eq!((team("a"), team("b")), (Some(travel()), Some(None)));
        assert_eq!(labels.take(Event::Apply(namespace("a", "travel"))), None);
        assert_eq!(labels.take(Event::Apply(namespace("a", "food"))), Some("a".into()));
        assert_eq!(labels.take(Event::Apply(namespace("b", "travel"))), Some("b".into()));
        labels.take(Event::Delete(namespace("b", "travel")));
        assert_eq!(team("b"), Some(None));
        labels.take(Event::Init);
        labels.take(Event::InitApply(namespace("b", "travel")));
        labels.take(Event::InitDone);
        assert_eq!((team("a"), team("b")), (Some(None), Some(travel())), "what is not listed any more is gone");
    }
}
