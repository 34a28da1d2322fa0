//! The world of one test: a namespace on a real API server, the service on a socket, and the operator as a real process
//! under the permissions of a real ServiceAccount.
//!
//! Whatever a test is about, [`World::finish`] also checks that every state of every object kept to the rules that other
//! tools rely on, that the operator asked the API server for nothing but its own business and was refused nothing, that no
//! limit of the service was exceeded, and that no secret value is anywhere but in Secrets and in the service.

#![allow(dead_code, unused_imports, reason = "each file of tests uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::must_use_candidate, reason = "a test fails by panicking")]

mod act;
pub mod audit;
pub mod crowd;
pub mod dice;
mod dump;
mod finish;
pub mod hop;
mod kinds;
pub mod leaders;
pub mod manifests;
#[cfg(target_os = "linux")]
mod memory;
pub mod oracle;
mod recorder;
mod see;
mod skew;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::Server;
use amigo_operator::sandbox::{Account, Sandbox, Settings};
use controlplane::{Cluster, Supervised};
use kube::Client;
use tokio::runtime::Runtime;

use recorder::Recorder;
pub use see::{field, has_reason, is_ready, message, reason_of};

/// The organization that every sandbox has.
pub const ACME: &str = "acme";

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a world is made of.
pub struct Setup {
    /// Whether only the holder of a Lease works.
    pub leader_elect: bool,
    /// How the service behaves.
    pub service: Settings,
    /// Form of the operator's log.
    pub log_format: &'static str,
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
        let (leader_elect, neighbour, everywhere) = (false, false, false);
        Self { leader_elect, service, log_format: "text", flags: Vec::new(), neighbour, everywhere }
    }
}

/// The world of one test.
pub struct World {
    /// The namespace of the test.
    pub namespace: String,
    /// The operator's own namespace.
    system: String,
    /// The operator's ServiceAccount.
    account: String,
    /// The other one, if the test asked for it.
    pub neighbour: Option<String>,
    /// The service.
    pub sandbox: Sandbox,
    cluster: Cluster,
    client: Client,
    endpoint: String,
    /// Serves the API; `None` while the service is away.
    server: Option<Server>,
    recorder: Recorder,
    operators: Vec<Supervised>,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    canaries: Mutex<Vec<String>>,
    folder: tempfile::TempDir,
    // Taken when the world ends.
    runtime: Option<Runtime>,
    refusals_expected: bool,
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
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (client, server) = runtime.block_on(async { (client(cluster).await, serve(&sandbox, anywhere)) });
        let endpoint = server.url();
        let recorder = Recorder::default();
        for namespace in [Some(&namespace), neighbour.as_ref()].into_iter().flatten() {
            runtime.spawn(recorder.clone().watch(client.clone(), namespace.clone()));
        }
        let mut flags = own_flags(&namespace, neighbour.as_deref(), &system, &endpoint);
        flags.push(format!("--leader-elect={}", setup.leader_elect));
        flags.push(format!("--log-format={}", setup.log_format));
        flags.extend(setup.flags);
        let namespaces: Vec<&str> =
            [Some(&namespace), neighbour.as_ref()].into_iter().flatten().map(String::as_str).collect();
        Self {
            kubeconfig: permit(cluster, &system, if setup.everywhere { &[] } else { &namespaces }),
            account: "amigo-operator".to_owned(),
            canaries: Mutex::new(vec![api_key]),
            folder: tempfile::tempdir().unwrap(),
            runtime: Some(runtime),
            operators: Vec::new(),
            refusals_expected: false,
            finished: false,
            cluster: cluster.clone(),
            system,
            namespace,
            neighbour,
            sandbox,
            client,
            server: Some(server),
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

    /// Operators that start from now on are of another installation in the operator's namespace: with its ServiceAccount and its
    /// command line.
    pub fn install(&mut self, account: &str, flags: Vec<String>) {
        self.kubeconfig = self.cluster.service_account_kubeconfig(&self.system, account).unwrap();
        (self.account, self.flags) = (account.to_owned(), flags);
    }

    /// The operator's own namespace.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// Starts an operator, beside those that run.
    pub fn start_operator(&mut self) {
        self.start_operator_with(&self.kubeconfig.clone(), &[]);
    }

    /// Starts an operator that connects as this kubeconfig says, with more variables in its environment.
    pub fn start_operator_with(&mut self, kubeconfig: &Path, variables: &[(&str, String)]) {
        let log = self.folder.path().join("operator.log");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_amigo-operator"));
        let variables = [&[("KUBECONFIG", kubeconfig.display().to_string())], variables].concat();
        let operator = Supervised::start("amigo-operator", &program, &self.flags, &variables, log);
        self.operators.push(operator.unwrap());
    }

    /// The kubeconfig of the operator's ServiceAccount.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// One more kubeconfig of the operator's ServiceAccount, with a token of its own, by which the audit log tells replicas
    /// apart.
    pub fn another_kubeconfig(&self) -> PathBuf {
        self.cluster.service_account_kubeconfig(&self.system, "amigo-operator").unwrap()
    }

    /// Stops an operator where it is: SIGSTOP. They are counted from 0 in the order they were started.
    pub fn pause_operator(&self, index: usize) {
        self.operators[index].pause();
    }

    /// Lets a paused operator go on.
    pub fn resume_operator(&self, index: usize) {
        self.operators[index].resume();
    }

    /// Takes the service away: nobody listens any more, and connections break.
    pub fn service_goes(&mut self) {
        let server = self.server.take().unwrap();
        self.block_on(server.stop()).unwrap();
    }

    /// The service is back where it was, with all it had.
    pub fn service_comes(&mut self) {
        let address = self.endpoint.trim_start_matches("http://").parse().unwrap();
        self.server = Some(self.block_on(async { serve(&self.sandbox, address) }));
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

/// Serves the API on a socket.
fn serve(sandbox: &Sandbox, address: SocketAddr) -> Server {
    Server::start(sandbox.router(), address, None).unwrap()
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
        "--log-level=info,amigo_operator=debug".to_owned(),
    ];
    let run = std::iter::once("run".to_owned());
    run.chain(namespaces).chain(flags).collect()
}
