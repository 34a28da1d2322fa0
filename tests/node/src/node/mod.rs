//! A node that runs Pods: a control plane, containerd, the scheduler and the kubelet, and what stands in for the parts of a
//! cluster that would need more kernel than every machine has: DNS, and the way to the Service `kubernetes`.

mod containerd;
mod forward;
mod kubelet;
mod names;

use std::ops::Deref;
use std::path::{Path, PathBuf};

use controlplane::{Cluster, ControlPlane, Options, Program, Supervised, print_progress};
use serde_json::Value;

pub(crate) use self::containerd::process_of;
pub(crate) use self::names::Names;
use crate::Result;
use crate::machine::{self, GATEWAY, Part};
use crate::wait::PATIENCE;

/// The name of the node.
const NAME: &str = "node";

/// A node with its control plane. It ends with this process, see [`machine`].
pub(crate) struct Node {
    // In this order they end.
    _kubelet: Supervised,
    _scheduler: Supervised,
    _containerd: Supervised,
    control_plane: ControlPlane,
    directory: PathBuf,
    /// Who is found by DNS.
    pub names: Names,
}

impl Deref for Node {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.control_plane
    }
}

impl Node {
    /// Starts everything, with these images, and waits until the node takes Pods.
    pub fn start(part: &Part, images: &[PathBuf]) -> Result<Self> {
        let names = Names::serve(GATEWAY)?;
        let directory = &part.directory;
        let control_plane = ControlPlane::start(Options::default().directory(directory.join("cluster")).with_nodes())?;
        forward::to_api_server(&control_plane.url()?)?;
        let plugins = machine::network_plugins().ok_or("the network plugins are gone")?;
        let containerd = containerd::start(directory, plugins)?;
        for image in images {
            containerd::import(image)?;
        }
        let scheduler = start_scheduler(&control_plane, directory)?;
        let mut kubelet = kubelet::start(&control_plane, part)?;
        kubelet.wait_until("the node is Ready", PATIENCE, || is_ready(&control_plane))?;
        let directory = directory.clone();
        Ok(Self { _kubelet: kubelet, _scheduler: scheduler, _containerd: containerd, control_plane, directory, names })
    }

    /// An object or a list of them; null if it is not there.
    pub fn get(&self, namespace: &str, object: &str) -> Result<Value> {
        let mut get = vec!["get", object, "--output=json", "--ignore-not-found"];
        if !namespace.is_empty() {
            get.extend(["--namespace", namespace]);
        }
        let text = self.kubectl(&get)?;
        if text.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// Applies a manifest, as a user does.
    pub fn apply(&self, namespace: &str, manifest: &Value) -> Result<()> {
        let apply = ["apply", "--server-side", "--namespace", namespace, "--filename", "-"];
        self.kubectl_with_input(&apply, &manifest.to_string())?;
        Ok(())
    }

    /// Waits until an object is Ready.
    pub fn ready(&self, namespace: &str, object: &str) -> Result<()> {
        let limit = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", object, "--for=condition=Ready", "--namespace", namespace, &limit])?;
        Ok(())
    }

    /// The folder of all files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a person wants to see when something has failed.
    pub fn tell(&self) {
        for arguments in [
            &["get", "pods", "--all-namespaces", "--output=wide"][..],
            &["get", "amigo", "--all-namespaces"],
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
            &["logs", "--namespace", "amigo-system", "--selector=app.kubernetes.io/component=operator", "--tail=40"],
        ] {
            println!("\n$ kubectl {}", arguments.join(" "));
            println!("{}", self.kubectl(arguments).unwrap_or_else(|error| error.to_string()));
        }
        println!("\nthe logs of the node are in {}", self.directory.display());
    }
}

fn is_ready(cluster: &Cluster) -> bool {
    let ready = "--output=jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    cluster.kubectl(&["get", "nodes", ready]).is_ok_and(|status| status.trim() == "True")
}

fn start_scheduler(cluster: &Cluster, directory: &Path) -> Result<Supervised> {
    let program = Program::KubeScheduler.provide(&print_progress)?;
    let kubeconfig = cluster.user_kubeconfig("system:kube-scheduler", &[])?;
    let flags =
        [format!("--kubeconfig={}", kubeconfig.display()), "--leader-elect=false".into(), "--secure-port=0".into()];
    Ok(Supervised::start("kube-scheduler", &program, &flags, &[], directory.join("kube-scheduler.log"))?)
}
