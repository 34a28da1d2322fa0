//! Starting, stopping and restarting the servers.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::assets::Assets;
use crate::certificates::{ClientFiles, write_private};
use crate::cluster::{Cluster, Credentials};
use crate::error::{Error, file_error};
use crate::flags;
use crate::ports::Ports;
use crate::probe::{self, ApiProbe};
use crate::progress::print_progress;
use crate::supervised::Supervised;
use crate::workdir::Workdir;

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// How long each server may take to become ready; on an idle machine all together take ten seconds.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How often other ports are tried when somebody else has taken one between choosing and binding.
const PORT_ATTEMPTS: usize = 5;

/// What etcd and the API server log last when a port is taken.
const PORT_TAKEN: &str = "address already in use";

/// What kind of control plane is wanted.
#[derive(Debug, Clone, Default)]
pub struct Options {
    assets: Option<Assets>,
    directory: Option<PathBuf>,
    crds: Vec<PathBuf>,
    api_server_flags: Vec<String>,
    without_controller_manager: bool,
    with_nodes: bool,
}

impl Options {
    /// Uses these programs instead of finding or building them.
    #[must_use]
    pub fn assets(mut self, assets: Assets) -> Self {
        self.assets = Some(assets);
        self
    }

    /// Puts everything into this folder, which stays, instead of a temporary one. It must be new or empty.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Installs the CRDs of this file or folder before the controller manager starts. The garbage collector looks for
    /// new kinds every 30 seconds only: what comes later is collected later.
    #[must_use]
    pub fn crds(mut self, path: impl Into<PathBuf>) -> Self {
        self.crds.push(path.into());
        self
    }

    /// Gives the API server one more flag, such as `--emulated-version=1.34`.
    #[must_use]
    pub fn api_server_flag(mut self, flag: impl Into<String>) -> Self {
        self.api_server_flags.push(flag.into());
        self
    }

    /// Lets nodes join: kubelets get the permissions of nodes, and all controllers run, those that make Pods among them.
    #[must_use]
    pub fn with_nodes(mut self) -> Self {
        self.with_nodes = true;
        self
    }

    /// Leaves the controller manager out until [`ControlPlane::start_controller_manager`]. Without it nothing is
    /// garbage-collected, deleted namespaces stay, and there are no default ServiceAccounts.
    #[must_use]
    pub fn without_controller_manager(mut self) -> Self {
        self.without_controller_manager = true;
        self
    }
}

