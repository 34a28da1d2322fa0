//! Secrets: read one by one when their values are needed, and watched for changes in one of three ways that differ in what
//! they ask of RBAC. No value stays in memory here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::object::{self, get_opt};
use super::watch::{self, Key};
use crate::resources::Reason;

/// How changes of Secrets are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// One watch for all, metadata only. Needs `list` and `watch` on Secrets.
    #[default]
    Watch,
    /// One metadata watch per referenced Secret, so that RBAC can name them. Needs `get`, `list`, `watch` on those names.
    Named,
    /// Nothing is watched; Secrets are read again now and then. Needs `get`.
    Poll,
}

impl FromStr for Access {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "watch" => Ok(Self::Watch),
            "named" => Ok(Self::Named),
            "poll" => Ok(Self::Poll),
            other => Err(format!("must be watch, named or poll, not {other:?}")),
        }
    }
}

/// Where only labelled Secrets may be read: the label, and the value that it must have.
pub const LABEL: (&str, &str) = ("amigo.ai/sync", "true");

/// What became of the wish to read a Secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is here, with its values.
    Here(Box<Secret>),
    /// It exists, and must not be read for want of the [`LABEL`].
    Unlabelled,
    /// The server does not let the operator read it.
    Denied {
        /// Where the permission is missing.
        namespace: String,
        /// What the server says.
        said: String,
    },
    /// The server says that there is none.
    Absent,
}

impl Found {
    /// The Secret, if it is here.
    #[must_use]
    pub fn here(&self) -> Option<&Secret> {
        match self {
            Self::Here(secret) => Some(secret),
            Self::Unlabelled | Self::Denied { .. } | Self::Absent => None,
        }
    }

    /// Why the Secret of this name is not here, for a condition.
    #[must_use]
    pub fn why_not(&self, name: &str) -> (Reason, String) {
        let (key, value) = LABEL;
        match self {
            Self::Unlabelled => {
                let message = format!(
                    "Secret {name} is not read, as it is not labelled `{key}: \"{value}\"`; label it, or name another"
                );
                (Reason::SecretNotLabelled, message)
            }
            Self::Denied { namespace, said } => {
                let message = format!(
                    "the operator may not read Secret {name}: a Role in namespace {namespace} must let its ServiceAccount `get` \
                     it (with the Helm chart: `secrets.names.{namespace}`); the API server says: {said}"
                );
                (Reason::SecretAccessDenied, message)
            }
            Self::Absent | Self::Here(_) => {
                (Reason::SecretNotFound, format!("Secret {name} does not exist; create it, or correct its name here"))
            }
        }
    }
}

/// Reads one Secret. Where only labelled ones may be read the label is looked at before, in its metadata.
pub async fn read(client: &Client, namespace: &str, name: &str, only_labelled: bool) -> Result<Found, object::Error> {
    look(client, namespace, name, only_labelled).await.or_else(|error| denied(namespace, error))
}

/// A read that is not permitted is an answer too: the object that names the Secret can tell of it.
fn denied(namespace: &str, error: object::Error) -> Result<Found, object::Error> {
    match error.denial() {
        Some(said) => Ok(Found::Denied { namespace: namespace.to_owned(), said: said.to_owned() }),
        None => Err(error),
    }
}

async fn look(client: &Client, namespace: &str, name: &str, only_labelled: bool) -> Result<Found, object::Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    if only_labelled {
        match object::bounded(api.get_metadata_opt(name)).await? {
            None => return Ok(Found::Absent),
            Some(metadata) if !is_labelled(&metadata) => return Ok(Found::Unlabelled),
            Some(_) => {}
        }
    }
    let found = get_opt(&api, name).await?;
    // The label may have gone meanwhile.
    Ok(match found {
        Some(secret) if only_labelled && !is_labelled(&secret) => Found::Unlabelled,
        Some(secret) => Found::Here(Box::new(secret)),
        None => Found::Absent,
    })
}

fn is_labelled(secret: &impl ResourceExt) -> bool {
    secret.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1)
}

