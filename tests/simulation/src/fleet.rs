//! A fleet: so many objects in so many organizations, on a day on which nothing goes wrong. Nobody judges it. What is told is
//! how long the service's limits make the first synchronisation take, and what it costs until then and at rest: figures of
//! the operator's own code that no cluster at hand is large enough for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use amigo_operator::amigo::transport::{Bounds, Exchange, Transport};
use amigo_operator::clock::Clock;
use amigo_operator::kubernetes::client::Clients;
use amigo_operator::operator::http::Readiness;
use amigo_operator::operator::metrics::Metrics;
use amigo_operator::operator::replica::{Replica, Surroundings};
use amigo_operator::operator::traces::Traces;
use amigo_operator::sandbox::{Account, Counters, InProcess, Sandbox, Settings};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::{Answer, Kubernetes, Request, Watching};
use crate::network::{Reply, WATCH_LASTS, response};
use crate::node::settings;
use crate::sim::{ENDPOINT, collection, defaulted};

/// How long it may take until everything is Ready.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How long the fleet is watched at rest.
const REST: Duration = Duration::from_secs(2 * 3600);

/// The three kinds of a member.
const MEMBER: [&str; 3] = ["Tool", "ToolEnvSecret", "ToolVersion"];

/// The size of a fleet.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tools; each has a ToolEnvSecret and a ToolVersion.
    pub tools: usize,
    /// Organizations, each in a namespace of its own.
    pub organizations: usize,
}

/// Runs a fleet and prints its figures.
///
/// # Panics
/// When the runtime cannot be made.
pub fn run(size: Size) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { unreachable!("a runtime without threads and sockets needs nothing") };
    let began = std::time::Instant::now();
    runtime.block_on(day(size))?;
    println!("simulated in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn day(size: Size) -> Result<(), String> {
    let world = World::new();
    for organization in 0..size.organizations {
        world.connect(organization);
    }
    let mut running = world.start();
    let began = Instant::now();
    for n in 0..size.tools {
        world.apply(n, n % size.organizations);
    }
    println!("{} objects in {} organizations", size.tools * MEMBER.len(), size.organizations);
    for kind in MEMBER {
        until_ready(&world, kind, size.tools, began).await?;
        println!("all {kind}s were Ready after {}", shown(began.elapsed()));
    }
    tell("until all was Ready", &world, began.elapsed(), size);
    running.stop().await;
    world.forget();
    let (before, began) = (world.kubernetes.version(), Instant::now());
    let running = world.start();
    tokio::time::sleep(REST).await;
    let writes = world.kubernetes.version() - before;
    println!("a restart and what followed: {writes} writes to Kubernetes in {}", shown(began.elapsed()));
    tell("since the restart", &world, began.elapsed(), size);
    let periods = world.kubernetes.all(collection("Organization"));
    let periods = periods.iter().filter_map(|organization| organization["status"]["effectiveResync"].as_object());
    println!("resync in use: {:?}", periods.map(|period| json!(period).to_string()).max());
    drop(running);
    Ok(())
}

