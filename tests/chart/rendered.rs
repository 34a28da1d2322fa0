//! What the chart renders.

use std::fs;

use serde_json::{Value, json};

use crate::helm::{Helm, profile};
use crate::{NAMESPACE, chart, has, identity, only, profiles, repository};

/// What the API server takes for the truth about a Pod's image.
const IMAGE: &str = "/spec/template/spec/containers/0/image";

#[test]
fn both_versions_of_helm_render_the_same_and_each_time_again() {
    for name in profiles() {
        let values = profile(&name);
        let render = |helm: &Helm| helm.render(&values, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let first = render(Helm::four());
        assert_eq!(first, render(Helm::four()), "{name}: Helm 4, twice");
        let by_identity = |helm: &Helm| {
            let mut objects = helm.objects(&values);
            objects.sort_by_key(identity);
            objects
        };
        assert_eq!(by_identity(Helm::four()), by_identity(Helm::three()), "{name}: Helm 4 and Helm 3");
    }
}

#[test]
fn lint_has_nothing_to_say() {
    for (helm, program) in Helm::both() {
        for name in profiles() {
            let (chart, values) = (chart(""), chart("ci").join(format!("{name}-values.yaml")));
            let (chart, values) = (chart.to_str().unwrap(), values.to_str().unwrap());
            let lint = ["lint", chart, "--strict", "--quiet", "--kube-version", "1.37.0", "--values", values];
            let said = program.run(&lint, "").unwrap_or_else(|error| panic!("{helm}, {name}: {error}"));
            assert_eq!(said.trim(), "", "{helm}, {name}");
        }
    }
}

#[test]
fn an_older_kubernetes_is_refused_and_suffixes_of_vendors_are_not() {
    for (helm, program) in Helm::both() {
        let render = |version: &str| program.render("{}", &["--kube-version", version]);
        let refused = render("1.32.9").unwrap_err();
        assert!(refused.contains(">=1.33.0-0"), "{helm}: {refused}");
        for version in ["1.33.0", "1.34.1-gke.100", "1.33.2-eks-abcdef"] {
            assert!(render(version).is_ok(), "{helm}: {version}");
        }
    }
}

#[test]
fn every_object_has_the_labels_and_no_two_are_the_same() {
    for name in profiles() {
        let objects = Helm::four().objects(&profile(&name));
        let mut identities: Vec<_> = objects.iter().map(identity).collect();
        identities.sort_unstable();
        let all = identities.len();
        identities.dedup();
        assert_eq!(identities.len(), all, "{name}: {identities:?}");
        let own = objects.iter().filter(|object| !identity(object).ends_with("-extra"));
        for object in own.filter(|object| !identity(object).ends_with("-text")) {
            let labels = &object["metadata"]["labels"];
            for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
                let label = format!("app.kubernetes.io/{label}");
                assert!(labels[&label].is_string(), "{name}: {} lacks {label}", identity(object));
            }
            assert_eq!(labels["helm.sh/chart"], "amigo-operator-0.1.0", "{name}: {}", identity(object));
        }
    }
}

/// A selector cannot be changed, so that nothing may stand in it that changes with a version.
#[test]
fn selectors_hold_what_never_changes_and_find_the_pods() {
    for name in profiles() {
        let objects = Helm::four().objects(&profile(&name));
        let deployment = only(&objects, "Deployment");
        let selector = deployment["spec"]["selector"]["matchLabels"].as_object().unwrap().clone();
        let mut keys: Vec<_> = selector.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let wanted = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"];
        assert_eq!(keys, wanted, "{name}");
        let pod = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(key, value)| pod[key] == *value), "{name}: {pod}");
        assert!(pod["helm.sh/chart"].is_null(), "{name}: a new chart alone would replace the Pods");
        let selector = Value::Object(selector);
        for (kind, pointer) in [
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("ServiceMonitor", "/spec/selector/matchLabels"),
            ("PodMonitor", "/spec/selector/matchLabels"),
        ] {
            if has(&objects, kind) {
                assert_eq!(only(&objects, kind).pointer(pointer), Some(&selector), "{name}: {kind}");
            }
        }
    }
}

