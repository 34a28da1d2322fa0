//! One replica of the operator: it waits for the CRDs, watches, works while it is the leader, and ends in order. It
//! stands on the two APIs and a clock that it is given, so that the simulation runs the very same code.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch as channel;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::{Check, Readiness};
use super::metrics::{self, Metrics};
use super::settings::Settings;
use super::traces::Traces;
use crate::amigo::transport::Transport;
use crate::amigo::{AllowedEndpoints, Amigo};
use crate::clock::Clock;
use crate::controllers::{self, Context, Queues, wake};
use crate::kubernetes::client::Clients;
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::{Candidate, Leadership};
use crate::kubernetes::namespaces::{self, Labels};
use crate::kubernetes::object::{bounded, get_opt};
use crate::kubernetes::secrets::{self, References};
use crate::kubernetes::watch::{self, Cache, Change, Feed, Key, Watchable};
use crate::resources::{self, Organization, Tool, ToolEnvSecret, ToolVersion};

/// Pause between two attempts at what the process cannot start without.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a replica stands on: both APIs, the time of day, and its name.
pub struct Surroundings {
    /// Kubernetes.
    pub clients: Clients,
    /// The remote API.
    pub transport: Arc<dyn Transport>,
    /// What is traced.
    pub traces: Traces,
    /// The time of day.
    pub clock: Clock,
    /// Unique to this replica, for the Lease and in Events.
    pub me: String,
}

/// One replica of the operator.
pub struct Replica {
    settings: Settings,
    allowed: AllowedEndpoints,
    surroundings: Surroundings,
    metrics: Metrics,
    ready: channel::Sender<Readiness>,
    tasks: TaskTracker,
    /// Where changes go: the controllers of the term that runs, if one does.
    current: Arc<Mutex<Option<Arc<Context>>>>,
}

#[derive(Clone)]
struct Caches {
    organizations: Cache<Organization>,
    tools: Cache<Tool>,
    versions: Cache<ToolVersion>,
    variables: Cache<ToolEnvSecret>,
    secrets: secrets::States,
    namespaces: Labels,
}

impl Replica {
    /// A replica that does nothing yet. What it is ready for is told through `ready`.
    #[must_use]
    pub fn new(
        settings: Settings,
        allowed: AllowedEndpoints,
        surroundings: Surroundings,
        metrics: Metrics,
        ready: channel::Sender<Readiness>,
    ) -> Self {
        Self { settings, allowed, surroundings, metrics, ready, tasks: TaskTracker::new(), current: Arc::default() }
    }

