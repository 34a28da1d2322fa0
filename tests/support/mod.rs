//! The world of one test: a namespace on a real API server, the service on a socket, and the operator as a real process
//! under the permissions of a real ServiceAccount.
//!
//! Whatever a test is about, [`World::finish`] also checks that every state of every object kept to the rules that other
//! tools rely on, that the operator asked the API server for nothing but its own business and was refused nothing, that no
//! limit of the service was exceeded, and that no secret value is anywhere but in Secrets and in the service.

#![allow(dead_code, reason = "each file of tests uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::must_use_candidate, reason = "a test fails by panicking")]

pub mod audit;
mod kinds;
pub mod manifests;
pub mod oracle;
mod recorder;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::Server;
use amigo_operator::sandbox::{Account, Sandbox, Settings, ToolView};
use controlplane::{Cluster, Supervised};
use k8s_openapi::ByteString;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use audit::Request;
use oracle::{Kstatus, compute, condition, status};
use recorder::{Id, Recorder};

/// The organization that every sandbox has.
pub const ACME: &str = "acme";

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often something is looked at that does not tell when it changes.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of the operator's log that a failed test shows.
const SHOWN_LINES: usize = 80;

/// What a world is made of.
pub struct Setup {
    /// Whether only the holder of a Lease works.
    pub leader_elect: bool,
    /// How the service behaves.
    pub service: Settings,
    /// More flags of the operator.
    pub flags: Vec<String>,
    /// A second namespace that the operator works in, too.
    pub neighbour: bool,
    /// Whether the operator is permitted to work everywhere. Otherwise by a RoleBinding in each namespace, which goes with
    /// the namespace.
    pub everywhere: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let service = Settings { publish_seconds: 1.0, ..Settings::default() };
        Self { leader_elect: false, service, flags: Vec::new(), neighbour: false, everywhere: false }
    }
}

/// The world of one test.
pub struct World {
    /// The namespace of the test.
    pub namespace: String,
    /// The operator's own namespace.
    system: String,
    /// The other one, if the test asked for it.
    pub neighbour: Option<String>,
    /// The service.
    pub sandbox: Sandbox,
    cluster: Cluster,
    client: Client,
    endpoint: String,
    recorder: Recorder,
    operators: Vec<Supervised>,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    canaries: Mutex<Vec<String>>,
    folder: tempfile::TempDir,
    // Taken when the world ends.
    runtime: Option<Runtime>,
    finished: bool,
}

/// Makes the world and starts it.
impl World {
    /// A world whose service publishes within a second.
    pub fn new(name: &str) -> Self {
        Self::with(name, Setup::default())
    }

    /// A world as it is set up.
    pub fn with(name: &str, setup: Setup) -> Self {
        let mut world = Self::without_operator(name, setup);
        world.start_operator();
        world
    }

    /// A world in which no operator runs yet.
    pub fn without_operator(name: &str, setup: Setup) -> Self {
        Self::on(controlplane::shared().expect("a control plane"), name, setup)
    }

    /// A world on a control plane of the test's own, in which no operator runs yet.
    pub fn on(cluster: &Cluster, name: &str, setup: Setup) -> Self {
        let namespace = cluster.create_namespace(name).unwrap();
        let system = cluster.create_namespace(&format!("{name}-system")).unwrap();
        let neighbour = setup.neighbour.then(|| cluster.create_namespace(&format!("{name}-other")).unwrap());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let api_key = format!("canary-key-{namespace}");
        let account = Account { api_key: api_key.clone(), ..Account::default() };
        let sandbox = Sandbox::with_account(setup.service, Clock::System, &account);
        let (client, endpoint) = runtime.block_on(async { (client(cluster).await, serve(&sandbox)) });
        let recorder = Recorder::default();
        for namespace in [Some(&namespace), neighbour.as_ref()].into_iter().flatten() {
            runtime.spawn(recorder.clone().watch(client.clone(), namespace.clone()));
        }
        let mut flags = own_flags(&namespace, neighbour.as_deref(), &system, &endpoint);
        flags.push(format!("--leader-elect={}", setup.leader_elect));
        flags.extend(setup.flags);
        let namespaces: Vec<&str> =
            [Some(&namespace), neighbour.as_ref()].into_iter().flatten().map(String::as_str).collect();
        Self {
            kubeconfig: permit(cluster, &system, if setup.everywhere { &[] } else { &namespaces }),
            canaries: Mutex::new(vec![api_key]),
            folder: tempfile::tempdir().unwrap(),
            runtime: Some(runtime),
            operators: Vec::new(),
            finished: false,
            cluster: cluster.clone(),
            system,
            namespace,
            neighbour,
            sandbox,
            client,
            endpoint,
            recorder,
            flags,
        }
    }

