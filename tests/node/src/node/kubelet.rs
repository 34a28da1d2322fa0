//! The kubelet: a node that joins the control plane.

use std::fs;

use controlplane::{Cluster, Program, Supervised, print_progress};
use serde_json::json;

use super::{NAME, containerd};
use crate::Result;
use crate::machine::{GATEWAY, Part};

/// Starts it with a certificate of its own, which lets it do what concerns its own Pods.
pub(super) fn start(cluster: &Cluster, part: &Part) -> Result<Supervised> {
    let program = Program::Kubelet.provide(&print_progress)?;
    let kubeconfig = cluster.user_kubeconfig(&format!("system:node:{NAME}"), &["system:nodes"])?;
    let settings = part.directory.join("kubelet.json");
    fs::write(&settings, settings_of(cluster, part).to_string())?;
    let flags = [
        format!("--config={}", settings.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NAME}"),
        format!("--node-ip={GATEWAY}"),
    ];
    Ok(Supervised::start("kubelet", &program, &flags, &[], part.directory.join("kubelet.log"))?)
}

fn settings_of(cluster: &Cluster, part: &Part) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": cluster.client_authority()},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", containerd::SOCKET),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", part.cgroup),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        // Less takes a permission that root need not have.
        "oomScoreAdj": 0,
        "clusterDNS": [GATEWAY],
        "clusterDomain": "cluster.local",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // A full disk of the machine is not what is tested.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}