    /// Waits for the API server and the CRDs, watches, and works in terms of leadership; until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if let Some(caches) = stop.run_until_cancelled(self.prepare()).await {
            self.lead(&caches, stop).await;
        }
    }

    fn calls(&self) -> Client {
        self.surroundings.clients.calls.clone()
    }

    /// Waits for the API server and the CRDs, and starts the watches.
    async fn prepare(&self) -> Caches {
        let clients = &self.surroundings.clients;
        let missing = wait_for_crds(clients, &self.ready).await;
        let references = References::default();
        let namespaces = &self.settings.namespaces;
        let (current, references) = (&self.current, &references);
        let watches = Watches { clients, namespaces, current, references, missing: &missing };
        let caches = Caches {
            organizations: watches.start(
                wake::organization_entries,
                wake::organization_secrets,
                Context::organization_changed,
            ),
            tools: watches.start(wake::tool_entries, |_| BTreeSet::new(), Context::tool_changed),
            versions: watches.start(wake::version_entries, |_| BTreeSet::new(), Context::version_changed),
            variables: watches.start(wake::variables_entries, wake::variables_secrets, Context::variables_changed),
            secrets: secrets::States::default(),
            namespaces: Labels::default(),
        };
        watches.secrets(&self.settings, caches.secrets.clone());
        if namespaces.is_empty() {
            watches.namespaces(caches.namespaces.clone());
        }
        self.metrics.read_from(metrics::Objects {
            organizations: caches.organizations.clone(),
            tools: caches.tools.clone(),
            versions: caches.versions.clone(),
            variables: caches.variables.clone(),
        });
        self.ready.send_replace(Readiness::NotReady(Check::Watches, "they are not synced yet".into()));
        caches.synced().await;
        self.ready.send_replace(Readiness::Ready);
        tracing::info!(identity = %self.surroundings.me, "the watches are synced");
        watch_crds(clients.clone(), self.ready.clone());
        caches
    }

    /// Works in terms of leadership until the process is to stop.
    async fn lead(&self, caches: &Caches, stop: CancellationToken) {
        let Surroundings { transport, clock, me, .. } = &self.surroundings;
        let owner_id = stop.run_until_cancelled(self.owner_id()).await.unwrap_or_default();
        let (mut leadership, lease) = self.candidate(&stop);
        let may_write = leadership.clone();
        let guard = Arc::new(move || may_write.is_leader());
        // One for all terms: what was sent before a lease was lost still counts for the budgets.
        let amigo = Arc::new(Amigo::new(Arc::clone(transport), *clock, guard, Arc::new(self.metrics.clone())));
        self.metrics.read_from(metrics::Budgets(Arc::clone(&amigo)));
        self.metrics.read_from(metrics::Publishes(self.tasks.clone()));
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(leadership.gained()).await.is_none() {
                break;
            }
            tracing::info!(identity = %me, "leads");
            self.metrics.set_leader(true);
            self.term(owner_id.clone(), caches, Arc::clone(&amigo), &mut leadership, &stop).await;
            self.metrics.set_leader(false);
            tracing::info!(identity = %me, "leads no more");
        }
        let _ = lease.await;
        self.drain().await;
    }

    fn candidate(&self, stop: &CancellationToken) -> (Leadership, tokio::task::JoinHandle<()>) {
        if !self.settings.leader_elect {
            return (Leadership::unconditional(), tokio::spawn(async {}));
        }
        let namespace = self.settings.lease_namespace.clone().unwrap_or_else(own_namespace);
        let Surroundings { clients, clock, me, .. } = &self.surroundings;
        let (candidate, leadership) =
            Candidate::new(clients.lease.clone(), (&namespace, &self.settings.lease_name), me.clone(), *clock);
        (leadership, tokio::spawn(candidate.run(stop.clone())))
    }

    /// One term: new controllers with nothing remembered, dropped when the lease is lost or the process is to stop.
    async fn term(
        &self,
        owner_id: String,
        caches: &Caches,
        amigo: Arc<Amigo>,
        leadership: &mut Leadership,
        stop: &CancellationToken,
    ) {
        let settings = controllers::Settings {
            owner_id,
            default_organization: self.settings.default_organization.clone(),
            allowed_endpoints: self.allowed.clone(),
            only_labelled_secrets: self.settings.only_labelled_secrets,
        };
        let (queues, requests) = Queues::new();
        let ctx = Arc::new(Context {
            client: self.calls(),
            amigo,
            clock: self.surroundings.clock,
            settings,
            leadership: leadership.clone(),
            events: Publisher::new(self.calls(), self.surroundings.me.clone()),
            metrics: self.metrics.clone(),
            traces: self.surroundings.traces.clone(),
            organizations: caches.organizations.clone(),
            tools: caches.tools.clone(),
            versions: caches.versions.clone(),
            variables: caches.variables.clone(),
            secrets: caches.secrets.clone(),
            namespaces: caches.namespaces.clone(),
            queues,
            connections: controllers::connection::Connections::default(),
            remote: controllers::remote::Remote::default(),
            memory: controllers::memory::Memory::default(),
            periods: controllers::patrol::Periods::default(),
            places: controllers::places::Places::default(),
            deprecations: controllers::deprecations::Ledger::default(),
            publishes: controllers::tool_version::publishes::Publishes::default(),
            sent: controllers::tool_env_secret::sent::Sent::default(),
            tasks: self.tasks.clone(),
        });
        self.set_current(Some(Arc::clone(&ctx)));
        ctx.wake_everything();
        tokio::select! {
            biased;
            () = controllers::run(Arc::clone(&ctx), requests) => tracing::error!("the controllers ended"),
            () = leadership.lost() => tracing::warn!("the leader lease is lost"),
            () = stop.cancelled() => {}
        }
        self.set_current(None);
    }

    fn set_current(&self, ctx: Option<Arc<Context>>) {
        if let Ok(mut current) = self.current.lock() {
            *current = ctx;
        }
    }

    /// Waits for publishes in flight; their outcome is found by whoever leads next.
    async fn drain(&self) {
        self.tasks.close();
        let grace = self.settings.grace_period();
        if !self.tasks.is_empty() {
            tracing::info!(
                publishes = self.tasks.len(),
                graceSeconds = grace.as_secs(),
                "waits for publishes in flight"
            );
        }
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(publishes = self.tasks.len(), "the grace period ended before all publishes were answered");
        }
        tracing::info!("amigo-operator ends");
    }

    /// The given owner id, or the uid of the namespace kube-system, which lives as long as the cluster.
    async fn owner_id(&self) -> String {
        if let Some(owner_id) = &self.settings.owner_id {
            return owner_id.clone();
        }
        let api: Api<Namespace> = Api::all(self.calls());
        loop {
            match bounded(api.get_metadata("kube-system")).await {
                Ok(namespace) => {
                    if let Some(uid) = namespace.uid() {
                        return uid;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the uid of the namespace kube-system, the default owner id, cannot be read");
                }
            }
            tokio::time::sleep(PATIENCE).await;
        }
    }
}

impl Caches {
    async fn synced(&self) {
        tokio::join!(self.organizations.synced(), self.tools.synced(), self.versions.synced(), self.variables.synced(),);
    }
}

/// Starts watches that hand their changes to the controllers of the current term.
struct Watches<'a> {
    clients: &'a Clients,
    namespaces: &'a [String],
    current: &'a Arc<Mutex<Option<Arc<Context>>>>,
    references: &'a References,
    /// CRDs that are not there, and not waited for.
    missing: &'a BTreeSet<&'static str>,
}

