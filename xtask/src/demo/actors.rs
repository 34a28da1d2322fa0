//! The processes of the demo: the sandbox and the operator, the operator with its real permissions.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use controlplane::{Cluster, Supervised};

use super::display::Display;
use crate::cargo;

/// Where the demo's objects live.
pub(crate) const NAMESPACE: &str = "amigo-demo";

/// Where the operator's own objects live.
const SYSTEM: &str = "amigo-system";

/// The sandbox and the operator. Dropping them ends both.
pub(crate) struct Actors {
    /// The service.
    pub api: String,
    /// Its control address.
    pub control: String,
    /// Where the operator logs.
    pub operator_log: PathBuf,
    _operator: Supervised,
    _sandbox: Supervised,
}

impl Actors {
    /// Starts both and waits until they are ready.
    pub fn start(cluster: &Cluster, publish_seconds: u64, display: &Display) -> Result<Self, Box<dyn Error>> {
        let logs = cluster.directory().join("demo");
        fs::create_dir_all(&logs)?;
        let binaries = cargo::target_directory().join("debug");
        let mut started = None;
        display.step("starts the service in memory", || {
            started = Some(sandbox(&binaries, &logs, publish_seconds)?);
            Ok(())
        })?;
        let (sandbox, api, control) = started.ok_or("the sandbox did not start")?;
        let operator_log = logs.join("operator.log");
        let mut operator = None;
        display.step("starts the operator, with the permissions of its ServiceAccount", || {
            operator = Some(start_operator(cluster, &binaries, &operator_log, &api)?);
            Ok(())
        })?;
        let operator = operator.ok_or("the operator did not start")?;
        Ok(Self { api, control, operator_log, _operator: operator, _sandbox: sandbox })
    }
}

fn sandbox(binaries: &Path, logs: &Path, seconds: u64) -> Result<(Supervised, String, String), Box<dyn Error>> {
    let log = logs.join("sandbox.log");
    let flags = [
        "--listen=127.0.0.1:0".to_owned(),
        "--control-listen=127.0.0.1:0".to_owned(),
        format!("--publish-seconds={seconds}"),
    ];
    let mut server = Supervised::start("amigo-sandbox", &binaries.join("amigo-sandbox"), &flags, &[], log.clone())?;
    let address = |name: &str| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(name).map(|url| url.trim().to_owned()))
    };
    server.wait_until("its addresses", Duration::from_secs(30), || address("control ").is_some())?;
    let found = address("api ").zip(address("control ")).ok_or("the sandbox told no addresses")?;
    Ok((server, found.0, found.1))
}

/// The administrator's kubeconfig with the token of the operator's ServiceAccount in the place of its credentials.
fn service_account_kubeconfig(cluster: &Cluster) -> Result<PathBuf, Box<dyn Error>> {
    let token = cluster.kubectl(&["create", "token", "amigo-operator", "--namespace", SYSTEM, "--duration", "24h"])?;
    let text = cluster.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "--output", "json"])?;
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    for user in config["users"].as_array_mut().into_iter().flatten() {
        user["user"] = serde_json::json!({"token": token.trim()});
    }
    let file = cluster.directory().join("demo").join("operator.kubeconfig");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&file)?.write_all(config.to_string().as_bytes())?;
    Ok(file)
}

fn start_operator(cluster: &Cluster, binaries: &Path, log: &Path, api: &str) -> Result<Supervised, Box<dyn Error>> {
    let crds = controlplane::project_crds();
    cluster.kubectl(&["apply", "--server-side", "--filename", &crds.display().to_string()])?;
    for namespace in [SYSTEM, NAMESPACE] {
        let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        cluster.kubectl_with_input(&["apply", "--filename", "-"], &manifest.to_string())?;
    }
    let rbac = cargo::workspace().join("deploy/kustomize/rbac/operator.yaml");
    cluster.kubectl(&["apply", "--filename", &rbac.display().to_string()])?;
    let kubeconfig = service_account_kubeconfig(cluster)?;
    let flags = [
        "run".to_owned(),
        format!("--allowed-endpoint={api}"),
        format!("--lease-namespace={SYSTEM}"),
        "--listen=127.0.0.1:0".to_owned(),
        "--log-format=text".to_owned(),
        "--grace-period-seconds=2".to_owned(),
    ];
    let environment = [("KUBECONFIG", kubeconfig.display().to_string())];
    let program = binaries.join("amigo-operator");
    let mut operator = Supervised::start("amigo-operator", &program, &flags, &environment, log.to_owned())?;
    let leads = || fs::read_to_string(log).is_ok_and(|text| text.contains("leads"));
    operator.wait_until("leadership", Duration::from_secs(60), leads)?;
    Ok(operator)
}