    /// Gives operators that start from now on one more flag.
    #[must_use]
    pub fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts an operator, beside those that run.
    pub fn start_operator(&mut self) {
        let log = self.folder.path().join("operator.log");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_amigo-operator"));
        let variables = [("KUBECONFIG", self.kubeconfig.display().to_string())];
        let operator = Supervised::start("amigo-operator", &program, &self.flags, &variables, log);
        self.operators.push(operator.unwrap());
    }

    /// Ends every operator at once, without a word: SIGKILL.
    pub fn kill_operator(&mut self) {
        self.operators.clear();
    }

    /// Ends every operator as Kubernetes does, with SIGTERM, and waits for it.
    pub fn stop_operator(&mut self) {
        self.operators.drain(..).for_each(Supervised::stop);
    }

    /// Ends the operator that was started first with SIGKILL.
    pub fn kill_first_operator(&mut self) {
        drop(self.operators.remove(0));
    }

    /// Ends the operator that was started first with SIGTERM, and waits for it.
    pub fn stop_first_operator(&mut self) {
        self.operators.remove(0).stop();
    }

    /// What the operators logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("operator.log")).unwrap_or_default()
    }
}

async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.admin_kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap()).unwrap()
}

/// Serves the API on a socket as long as the runtime lives, and tells where.
fn serve(sandbox: &Sandbox) -> String {
    let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), None).unwrap();
    let url = server.url();
    tokio::spawn(async move {
        let _served = server;
        std::future::pending::<()>().await;
    });
    url
}

/// Makes the operator's ServiceAccount with its permissions in these namespaces, or in all if none is named, and a
/// kubeconfig of it.
fn permit(cluster: &Cluster, system: &str, namespaces: &[&str]) -> PathBuf {
    let binding = |kind: &str, metadata: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{{metadata}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: amigo-operator-test}}\n\
             subjects: [{{kind: ServiceAccount, name: amigo-operator, namespace: {system}}}]\n"
        )
    };
    let bound = namespaces.iter().map(|it| binding("RoleBinding", &format!("name: amigo-operator, namespace: {it}")));
    let mut manifest = include_str!("rbac.yaml").replace("SYSTEM", system) + &bound.collect::<String>();
    if namespaces.is_empty() {
        manifest += &binding("ClusterRoleBinding", &format!("name: everywhere-{system}"));
    }
    let arguments = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    cluster.kubectl_with_input(&arguments, &manifest).unwrap();
    cluster.service_account_kubeconfig(system, "amigo-operator").unwrap()
}

fn own_flags(namespace: &str, neighbour: Option<&str>, system: &str, endpoint: &str) -> Vec<String> {
    let namespaces = [Some(namespace), neighbour].into_iter().flatten().map(|name| format!("--namespace={name}"));
    let flags = [
        format!("--owner-id=test-{namespace}"),
        format!("--allowed-endpoint={endpoint}"),
        format!("--lease-namespace={system}"),
        "--listen=127.0.0.1:0".to_owned(),
        "--log-format=text".to_owned(),
        "--log-level=info,amigo_operator=debug".to_owned(),
    ];
    let run = std::iter::once("run".to_owned());
    run.chain(namespaces).chain(flags).collect()
}

/// What a test does to the world.
impl World {
    /// Where the service is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key with which the operator signs in.
    pub fn api_key(&self) -> String {
        self.canaries.lock().unwrap()[0].clone()
    }

    /// A value that must be found nowhere but in Secrets and in the service.
    pub fn canary(&self) -> String {
        let mut canaries = self.canaries.lock().unwrap();
        let canary = format!("canary-{}-{}", canaries.len(), self.namespace);
        canaries.push(canary.clone());
        canary
    }