async fn until_ready(world: &World, kind: &str, count: usize, began: Instant) -> Result<(), String> {
    loop {
        let ready = world.kubernetes.all(collection(kind)).iter().filter(|object| is_ready(object)).count();
        if ready == count {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{ready} of {count} {kind}s are Ready after {}", shown(began.elapsed())));
        }
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn shown(time: Duration) -> String {
    format!("{:.1} min", time.as_secs_f64() / 60.0)
}

/// Prints what the service was asked for.
fn tell(when: &str, world: &World, time: Duration, size: Size) {
    let counters: Counters = world.sandbox.counters();
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    for (operation, counter) in counters {
        let calls = counter.calls as f64;
        let each = calls / size.organizations as f64 / (time.as_secs_f64() / 60.0);
        println!("  {when}: {operation}: {:.2} a tool, {each:.2} a minute and organization", calls / size.tools as f64);
    }
    println!("  {when}: {} calls were refused as too many", world.sandbox.rate_limit_violations());
}

/// Both APIs.
#[derive(Clone)]
struct World {
    kubernetes: Kubernetes,
    sandbox: Sandbox,
    service: InProcess,
    clock: Clock,
}

/// The operator as it runs.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(&mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl World {
    fn new() -> Self {
        let epoch = jiff::Timestamp::from_second(1_754_006_400).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let clock = Clock::starting_at(epoch);
        let sandbox = Sandbox::new(Settings::default(), clock);
        Self { kubernetes: Kubernetes::new(clock), service: sandbox.in_process(), sandbox, clock }
    }

    fn create(&self, kind: &str, namespace: &str, name: &str, spec: &Value) {
        let object = json!({"apiVersion": "amigo.ai/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": defaulted(kind, spec)});
        let _ = self.kubernetes.create(collection(kind), object);
    }

    fn secret(&self, namespace: &str, name: &str, data: &Value) {
        let metadata = json!({"name": name, "namespace": namespace});
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
        let _ = self.kubernetes.create(collection("Secret"), object);
    }

    /// An organization with a namespace of its own.
    fn connect(&self, organization: usize) {
        let name = place(organization);
        let account = Account { organization: name.clone(), ..Account::default() };
        self.sandbox.put_account(&account);
        let metadata = json!({"name": name});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let _ = self.kubernetes.create("/namespaces", namespace);
        let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let data = json!({"api-key": encoded(&account.api_key), "api-key-id": encoded(&account.api_key_id),
            "user-id": encoded(&account.user_id)});
        self.secret(&name, "api-key", &data);
        let spec = json!({"organization": name, "endpoint": ENDPOINT, "credentialsRef": {"name": "api-key"}});
        self.create("Organization", &name, "organization", &spec);
    }

    /// A Tool and what belongs to it.
    fn apply(&self, n: usize, organization: usize) {
        let (namespace, name) = (place(organization), format!("tool-{n:06}"));
        self.secret(&namespace, &name, &json!({"TOKEN": k8s_openapi::ByteString(name.as_bytes().to_vec())}));
        let spec = json!({"name": format!("tool_{n:06}"), "organizationRef": {"name": "organization"},
            "description": "One tool of many."});
        self.create("Tool", &namespace, &name, &spec);
        let source = json!({"secretKeyRef": {"name": name, "key": "TOKEN"}});
        let env = json!([{"name": "UNITS", "value": "metric"}, {"name": "TOKEN", "valueFrom": source}]);
        self.create("ToolEnvSecret", &namespace, &name, &json!({"toolRef": {"name": name}, "env": env}));
        let spec = json!({"toolRef": {"name": name}, "version": "1.0.0", "projectPath": "tools/one"});
        self.create("ToolVersion", &namespace, &name, &spec);
    }

    /// Counts anew.
    fn forget(&self) {
        self.sandbox.forget_requests();
    }

    fn start(&self) -> Running {
        let client = || {
            let world = self.clone();
            kube::Client::new(tower::service_fn(move |request| world.clone().kube(request)), "default")
        };
        let surroundings = Surroundings {
            clients: Clients { watch: client(), lease: client(), calls: client() },
            transport: Arc::new(self.clone()),
            traces: Traces::default(),
            clock: self.clock,
            me: "fleet".into(),
        };
        let settings = settings(&["--leader-elect", "false"]);
        // What the flags say is an endpoint.
        let allowed = settings.allowed_endpoints().unwrap_or_default();
        let (ready, _) = watch::channel(Readiness::starting());
        let replica = Replica::new(settings, allowed, surroundings, Metrics::default(), ready);
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(replica.run(stop.clone())), stop }
    }

    async fn kube(self, request: http::Request<Body>) -> Result<Reply, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        Ok(match self.kubernetes.answer(&Request::read(&head, &body)) {
            Answer::Document(code, value) => {
                response(code, Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync())
            }
            Answer::Watch(watching) => response(200, follow(watching)),
        })
    }
}

/// The body of a watch.
fn follow(watching: Watching) -> UnsyncBoxBody<Bytes, std::io::Error> {
    let ends = Instant::now() + WATCH_LASTS;
    let lines = futures::stream::unfold(watching, move |mut watching| async move {
        loop {
            if let Some(event) = watching.next() {
                return Some((Ok(http_body::Frame::data(Bytes::from(format!("{event}\n")))), watching));
            }
            tokio::time::timeout_at(ends, watching.changed()).await.ok()?;
        }
    });
    StreamBody::new(lines).boxed_unsync()
}

/// The name and the namespace of an organization.
fn place(organization: usize) -> String {
    format!("organization-{organization:03}")
}

impl Transport for World {
    fn send(&self, request: http::Request<Bytes>, bounds: Bounds) -> Exchange<'_> {
        self.service.send(request, bounds)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}
