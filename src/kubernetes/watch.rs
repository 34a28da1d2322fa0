//! Watches that keep a cache with an index, and tell what changed. One unreadable object neither stops the watch nor
//! counts as deleted: its last readable state stays. What the operator writes itself is taken in at once, ahead of the watch,
//! so that the next look does not start from before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event, ExponentialBackoff};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;

use super::object;

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

/// The objects, in the order of their names, and the index over them: which entry has which objects. Each key is there once,
/// and the index is one set, as most entries have a single object.
#[derive(Debug)]
struct Store<K> {
    objects: BTreeMap<Arc<Key>, Entry<K>>,
    index: BTreeSet<(Box<str>, Arc<Key>)>,
}

#[derive(Debug)]
struct Entry<K> {
    object: Arc<K>,
    /// It is the answer to a write, which the watch has not told of yet.
    ahead: bool,
}

/// The objects of one kind as the watch last saw them.
#[derive(Debug)]
pub struct Cache<K: Watchable> {
    store: Arc<RwLock<Store<K>>>,
    entries: fn(&K) -> Vec<String>,
    listed: channel::Receiver<bool>,
}

impl<K: Watchable> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), entries: self.entries, listed: self.listed.clone() }
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
        self.read().objects.get(&(namespace.to_owned(), name.to_owned())).map(|entry| Arc::clone(&entry.object))
    }

    /// The objects whose index has this entry, in the order of their names.
    #[must_use]
    pub fn by(&self, entry: &str) -> Vec<Arc<K>> {
        let store = self.read();
        let members = store.index.range((Box::from(entry), Arc::default())..).take_while(|(of, _)| **of == *entry);
        members.filter_map(|(_, key)| store.objects.get(key)).map(|entry| Arc::clone(&entry.object)).collect()
    }

    /// All objects, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().map(|entry| Arc::clone(&entry.object)).collect()
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

    /// The key, as the store has it.
    fn known(&self, at: &Key) -> Option<Arc<Key>> {
        self.read().objects.get_key_value(at).map(|(known, _)| Arc::clone(known))
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store<K>> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the server's answer to a write. Nothing changes where the watch was quicker, or the object is gone.
    #[must_use]
    pub fn wrote(&self, object: K) -> Option<Change<K>> {
        let mut store = self.write();
        let at = key(&object);
        let known = store.objects.get(&at).map(|entry| Arc::clone(&entry.object))?;
        if known.meta().uid != object.meta().uid || !is_newer(&object, &known) {
            return None;
        }
        Some(store.put(&at, object, self.entries, true))
    }
}

/// Whether an object is a later state than another. What cannot be compared is.
fn is_newer<K: kube::Resource>(object: &K, than: &K) -> bool {
    let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
    match (version(object), version(than)) {
        (Some(object), Some(than)) => object > than,
        _ => true,
    }
}

/// The writing side of a [`Cache`]. Several scopes (namespaces) feed one cache, which is complete once each was listed.
pub struct Feed<K: Watchable> {
    cache: Cache<K>,
    scopes: Vec<Scope<K>>,
    listed: channel::Sender<bool>,
}

struct Scope<K> {
    listing: Option<Vec<K>>,
    members: BTreeSet<Arc<Key>>,
    listed: bool,
}

impl<K: Watchable> Feed<K> {
    /// A cache that `scopes` watches feed; `entries` gives the index entries of an object.
    #[must_use]
    pub fn new(scopes: usize, entries: fn(&K) -> Vec<String>) -> Self {
        let (listed, receiver) = channel::channel(false);
        let store = Store { objects: BTreeMap::new(), index: BTreeSet::new() };
        let cache = Cache { store: Arc::new(RwLock::new(store)), entries, listed: receiver };
        let scopes = (0..scopes).map(|_| Scope { listing: None, members: BTreeSet::new(), listed: false }).collect();
        Self { cache, scopes, listed }
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
                    let at = key(&object);
                    let change = self.apply(object, false);
                    self.scopes[scope].members.extend(self.cache.known(&at));
                    change.into_iter().collect()
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
        let listed: BTreeSet<Key> = listing.iter().map(key).collect();
        let before = std::mem::take(&mut self.scopes[scope].members);
        let gone = before.iter().filter(|at| !listed.contains(&***at));
        let mut changes: Vec<Change<K>> = gone.filter_map(|at| self.delete(at)).collect();
        changes.extend(listing.into_iter().filter_map(|object| self.apply(object, true)));
        self.scopes[scope].members = listed.iter().filter_map(|at| self.cache.known(at)).collect();
        self.scopes[scope].listed = true;
        if self.scopes.iter().all(|scope| scope.listed) {
            self.listed.send_replace(true);
        }
        changes
    }