/// What tells a Secret's states apart without saying anything of its values.
#[must_use]
pub fn state(secret: &Secret) -> (String, String) {
    (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default())
}

/// The Secrets that objects refer to now, kept up by the watches of those objects.
#[derive(Debug, Clone, Default)]
pub struct References(Arc<Mutex<BTreeMap<Key, usize>>>, Arc<tokio::sync::Notify>);

impl References {
    /// An object's references changed from `old` to `new`.
    pub fn update(&self, old: &BTreeSet<Key>, new: &BTreeSet<Key>) {
        if old == new {
            return;
        }
        if let Ok(mut counts) = self.0.lock() {
            for key in new.difference(old) {
                *counts.entry(key.clone()).or_default() += 1;
            }
            for key in old.difference(new) {
                if let Some(count) = counts.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(key);
                    }
                }
            }
        }
        self.1.notify_one();
    }

    fn current(&self) -> BTreeSet<Key> {
        self.0.lock().map(|counts| counts.keys().cloned().collect()).unwrap_or_default()
    }
}

/// How Secrets are followed.
#[derive(Debug, Clone, Copy)]
pub struct Following {
    /// In which of the three ways.
    pub access: Access,
    /// Whether only those with the [`LABEL`] are: a Secret whose label goes counts as gone.
    pub only_labelled: bool,
    /// The period of [`Access::Poll`].
    pub poll: Duration,
}

impl Following {
    fn config(&self) -> watcher::Config {
        let config = watch::config();
        if self.only_labelled { config.labels(&format!("{}={}", LABEL.0, LABEL.1)) } else { config }
    }
}

/// Tells about changed Secrets for ever, by `on_change(namespace, name)`.
pub async fn run(
    client: Client,
    following: Following,
    namespaces: &[String],
    references: References,
    states: States,
    on_change: impl Fn(&str, &str) + Clone + Send + Sync + 'static,
) {
    match following.access {
        Access::Watch => watch_all(client, following, namespaces, &references, &states, on_change).await,
        Access::Named => watch_named(client, following, references, on_change).await,
        Access::Poll => loop {
            tokio::time::sleep(following.poll).await;
            for (namespace, name) in references.current() {
                on_change(&namespace, &name);
            }
        },
    }
}

async fn watch_all(
    client: Client,
    following: Following,
    namespaces: &[String],
    references: &References,
    states: &States,
    on_change: impl Fn(&str, &str),
) {
    let apis: Vec<Api<PartialObjectMeta<Secret>>> = if namespaces.is_empty() {
        vec![Api::all(client)]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    states.expect(apis.len());
    let follow = |api| follow(api, following.config(), Seen::new(states, references), &on_change);
    let watches = apis.into_iter().map(follow);
    futures::future::join_all(watches).await;
}

async fn watch_named(
    client: Client,
    following: Following,
    references: References,
    on_change: impl Fn(&str, &str) + Clone + Send + Sync + 'static,
) {
    let mut watches: BTreeMap<Key, CancellationToken> = BTreeMap::new();
    loop {
        let wanted = references.current();
        watches.retain(|key, token| {
            let keep = wanted.contains(key);
            if !keep {
                token.cancel();
            }
            keep
        });
        for key in wanted {
            watches.entry(key.clone()).or_insert_with(|| {
                let token = CancellationToken::new();
                let watch = watch_one(client.clone(), following, key, on_change.clone());
                tokio::spawn(token.clone().run_until_cancelled_owned(watch));
                token
            });
        }
        references.1.notified().await;
    }
}

async fn watch_one(client: Client, following: Following, (namespace, name): Key, on_change: impl Fn(&str, &str)) {
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, &namespace);
    let only = following.config().fields(&format!("metadata.name={name}"));
    let references = References::default();
    references.update(&BTreeSet::new(), &BTreeSet::from([(namespace, name)]));
    follow(api, only, Seen::new(&States::default(), &references), &on_change).await;
}

