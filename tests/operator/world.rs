//! The world of one test: a namespace on the real API server, the service on a socket, and the operator as a real process
//! under the permissions of its ServiceAccount. Everything that anybody could have read of an object is recorded and checked
//! at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::Server;
use amigo_operator::sandbox::{Account, Sandbox, Settings, ToolView};
use controlplane::{Cluster, Supervised};
use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::oracle::{self, Kstatus};

/// The organization that every sandbox has.
pub const ACME: &str = "acme";

/// A value that must be found nowhere but in the Secret and the service.
pub const CANARY: &str = "canary-7f3a91c2";

/// Longest time to wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const KINDS: [(&str, &str); 4] = [
    ("Organization", "organizations"),
    ("Tool", "tools"),
    ("ToolVersion", "toolversions"),
    ("ToolEnvSecret", "toolenvsecrets"),
];

/// Kind and name.
type Id = (String, String);

/// Every state of every object, as a watch saw it.
#[derive(Default)]
struct Record {
    now: Mutex<BTreeMap<Id, Value>>,
    history: Mutex<Vec<(Id, Value)>>,
    changed: Condvar,
}

impl Record {
    fn see(&self, kind: &str, object: Value, gone: bool) {
        let id = (kind.to_owned(), object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        let mut now = self.now.lock().unwrap();
        if gone {
            now.remove(&id);
        } else {
            now.insert(id.clone(), object.clone());
        }
        self.history.lock().unwrap().push((id, object));
        self.changed.notify_all();
    }
}

/// The world of one test.
pub struct World {
    pub namespace: String,
    pub sandbox: Sandbox,
    pub endpoint: String,
    cluster: &'static Cluster,
    record: Arc<Record>,
    operator: Option<Supervised>,
    flags: Vec<String>,
    log: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: Runtime,
}

/// The kubeconfig of the operator's ServiceAccount, with its real permissions.
fn operator_kubeconfig(cluster: &Cluster) -> PathBuf {
    static KUBECONFIG: OnceLock<PathBuf> = OnceLock::new();
    KUBECONFIG
        .get_or_init(|| {
            let crds = controlplane::project_crds();
            cluster
                .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &crds.display().to_string()])
                .unwrap();
            let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: amigo-system}}";
            cluster.kubectl_with_input(&["apply", "-f", "-"], namespace).unwrap();
            let rbac = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize/rbac.yaml");
            cluster.kubectl(&["apply", "-f", rbac]).unwrap();
            cluster.service_account_kubeconfig("amigo-system", "amigo-operator").unwrap()
        })
        .clone()
}

impl World {
    /// A world whose service publishes within a second.
    pub fn new(name: &str) -> Self {
        Self::with(name, Settings { publish_seconds: 1.0, ..Settings::default() }, &[])
    }

