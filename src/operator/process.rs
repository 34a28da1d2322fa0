//! The life of the process: connect, wait for the CRDs, watch; work while it is the leader; end in order on SIGTERM.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::{self, Readiness};
use super::logs;
use super::metrics::Metrics;
use super::settings::Settings;
use crate::amigo::{AllowedEndpoints, Amigo, HttpTransport};
use crate::clock::Clock;
use crate::controllers::{self, Context, Queues, wake};
use crate::kubernetes::client::Clients;
use crate::kubernetes::events::Publisher;
use crate::kubernetes::lease::{Candidate, Leadership, identity};
use crate::kubernetes::object::{bounded, get_opt};
use crate::kubernetes::secrets::{self, References};
use crate::kubernetes::watch::{self, Cache, Change, Feed, Key, Watchable};
use crate::resources::{self, Organization, Tool, ToolEnvSecret, ToolVersion};

/// Pause between two attempts at what the process cannot start without.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the operator until SIGTERM or Ctrl-C.
pub fn run(settings: Settings) -> Result<(), String> {
    logs::start(settings.log_format, &settings.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime could not be started: {error}"))?;
    runtime.block_on(Process::start(settings))
}

/// What all terms of leadership share.
struct Process {
    settings: Settings,
    clients: Clients,
    metrics: Metrics,
    caches: Caches,
    tasks: TaskTracker,
    /// Where changes go: the controllers of the term that runs, if one does.
    current: Arc<Mutex<Option<Arc<Context>>>>,
    me: String,
}

#[derive(Clone)]
struct Caches {
    organizations: Cache<Organization>,
    tools: Cache<Tool>,
    versions: Cache<ToolVersion>,
    variables: Cache<ToolEnvSecret>,
}

impl Process {
    async fn start(settings: Settings) -> Result<(), String> {
        let allowed = settings.allowed_endpoints()?;
        let transport =
            HttpTransport::new(settings.ca_file.as_deref()).map_err(|error| format!("--ca-file: {error}"))?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|error| format!("--listen {}: {error}", settings.listen))?;
        let clients = Clients::connect().await?;
        let (ready, readiness) = channel::channel(Readiness::NotReady("starting".into()));
        let metrics = Metrics::default();
        metrics.set_leader(false);
        tokio::spawn(http::serve(listener, metrics.clone(), readiness));
        let stop = stop_signal()?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "amigo-operator starts");
        let started = Self::prepare(settings, clients, metrics, &ready);
        let Some(process) = stop.run_until_cancelled(started).await else { return Ok(()) };
        process.lead(allowed, Arc::new(transport), stop).await
    }

    /// Waits for the API server and the CRDs, and starts the watches.
    async fn prepare(
        settings: Settings,
        clients: Clients,
        metrics: Metrics,
        ready: &channel::Sender<Readiness>,
    ) -> Self {
        wait_for_crds(&clients, ready).await;
        let current = Arc::<Mutex<Option<Arc<Context>>>>::default();
        let references = References::default();
        let namespaces = &settings.namespaces;
        let watches = Watches { clients: &clients, namespaces, current: &current, references: &references };
        let caches = Caches {
            organizations: watches.start(
                wake::organization_entries,
                wake::organization_secrets,
                Context::organization_changed,
            ),
            tools: watches.start(wake::tool_entries, |_| BTreeSet::new(), Context::tool_changed),
            versions: watches.start(wake::version_entries, |_| BTreeSet::new(), Context::version_changed),
            variables: watches.start(wake::variables_entries, wake::variables_secrets, Context::variables_changed),
        };
        watches.secrets(&settings);
        if namespaces.is_empty() {
            watches.namespaces();
        }
        ready.send_replace(Readiness::NotReady("the watches are not synced yet".into()));
        caches.synced().await;
        ready.send_replace(Readiness::Ready);
        let me = identity();
        tracing::info!(identity = %me, "the watches are synced");
        watch_crds(clients.clone(), ready.clone());
        Self { settings, clients, metrics, caches, tasks: TaskTracker::new(), current, me }
    }

    /// Works in terms of leadership until the process is to stop.
    async fn lead(
        self,
        allowed: AllowedEndpoints,
        transport: Arc<HttpTransport>,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let owner_id = stop.run_until_cancelled(self.owner_id()).await.unwrap_or_default();
        let (mut leadership, lease) = self.candidate(&stop);
        let may_write = leadership.clone();
        let guard = Arc::new(move || may_write.is_leader());
        // One for all terms: what was sent before a lease was lost still counts for the budgets.
        let amigo = Arc::new(Amigo::new(transport, Clock::System, guard, Arc::new(self.metrics.clone())));
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(leadership.gained()).await.is_none() {
                break;
            }
            tracing::info!(identity = %self.me, "leads");
            self.metrics.set_leader(true);
            let settings = controllers::Settings {
                owner_id: owner_id.clone(),
                default_organization: self.settings.default_organization.clone(),
                allowed_endpoints: allowed.clone(),
            };
            self.term(settings, Arc::clone(&amigo), &mut leadership, &stop).await;
            self.metrics.set_leader(false);
            tracing::info!(identity = %self.me, "leads no more");
        }
        let _ = lease.await;
        self.drain().await;
        Ok(())
    }

    fn candidate(&self, stop: &CancellationToken) -> (Leadership, tokio::task::JoinHandle<()>) {
        if !self.settings.leader_elect {
            return (Leadership::unconditional(), tokio::spawn(async {}));
        }
        let namespace = self.settings.lease_namespace.clone().unwrap_or_else(own_namespace);
        let (candidate, leadership) =
            Candidate::new(self.clients.calls.clone(), &namespace, self.me.clone(), Clock::System);
        (leadership, tokio::spawn(candidate.run(stop.clone())))
    }

    /// One term: new controllers with nothing remembered, dropped when the lease is lost or the process is to stop.
    async fn term(
        &self,
        settings: controllers::Settings,
        amigo: Arc<Amigo>,
        leadership: &mut Leadership,
        stop: &CancellationToken,
    ) {
        let (queues, requests) = Queues::new();
        let ctx = Arc::new(Context {
            client: self.clients.calls.clone(),
            amigo,
            clock: Clock::System,
            settings,
            leadership: leadership.clone(),
            events: Publisher::new(self.clients.calls.clone(), self.me.clone()),
            metrics: self.metrics.clone(),
            organizations: self.caches.organizations.clone(),
            tools: self.caches.tools.clone(),
            versions: self.caches.versions.clone(),
            variables: self.caches.variables.clone(),
            queues,
            connections: controllers::connection::Connections::default(),
            remote: controllers::remote::Remote::default(),
            memory: controllers::memory::Memory::default(),
            deprecations: controllers::deprecations::Ledger::default(),
            publishes: controllers::tool_version::publishes::Publishes::default(),
            sent: controllers::tool_env_secret::sent::Sent::default(),
            tasks: self.tasks.clone(),
        });
        self.set_current(Some(Arc::clone(&ctx)));
        ctx.wake_everything();
        tokio::select! {
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
                grace_seconds = grace.as_secs(),
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
        let api: Api<Namespace> = Api::all(self.clients.calls.clone());
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
}

impl Watches<'_> {
    fn start<K>(
        &self,
        entries: fn(&K) -> Vec<String>,
        secrets: fn(&K) -> BTreeSet<Key>,
        on_change: fn(&Context, &Change<K>),
    ) -> Cache<K>
    where
        K: Watchable + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let feed = Feed::new(self.namespaces.len().max(1), entries);
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

    fn secrets(&self, settings: &Settings) {
        let references = self.references.clone();
        let current = Arc::clone(self.current);
        let (client, namespaces) = (self.clients.watch.clone(), self.namespaces.to_vec());
        let (access, poll) = (settings.secret_access, settings.secret_poll());
        tokio::spawn(async move {
            let changed = move |namespace: &str, name: &str| with(&current, |ctx| ctx.secret_changed(namespace, name));
            secrets::run(client, access, &namespaces, references, poll, changed).await;
        });
    }

    fn namespaces(&self) {
        let current = Arc::clone(self.current);
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.clients.watch.clone());
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watch::config()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace)) => {
                        with(&current, |ctx| ctx.namespace_changed(&namespace.name_any()));
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the watch of namespaces failed and is tried again"),
                }
            }
        });
    }
}

