//! What the operator's ServiceAccount may do with each profile: this and no more, as the API server itself tells.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::NAMESPACE;
use crate::helm::{Helm, profile};
use crate::server::{PATIENCE, apply, cluster, permissions, remove};

/// The kinds and what belongs to them.
const KINDS: [&str; 3] = [
    "get,list,watch,patch amigo.ai organizations,tools,toolversions,toolenvsecrets",
    "update amigo.ai organizations/status,tools/status,toolversions/status,toolenvsecrets/status",
    "create events.k8s.io events",
];

/// The four definitions.
const DEFINITIONS: &str = "get apiextensions.k8s.io customresourcedefinitions \
     organizations.amigo.ai,tools.amigo.ai,toolversions.amigo.ai,toolenvsecrets.amigo.ai";

/// The Lease, in the operator's own namespace.
const LEASE: [&str; 2] = ["create coordination.k8s.io leases", "get,update coordination.k8s.io leases amigo-operator"];

/// A Lease of the installation's own.
const OWN_LEASE: [&str; 2] =
    ["create coordination.k8s.io leases", "get,update coordination.k8s.io leases acme-production"];

/// What a profile grants, each as verbs, group, resources and names.
struct Granted {
    profile: &'static str,
    lease: [&'static str; 2],
    everywhere: Vec<&'static str>,
    travel: Vec<&'static str>,
    billing: Vec<&'static str>,
}

fn table() -> Vec<Granted> {
    let kinds = |more: &[&'static str]| [&KINDS[..], more].concat();
    let owner = "get core namespaces kube-system";
    let all_namespaces = "get,list,watch core namespaces";
    vec![
        Granted {
            profile: "default",
            lease: LEASE,
            everywhere: kinds(&[DEFINITIONS, all_namespaces, "get,list,watch core secrets"]),
            travel: vec![],
            billing: vec![],
        },
        Granted {
            profile: "secure",
            lease: LEASE,
            everywhere: kinds(&[
                DEFINITIONS,
                all_namespaces,
                "get,list,watch core secrets",
                "create authentication.k8s.io tokenreviews",
                "create authorization.k8s.io subjectaccessreviews",
            ]),
            travel: vec![],
            billing: vec![],
        },
        Granted {
            profile: "named",
            lease: LEASE,
            everywhere: kinds(&[DEFINITIONS, all_namespaces]),
            travel: vec!["get,list,watch core secrets acme-api-key"],
            billing: vec!["get,list,watch core secrets acme-api-key,invoices"],
        },
        Granted {
            profile: "poll",
            lease: LEASE,
            everywhere: kinds(&[DEFINITIONS, all_namespaces, "get core secrets"]),
            travel: vec![],
            billing: vec![],
        },
        Granted {
            profile: "namespaced",
            lease: LEASE,
            everywhere: vec![DEFINITIONS, owner],
            travel: kinds(&["get,list,watch core secrets", "get core namespaces travel"]),
            billing: kinds(&["get,list,watch core secrets", "get core namespaces billing"]),
        },
        Granted {
            profile: "namespaced-named",
            lease: OWN_LEASE,
            everywhere: vec![DEFINITIONS],
            travel: kinds(&[
                "get,list,watch core secrets acme-api-key,weather-credentials",
                "get core namespaces travel",
            ]),
            billing: kinds(&["get core namespaces billing"]),
        },
        Granted {
            profile: "poll-named",
            lease: LEASE,
            everywhere: vec![DEFINITIONS, owner],
            travel: kinds(&["get core secrets acme-api-key,weather-credentials", "get core namespaces travel"]),
            billing: vec![],
        },
    ]
}

#[test]
fn the_operator_may_do_what_its_profile_needs_and_no_more() {
    for granted in table() {
        // An account of this test's own: another test works with the one that the profile names.
        let more =
            ["--set", "serviceAccount.name=asked", "--set", &format!("fullnameOverride=asked-{}", granted.profile)];
        let objects = permissions(&Helm::four().objects_with(&profile(granted.profile), &more));
        apply(cluster(), &objects, &[]);
        wait_until_granted(&granted, "asked");
        remove(&objects);
    }
}

/// Waits until the account may do exactly what the profile grants: the API server learns of new roles within moments.
fn wait_until_granted(granted: &Granted, account: &str) {
    let profile = granted.profile;
    for namespace in [NAMESPACE, "travel", "billing", "elsewhere"] {
        let mut wanted = granted.everywhere.clone();
        match namespace {
            NAMESPACE => wanted.extend(granted.lease),
            "travel" => wanted.extend(&granted.travel),
            "billing" => wanted.extend(&granted.billing),
            _ => {}
        }
        let wanted: BTreeSet<_> = wanted.into_iter().flat_map(each).collect();
        let started = Instant::now();
        loop {
            let everybody = rules(namespace, &user("nobody"));
            let found: BTreeSet<_> = rules(namespace, &user(account)).difference(&everybody).cloned().collect();
            let (missing, more): (Vec<_>, Vec<_>) =
                (wanted.difference(&found).collect(), found.difference(&wanted).collect());
            if missing.is_empty() && more.is_empty() {
                break;
            }
            let is_late = started.elapsed() > PATIENCE;
            assert!(!is_late, "{profile} in {namespace}: missing {missing:?}, more {more:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A rule taken apart: one verb, one resource, one name.
fn each(rule: &str) -> Vec<String> {
    let parts: Vec<&str> = rule.split_whitespace().collect();
    let names = parts.get(3).copied().unwrap_or("*");
    let mut all = Vec::new();
    for verb in parts[0].split(',') {
        for resource in parts[2].split(',') {
            all.extend(names.split(',').map(|name| format!("{verb} {} {resource} {name}", parts[1])));
        }
    }
    all
}

fn user(account: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{account}")
}

/// What the API server says that somebody may do in a namespace, in the same form.
pub fn rules(namespace: &str, user: &str) -> BTreeSet<String> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
    });
    let user = format!("--as={user}");
    // kubectl would ask for the definitions first, which this account may not list.
    let create = ["create", "--validate=ignore", "--filename", "-", "--output", "json", &user];
    let answer = cluster().kubectl_with_input(&create, &review.to_string()).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"]["incomplete"], false, "{answer}");
    let words = |value: &Value| -> String {
        let words = value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap());
        words.map(|word| if word.is_empty() { "core" } else { word }).collect::<Vec<_>>().join(",")
    };
    let rules = answer["status"]["resourceRules"].as_array().unwrap().iter();
    let lines = rules.map(|rule| {
        let group = words(&rule["apiGroups"]);
        format!("{} {group} {} {}", words(&rule["verbs"]), words(&rule["resources"]), words(&rule["resourceNames"]))
    });
    lines.flat_map(|line| each(&line)).collect()
}

/// The server gives Namespaces to a Role of that very namespace.
#[test]
fn a_role_lets_the_operator_read_its_own_namespace_and_no_other() {
    let values = "{namespaces: [travel], ownerId: x, serviceAccount: {name: reader}, fullnameOverride: reader}";
    let objects = permissions(&Helm::four().objects(values));
    apply(cluster(), &objects, &[]);
    let can = |what: &[&str]| {
        let user = format!("--as=system:serviceaccount:{NAMESPACE}:reader");
        let get = ["get", "namespace", "--output", "name", &user];
        cluster().kubectl(&[&get[..], what].concat())
    };
    let started = Instant::now();
    while can(&["travel"]).is_err() {
        assert!(started.elapsed() < PATIENCE, "{:?}", can(&["travel"]));
        thread::sleep(Duration::from_millis(200));
    }
    for namespace in ["billing", "kube-system"] {
        let refused = can(&[namespace]).unwrap_err().to_string();
        assert!(refused.contains("Forbidden"), "{refused}");
    }
    assert!(can(&[]).is_err(), "all namespaces are listed");
    remove(&objects);
}

/// The cluster's own roles take up what the chart grants to people.
#[test]
fn people_may_use_the_kinds_by_the_roles_of_the_cluster() {
    let objects: Vec<_> = Helm::four().objects("{fullnameOverride: people}");
    let objects = permissions(&objects);
    apply(cluster(), &objects, &[]);
    let resources = ["organizations", "tools", "toolversions", "toolenvsecrets"];
    for (role, reads, writes) in [
        ("view", &resources[..], &[][..]),
        ("edit", &resources[..], &resources[1..]),
        ("admin", &resources[..], &resources[..]),
    ] {
        let account = format!("person-{role}");
        let bind = ["create", "rolebinding", &account, "--namespace", "elsewhere"];
        let subject = format!("--serviceaccount={NAMESPACE}:{account}");
        cluster().kubectl(&[&bind[..], &[&format!("--clusterrole={role}"), &subject]].concat()).unwrap();
        let may = |verb: &str, resource: &str| {
            rules("elsewhere", &user(&account)).contains(&format!("{verb} amigo.ai {resource} *"))
        };
        // The controller manager aggregates within moments.
        let started = Instant::now();
        while !may("get", "tools") {
            assert!(started.elapsed() < PATIENCE, "the role {role} does not take up the rules");
            thread::sleep(Duration::from_millis(100));
        }
        for resource in resources {
            assert_eq!(may("list", resource), reads.contains(&resource), "{role} reads {resource}");
            for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                assert_eq!(may(verb, resource), writes.contains(&resource), "{role} does {verb} {resource}");
            }
            assert!(!may("update", &format!("{resource}/status")), "{role}: the status is the operator's");
        }
    }
    remove(&objects);
}
