//! Watches that keep a cache with an index, and tell what changed. One unreadable object neither stops the watch nor
//! counts as deleted: its last readable state stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::ResetTimerBackoff;
use kube::runtime::watcher::{self, Event, ExponentialBackoff};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;

/// What can be watched: the four kinds, and others that are only looked at.
pub trait Watchable:
    kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watchable for K where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// Namespace (empty for what has none) and name.
pub type Key = (String, String);

/// The key of an object.
pub fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// An object that appeared, changed or went.
#[derive(Debug)]
pub struct Change<K> {
    /// As it was known before.
    pub old: Option<Arc<K>>,
    /// As it is now; none when it is gone.
    pub new: Option<Arc<K>>,
}

/// The objects, in the order of their names, and the index over them.
#[derive(Debug)]
struct Store<K> {
    objects: BTreeMap<Key, Arc<K>>,
    index: BTreeMap<String, BTreeSet<Key>>,
}

/// The objects of one kind as the watch last saw them.
#[derive(Debug)]
pub struct Cache<K: Watchable> {
    store: Arc<RwLock<Store<K>>>,
    listed: channel::Receiver<bool>,
}

impl<K: Watchable> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), listed: self.listed.clone() }
    }
}

impl<K: Watchable> Cache<K> {
    fn read(&self) -> RwLockReadGuard<'_, Store<K>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything was listed once.
    pub async fn synced(&self) {
        // The feed lives in the watch's task, which never ends while the process does.
        let _ = self.listed.clone().wait_for(|listed| *listed).await;
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The objects whose index has this entry, in the order of their names.
    #[must_use]
    pub fn by(&self, entry: &str) -> Vec<Arc<K>> {
        let store = self.read();
        let keys = store.index.get(entry).into_iter().flatten();
        keys.filter_map(|key| store.objects.get(key).cloned()).collect()
    }

    /// All objects, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().objects.is_empty()
    }
}

/// The writing side of a [`Cache`]. Several scopes (namespaces) feed one cache, which is complete once each was listed.
pub struct Feed<K: Watchable> {
    cache: Cache<K>,
    entries: fn(&K) -> Vec<String>,
    scopes: Vec<Scope<K>>,
    listed: channel::Sender<bool>,
}

struct Scope<K> {
    listing: Option<Vec<K>>,
    members: BTreeSet<Key>,
    listed: bool,
}

impl<K: Watchable> Feed<K> {
    /// A cache that `scopes` watches feed; `entries` gives the index entries of an object.
    #[must_use]
    pub fn new(scopes: usize, entries: fn(&K) -> Vec<String>) -> Self {
        let (listed, receiver) = channel::channel(false);
        let store = Store { objects: BTreeMap::new(), index: BTreeMap::new() };
        let cache = Cache { store: Arc::new(RwLock::new(store)), listed: receiver };
        let scopes = (0..scopes).map(|_| Scope { listing: None, members: BTreeSet::new(), listed: false }).collect();
        Self { cache, entries, scopes, listed }
    }

    /// The reading side.
    #[must_use]
    pub fn cache(&self) -> Cache<K> {
        self.cache.clone()
    }

    /// The kind is not there at all: nothing is waited for.
    pub fn expect_nothing(&self) {
        self.listed.send_replace(true);
    }

    /// Takes in one event of one scope and tells what changed by it.
    pub fn take(&mut self, scope: usize, event: Event<DeserializeGuard<K>>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.scopes[scope].listing = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(guard) => {
                if let Some(object) = self.readable(guard)
                    && let Some(listing) = self.scopes[scope].listing.as_mut()
                {
                    listing.push(object);
                }
                Vec::new()
            }
            Event::InitDone => self.relisted(scope),
            Event::Apply(guard) => match self.readable(guard) {
                Some(object) => {
                    self.scopes[scope].members.insert(key(&object));
                    vec![self.apply(object)]
                }
                None => Vec::new(),
            },
            Event::Delete(guard) => {
                let gone = match guard.0 {
                    Ok(object) => key(&object),
                    Err(invalid) => {
                        (invalid.metadata.namespace.unwrap_or_default(), invalid.metadata.name.unwrap_or_default())
                    }
                };
                self.scopes[scope].members.remove(&gone);
                self.delete(&gone).into_iter().collect()
            }
        }
    }

    /// The object, or its last readable state when it cannot be read now.
    fn readable(&self, guard: DeserializeGuard<K>) -> Option<K> {
        match guard.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                let namespace = invalid.metadata.namespace.clone().unwrap_or_default();
                let name = invalid.metadata.name.clone().unwrap_or_default();
                tracing::warn!(
                    kind = %K::kind(&()), %namespace, %name, error = %invalid.error,
                    "an object cannot be read and is left alone; are the installed CRDs those of this operator?"
                );
                self.cache.get(&namespace, &name).map(|known| (*known).clone())
            }
        }
    }

    fn relisted(&mut self, scope: usize) -> Vec<Change<K>> {
        let listing = self.scopes[scope].listing.take().unwrap_or_default();
        let members: BTreeSet<Key> = listing.iter().map(key).collect();
        let gone: Vec<Key> = self.scopes[scope].members.difference(&members).cloned().collect();
        self.scopes[scope].members = members;
        self.scopes[scope].listed = true;
        let mut changes: Vec<Change<K>> = gone.iter().filter_map(|key| self.delete(key)).collect();
        changes.extend(listing.into_iter().map(|object| self.apply(object)).collect::<Vec<_>>());
        if self.scopes.iter().all(|scope| scope.listed) {
            self.listed.send_replace(true);
        }
        changes
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store<K>> {
        self.cache.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, object: K) -> Change<K> {
        let (at, new) = (key(&object), Arc::new(object));
        let mut store = self.write();
        let old = store.objects.insert(at.clone(), Arc::clone(&new));
        store.reindex(&at, self.entries, old.as_deref(), Some(&new));
        Change { old, new: Some(new) }
    }

    fn delete(&self, at: &Key) -> Option<Change<K>> {
        let mut store = self.write();
        let old = store.objects.remove(at)?;
        store.reindex(at, self.entries, Some(&old), None);
        Some(Change { old: Some(old), new: None })
    }
}