    /// A world with these settings of the service, and these flags of the operator.
    pub fn with(name: &str, settings: Settings, flags: &[&str]) -> Self {
        let cluster = controlplane::shared().expect("a control plane");
        let kubeconfig = operator_kubeconfig(cluster);
        let namespace = cluster.create_namespace(name).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = Sandbox::with_account(settings, Clock::System, &Account::default());
        let endpoint = runtime.block_on(async {
            let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), None).unwrap();
            let url = server.url();
            tokio::spawn(async move {
                let _kept = server;
                std::future::pending::<()>().await;
            });
            url
        });
        let record = Arc::new(Record::default());
        runtime.spawn(watch_all(cluster.admin_kubeconfig(), namespace.clone(), Arc::clone(&record)));
        let folder = tempfile::tempdir().unwrap();
        let own = [
            "run".to_owned(),
            format!("--namespace={namespace}"),
            format!("--owner-id=test-{namespace}"),
            format!("--allowed-endpoint={endpoint}"),
            "--leader-elect=false".into(),
            "--listen=127.0.0.1:0".into(),
            "--log-format=text".into(),
            "--log-level=info,amigo_operator=debug".into(),
        ];
        let flags = own.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned())).collect();
        let log = folder.path().join("operator.log");
        let mut world = Self {
            namespace,
            sandbox,
            endpoint,
            cluster,
            record,
            operator: None,
            flags,
            log,
            _folder: folder,
            _runtime: runtime,
        };
        world.start_operator_as(&kubeconfig);
        world
    }

    /// Starts the operator again.
    pub fn start_operator(&mut self) {
        let kubeconfig = operator_kubeconfig(self.cluster);
        self.start_operator_as(&kubeconfig);
    }

    fn start_operator_as(&mut self, kubeconfig: &std::path::Path) {
        let variables = [("KUBECONFIG", kubeconfig.display().to_string())];
        let program = PathBuf::from(env!("CARGO_BIN_EXE_amigo-operator"));
        let operator = Supervised::start("amigo-operator", &program, &self.flags, &variables, self.log.clone());
        self.operator = Some(operator.unwrap());
    }

    /// Hands the namespace over to an operator that works in the other world's namespace too.
    pub fn share(&mut self, other: &mut Self) {
        self.kill_operator();
        other.kill_operator();
        other.flags.push(format!("--namespace={}", self.namespace));
        other.start_operator();
    }

    /// Ends the operator without a word: SIGKILL.
    pub fn kill_operator(&mut self) {
        self.operator = None;
    }

    /// Ends the operator as Kubernetes does: SIGTERM.
    pub fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.stop();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs kubectl in the namespace, as an administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", &self.namespace], arguments].concat();
        self.cluster.kubectl(&arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Applies manifests in one go.
    pub fn apply(&self, manifests: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        let arguments = ["--namespace", &self.namespace, "apply", "-f", "-"];
        self.cluster
            .kubectl_with_input(&arguments, &list.to_string())
            .unwrap_or_else(|error| panic!("{error}: {list}"));
    }

    /// Deletes an object without waiting.
    pub fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", kind, name, "--wait=false"]);
    }

    /// Merges a patch into an object, and waits until the watch has seen it: what is waited for next is never older.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let arguments = ["patch", kind, name, "--type=merge", "--patch", &patch.to_string(), "--output=json"];
        let patched: Value = serde_json::from_str(&self.kubectl(&arguments)).unwrap();
        if KINDS.iter().any(|(known, _)| *known == kind) {
            let (generation, annotations) = (&patched["metadata"]["generation"], &patched["metadata"]["annotations"]);
            self.wait(kind, name, "shows the patch", |o| {
                o["metadata"]["generation"].as_i64() >= generation.as_i64()
                    && o["metadata"]["annotations"] == *annotations
            });
        }
    }

    /// Asks for a fresh look by annotation and waits until it was handled.
    pub fn request(&self, kind: &str, name: &str) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let value = format!("request-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        self.patch(kind, name, &json!({"metadata": {"annotations": {"amigo.ai/reconcile-requested-at": value}}}));
        self.wait(kind, name, "echoes the request", |o| o["status"]["lastHandledReconcileAt"] == json!(value));
    }

    /// The object as the watch last saw it.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.record.now.lock().unwrap().get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// Waits until the object is as it should be.
    pub fn wait(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let id = (kind.to_owned(), name.to_owned());
        let deadline = Instant::now() + PATIENCE;
        let mut now = self.record.now.lock().unwrap();
        loop {
            if let Some(object) = now.get(&id).filter(|object| holds(object)) {
                return object.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last = now.get(&id).map(Value::to_string);
                drop(now);
                panic!("{kind} {name}: waited in vain until it {what}; it is {last:?}");
            }
            now = self.record.changed.wait_timeout(now, left.min(Duration::from_millis(200))).unwrap().0;
        }
    }

    /// Waits until the object is gone.
    pub fn gone(&self, kind: &str, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(object) = self.get(kind, name) {
            if Instant::now() > deadline {
                panic!("{kind} {name} does not go: {object}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a condition of the service or of anything else holds.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > deadline {
                panic!("waited in vain until {what}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the object is Ready at its generation.
    pub fn ready(&self, kind: &str, name: &str) -> Value {
        self.wait(kind, name, "is Ready", |o| {
            oracle::kstatus(o) == Kstatus::Current && oracle::status(o, "Ready") == Some("True")
        })
    }

    /// Waits until Ready is False for this reason, at the object's generation.
    pub fn reason(&self, kind: &str, name: &str, reason: &str) -> Value {
        self.wait(kind, name, &format!("says {reason}"), |o| {
            let conditions = o["status"]["conditions"].as_array();
            let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
            ready.is_some_and(|c| c["reason"] == reason && c["observedGeneration"] == o["metadata"]["generation"])
        })
    }

    /// The message of Ready.
    pub fn message(object: &Value) -> String {
        let conditions = object["status"]["conditions"].as_array();
        let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
        ready.and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
    }

    /// The tool in the service.
    pub fn tool(&self, id_or_name: &str) -> ToolView {
        match self.sandbox.tool(ACME, id_or_name) {
            Ok(tool) => tool,
            Err(error) => panic!("no tool {id_or_name} in the service: {error}"),
        }
    }

    /// Checks everything that was seen: every state of every object, and that the canary is nowhere.
    pub fn check(&self) {
        let history = self.record.history.lock().unwrap();
        let mut observed: BTreeMap<String, i64> = BTreeMap::new();
        for ((kind, name), object) in history.iter() {
            let broken = oracle::violations_at_any_moment(object);
            assert!(broken.is_empty(), "{kind} {name} broke {broken:?}: {object}");
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let now = object["status"]["observedGeneration"].as_i64().unwrap_or(-1);
            let before = observed.insert(uid, now).unwrap_or(-1);
            assert!(now >= before, "{kind} {name}: observedGeneration went from {before} to {now}");
            assert!(!object.to_string().contains(CANARY), "{kind} {name} shows a value: {object}");
        }
        assert!(!self.log().contains(CANARY), "the log shows a value");
        let events = self.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
        assert!(!events.contains(CANARY), "an Event shows a value");
        assert_eq!(self.sandbox.rate_limit_violations(), 0, "the budget was exceeded");
    }

    /// How many states of the object were seen so far.
    pub fn states(&self) -> usize {
        self.record.history.lock().unwrap().len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the operator's last words\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.kill_operator();
    }
}

async fn watch_all(kubeconfig: PathBuf, namespace: String, record: Arc<Record>) {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let watches =
        KINDS.map(|(kind, plural)| watch_kind(client.clone(), namespace.clone(), kind, plural, Arc::clone(&record)));
    futures::future::join_all(watches).await;
}

async fn watch_kind(client: Client, namespace: String, kind: &str, plural: &str, record: Arc<Record>) {
    let resource = ApiResource {
        group: "amigo.ai".into(),
        version: "v1alpha1".into(),
        api_version: "amigo.ai/v1alpha1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                record.see(kind, serde_json::to_value(&object).unwrap(), false);
            }
            Ok(watcher::Event::Delete(object)) => record.see(kind, serde_json::to_value(&object).unwrap(), true),
            _ => {}
        }
    }
}