    /// Runs kubectl in the namespace, as an administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).unwrap()
    }

    /// Applies a file of manifests in its order.
    pub fn apply(&self, manifests: &str) {
        self.apply_in(&self.namespace, manifests);
    }

    /// Applies a file of manifests in another namespace.
    pub fn apply_in(&self, namespace: &str, manifests: &str) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
        let objects = objects.iter().filter(|object| object.is_object());
        let applied: Vec<_> = objects.map(|object| self.block_on(self.apply_one(namespace, object))).collect();
        for object in &applied {
            self.await_echo(object);
        }
    }

    async fn apply_one(&self, namespace: &str, object: &Value) -> DynamicObject {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let api = self.api(namespace, kind);
        let applied = if kind == "Secret" {
            // Applied server-side, a Secret would keep the keys that `stringData` does not have any more.
            let secret: DynamicObject = serde_json::from_value(object.clone()).unwrap();
            match api.create(&PostParams::default(), &secret).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    api.replace(name, &PostParams::default(), &secret).await
                }
                other => other,
            }
        } else {
            api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await
        };
        applied.unwrap_or_else(|error| panic!("{kind} {name} cannot be applied: {error}"))
    }

    /// Waits until the recorder has seen what was just written, so that nobody looks at what was before.
    fn await_echo(&self, written: &DynamicObject) {
        let kind = written.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        if !kinds::KINDS.contains(&kind.as_str()) {
            return;
        }
        let metadata = &written.metadata;
        let id = (metadata.namespace.clone().unwrap_or_default(), kind, metadata.name.clone().unwrap_or_default());
        let version = number(metadata.resource_version.as_deref());
        let seen = |object: Option<&Value>| {
            object.is_some_and(|object| number(object["metadata"]["resourceVersion"].as_str()) >= version)
        };
        assert!(self.recorder.wait(&id, Instant::now() + PATIENCE, seen).is_ok(), "{id:?} is not seen");
    }

    /// Merges a patch into an object.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let api = self.api(&self.namespace, kind);
        let patched = self.block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).unwrap();
        self.await_echo(&patched);
    }

    /// Changes the spec of an object.
    pub fn edit(&self, kind: &str, name: &str, spec: &Value) {
        self.patch(kind, name, &json!({"spec": spec}));
    }

    /// Sets an annotation of ours.
    pub fn annotate(&self, kind: &str, name: &str, annotation: &str, value: &str) {
        let annotation = format!("amigo.ai/{annotation}");
        self.patch(kind, name, &json!({"metadata": {"annotations": {annotation: value}}}));
    }

    /// Asks for a fresh look, and waits until it was taken.
    pub fn request(&self, kind: &str, name: &str) -> Value {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let value = format!("request-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.annotate(kind, name, "reconcile-requested-at", &value);
        let echoes = |object: &Value| object["status"]["lastHandledReconcileAt"] == value.as_str();
        self.wait_for(kind, name, echoes, "echoes the request")
    }

    /// Deletes an object, without waiting until it is gone.
    pub fn delete(&self, kind: &str, name: &str) {
        let api = self.api(&self.namespace, kind);
        self.block_on(api.delete(name, &DeleteParams::default())).unwrap();
    }

    fn api(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kinds::resource(kind))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }
}

/// What a test sees, and waits for.
impl World {
    fn id(&self, kind: &str, name: &str) -> Id {
        (self.namespace.clone(), kind.to_owned(), name.to_owned())
    }

    /// The object as it was last seen.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.recorder.now(&self.id(kind, name))
    }

    /// Waits until the object is as it should be.
    pub fn wait_for(&self, kind: &str, name: &str, holds: impl Fn(&Value) -> bool, what: &str) -> Value {
        self.wait_in(&self.namespace, kind, name, holds, what)
    }

    /// Waits until an object of another namespace is as it should be.
    pub fn wait_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        holds: impl Fn(&Value) -> bool,
        what: &str,
    ) -> Value {
        let id = (namespace.to_owned(), kind.to_owned(), name.to_owned());
        match self.recorder.wait(&id, Instant::now() + PATIENCE, |object| object.is_some_and(&holds)) {
            Ok(object) => object.unwrap(),
            Err(object) => panic!("{kind} {name}: waited in vain until it {what}; it is {object:?}"),
        }
    }

    /// Waits until the object is Ready at its generation.
    pub fn ready(&self, kind: &str, name: &str) -> Value {
        self.wait_for(kind, name, is_ready, "is Ready")
    }

    /// Waits until Ready gives this reason at the object's generation.
    pub fn reason(&self, kind: &str, name: &str, reason: &str) -> Value {
        self.wait_for(kind, name, |object| has_reason(object, reason), &format!("says {reason}"))
    }

    /// Waits until the object is gone.
    pub fn gone(&self, kind: &str, name: &str) {
        let waited = self.recorder.wait(&self.id(kind, name), Instant::now() + PATIENCE, |object| object.is_none());
        if let Err(object) = waited {
            panic!("{kind} {name} does not go; it is {object:?}");
        }
    }

    /// Waits until something else holds.
    #[track_caller]
    #[allow(clippy::unused_self, reason = "reads as the other waits do")]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            thread::sleep(LOOK);
        }
    }

    /// How many states of objects were seen.
    pub fn states(&self) -> usize {
        self.recorder.history().len()
    }

    /// The reasons that Ready of an object has given, each when it changed.
    pub fn reasons(&self, kind: &str, name: &str) -> Vec<String> {
        let id = self.id(kind, name);
        let states = self.recorder.history().into_iter().filter(|state| state.id == id);
        let mut reasons: Vec<String> = states.filter_map(|state| reason_of(&state.object)).collect();
        reasons.dedup();
        reasons
    }

    /// The Events about an object: reason and note.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name);
        let events = self.all_events().into_iter().filter(about);
        events.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
    }

    fn all_events(&self) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        self.block_on(api.list(&ListParams::default())).unwrap().items
    }

    /// What the operator asked of the API server.
    pub fn requests(&self) -> Vec<Request> {
        audit::of_operator(&self.cluster, &self.system)
    }

    /// How often the operator has written to the API server.
    pub fn writes(&self) -> usize {
        self.requests().iter().filter(|request| request.writes()).count()
    }

    /// A tool of the service, by id or name.
    pub fn tool(&self, tool: &str) -> ToolView {
        self.sandbox.tool(ACME, tool).unwrap()
    }

    /// The numbers of a tool's versions in the order they were made.
    pub fn versions(&self, tool: &str) -> Vec<String> {
        self.tool(tool).versions.iter().map(|version| version.version.to_string()).collect()
    }

    /// The value of a variable of a tool.
    pub fn variable(&self, tool: &str, name: &str) -> Option<String> {
        self.tool(tool).variables.get(name).map(|variable| variable.value.clone())
    }
}