impl<K> Store<K> {
    fn reindex(&mut self, at: &Key, entries: fn(&K) -> Vec<String>, old: Option<&K>, new: Option<&K>) {
        for entry in old.map(entries).unwrap_or_default() {
            if let Some(members) = self.index.get_mut(&entry) {
                members.remove(at);
                if members.is_empty() {
                    self.index.remove(&entry);
                }
            }
        }
        for entry in new.map(entries).unwrap_or_default() {
            self.index.entry(entry).or_default().insert(at.clone());
        }
    }
}

/// Watches one kind in the given namespaces (none: everywhere), for ever. Errors are logged and retried with backoff; they
/// hold up nothing but this watch.
pub async fn run<K>(
    client: Client,
    namespaces: &[String],
    mut feed: Feed<K>,
    mut on_change: impl FnMut(Change<K>) + Send,
) where
    K: Watchable + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let apis: Vec<Api<DeserializeGuard<K>>> = if namespaces.is_empty() {
        vec![Api::all(client)]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    let streams = apis.into_iter().enumerate().map(|(scope, api)| {
        watcher::watcher(api, config()).backoff(backoff()).map(move |event| (scope, event)).boxed()
    });
    let mut events = futures::stream::select_all(streams);
    while let Some((scope, event)) = events.next().await {
        match event {
            Ok(event) => {
                for change in feed.take(scope, event.modify(|object| object.managed_fields_mut().clear())) {
                    on_change(change);
                }
            }
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "a watch failed and is tried again"),
        }
    }
}

/// How long a failed watch waits before it is tried again: longer each time, until it held for two minutes. Without jitter:
/// one operator has a handful of watches, and the same failures are to give the same run.
#[must_use]
pub fn backoff() -> ResetTimerBackoff<ExponentialBackoff> {
    let delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(800))
        .with_max_delay(Duration::from_secs(30))
        .with_factor(2.0)
        .without_max_times();
    ResetTimerBackoff::new(delays.into(), Duration::from_secs(120))
}

/// How everything is watched: below the idle limit of common load balancers.
#[must_use]
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Tool;

    fn guard(name: &str, organization: &str) -> DeserializeGuard<Tool> {
        let mut tool = Tool::new(name, crate::resources::ToolSpec::default());
        tool.metadata.namespace = Some("travel".into());
        tool.spec.organization_ref =
            Some(crate::resources::tool::OrganizationReference { name: organization.into(), namespace: None });
        DeserializeGuard(Ok(tool))
    }

    fn entries(tool: &Tool) -> Vec<String> {
        tool.spec.organization_ref.iter().map(|r| r.name.clone()).collect()
    }

    #[test]
    fn keeps_an_index_over_changes() {
        let mut feed = Feed::new(1, entries);
        let cache = feed.cache();
        feed.take(0, Event::Init);
        feed.take(0, Event::InitApply(guard("weather", "acme")));
        assert!(feed.take(0, Event::InitDone)[0].old.is_none());
        assert_eq!(cache.by("acme").len(), 1);
        let change = &feed.take(0, Event::Apply(guard("weather", "umbrella")))[0];
        assert!(change.old.is_some() && change.new.is_some());
        assert!(cache.by("acme").is_empty());
        assert_eq!(cache.by("umbrella").len(), 1);
        assert!(feed.take(0, Event::Delete(guard("weather", "umbrella")))[0].new.is_none());
        assert!(cache.by("umbrella").is_empty() && cache.is_empty());
    }

    #[test]
    fn a_relist_deletes_what_is_no_longer_listed_in_its_scope_only() {
        let mut feed = Feed::new(2, entries);
        let cache = feed.cache();
        for (scope, name) in [(0, "weather"), (1, "traffic")] {
            feed.take(scope, Event::Init);
            feed.take(scope, Event::InitApply(guard(name, "acme")));
            feed.take(scope, Event::InitDone);
        }
        assert_eq!(cache.len(), 2);
        feed.take(0, Event::Init);
        let gone = feed.take(0, Event::InitDone);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].new.is_none());
        assert!(cache.get("travel", "traffic").is_some());
    }

    #[test]
    fn an_unreadable_object_keeps_its_last_readable_state() {
        let mut feed = Feed::new(1, entries);
        let cache = feed.cache();
        feed.take(0, Event::Init);
        feed.take(0, Event::InitApply(guard("weather", "acme")));
        feed.take(0, Event::InitDone);
        let unreadable: DeserializeGuard<Tool> = serde_json::from_value(serde_json::json!({
            "apiVersion": "amigo.ai/v1alpha1", "kind": "Tool",
            "metadata": {"name": "weather", "namespace": "travel"}, "spec": {"suspend": "perhaps"}
        }))
        .unwrap();
        assert!(unreadable.0.is_err());
        feed.take(0, Event::Init);
        feed.take(0, Event::InitApply(unreadable));
        feed.take(0, Event::InitDone);
        assert_eq!(cache.by("acme").len(), 1);
    }
}
