//! What a scenario runs in: a control plane of its own, the service in memory on a socket, and the operator as a process
//! with the permissions of its ServiceAccount, as it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use amigo_operator::clock::Clock;
use amigo_operator::sandbox::serve::Server;
use amigo_operator::sandbox::{Account, Counters, Operation, Sandbox, Settings};
use controlplane::{ControlPlane, Options, Supervised};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::process::Process;
use crate::readiness::Readiness;
use crate::{Arguments, Result};

/// Where all objects live.
pub(crate) const NAMESPACE: &str = "bench";

/// Where the operator is at home.
const SYSTEM: &str = "amigo-system";

/// The organization at the service.
pub(crate) const ACME: &str = "acme";

/// The longest that the operator may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What a scenario runs in. Ends with everything that it started.
pub(crate) struct World {
    operator: Option<Running>,
    pub client: Client,
    pub sandbox: Sandbox,
    pub ready: Readiness,
    pub audit: Audit,
    server: Server,
    program: PathBuf,
    log_level: String,
    directory: PathBuf,
    kubeconfig: PathBuf,
    control_plane: ControlPlane,
}

/// The operator as it runs.
struct Running {
    supervised: Supervised,
    log: PathBuf,
}

impl World {
    /// Starts all but the operator.
    pub(crate) async fn start(arguments: &Arguments, service: Settings) -> Result<Self> {
        let control_plane =
            tokio::task::spawn_blocking(|| ControlPlane::start(Options::default().crds(controlplane::project_crds())))
                .await??;
        let client = client(&control_plane.admin_kubeconfig()).await?;
        let sandbox = Sandbox::with_account(service, Clock::System, &Account::default());
        let server = Server::start(sandbox.router(), SocketAddr::from(([127, 0, 0, 1], 0)), None)?;
        let kubeconfig = install(&control_plane, &server.url())?;
        let user = format!("system:serviceaccount:{SYSTEM}:amigo-operator");
        Ok(Self {
            operator: None,
            ready: Readiness::start(&client),
            audit: Audit { log: control_plane.audit_log(), user },
            program: arguments.operator.clone(),
            log_level: arguments.log_level.clone(),
            directory: arguments.directory.clone(),
            client,
            sandbox,
            server,
            kubeconfig,
            control_plane,
        })
    }

    /// Where the service is.
    pub(crate) fn endpoint(&self) -> String {
        self.server.url()
    }

    /// A client with the operator's ServiceAccount.
    pub(crate) async fn operators_client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    /// Starts the operator and waits until it leads; when it was started.
    pub(crate) async fn start_operator(&mut self) -> Result<Instant> {
        fs::create_dir_all(&self.directory)?;
        let log = self.directory.join("operator.log");
        let _ = fs::remove_file(&log);
        let flags = [
            "run".to_owned(),
            format!("--allowed-endpoint={}", self.endpoint()),
            format!("--lease-namespace={SYSTEM}"),
            "--listen=127.0.0.1:0".to_owned(),
            "--log-format=text".to_owned(),
            format!("--log-level={}", self.log_level),
            "--grace-period-seconds=1".to_owned(),
        ];
        let variables = [("KUBECONFIG", self.kubeconfig.display().to_string())];
        let began = Instant::now();
        let supervised = Supervised::start("amigo-operator", &self.program, &flags, &variables, log.clone())?;
        self.operator = Some(Running { supervised, log });
        self.logged("leads").await?;
        Ok(began)
    }

    /// Waits until the operator has logged this.
    pub(crate) async fn logged(&self, text: &str) -> Result<Instant> {
        let running = self.operator.as_ref().ok_or("no operator runs")?;
        let began = Instant::now();
        while !fs::read_to_string(&running.log).is_ok_and(|log| log.contains(text)) {
            if began.elapsed() > START_LIMIT {
                return Err(format!("the operator has not logged {text:?}: see {}", running.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Instant::now())
    }

    /// Ends the operator as Kubernetes does.
    pub(crate) async fn stop_operator(&mut self) -> Result<()> {
        if let Some(running) = self.operator.take() {
            tokio::task::spawn_blocking(move || running.supervised.stop()).await?;
        }
        Ok(())
    }

    /// The operator's process.
    pub(crate) fn process(&self) -> Result<Process> {
        let running = self.operator.as_ref().ok_or("no operator runs")?;
        Process::child(running.supervised.process_group(), "amigo-operator")
    }

    /// Processor time so far of whom a fleet keeps busy, by name: the servers, the operator, and this process with the service
    /// and the client that applies.
    pub(crate) fn processor_times(&self) -> Result<Times> {
        let mut times = Times::from([("the bench itself", Process::this().processor_time()?)]);
        let groups = self.control_plane.process_groups();
        for name in ["etcd", "kube-apiserver"] {
            let server = groups.iter().find_map(|group| Process::child(*group, name).ok());
            times.insert(name, server.ok_or_else(|| format!("no process {name}"))?.processor_time()?);
        }
        if self.operator.is_some() {
            times.insert("the operator", self.process()?.processor_time()?);
        }
        Ok(times)
    }

    /// Changes the Organization's spec.
    pub(crate) fn patch_organization(&self, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        let arguments = ["patch", "organization", ACME, "--namespace", NAMESPACE, "--type=merge", "--patch", &patch];
        self.control_plane.kubectl(&arguments)?;
        Ok(())
    }

    /// Calls that have arrived at the service, by operation.
    pub(crate) fn calls(&self, operation: Operation) -> u64 {
        self.sandbox.calls(operation)
    }

    /// All that has arrived at the service.
    pub(crate) fn counters(&self) -> Counters {
        self.sandbox.counters()
    }
}

/// Processor time by the name of a process.
pub(crate) type Times = BTreeMap<&'static str, Duration>;

/// All calls of these counters.
pub(crate) fn total(counters: &Counters) -> u64 {
    counters.values().map(|counter| counter.calls).sum()
}

/// A client as this kubeconfig says. Nothing is retried: what is measured is what was asked.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Installs as the README says, and connects the organization; the kubeconfig of the operator's ServiceAccount.
fn install(cluster: &controlplane::Cluster, endpoint: &str) -> Result<PathBuf> {
    for namespace in [SYSTEM, NAMESPACE] {
        cluster.kubectl(&["create", "namespace", namespace])?;
    }
    let rbac = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kustomize/rbac/operator.yaml");
    cluster.kubectl(&["apply", "--filename", &rbac.display().to_string()])?;
    let account = Account::default();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-api-key"},
        "stringData": {"api-key": account.api_key, "api-key-id": account.api_key_id, "user-id": account.user_id},
    });
    let organization = json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "Organization", "metadata": {"name": ACME},
        "spec": {
            "organization": account.organization, "endpoint": endpoint, "credentialsRef": {"name": "acme-api-key"},
        },
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [secret, organization]});
    cluster.kubectl_with_input(&["apply", "--namespace", NAMESPACE, "--filename", "-"], &list.to_string())?;
    Ok(cluster.service_account_kubeconfig(SYSTEM, "amigo-operator")?)
}