async fn follow(
    api: Api<PartialObjectMeta<Secret>>,
    config: watcher::Config,
    mut seen: Seen<'_>,
    on_change: &impl Fn(&str, &str),
) {
    let mut events = watcher::watcher(api, config).backoff(watch::backoff()).boxed();
    while let Some(event) = events.next().await {
        seen.take(event, on_change);
    }
}

/// The states of all Secrets that are watched, as digests: enough to tell that a Secret is as it was, and little in memory
/// however many Secrets of others there are.
#[derive(Debug, Clone, Default)]
pub struct States(Arc<RwLock<Digests>>);

#[derive(Debug, Default)]
struct Digests {
    hasher: RandomState,
    /// By the digest of namespace and name.
    states: HashMap<u64, u64>,
    /// How many watches there are, and how many of them have listed once.
    watches: usize,
    listed: usize,
}

impl States {
    /// Whether the Secret is in this state; `None` where Secrets are not watched, or not listed yet.
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str, uid: &str, resource_version: &str) -> Option<bool> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_complete = all.watches > 0 && all.listed >= all.watches;
        let place = all.hasher.hash_one((namespace, name));
        is_complete.then(|| all.states.get(&place) == Some(&all.hasher.hash_one((uid, resource_version))))
    }

    fn write(&self) -> RwLockWriteGuard<'_, Digests> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, watches: usize) {
        self.write().watches = watches;
    }
}

/// What one watch has seen, so that a re-list tells only of what changed.
struct Seen<'a> {
    states: &'a States,
    references: &'a References,
    /// In a list that is being read; `None` between lists.
    listing: Option<HashSet<u64>>,
    /// What this watch has brought.
    members: HashSet<u64>,
    has_listed: bool,
}

impl<'a> Seen<'a> {
    fn new(states: &'a States, references: &'a References) -> Self {
        Self { states, references, listing: None, members: HashSet::new(), has_listed: false }
    }

    fn take(
        &mut self,
        event: watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>,
        on_change: &impl Fn(&str, &str),
    ) {
        match event {
            Ok(watcher::Event::Init) => self.listing = Some(HashSet::new()),
            Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => self.applied(&secret, on_change),
            Ok(watcher::Event::InitDone) => self.listed(on_change),
            Ok(watcher::Event::Delete(secret)) => self.deleted(&watch::key(&secret), on_change),
            Err(error) => {
                tracing::warn!(error = watch::trouble(&error), "the watch of Secrets failed and is tried again");
            }
        }
    }

