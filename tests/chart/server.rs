//! The API server takes what the chart renders, and the operator works with the permissions and the flags that the chart gives.
//! The operator of some profiles works in all namespaces, so that these tests have a control plane of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use controlplane::{Cluster, ControlPlane, Options, Supervised};
use serde_json::{Value, json};

use crate::helm::{Helm, profile};
use crate::permissions::wait_until_granted;
use crate::rendered::arguments;
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

/// What the operator must have done, by profile: verb, resource, namespace and name.
fn deeds(profile: &str) -> Vec<&'static str> {
    let of_secrets: &[_] = match profile {
        "default" => &["get secrets travel/acme-api-key", "list secrets /", "watch secrets /", "list tools /"],
        "namespaced" => &[
            "get secrets travel/acme-api-key",
            "list secrets travel/",
            "watch secrets billing/",
            "list tools billing/",
        ],
        "named" => &[
            "get secrets travel/acme-api-key",
            "list secrets travel/acme-api-key",
            "watch secrets travel/acme-api-key",
            "list tools /",
        ],
        "namespaced-named" => &[
            "get secrets travel/acme-api-key",
            "list secrets travel/acme-api-key",
            "watch secrets travel/acme-api-key",
            "list tools travel/",
        ],
        "poll" => &["get secrets travel/acme-api-key", "list tools /"],
        "poll-named" => &["get secrets travel/acme-api-key", "list tools travel/"],
        other => panic!("{other}"),
    };
    let mut deeds = of_secrets.to_vec();
    deeds.extend(["get customresourcedefinitions /tools.amigo.ai", "update organizations/status travel/acme"]);
    deeds.extend(["create leases amigo-system/", "update leases amigo-system/amigo-operator", "create events travel/"]);
    if profile != "namespaced-named" {
        deeds.push("get namespaces kube-system/kube-system");
    }
    deeds
}

/// The operator as a process with the command line of the rendered Deployment, and the permissions of its ServiceAccount. It
/// connects an Organization: that needs the Secret, writes the status, and is told as an Event.
#[test]
fn the_operator_works_with_what_each_profile_gives_it() {
    for name in ["default", "namespaced", "named", "namespaced-named", "poll", "poll-named"] {
        let rendered = Helm::four().objects(&profile(name));
        let permissions = permissions(&rendered);
        apply(cluster(), &permissions, &[]);
        wait_until_granted(name, "amigo-operator");
        renew_organization(name);
        let began = requests().len();
        let folder = tempfile::tempdir().unwrap();
        let mut operator = start(&rendered, &folder.path().join("operator.log"));
        for deed in deeds(name) {
            let done = || requests()[began..].iter().any(|request| request.deed == deed && request.code < 300);
            let waited = operator.wait_until("what the operator does", PATIENCE, done);
            waited.unwrap_or_else(|error| panic!("{name}: {deed}: {error}"));
        }
        operator.stop();
        let refused: Vec<_> = requests()[began..].iter().filter(|request| request.code == 403).cloned().collect();
        assert!(refused.is_empty(), "{name}: {refused:?}");
        remove(&permissions);
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

fn start(rendered: &[Value], log: &Path) -> Supervised {
    let kubeconfig = cluster().service_account_kubeconfig(NAMESPACE, "amigo-operator").unwrap();
    let rendered = arguments(rendered).into_iter().map(|argument| match argument.split_once('=') {
        Some(("--listen", _)) => "--listen=127.0.0.1:0".to_owned(),
        Some(("--log-format", _)) => "--log-format=text".to_owned(),
        _ => argument,
    });
    let arguments: Vec<_> = rendered.chain([format!("--allowed-endpoint={NOWHERE}")]).collect();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_amigo-operator"));
    let environment = [("KUBECONFIG", kubeconfig.display().to_string())];
    Supervised::start("amigo-operator", &program, &arguments, &environment, log.to_owned()).unwrap()
}

/// Where nobody listens: what the service would say does not matter here.
const NOWHERE: &str = "http://127.0.0.1:9";

/// An Organization that the operator has not seen yet, under a name of its own, so that each profile has an Event to tell.
fn renew_organization(profile: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-api-key", "namespace": "travel"},
        "stringData": {"api-key": "k", "api-key-id": "i", "user-id": "u"},
    });
    let organization = json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "Organization", "metadata": {"name": "acme", "namespace": "travel"},
        "spec": {"organization": profile, "endpoint": NOWHERE, "credentialsRef": {"name": "acme-api-key"}},
    });
    // The operator that would let the last one go has ended, and the Lease of that one would have to run out first.
    let unbind = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    let _ = cluster().kubectl(&["patch", "organization", "acme", "-n", "travel", "--type=json", "--patch", unbind]);
    for (resource, namespace) in [("organization/acme", "travel"), ("lease/amigo-operator", NAMESPACE)] {
        cluster().kubectl(&["delete", resource, "--namespace", namespace, "--ignore-not-found"]).unwrap();
    }
    apply(cluster(), &[secret, organization], &[]);
}

/// A request of the operator.
#[derive(Debug, Clone)]
struct Request {
    /// Verb, resource, namespace and name.
    deed: String,
    code: u64,
}

/// All requests of the operator so far.
fn requests() -> Vec<Request> {
    let user = format!("system:serviceaccount:{NAMESPACE}:amigo-operator");
    let log = fs::read_to_string(cluster().audit_log()).unwrap();
    // The last line may not be whole yet.
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = events.filter(|event| event["user"]["username"] == *user);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    own.map(|event| {
        let object = &event["objectRef"];
        let subresource = text(&object["subresource"]);
        let slash = if subresource.is_empty() { "" } else { "/" };
        let resource = format!("{}{slash}{subresource}", text(&object["resource"]));
        let place = format!("{}/{}", text(&object["namespace"]), text(&object["name"]));
        let verb = text(&event["verb"]);
        // Nobody knows the name of an Event before.
        let place = if verb == "create" { place.split_inclusive('/').next().unwrap().to_owned() } else { place };
        let deed = format!("{verb} {resource} {place}");
        Request { deed, code: event["responseStatus"]["code"].as_u64().unwrap_or_default() }
    })
    .collect()
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