fn with(current: &Mutex<Option<Arc<Context>>>, act: impl FnOnce(&Context)) {
    let ctx = current.lock().ok().and_then(|current| current.clone());
    if let Some(ctx) = ctx {
        act(&ctx);
    }
}

/// Waits until all CRDs are there; an API server that is away is waited for too.
async fn wait_for_crds(clients: &Clients, ready: &channel::Sender<Readiness>) {
    let mut said = None;
    let began = Instant::now();
    while let Err(why) = crds_are_there(clients).await {
        if said.as_ref() != Some(&why) {
            tracing::warn!("waits: {why}");
            said = Some(why.clone());
        }
        ready.send_replace(Readiness::NotReady(why));
        tokio::time::sleep(PATIENCE).await;
    }
    if said.is_some() {
        tracing::info!(waited_seconds = began.elapsed().as_secs(), "the CustomResourceDefinitions are there");
    }
}

async fn crds_are_there(clients: &Clients) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(clients.calls.clone());
    for wanted in resources::crds() {
        let name = wanted.name_any();
        match get_opt(&api, &name).await {
            Ok(Some(found)) if is_established(&found) => {}
            Ok(Some(_)) => return Err(format!("the CustomResourceDefinition {name} is not established yet")),
            Ok(None) => return Err(format!("the CustomResourceDefinition {name} is not installed")),
            Err(error) => return Err(format!("the CustomResourceDefinition {name} cannot be read: {error}")),
        }
    }
    Ok(())
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
            let now = match crds_are_there(&clients).await {
                Ok(()) => Readiness::Ready,
                Err(why) if why.contains("cannot be read") => continue,
                Err(why) => Readiness::NotReady(why),
            };
            ready.send_replace(now);
        }
    });
}

/// The namespace of the pod, or `default` outside of a cluster.
fn own_namespace() -> String {
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    std::fs::read_to_string(file).map_or_else(|_| "default".to_owned(), |text| text.trim().to_owned())
}

/// Cancelled by the first SIGTERM or Ctrl-C; a second one ends the process at once.
fn stop_signal() -> Result<CancellationToken, String> {
    let failed = |error| format!("signals cannot be received: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if second {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(token)
}
