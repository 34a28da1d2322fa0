//! Secrets: read one by one when their values are needed, and watched for changes in one of three ways that differ in what
//! they ask of RBAC. No value stays in memory here.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
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

/// Reads one Secret. `None` only when the server says that there is none.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, object::Error> {
    get_opt(&Api::<Secret>::namespaced(client.clone(), namespace), name).await
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

/// Tells about changed Secrets for ever, by `on_change(namespace, name)`.
pub async fn run(
    client: Client,
    access: Access,
    namespaces: &[String],
    references: References,
    poll: Duration,
    on_change: impl Fn(&str, &str) + Clone + Send + Sync + 'static,
) {
    match access {
        Access::Watch => watch_all(client, namespaces, on_change).await,
        Access::Named => watch_named(client, references, on_change).await,
        Access::Poll => loop {
            tokio::time::sleep(poll).await;
            for (namespace, name) in references.current() {
                on_change(&namespace, &name);
            }
        },
    }
}

async fn watch_all(client: Client, namespaces: &[String], on_change: impl Fn(&str, &str)) {
    let apis: Vec<Api<PartialObjectMeta<Secret>>> = if namespaces.is_empty() {
        vec![Api::all(client)]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    let watches = apis.into_iter().map(|api| follow(api, watch::config(), &on_change));
    futures::future::join_all(watches).await;
}

async fn watch_named(
    client: Client,
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
                let watch = watch_one(client.clone(), key, on_change.clone());
                tokio::spawn(token.clone().run_until_cancelled_owned(watch));
                token
            });
        }
        references.1.notified().await;
    }
}

async fn watch_one(client: Client, (namespace, name): Key, on_change: impl Fn(&str, &str)) {
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, &namespace);
    follow(api, watch::config().fields(&format!("metadata.name={name}")), &on_change).await;
}

async fn follow(api: Api<PartialObjectMeta<Secret>>, config: watcher::Config, on_change: &impl Fn(&str, &str)) {
    let mut events = watcher::watcher(api, config).backoff(watch::backoff()).boxed();
    let mut seen = Seen::default();
    while let Some(event) = events.next().await {
        seen.take(event, on_change);
    }
}

/// The resourceVersions seen, so that a re-list tells only of what changed.
#[derive(Default)]
struct Seen {
    versions: BTreeMap<Key, Option<String>>,
    listed: BTreeSet<Key>,
}

impl Seen {
    fn take(
        &mut self,
        event: watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>,
        on_change: &impl Fn(&str, &str),
    ) {
        match event {
            Ok(watcher::Event::Init) => self.listed.clear(),
            Ok(watcher::Event::InitApply(secret)) => {
                self.listed.insert(watch::key(&secret));
                self.applied(&secret, on_change);
            }
            Ok(watcher::Event::InitDone) => {
                let gone: Vec<Key> = self.versions.keys().filter(|key| !self.listed.contains(*key)).cloned().collect();
                for key in gone {
                    self.deleted(&key, on_change);
                }
            }
            Ok(watcher::Event::Apply(secret)) => self.applied(&secret, on_change),
            Ok(watcher::Event::Delete(secret)) => self.deleted(&watch::key(&secret), on_change),
            Err(error) => tracing::warn!(%error, "the watch of Secrets failed and is tried again"),
        }
    }

    fn applied(&mut self, secret: &PartialObjectMeta<Secret>, on_change: &impl Fn(&str, &str)) {
        let key = watch::key(secret);
        let version = secret.resource_version();
        if self.versions.insert(key.clone(), version.clone()) != Some(version) {
            on_change(&key.0, &key.1);
        }
    }

    fn deleted(&mut self, key: &Key, on_change: &impl Fn(&str, &str)) {
        self.versions.remove(key);
        on_change(&key.0, &key.1);
    }
}