/// A control plane of one's own, on loopback, with RBAC and an audit log. It is a [`Cluster`] too.
///
/// Dropping it ends the servers. When the process that holds it ends in any other way, SIGKILL included, a watchdog
/// kills them.
#[derive(Debug)]
pub struct ControlPlane {
    // The order of the fields is the order of dropping: the folder goes last.
    controller_manager: Option<Supervised>,
    api_server: Option<Supervised>,
    etcd: Option<Supervised>,
    cluster: Cluster,
    assets: Assets,
    options: Options,
    administrator: ClientFiles,
    controller_manager_user: ClientFiles,
    probe: ApiProbe,
    ports: Ports,
    workdir: Workdir,
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl ControlPlane {
    /// Starts etcd, the API server and the controller manager, and waits until they are ready.
    ///
    /// Programs that are not there are built first, which takes about ten minutes once; progress goes to standard
    /// error.
    pub fn start(options: Options) -> Result<Self, Error> {
        let assets = match options.assets.clone() {
            Some(assets) => assets,
            None => Assets::provide(&print_progress)?,
        };
        let mut control_plane = Self::prepare(options, assets)?;
        let started = control_plane.start_servers();
        // The error names the logs.
        started.inspect_err(|_| control_plane.workdir.keep())?;
        Ok(control_plane)
    }

    fn start_servers(&mut self) -> Result<(), Error> {
        self.start_store_and_api()?;
        self.install_crds()?;
        if self.options.without_controller_manager { Ok(()) } else { self.start_controller_manager() }
    }

    /// Everything that does not depend on a port.
    fn prepare(options: Options, assets: Assets) -> Result<Self, Error> {
        let workdir = Workdir::create(options.directory.clone())?;
        let cluster = Cluster::at(workdir.path().to_owned());
        let certificates = cluster.certificates();
        certificates.create()?;
        let administrator = cluster.issue_client("admin", &["system:masters"])?;
        let controller_manager_user = cluster.issue_client("system:kube-controller-manager", &[])?;
        let probe = ApiProbe::new(&certificates, &administrator)?;
        write_private(&cluster.directory().join("audit-policy.yaml"), flags::AUDIT_POLICY)?;
        link_kubectl(&cluster.kubectl_program(), &assets.kubectl)?;
        Ok(Self {
            controller_manager: None,
            api_server: None,
            etcd: None,
            cluster,
            assets,
            options,
            administrator,
            controller_manager_user,
            probe,
            ports: Ports::pick()?,
            workdir,
        })
    }

    /// Starts etcd and the API server, on other ports if somebody was quicker to take the chosen ones.
    fn start_store_and_api(&mut self) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            self.write_kubeconfigs()?;
            match self.restart_etcd().and_then(|()| self.start_api_server()) {
                Err(Error::ServerEnded { tail, .. }) if attempt < PORT_ATTEMPTS && tail.contains(PORT_TAKEN) => {
                    attempt += 1;
                    self.stop_servers();
                    self.ports = Ports::pick()?;
                    // etcd remembers its addresses.
                    remove_folder(&self.etcd_data())?;
                }
                other => return other,
            }
        }
    }

    fn write_kubeconfigs(&self) -> Result<(), Error> {
        let url = format!("https://127.0.0.1:{}", self.ports.api_server);
        write_private(&self.cluster.url_file(), &url)?;
        let etcd = format!("http://127.0.0.1:{}", self.ports.etcd_client);
        write_private(&self.cluster.etcd_url_file(), &etcd)?;
        let admin = Credentials::Certificate(&self.administrator);
        self.cluster.write_kubeconfig(&self.cluster.admin_kubeconfig(), &admin)?;
        let controller_manager = Credentials::Certificate(&self.controller_manager_user);
        self.cluster.write_kubeconfig(&self.controller_manager_kubeconfig(), &controller_manager)
    }

    fn install_crds(&self) -> Result<(), Error> {
        for path in &self.options.crds {
            let path = path.to_string_lossy();
            self.kubectl(&["apply", "--server-side", "--filename", &path])?;
            self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", &path])?;
        }
        Ok(())
    }

    /// Starts the API server on the ports and data it had, and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result<(), Error> {
        let mut flags = flags::kube_api_server(&self.certificates(), self.directory(), self.ports);
        if self.options.with_nodes {
            flags.extend(flags::kube_api_server_with_nodes(&self.administrator));
        }
        flags.extend(self.options.api_server_flags.iter().cloned());
        // The old one goes first: two cannot listen on one port.
        self.api_server = None;
        let server = Supervised::start(API_SERVER, &self.assets.kube_api_server, &flags, &[], self.log(API_SERVER))?;
        let server = self.api_server.insert(server);
        let (probe, port) = (&self.probe, self.ports.api_server);
        server.wait_until("/readyz", START_LIMIT, || probe.is_ok(port, "/readyz"))?;
        server.wait_until("namespace default", START_LIMIT, || probe.is_ok(port, "/api/v1/namespaces/default"))
    }

    /// Stops the API server as a rolling update would: requests are finished, watches are cut.
    pub fn stop_api_server(&mut self) {
        if let Some(server) = self.api_server.take() {
            server.stop();
        }
    }

    /// Stops the API server and starts it again, on the same port.
    pub fn restart_api_server(&mut self) -> Result<(), Error> {
        self.stop_api_server();
        self.start_api_server()
    }

    /// Kills the API server in the middle of what it does.
    pub fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Kills etcd. The API server stays, and answers with errors or not at all.
    pub fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// Starts etcd, again if it was there before, with the data it had, and waits until it is healthy. The API server
    /// finds it by itself within seconds.
    pub fn restart_etcd(&mut self) -> Result<(), Error> {
        self.etcd = None;
        let flags = flags::etcd(&self.etcd_data(), self.ports);
        let server = Supervised::start(ETCD, &self.assets.etcd, &flags, &[], self.log(ETCD))?;
        let port = self.ports.etcd_client;
        self.etcd.insert(server).wait_until("/health", START_LIMIT, || probe::is_ok(port, "/health"))
    }

    /// Starts the controller manager, and waits for the first things it makes: the ServiceAccount and the root
    /// certificate of the namespace `default`.
    pub fn start_controller_manager(&mut self) -> Result<(), Error> {
        let kubeconfig = self.controller_manager_kubeconfig();
        let flags = flags::kube_controller_manager(&self.certificates(), &kubeconfig, self.options.with_nodes);
        self.controller_manager = None;
        let program = &self.assets.kube_controller_manager;
        let server = Supervised::start(CONTROLLER_MANAGER, program, &flags, &[], self.log(CONTROLLER_MANAGER))?;
        let (probe, port) = (&self.probe, self.ports.api_server);
        self.controller_manager.insert(server).wait_until("ServiceAccount default", START_LIMIT, || {
            probe.is_ok(port, "/api/v1/namespaces/default/serviceaccounts/default")
                && probe.is_ok(port, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
        })
    }

    /// Stops the controller manager.
    pub fn stop_controller_manager(&mut self) {
        if let Some(server) = self.controller_manager.take() {
            server.stop();
        }
    }

    /// The process groups of the running servers; each holds one server and its watchdog.
    #[must_use]
    pub fn process_groups(&self) -> Vec<u32> {
        let servers = [&self.etcd, &self.api_server, &self.controller_manager];
        servers.into_iter().flatten().map(Supervised::process_group).collect()
    }

    /// The users of each server end before it does.
    fn stop_servers(&mut self) {
        let servers = [self.controller_manager.take(), self.api_server.take(), self.etcd.take()];
        servers.into_iter().flatten().for_each(Supervised::stop);
    }

    fn etcd_data(&self) -> PathBuf {
        self.directory().join("etcd")
    }

    fn log(&self, server: &str) -> PathBuf {
        self.directory().join(format!("{server}.log"))
    }

    fn controller_manager_kubeconfig(&self) -> PathBuf {
        self.directory().join("controller-manager.kubeconfig")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop_servers();
    }
}

/// The folder then tells everybody which kubectl belongs to it.
fn link_kubectl(link: &Path, target: &Path) -> Result<(), Error> {
    let folder = link.parent().unwrap_or(link);
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    symlink(target, link).map_err(file_error("create", link))
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    if path.exists() { fs::remove_dir_all(path).map_err(file_error("remove", path)) } else { Ok(()) }
}
