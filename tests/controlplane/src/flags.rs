//! The command lines of the servers.

use std::fmt::Display;
use std::path::Path;

use crate::certificates::{Certificates, ClientFiles};
use crate::ports::Ports;

/// Who did what, without a body of any request or answer: no Secret's value can get into the log.
pub(crate) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// The controllers that a test of an operator needs where no Pods run.
const CONTROLLERS: [&str; 6] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "clusterrole-aggregation-controller",
    "root-ca-certificate-publisher-controller",
];

pub(crate) fn etcd(data: &Path, ports: Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd_client);
    vec![
        flag("data-dir", data.display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", format!("http://127.0.0.1:{}", ports.etcd_peer)),
        // The data need not survive a power cut, and each write is quicker.
        flag("unsafe-no-fsync", true),
        flag("log-level", "warn"),
    ]
}

pub(crate) fn kube_api_server(certificates: &Certificates, folder: &Path, ports: Ports) -> Vec<String> {
    vec![
        flag("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd_client)),
        // So that a person, or a test, can read what is stored.
        flag("storage-media-type", "application/json"),
        flag("cert-dir", certificates.folder().display()),
        flag("client-ca-file", certificates.client_ca().display()),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", ports.api_server),
        // Without a default route the server finds no address of its own and ends. This one is for documentation
        // (RFC 5737); nobody ever asks for it, because nobody writes it to an Endpoints object.
        flag("advertise-address", "192.0.2.1"),
        flag("endpoint-reconciler-type", "none"),
        flag("service-cluster-ip-range", "10.0.0.0/24"),
        flag("authorization-mode", "RBAC"),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("service-account-key-file", certificates.service_account_public_key().display()),
        flag("service-account-signing-key-file", certificates.service_account_key().display()),
        flag("audit-policy-file", folder.join("audit-policy.yaml").display()),
        flag("audit-log-path", folder.join("audit.log").display()),
        // In megabytes. A rotated log would take lines away from the test that reads it.
        flag("audit-log-maxsize", 10_000),
        // No 429 answers when a test is quick.
        flag("enable-priority-and-fairness", false),
    ]
}

/// What the API server needs beside that where nodes are: each kubelet may do what concerns its own Pods, and the server may ask
/// kubelets for logs, as the administrator.
pub(crate) fn kube_api_server_with_nodes(administrator: &ClientFiles) -> Vec<String> {
    vec![
        // Beside RBAC, which is given above: the flag adds up.
        flag("authorization-mode", "Node"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("kubelet-client-certificate", administrator.certificate.display()),
        flag("kubelet-client-key", administrator.key.display()),
        // Names of nodes lead nowhere.
        flag("kubelet-preferred-address-types", "InternalIP"),
    ]
}

pub(crate) fn kube_controller_manager(certificates: &Certificates, kubeconfig: &Path, with_nodes: bool) -> Vec<String> {
    let controllers = if with_nodes { "*".to_owned() } else { CONTROLLERS.join(",") };
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("leader-elect", false),
        flag("use-service-account-credentials", true),
        flag("service-account-private-key-file", certificates.service_account_key().display()),
        flag("root-ca-file", certificates.serving_ca().display()),
        flag("secure-port", 0),
        flag("kube-api-qps", 500),
        flag("kube-api-burst", 1000),
        flag("controllers", controllers),
    ]
}

fn flag(name: &str, value: impl Display) -> String {
    format!("--{name}={value}")
}