    fn applied(&mut self, secret: &PartialObjectMeta<Secret>, on_change: &impl Fn(&str, &str)) {
        let (namespace, name) = watch::key(secret);
        let (uid, version) = (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
        let mut all = self.states.write();
        let place = all.hasher.hash_one((namespace.as_str(), name.as_str()));
        let state = all.hasher.hash_one((uid.as_str(), version.as_str()));
        let before = all.states.insert(place, state);
        drop(all);
        self.members.insert(place);
        if let Some(listing) = &mut self.listing {
            listing.insert(place);
        }
        if before != Some(state) {
            on_change(&namespace, &name);
        }
    }

    /// What is not in the list has gone. Of a Secret that nobody refers to nobody need hear.
    fn listed(&mut self, on_change: &impl Fn(&str, &str)) {
        let listing = self.listing.take().unwrap_or_default();
        let gone: HashSet<u64> = self.members.difference(&listing).copied().collect();
        let mut all = self.states.write();
        all.states.retain(|place, _| !gone.contains(place));
        let hasher = all.hasher.clone();
        if !self.has_listed {
            self.has_listed = true;
            all.listed += 1;
        }
        drop(all);
        self.members = listing;
        for (namespace, name) in self.references.current() {
            if gone.contains(&hasher.hash_one((namespace.as_str(), name.as_str()))) {
                on_change(&namespace, &name);
            }
        }
    }

    fn deleted(&mut self, (namespace, name): &Key, on_change: &impl Fn(&str, &str)) {
        let mut all = self.states.write();
        let place = all.hasher.hash_one((namespace.as_str(), name.as_str()));
        all.states.remove(&place);
        drop(all);
        self.members.remove(&place);
        on_change(namespace, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watcher::Event;

    fn secret(name: &str, version: &str) -> PartialObjectMeta<Secret> {
        let metadata = serde_json::json!({"namespace": "travel", "name": name, "uid": "u", "resourceVersion": version});
        serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
    }

    fn refusal(code: u16, message: &str) -> object::Error {
        let reason = if code == 403 { "Forbidden" } else { "of another kind" };
        let status = kube::core::Status::failure(message, reason).with_code(code);
        object::Error::Server(Box::new(kube::Error::Api(Box::new(status))))
    }

    #[test]
    fn a_permission_that_is_missing_is_told_with_what_grants_it_and_nothing_else_is_taken_for_it() {
        let found = denied("travel", refusal(403, "User \"operator\" cannot get it")).unwrap();
        let (reason, message) = found.why_not("weather-credentials");
        assert_eq!((reason, found.here()), (Reason::SecretAccessDenied, None));
        for part in ["Secret weather-credentials", "`get`", "`secrets.names.travel`", "User \"operator\" cannot get it"]
        {
            assert!(message.contains(part), "{message}");
        }
        for code in [401, 404, 409, 429, 500, 503] {
            assert!(denied("travel", refusal(code, "no")).is_err(), "{code}");
        }
        assert!(denied("travel", object::Error::Timeout).is_err());
    }

    #[test]
    fn a_secret_is_as_it_was_or_not_once_all_are_listed() {
        let (states, references) = (States::default(), References::default());
        let is = |version: &str| states.is("travel", "key", "u", version);
        let none = |_: &str, _: &str| {};
        let (mut first, mut second) = (Seen::new(&states, &references), Seen::new(&states, &references));
        assert_eq!(is("1"), None, "they are not watched");
        states.expect(2);
        first.take(Ok(Event::Init), &none);
        first.take(Ok(Event::InitApply(secret("key", "1"))), &none);
        first.take(Ok(Event::InitDone), &none);
        assert_eq!(is("1"), None, "one of two watches has not listed");
        second.take(Ok(Event::Init), &none);
        second.take(Ok(Event::InitDone), &none);
        assert_eq!((is("1"), is("2")), (Some(true), Some(false)));
        first.take(Ok(Event::Apply(secret("key", "2"))), &none);
        assert_eq!((is("1"), is("2")), (Some(false), Some(true)));
        first.take(Ok(Event::Delete(secret("key", "2"))), &none);
        assert_eq!(is("2"), Some(false));
    }

    #[test]
    fn a_list_tells_of_what_changed_and_of_what_has_gone_and_is_referred_to() {
        let (states, references) = (States::default(), References::default());
        let key = |name: &str| ("travel".to_owned(), name.to_owned());
        references.update(&BTreeSet::new(), &BTreeSet::from([key("gone"), key("same"), key("changed")]));
        let told = Mutex::new(Vec::new());
        let tell = |_: &str, name: &str| told.lock().unwrap().push(name.to_owned());
        let mut seen = Seen::new(&states, &references);
        for (round, expected) in [
            (
                &[("same", "1"), ("changed", "1"), ("gone", "1"), ("of others", "1")][..],
                &["same", "changed", "gone", "of others"][..],
            ),
            (&[("same", "1"), ("changed", "2")], &["changed", "gone"]),
            (&[("same", "1"), ("changed", "2")], &[]),
        ] {
            seen.take(Ok(Event::Init), &tell);
            for (name, version) in round {
                seen.take(Ok(Event::InitApply(secret(name, version))), &tell);
            }
            seen.take(Ok(Event::InitDone), &tell);
            assert_eq!(std::mem::take(&mut *told.lock().unwrap()), expected);
        }
        assert_eq!(states.write().states.len(), 2, "nothing stays of what has gone");
    }
}