    /// Nothing changes where the cache is ahead of the watch. After a list that is so no more: a server that was restored from
    /// a backup counts from an earlier version on.
    fn apply(&self, object: K, listed: bool) -> Option<Change<K>> {
        let at = key(&object);
        let mut store = self.cache.write();
        if let Some(entry) = store.objects.get_mut(&at).filter(|entry| entry.ahead) {
            let is_ahead = entry.object.meta().uid == object.meta().uid && !is_newer(&object, &*entry.object);
            entry.ahead = is_newer(&*entry.object, &object) && !listed;
            if is_ahead {
                return None;
            }
        }
        Some(store.put(&at, object, self.cache.entries, false))
    }

    fn delete(&self, at: &Key) -> Option<Change<K>> {
        let mut store = self.cache.write();
        let (at, Entry { object, .. }) = store.objects.remove_entry(at)?;
        store.reindex(&at, self.cache.entries, Some(&object), None);
        Some(Change { old: Some(object), new: None })
    }
}

impl<K: kube::Resource> Store<K> {
    fn put(&mut self, at: &Key, mut object: K, entries: fn(&K) -> Vec<String>, ahead: bool) -> Change<K> {
        make_lean(&mut object);
        let new = Arc::new(object);
        let at = self.objects.get_key_value(at).map_or_else(|| Arc::new(at.clone()), |(known, _)| Arc::clone(known));
        let entry = Entry { object: Arc::clone(&new), ahead };
        let old = self.objects.insert(Arc::clone(&at), entry).map(|entry| entry.object);
        self.reindex(&at, entries, old.as_deref(), Some(&new));
        Change { old, new: Some(new) }
    }

    fn reindex(&mut self, at: &Arc<Key>, entries: fn(&K) -> Vec<String>, old: Option<&K>, new: Option<&K>) {
        let (old, new) = (old.map(entries).unwrap_or_default(), new.map(entries).unwrap_or_default());
        if old == new {
            return;
        }
        for entry in old {
            self.index.remove(&(entry.into_boxed_str(), Arc::clone(at)));
        }
        for entry in new {
            self.index.insert((entry.into_boxed_str(), Arc::clone(at)));
        }
    }
}

/// What the server keeps about who wrote what, and `kubectl apply` about the manifest, is as large as the rest of an object, and
/// nobody here reads it. No write of ours changes it: a status is written alone, and finalizers by a patch.
fn make_lean<K: kube::Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = meta.annotations.as_mut() {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
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
                for change in feed.take(scope, event.modify(make_lean)) {
                    on_change(change);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = trouble(&error), "a watch failed and is tried again");
            }
        }
    }
}

/// Why a watch failed, without the answer's innards.
#[must_use]
pub fn trouble(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => object::said(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// How long a failed watch waits before it is tried again: longer each time, until none has failed for two minutes. An event
/// is no sign that it works again, and resets nothing: before each attempt a watcher says that a list begins.
pub struct Patience(ResetTimerBackoff<ExponentialBackoff>);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {}
}

/// The patience with a watch: 0.8 to 30 seconds, as that of client-go. Without jitter: one operator has a handful of watches,
/// and the same failures are to give the same run.
#[must_use]
pub fn backoff() -> Patience {
    let delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(800))
        .with_max_delay(Duration::from_secs(30))
        .with_factor(2.0)
        .without_max_times();
    Patience(ResetTimerBackoff::new(delays.into(), Duration::from_secs(120)))
}