impl Watches<'_> {
    fn start<K>(
        &self,
        entries: fn(&K) -> Vec<String>,
        secrets: fn(&K) -> BTreeSet<Key>,
        on_change: fn(&Context, &Change<K>),
    ) -> Cache<K>
    where
        K: Watchable + kube::CustomResourceExt + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let feed = Feed::new(self.namespaces.len().max(1), entries);
        if self.missing.contains(K::crd_name()) {
            feed.expect_nothing();
        }
        let cache = feed.cache();
        let current = Arc::clone(self.current);
        let (client, namespaces) = (self.clients.watch.clone(), self.namespaces.to_vec());
        let references = self.references.clone();
        tokio::spawn(async move {
            let take = |change: Change<K>| {
                wake::follow_secrets(&references, &change, secrets);
                with(&current, |ctx| on_change(ctx, &change));
            };
            watch::run(client, &namespaces, feed, take).await;
        });
        cache
    }

    fn secrets(&self, settings: &Settings, states: secrets::States) {
        let references = self.references.clone();
        let current = Arc::clone(self.current);
        let (client, namespaces) = (self.clients.watch.clone(), self.namespaces.to_vec());
        let following = secrets::Following {
            access: settings.secret_access,
            only_labelled: settings.only_labelled_secrets,
            poll: settings.secret_poll(),
        };
        tokio::spawn(async move {
            let changed = move |namespace: &str, name: &str| with(&current, |ctx| ctx.secret_changed(namespace, name));
            secrets::run(client, following, &namespaces, references, states, changed).await;
        });
    }

    fn namespaces(&self, labels: Labels) {
        let current = Arc::clone(self.current);
        let client = self.clients.watch.clone();
        tokio::spawn(async move {
            let changed = |namespace: &str| with(&current, |ctx| ctx.namespace_changed(namespace));
            namespaces::run(client, labels, changed).await;
        });
    }
}

fn with(current: &Mutex<Option<Arc<Context>>>, act: impl FnOnce(&Context)) {
    let ctx = current.lock().ok().and_then(|current| current.clone());
    if let Some(ctx) = ctx {
        act(&ctx);
    }
}

/// Waits until all CRDs are there; an API server that is away is waited for too. While CRDs are being deleted the operator
/// works on with those that are left, as their objects wait for it: what is returned are the others.
async fn wait_for_crds(clients: &Clients, ready: &channel::Sender<Readiness>) -> BTreeSet<&'static str> {
    let mut said = None;
    let began = Instant::now();
    loop {
        let found = look_for_crds(clients).await;
        match found {
            Ok(Found { missing, going: true, .. }) => {
                tracing::warn!(
                    ?missing,
                    "CustomResourceDefinitions are being deleted; those that are left are worked with"
                );
                return missing;
            }
            Ok(found) if found.problem().is_none() => break,
            _ => {}
        }
        let why = found.map_or_else(|error| error, |found| found.problem().unwrap_or_default());
        if said.as_ref() != Some(&why) {
            tracing::warn!("waits: {why}");
            said = Some(why.clone());
        }
        ready.send_replace(Readiness::NotReady(Check::Crds, why));
        tokio::time::sleep(PATIENCE).await;
    }
    if said.is_some() {
        tracing::info!(waitedSeconds = began.elapsed().as_secs(), "the CustomResourceDefinitions are there");
    }
    BTreeSet::new()
}

/// What there is of the CRDs.
#[derive(Debug, Default)]
struct Found {
    missing: BTreeSet<&'static str>,
    unestablished: BTreeSet<&'static str>,
    /// Whether one is being deleted.
    going: bool,
}

impl Found {
    /// What is waited for.
    fn problem(&self) -> Option<String> {
        let missing = self.missing.iter().map(|name| format!("the CustomResourceDefinition {name} is not installed"));
        let unestablished =
            self.unestablished.iter().map(|name| format!("the CustomResourceDefinition {name} is not established yet"));
        missing.chain(unestablished).next()
    }
}

/// An error when they cannot be read.
async fn look_for_crds(clients: &Clients) -> Result<Found, String> {
    let api: Api<CustomResourceDefinition> = Api::all(clients.calls.clone());
    let mut found = Found::default();
    for name in resources::crd_names() {
        match get_opt(&api, name).await {
            Ok(Some(crd)) => {
                found.going |= crd.metadata.deletion_timestamp.is_some();
                if !is_established(&crd) {
                    found.unestablished.insert(name);
                }
            }
            Ok(None) => {
                found.missing.insert(name);
            }
            Err(error) => return Err(format!("the CustomResourceDefinition {name} cannot be read: {error}")),
        }
    }
    Ok(found)
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"))
}

/// `/readyz` says so while CRDs are missing.
fn watch_crds(clients: Clients, ready: channel::Sender<Readiness>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(30)).await;
            let Ok(found) = look_for_crds(&clients).await else { continue };
            let now = found.problem().map_or(Readiness::Ready, |why| Readiness::NotReady(Check::Crds, why));
            ready.send_replace(now);
        }
    });
}

/// The namespace of the pod, or `default` outside of a cluster.
fn own_namespace() -> String {
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    std::fs::read_to_string(file).map_or_else(|_| "default".to_owned(), |text| text.trim().to_owned())
}
