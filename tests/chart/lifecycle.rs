//! A release on a real cluster: installed, upgraded, rolled back, uninstalled and installed again, by both versions of Helm.
//! Nothing here makes Pods, so that nothing is waited for. The definitions come and go, so that the test has a control plane of
//! its own.

use std::thread;
use std::time::{Duration, Instant};

use controlplane::{Cluster, ControlPlane, Options};
use serde_json::{Value, json};

use crate::helm::Helm;
use crate::server::PATIENCE;
use crate::{NAMESPACE, chart};

/// A release by one version of Helm.
struct Release<'a> {
    helm: &'a Helm,
    cluster: &'a Cluster,
}

impl Release<'_> {
    fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        self.helm.on(&self.cluster.admin_kubeconfig(), &[arguments, &["--namespace", NAMESPACE]].concat())
    }

    fn chart(&self, verb: &str, release: &str, values: &[&str]) -> Result<String, String> {
        let chart = chart("");
        let mut arguments = vec![verb, release, chart.to_str().unwrap()];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.helm(&arguments)
    }

    fn uninstall(&self, release: &str) {
        self.helm(&["uninstall", release]).unwrap();
    }

    /// A part of an object, empty if there is no such object.
    fn get(&self, namespace: &str, object: &str, part: &str) -> String {
        let output = format!("jsonpath={{{part}}}");
        let get = ["get", object, "--namespace", namespace, "--ignore-not-found", "--output", &output];
        // A kind that is not there is no error here.
        self.cluster.kubectl(&get).unwrap_or_default()
    }

    fn is_there(&self, object: &str) -> bool {
        !self.get(NAMESPACE, object, ".metadata.uid").is_empty()
    }

    fn apply(&self, object: &Value) {
        self.cluster.kubectl_with_input(&["apply", "--filename", "-"], &object.to_string()).unwrap();
    }

    /// The uids of what people would miss: the definitions, a Tool of theirs and the default Organization.
    fn treasures(&self) -> Vec<String> {
        let crds = amigo_operator::resources::crd_names();
        let crds = crds.map(|name| format!("customresourcedefinition/{name}"));
        let objects = crds.into_iter().chain(["tool/weather".to_owned(), "organization/default".to_owned()]);
        objects.map(|object| self.get(NAMESPACE, &object, ".metadata.uid")).collect()
    }
}

const ORGANIZATION: [&str; 3] = [
    "defaultOrganization.create=true",
    "defaultOrganization.spec.organization=acme",
    "defaultOrganization.spec.credentialsRef.name=acme-api-key",
];

#[test]
fn a_release_lives_with_helm_4() {
    live(Helm::four());
}

#[test]
fn a_release_lives_with_helm_3() {
    live(Helm::three());
}

fn live(helm: &Helm) {
    let control_plane = ControlPlane::start(Options::default()).unwrap();
    control_plane.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    let release = Release { helm, cluster: &control_plane };
    is_installed(&release);
    is_upgraded_and_rolled_back(&release);
    let treasures = release.treasures();
    assert!(treasures.iter().all(|uid| !uid.is_empty()), "{treasures:?}");
    monitors_come_with_their_kind(&release);
    outlives_its_release(&release, &treasures);
    is_taken_over(&release, &treasures);
    goes_with_its_release(&release);
}

/// The first installation cannot make an Organization yet, says so, and the next upgrade makes it.
fn is_installed(release: &Release<'_>) {
    let notes = release.chart("install", "amigo-operator", &ORGANIZATION).unwrap();
    for sentence in [
        "works in all namespaces.",
        "kubectl rollout status deployment/amigo-operator --namespace amigo-system",
        "helm upgrade amigo-operator <this chart> --namespace amigo-system --reuse-values",
        "Tools that name no Organization use amigo-system/default.",
    ] {
        assert!(notes.contains(sentence), "{notes}");
    }
    assert!(release.is_there("deployment/amigo-operator"));
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinition", "--all"];
    release.cluster.kubectl(&established).unwrap();
    assert!(!release.is_there("organization/default"));
    let notes = release.chart("upgrade", "amigo-operator", &ORGANIZATION).unwrap();
    assert!(!notes.contains("--reuse-values"), "{notes}");
    assert_eq!(release.get(NAMESPACE, "organization/default", ".spec.organization"), "acme");
    release.apply(&json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "Tool", "metadata": {"name": "weather", "namespace": NAMESPACE},
        "spec": {"description": "Weather."},
    }));
}