/// Pod Security Standard "restricted", and what scanners ask for beyond it.
#[test]
fn the_pod_may_do_as_little_as_possible() {
    for name in profiles() {
        let objects = Helm::four().objects(&profile(&name));
        let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        for kind in ["requests", "limits"] {
            for resource in ["cpu", "memory", "ephemeral-storage"] {
                assert!(container["resources"][kind][resource].is_string(), "{name}: {kind} {resource}");
            }
        }
        let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(volumes.iter().all(|volume| volume["hostPath"].is_null()), "{name}");
        assert_ne!(container["livenessProbe"], container["readinessProbe"], "{name}");
        let user = if name == "podmonitor" { Value::Null } else { json!(65532) };
        assert_eq!(pod["securityContext"].get("runAsUser").cloned().unwrap_or_default(), user, "{name}");
    }
}

#[test]
fn a_token_is_mounted_where_it_is_needed_only() {
    let objects = Helm::four().objects("{}");
    assert_eq!(only(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    let objects = Helm::four().objects("{serviceAccount: {create: false, name: other}}");
    assert!(!has(&objects, "ServiceAccount"));
    let bindings = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"));
    for binding in bindings {
        assert_eq!(binding["subjects"][0]["name"], "other", "{}", identity(binding));
    }
}

/// Values as the how-to page gives them are values that the chart takes.
#[test]
fn the_values_of_the_page_are_taken() {
    let page = fs::read_to_string(repository("docs/how-to/install-helm.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "{blocks:?}");
    for values in blocks {
        assert!(has(&Helm::four().objects(values), "Deployment"), "{values}");
    }
}

/// Values, and what then stands in the one object of a kind; null for what is not there.
#[test]
fn values_go_where_they_belong() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let term = "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";
    let pod = |pointer: &str| format!("/spec/template{pointer}");
    for (values, kind, pointer, expected) in [
        ("{}", "Deployment", IMAGE, json!("amigo-operator:0.1.0")),
        ("{image: {tag: v2}}", "Deployment", IMAGE, json!("amigo-operator:v2")),
        (
            &format!("{{image: {{tag: v2, digest: '{digest}'}}}}"),
            "Deployment",
            IMAGE,
            json!(format!("amigo-operator@{digest}")),
        ),
        ("{image: {registry: a.example}}", "Deployment", IMAGE, json!("a.example/amigo-operator:0.1.0")),
        (
            "{global: {imageRegistry: b.example/mirror}, image: {registry: a.example, repository: x/y}}",
            "Deployment",
            IMAGE,
            json!("b.example/mirror/x/y:0.1.0"),
        ),
        ("{}", "Deployment", "/spec/replicas", json!(1)),
        ("{}", "Deployment", "/spec/strategy/type", json!("RollingUpdate")),
        ("{leaderElection: {enabled: false}}", "Deployment", "/spec/strategy", json!({"type": "Recreate"})),
        ("{}", "Deployment", &pod("/spec/affinity"), json!(null)),
        ("{}", "Deployment", &pod("/spec/topologySpreadConstraints"), json!(null)),
        ("{replicaCount: 2}", "Deployment", &pod(&format!("{term}/topologyKey")), json!("kubernetes.io/hostname")),
        (
            "{replicaCount: 2, affinity: {nodeAffinity: {}}}",
            "Deployment",
            &pod(&format!("{term}/topologyKey")),
            json!("kubernetes.io/hostname"),
        ),
        (
            "{replicaCount: 2, affinity: {podAntiAffinity: {}}}",
            "Deployment",
            &pod("/spec/affinity/podAntiAffinity"),
            json!({}),
        ),
        (
            "{replicaCount: 2}",
            "Deployment",
            &pod("/spec/topologySpreadConstraints/0/topologyKey"),
            json!("topology.kubernetes.io/zone"),
        ),
        ("{hostUsers: false}", "Deployment", &pod("/spec/hostUsers"), json!(false)),
        ("{}", "Deployment", &pod("/spec/hostUsers"), json!(null)),
        (
            "{terminationGracePeriodSeconds: 1000}",
            "Deployment",
            &pod("/spec/terminationGracePeriodSeconds"),
            json!(1000),
        ),
        ("{fullnameOverride: other}", "Deployment", "/metadata/name", json!("other")),
        ("{nameOverride: other}", "Deployment", "/metadata/name", json!("amigo-operator-other")),
        ("{namespaceOverride: other}", "Deployment", "/metadata/namespace", json!("other")),
        ("{replicaCount: 2}", "PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
        ("{replicaCount: 2}", "PodDisruptionBudget", "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow")),
        (
            "{replicaCount: 2, podDisruptionBudget: {minAvailable: 1}}",
            "PodDisruptionBudget",
            "/spec/minAvailable",
            json!(1),
        ),
        (
            "{replicaCount: 2, podDisruptionBudget: {minAvailable: 1}}",
            "PodDisruptionBudget",
            "/spec/maxUnavailable",
            json!(null),
        ),
        ("{service: {port: 80}}", "Service", "/spec/ports/0/port", json!(80)),
        (
            "{networkPolicy: {enabled: true, egressPorts: [8443]}}",
            "NetworkPolicy",
            "/spec/egress/1/ports",
            json!([{"port": 8443, "protocol": "TCP"}]),
        ),
    ] {
        let objects = Helm::four().objects(values);
        let found = only(&objects, kind).pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{values}: {pointer}");
    }
}

/// Values, a flag of the operator's command line, and what it is set to.
#[test]
fn settings_become_flags() {
    for (values, flag, expected) in [
        ("{}", "--listen", &["0.0.0.0:8080"][..]),
        ("{http: {address: '[::]', port: 9090}}", "--listen", &["[::]:9090"]),
        ("{}", "--namespace", &[]),
        ("{namespaces: [a, b]}", "--namespace", &["a", "b"]),
        ("{ownerId: 'the blue one'}", "--owner-id", &["the blue one"]),
        ("{defaultOrganization: {reference: a/b}}", "--default-organization", &["a/b"]),
        (
            "{allowedEndpoints: ['https://a.example', 'https://*.b.example']}",
            "--allowed-endpoint",
            &["https://a.example", "https://*.b.example"],
        ),
        ("{}", "--leader-elect", &["true"]),
        ("{}", "--lease-namespace", &[NAMESPACE]),
        ("{leaderElection: {namespace: leases}}", "--lease-namespace", &["leases"]),
        ("{}", "--lease-name", &[]),
        ("{leaderElection: {leaseName: travel.tools}}", "--lease-name", &["travel.tools"]),
        ("{leaderElection: {enabled: false}}", "--leader-elect", &["false"]),
        ("{leaderElection: {enabled: false}}", "--lease-namespace", &[]),
        ("{}", "--secret-access", &["watch"]),
        ("{}", "--secret-poll-seconds", &[]),
        ("{secrets: {access: poll, pollSeconds: 30}}", "--secret-poll-seconds", &["30"]),
        ("{}", "--only-labelled-secrets", &[]),
        ("{secrets: {onlyLabelled: true}}", "--only-labelled-secrets", &["true"]),
        ("{}", "--metrics-listen", &[]),
        ("{metrics: {secure: {enabled: true}}}", "--metrics-listen", &["0.0.0.0:8443"]),
        ("{metrics: {secure: {enabled: true}}}", "--metrics-cert-file", &[]),
        (
            "{metrics: {secure: {enabled: true, certificateSecret: a}}}",
            "--metrics-cert-file",
            &["/etc/amigo-operator/metrics/tls.crt"],
        ),
        ("{gracePeriodSeconds: 20}", "--grace-period-seconds", &["20"]),
        ("{logging: {format: text, level: debug}}", "--log-format", &["text"]),
        ("{logging: {format: text, level: debug}}", "--log-level", &["debug"]),
        ("{ca: {configMap: authorities, key: root.pem}}", "--ca-file", &["/etc/amigo-operator/ca/root.pem"]),
        ("{extraArgs: [--new=1]}", "--new", &["1"]),
    ] {
        let arguments = arguments(&Helm::four().objects(values));
        assert_eq!(arguments[0], "run", "{values}");
        let prefix = format!("{flag}=");
        let found: Vec<_> = arguments.iter().filter_map(|argument| argument.strip_prefix(&prefix)).collect();
        assert_eq!(found, expected, "{values}: {flag}");
    }
}

/// The arguments of the operator's container.
pub fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

/// An operator of the same version must know every flag, or its Pod never starts.
#[test]
fn the_operator_knows_every_flag() {
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: amigo_operator::operator::settings::Settings,
    }

    for name in profiles() {
        // That profile has a flag of the future.
        let arguments = arguments(&Helm::four().objects(&profile(&name)));
        let known = arguments.iter().filter(|argument| *argument != "--future=yes");
        let parsed = Cli::try_parse_from(known).map(|cli| cli.settings.allowed_endpoints());
        parsed.unwrap_or_else(|error| panic!("{name}: {error}")).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn objects_of_optional_kinds_depend_on_the_cluster() {
    for (value, kind) in
        [("serviceMonitor", "ServiceMonitor"), ("podMonitor", "PodMonitor"), ("prometheusRule", "PrometheusRule")]
    {
        let known = format!("monitoring.coreos.com/v1/{kind}");
        let values = |mode: &str| format!("{{{value}: {{enabled: true, renderMode: {mode}}}}}");
        for (helm, program) in Helm::both() {
            let is_there = |mode: &str, more: &[&str]| has(&program.objects_with(&values(mode), more), kind);
            assert!(!is_there("skipIfMissing", &[]), "{helm}: {kind}");
            assert!(is_there("skipIfMissing", &["--api-versions", &known]), "{helm}: {kind}");
            assert!(is_there("alwaysRender", &[]), "{helm}: {kind}");
            assert!(is_there("failIfMissing", &["--api-versions", &known]), "{helm}: {kind}");
            let refused = program.render(&values("failIfMissing"), &[]).unwrap_err();
            let sentence = format!("{value}: the cluster does not know {known}: install its definition first");
            assert!(refused.contains(&sentence), "{helm}: {refused}");
        }
        assert!(!has(&Helm::four().objects("{}"), kind), "{kind} is asked for");
    }
}

#[test]
fn the_default_organization_stays_when_the_release_goes() {
    let values =
        "{defaultOrganization: {create: true, name: acme, spec: {organization: acme, credentialsRef: {name: k}}}}";
    let known = ["--api-versions", "amigo.ai/v1alpha1/Organization"];
    assert!(!has(&Helm::four().objects(values), "Organization"), "Helm would refuse the whole release");
    let objects = Helm::four().objects_with(values, &known);
    let organization = only(&objects, "Organization");
    assert_eq!(organization["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(organization["metadata"]["namespace"], NAMESPACE);
    assert_eq!(organization["spec"], json!({"organization": "acme", "credentialsRef": {"name": "k"}}));
    let flag = format!("--default-organization={NAMESPACE}/acme");
    assert!(arguments(&objects).contains(&flag), "{:?}", arguments(&objects));
}

#[test]
fn definitions_are_kept_unless_told_otherwise() {
    let crds = |values: &str| -> Vec<Value> {
        let objects = Helm::four().objects(values);
        objects.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect()
    };
    let policy = |crd: &Value| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    assert!(crds("{}").iter().all(|crd| policy(crd) == "keep"));
    assert!(crds("{crds: {keep: false}}").iter().all(|crd| policy(crd).is_null()));
    assert_eq!(crds("{}").len(), 4);
    assert_eq!(crds("{crds: {enabled: false}}"), Vec::<Value>::new());
}

/// With hooks Argo CD would run things at other times than Helm, and an object that is not the same at each rendering is never
/// in sync there.
#[test]
fn there_are_no_hooks_no_lookups_and_no_dice() {
    for name in profiles() {
        let text = Helm::four().render(&profile(&name), &[]).unwrap();
        assert!(!text.contains("helm.sh/hook"), "{name}");
    }
    for entry in std::fs::read_dir(chart("templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["lookup ", "rand", "uuidv4", "now ", "genCA", "genSelfSigned", "genPrivateKey", "derivePassword"] {
            assert!(
                !text.contains(&format!("{{{{ {word}")) && !text.contains(&format!("({word}")),
                "{}: {word}",
                path.display()
            );
        }
    }
}

#[test]
fn no_role_for_people_grants_secrets_and_each_can_be_left_out() {
    let roles = |values: &str| -> Vec<String> {
        let objects = Helm::four().objects(values);
        let aggregated = objects.into_iter().filter(|object| {
            let labels = object["metadata"]["labels"].as_object().unwrap();
            labels.keys().any(|label| label.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
        });
        let checked = aggregated.inspect(|role| {
            assert_eq!(role["rules"][0]["apiGroups"], json!(["amigo.ai"]), "{}", identity(role));
            assert_eq!(role["rules"].as_array().unwrap().len(), 1, "{}", identity(role));
        });
        let mut names: Vec<_> = checked.map(|role| role["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(roles("{}"), ["amigo-operator-admin", "amigo-operator-edit", "amigo-operator-view"]);
    assert_eq!(roles("{rbac: {aggregate: {view: false}}}"), ["amigo-operator-admin", "amigo-operator-edit"]);
    assert_eq!(roles("{rbac: {aggregate: {edit: false, admin: false}}}"), ["amigo-operator-view"]);
    assert_eq!(roles("{rbac: {create: false}}"), Vec::<String>::new());
}