/// A resourceVersion, to compare.
fn number(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Whether kstatus calls the object Current, and it says so itself.
pub fn is_ready(object: &Value) -> bool {
    compute(object) == Kstatus::Current && status(object, "Ready") == Some("True")
}

/// Whether Ready gives this reason at the object's generation.
pub fn has_reason(object: &Value, reason: &str) -> bool {
    condition(object, "Ready").is_some_and(|ready| {
        ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
    })
}

/// The reason of Ready.
pub fn reason_of(object: &Value) -> Option<String> {
    condition(object, "Ready").and_then(|ready| ready["reason"].as_str()).map(str::to_owned)
}

/// The message of Ready.
pub fn message(object: &Value) -> String {
    condition(object, "Ready").and_then(|ready| ready["message"].as_str()).unwrap_or_default().to_owned()
}

/// A field of the status, as text.
pub fn field(object: &Value, name: &str) -> String {
    object["status"][name].as_str().unwrap_or_default().to_owned()
}

/// The end.
impl World {
    /// Checks what every test checks, and ends the world.
    pub fn finish(mut self) {
        let mut complaints = self.recorder.complaints();
        complaints.extend(self.improper_requests());
        complaints.extend(self.leaks());
        if self.sandbox.rate_limit_violations() > 0 {
            complaints.push(format!("a limit was exceeded: {:?}", self.sandbox.counters()));
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        self.finished = true;
    }

    /// What the operator was refused, or should not have asked for.
    fn improper_requests(&self) -> Vec<String> {
        let requests = self.requests().into_iter();
        let improper = requests.filter(|request| matches!(request.code, 401 | 403) || !request.is_the_operators());
        // Nothing can be created in a namespace that goes, whoever asks.
        let improper = improper.filter(|request| !(request.resource == "events" && request.verb == "create"));
        improper.map(|request| format!("an improper request: {request:?}")).collect()
    }

    /// Where a secret value, or what would let a reader test guesses of it, can be read.
    fn leaks(&self) -> Vec<String> {
        let states: Vec<Value> = self.recorder.history().into_iter().map(|state| state.object).collect();
        let places = [
            ("the log", self.log()),
            ("the objects", serde_json::to_string(&states).unwrap()),
            ("the Events", serde_json::to_string(&self.all_events()).unwrap()),
            ("the audit log", audit::lines(&self.cluster, &self.namespace).join("\n")),
        ];
        let mut leaks = Vec::new();
        for canary in self.canaries.lock().unwrap().iter() {
            let encoded = serde_json::to_value(ByteString(canary.clone().into_bytes())).unwrap();
            let forms = [canary.clone(), encoded.as_str().unwrap().to_owned(), sha256(canary)];
            for (place, text) in &places {
                let found = forms.iter().filter(|form| text.contains(form.as_str()));
                leaks.extend(found.map(|form| format!("{place} shows {form}, which is {canary}")));
            }
        }
        leaks
    }

    /// What happened, for whoever looks into a failure.
    fn report(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let lines = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        eprintln!("--- the operator's last words in {}\n{}", self.namespace, lines.join("\n"));
        let mut text = String::new();
        for state in self.recorder.history() {
            let (_, kind, name) = &state.id;
            let _ = writeln!(text, "{kind} {name}: {:?} {}", reason_of(&state.object), message(&state.object));
        }
        eprintln!("--- the states that were seen\n{text}");
        let mut text = String::new();
        for request in self.sandbox.requests(20) {
            let _ = writeln!(text, "{} {} {:?} {:?}", request.method, request.target, request.status, request.ending);
        }
        eprintln!("--- the requests of the service\n{text}");
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_operator();
        if thread::panicking() {
            self.report();
        } else {
            assert!(self.finished, "a test ends with `World::finish`");
        }
        if let Some(runtime) = self.runtime.take() {
            // Watches never end by themselves.
            runtime.shutdown_background();
        }
    }
}