fn is_upgraded_and_rolled_back(release: &Release<'_>) {
    let values = [&ORGANIZATION[..], &["replicaCount=2", "leaderElection.namespace=default"]].concat();
    release.chart("upgrade", "amigo-operator", &values).unwrap();
    assert_eq!(release.get(NAMESPACE, "deployment/amigo-operator", ".spec.replicas"), "2");
    assert!(release.is_there("poddisruptionbudget/amigo-operator"));
    assert!(!release.is_there("role/amigo-operator-lease"), "it is where the Lease is");
    release.helm(&["rollback", "amigo-operator"]).unwrap();
    assert_eq!(release.get(NAMESPACE, "deployment/amigo-operator", ".spec.replicas"), "1");
    assert!(!release.is_there("poddisruptionbudget/amigo-operator"));
    assert!(release.is_there("role/amigo-operator-lease"));
    assert_eq!(release.get("default", "role/amigo-operator-lease", ".metadata.uid"), "");
    // As the how-to page upgrades: values of before stay, those of a new chart come.
    let chart = chart("");
    let upgrade = ["upgrade", "amigo-operator", chart.to_str().unwrap(), "--reset-then-reuse-values"];
    release.helm(&[&upgrade[..], &["--set", "image.registry=a.example"]].concat()).unwrap();
    let image = ".spec.template.spec.containers[0].image";
    assert_eq!(release.get(NAMESPACE, "deployment/amigo-operator", image), "a.example/amigo-operator:0.1.0");
    assert!(release.is_there("organization/default"), "the value that made it stays");
}

/// With the cluster's own knowledge of kinds, not the one that Helm is told.
fn monitors_come_with_their_kind(release: &Release<'_>) {
    let values = |mode: &str| {
        let mode = format!("serviceMonitor.renderMode={mode}");
        release.chart(
            "upgrade",
            "amigo-operator",
            &[&ORGANIZATION[..], &["serviceMonitor.enabled=true", &mode]].concat(),
        )
    };
    values("skipIfMissing").unwrap();
    let refused = values("failIfMissing").unwrap_err();
    assert!(refused.contains("the cluster does not know monitoring.coreos.com/v1/ServiceMonitor"), "{refused}");
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    release.apply(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }));
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd/servicemonitors.monitoring.coreos.com"];
    release.cluster.kubectl(&wait).unwrap();
    wait_until("the server tells of the new kind", || values("failIfMissing").is_ok());
    assert!(release.is_there("servicemonitor/amigo-operator"));
}

fn outlives_its_release(release: &Release<'_>, treasures: &[String]) {
    release.uninstall("amigo-operator");
    for object in ["deployment", "serviceaccount", "clusterrole", "clusterrolebinding", "service", "servicemonitor"] {
        assert!(!release.is_there(&format!("{object}/amigo-operator")), "{object}");
    }
    assert_eq!(release.treasures(), treasures, "after the release has gone");
    let listed = release.cluster.kubectl(&["get", "amigo", "--namespace", NAMESPACE, "--output", "name"]).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["organization.amigo.ai/default", "tool.amigo.ai/weather"]);
    release.chart("install", "amigo-operator", &ORGANIZATION).unwrap();
    assert_eq!(release.treasures(), treasures, "after it is installed again");
    assert!(release.is_there("deployment/amigo-operator"));
    release.uninstall("amigo-operator");
}

/// Another release is told that the definitions belong to the first, and can take them over.
fn is_taken_over(release: &Release<'_>, treasures: &[String]) {
    let values = ["fullnameOverride=amigo-operator"];
    let refused = release.chart("install", "another", &values).unwrap_err();
    assert!(refused.contains("cannot be imported into the current release"), "{refused}");
    let chart = chart("");
    let install = ["install", "another", chart.to_str().unwrap(), "--take-ownership", "--set", values[0]];
    release.helm(&install).unwrap();
    assert_eq!(release.treasures(), treasures, "after they were taken over");
    release.uninstall("another");
    assert_eq!(release.treasures(), treasures, "after that release has gone");
}

/// Only who says so loses the definitions, and with them all objects. Nobody acts on them any more, so that a finalizer has to
/// be taken away by hand.
fn goes_with_its_release(release: &Release<'_>) {
    let bind = r#"{"metadata": {"finalizers": ["amigo.ai/finalizer"]}}"#;
    let patch = ["patch", "tool/weather", "--namespace", NAMESPACE, "--type=merge", "--patch"];
    release.cluster.kubectl(&[&patch[..], &[bind]].concat()).unwrap();
    let chart = chart("");
    let install = ["install", "another", chart.to_str().unwrap(), "--take-ownership", "--set", "crds.keep=false"];
    release.helm(&install).unwrap();
    release.uninstall("another");
    wait_until("the Tool is deleted", || {
        !release.get(NAMESPACE, "tool/weather", ".metadata.deletionTimestamp").is_empty()
    });
    let unbind = r#"{"metadata": {"finalizers": null}}"#;
    release.cluster.kubectl(&[&patch[..], &[unbind]].concat()).unwrap();
    wait_until("definitions and objects go", || release.treasures().iter().all(String::is_empty));
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(200));
    }
}
