//! The API server takes what the chart renders. The operator of some profiles works in all namespaces, so that these tests have a
//! control plane of their own.

use std::sync::OnceLock;
use std::time::Duration;

use controlplane::{Cluster, ControlPlane, Options};
use serde_json::{Value, json};

use crate::helm::{Helm, profile};
use crate::{NAMESPACE, identity, objects, profiles};

/// Kinds that the API server does not know here.
const OPTIONAL: [&str; 3] = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The control plane of these tests, with the definitions and the namespaces of the profiles.
pub fn cluster() -> &'static Cluster {
    static CONTROL_PLANE: OnceLock<ControlPlane> = OnceLock::new();
    CONTROL_PLANE.get_or_init(|| {
        let control_plane = ControlPlane::start(Options::default().crds(controlplane::project_crds())).unwrap();
        for namespace in [NAMESPACE, "travel", "billing", "elsewhere"] {
            control_plane.kubectl(&["create", "namespace", namespace]).unwrap();
        }
        // The server warns of a Pod that may do more than the Pod Security Standard "restricted" lets it.
        let restricted = "pod-security.kubernetes.io/warn=restricted";
        control_plane.kubectl(&["label", "namespace", NAMESPACE, restricted]).unwrap();
        control_plane
    })
}

/// Applies objects as one file.
pub fn apply(cluster: &Cluster, objects: &[Value], more: &[&str]) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    let applied = cluster.kubectl_with_input(&[&apply[..], more].concat(), &list.to_string());
    applied.unwrap_or_else(|error| panic!("{error}"))
}

/// Strict: an unknown or repeated field is an error, and so is a warning.
#[test]
fn the_server_takes_every_profile_without_a_warning() {
    for name in profiles() {
        let known: Vec<_> = Helm::four().objects(&profile(&name));
        let known: Vec<_> =
            known.into_iter().filter(|object| !OPTIONAL.contains(&object["kind"].as_str().unwrap())).collect();
        let said = apply(cluster(), &known, &["--dry-run=server", "--validate=strict", "--warnings-as-errors"]);
        assert_eq!(said.lines().count(), known.len(), "{name}: {said}");
    }
}

#[test]
fn the_server_takes_every_base() {
    for base in ["crd", "rbac", "manager", "default", "namespaced"] {
        let path = crate::repository("deploy/kustomize").join(base);
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server"];
        let apply = [&apply[..], &["--validate=strict", "--warnings-as-errors", "--kustomize"]].concat();
        let said = cluster().kubectl(&[&apply[..], &[path.to_str().unwrap()]].concat());
        assert!(said.is_ok(), "{base}: {}", said.unwrap_err());
    }
}

/// The rendered objects that a process outside of the cluster needs.
pub fn permissions(rendered: &[Value]) -> Vec<Value> {
    let of_kind = |object: &&Value| {
        let kind = object["kind"].as_str().unwrap();
        kind == "ServiceAccount" || kind.ends_with("Role") || kind.ends_with("RoleBinding")
    };
    rendered.iter().filter(of_kind).cloned().collect()
}

/// Takes away what [`apply`] has made.
pub fn remove(objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let delete = ["delete", "--ignore-not-found", "--filename", "-"];
    cluster().kubectl_with_input(&delete, &list).unwrap();
}

/// The samples that people are told to apply.
#[test]
fn the_samples_are_taken() {
    let path = crate::repository("deploy/kustomize/samples");
    let namespace = cluster().create_namespace("samples").unwrap();
    let apply =
        ["apply", "--dry-run=server", "--validate=strict", "--output=yaml", "--namespace", &namespace, "--kustomize"];
    let said = cluster().kubectl(&[&apply[..], &[path.to_str().unwrap()]].concat()).unwrap();
    let taken = objects(&said).remove(0);
    let identities: Vec<_> = taken["items"].as_array().unwrap().iter().map(identity).collect();
    assert_eq!(identities.len(), 6, "{identities:?}");
}

/// The notes name what exists, and say what is missing. The definitions of this cluster are nobody's release.
#[test]
fn what_is_to_be_done_next_is_said() {
    let notes = |helm: &Helm, values: &[&str]| {
        let chart = crate::chart("");
        let mut arguments = vec![
            "install",
            "noted",
            chart.to_str().unwrap(),
            "--namespace",
            NAMESPACE,
            "--dry-run=client",
            "--take-ownership",
        ];
        for value in values {
            arguments.extend(["--set", value]);
        }
        let printed = helm.on(&cluster().admin_kubeconfig(), &arguments).unwrap();
        printed.split_once("NOTES:\n").unwrap().1.to_owned()
    };
    let limited = [
        "namespaces={travel,billing}",
        "defaultOrganization.reference=travel/acme",
        "rbac.secrets=false",
        "crds.enabled=false",
    ];
    for (values, sentences) in [
        (
            &[][..],
            &[
                "works in all namespaces.",
                "kubectl rollout status deployment/noted-amigo-operator --namespace amigo-system",
                "kubectl create secret generic acme-api-key --namespace default",
            ][..],
        ),
        (
            &limited[..],
            &[
                "works in travel, billing.",
                "Tools that name no Organization use travel/acme.",
                "The ServiceAccount noted-amigo-operator needs get, list, watch on Secrets, from you.",
                "crds.enabled=false",
            ],
        ),
        (
            &["rbac.create=false", "secrets.access=poll"],
            &["The ServiceAccount noted-amigo-operator needs get on Secrets, and all other permissions, from you."],
        ),
    ] {
        for (helm, program) in Helm::both() {
            let said = notes(program, values);
            for sentence in sentences {
                assert!(said.contains(sentence), "{helm}, {values:?}: {said}");
            }
        }
    }
}