/// How everything is watched: below the idle limit of common load balancers.
#[must_use]
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(200)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::resources::Tool;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    #[test]
    fn a_failed_watch_tells_what_the_server_said_once() {
        let said = "tools.amigo.ai is forbidden: User \"operator\" cannot list resource \"tools\"";
        let status =
            kube::core::Status { message: said.into(), reason: "Forbidden".into(), code: 403, ..Default::default() };
        for error in [
            watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status.clone()))),
            watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status.clone()))),
            watcher::Error::WatchError(Box::new(status)),
        ] {
            assert_eq!(trouble(&error), said);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_is_tried_less_and_less() {
        let attempts: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let noted = Arc::clone(&attempts);
        let refuses = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            noted.lock().unwrap().push(Instant::now());
            let status = serde_json::json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403});
            let answer =
                http::Response::builder().status(403).body(kube::client::Body::from(status.to_string().into_bytes()));
            async { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
        });
        let api: Api<DeserializeGuard<Tool>> = Api::all(Client::new(refuses, "amigo"));
        let events = watcher::watcher(api, config()).backoff(backoff());
        let _ = tokio::time::timeout(Duration::from_secs(300), events.for_each(|_| async {})).await;
        let attempts = attempts.lock().unwrap();
        let waits: Vec<u128> = attempts.windows(2).map(|two| (two[1] - two[0]).as_millis() / 100).collect();
        assert_eq!(waits[..7], [8, 16, 32, 64, 128, 256, 300]);
        assert!(waits[7..].iter().all(|wait| *wait == 300), "{waits:?}");
    }

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
    fn the_cache_is_ahead_of_the_watch_until_that_has_caught_up() {
        let at = |version: &str, uid: &str| {
            let DeserializeGuard(Ok(mut tool)) = guard("weather", "acme") else { unreachable!("it is readable") };
            tool.metadata.resource_version = Some(version.into());
            tool.metadata.uid = Some(uid.into());
            tool
        };
        let mut feed = Feed::new(1, entries);
        let cache = feed.cache();
        let shown = || cache.get("travel", "weather").and_then(|tool| tool.resource_version());
        let apply = |feed: &mut Feed<Tool>, version: &str, uid: &str| {
            !feed.take(0, Event::Apply(DeserializeGuard(Ok(at(version, uid))))).is_empty()
        };
        assert!(cache.wrote(at("9", "a")).is_none(), "what is not there, or is gone, does not come by a write");
        assert!(apply(&mut feed, "9", "a"));
        assert!(cache.wrote(at("9", "a")).is_none(), "the watch was quicker");
        assert!(cache.wrote(at("11", "b")).is_none(), "another object of that name");
        assert!(cache.wrote(at("11", "a")).is_some_and(|change| change.old.is_some()));
        for (version, changes, now) in [("10", false, "11"), ("11", false, "11"), ("12", true, "12"), ("3", true, "3")]
        {
            assert_eq!((apply(&mut feed, version, "a"), shown().as_deref()), (changes, Some(now)), "{version}");
        }
        assert!(cache.wrote(at("20", "a")).is_some());
        assert!(apply(&mut feed, "4", "b"), "a new object begins anew");
        assert!(cache.wrote(at("20", "b")).is_some());
        for changes in [false, true] {
            feed.take(0, Event::Init);
            feed.take(0, Event::InitApply(DeserializeGuard(Ok(at("5", "b")))));
            assert_eq!(!feed.take(0, Event::InitDone).is_empty(), changes, "a list may have begun before the write");
        }
        assert_eq!(shown().as_deref(), Some("5"));
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let mut feed = Feed::new(1, entries);
        let cache = feed.cache();
        let DeserializeGuard(Ok(mut tool)) = guard("weather", "acme") else { unreachable!("it is readable") };
        let annotation = |key: &str| (key.to_owned(), "text".to_owned());
        tool.metadata.annotations =
            Some([annotation("kubectl.kubernetes.io/last-applied-configuration"), annotation("team")].into());
        tool.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        feed.take(0, Event::Apply(DeserializeGuard(Ok(tool.clone()))));
        tool.metadata.resource_version = Some("7".into());
        for change in [None, cache.wrote(tool)] {
            let kept = change.and_then(|change| change.new).or_else(|| cache.get("travel", "weather")).unwrap();
            assert_eq!(kept.annotations().keys().collect::<Vec<_>>(), ["team"]);
            assert_eq!(kept.metadata.managed_fields, None);
        }
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
