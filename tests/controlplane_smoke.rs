//! The control plane that the other tests stand on: it starts, authorizes, audits, survives restarts, and never
//! outlives its process. The operator plays no part here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use controlplane::{Cluster, ControlPlane, Options};

/// Makes [`holds_a_control_plane_until_killed`] do something.
const HOLD_VARIABLE: &str = "AMIGO_TEST_HOLD_CONTROLPLANE";

#[test]
fn a_service_account_may_do_what_rbac_grants_and_the_audit_log_tells() {
    let cluster = controlplane::shared().unwrap();
    let namespace = cluster.create_namespace("smoke").unwrap();
    let in_namespace = |arguments: &[&str]| cluster.kubectl(&[arguments, &["--namespace", &namespace]].concat());
    in_namespace(&["create", "serviceaccount", "reader"]).unwrap();
    in_namespace(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"]).unwrap();
    let subject = format!("--serviceaccount={namespace}:reader");
    in_namespace(&["create", "rolebinding", "reader", "--role=reader", &subject]).unwrap();
    in_namespace(&["create", "secret", "generic", "hidden", "--from-literal=key=smoke-secret-value"]).unwrap();

    let reader = cluster.service_account_kubeconfig(&namespace, "reader").unwrap();
    let as_reader =
        |arguments: &[&str]| cluster.kubectl_as(&reader, &[arguments, &["--namespace", &namespace]].concat());
    let config_maps = as_reader(&["get", "configmaps", "--output", "name"]).unwrap();
    assert!(config_maps.contains("kube-root-ca.crt"), "{config_maps}");
    let refused = as_reader(&["get", "secrets"]).unwrap_err().to_string();
    assert!(refused.contains("Forbidden"), "{refused}");

    let user = format!("system:serviceaccount:{namespace}:reader");
    assert_eq!(audited(cluster, &user, "configmaps"), [200]);
    assert_eq!(audited(cluster, &user, "secrets"), [403]);
    let log = fs::read_to_string(cluster.audit_log()).unwrap();
    assert!(!log.contains("smoke-secret-value"), "the audit log holds no bodies");
}

#[test]
fn a_user_is_known_by_name_and_groups() {
    let cluster = controlplane::shared().unwrap();
    let kubeconfig = cluster.user_kubeconfig("jane", &["developers", "testers"]).unwrap();
    let who = cluster.kubectl_as(&kubeconfig, &["auth", "whoami", "--output", "json"]).unwrap();
    for name in ["jane", "developers", "testers"] {
        assert!(who.contains(&format!("\"{name}\"")), "{who}");
    }
    let refused = cluster.kubectl_as(&kubeconfig, &["get", "namespaces"]).unwrap_err().to_string();
    assert!(refused.contains("Forbidden"), "{refused}");
}

#[test]
fn what_is_stored_outlives_restarts_and_owned_objects_go_with_their_owner() {
    let mut control_plane = ControlPlane::start(Options::default()).unwrap();
    let uid = config_map(&control_plane, "owner", "");
    config_map(&control_plane, "owned", &format!("[{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]"));
    control_plane.restart_api_server().unwrap();
    control_plane.kill_etcd();
    assert!(control_plane.kubectl(&["get", "configmap", "owner", "--request-timeout=2s"]).is_err());
    control_plane.restart_etcd().unwrap();
    wait_until("the API server has found etcd", || {
        control_plane.kubectl(&["delete", "configmap", "owner", "--ignore-not-found"]).is_ok()
    });
    wait_until("the owned object is collected", || {
        let names = control_plane.kubectl(&["get", "configmaps", "--output", "name"]);
        names.is_ok_and(|names| !names.contains("owned"))
    });

    let (groups, folder) = (control_plane.process_groups(), control_plane.directory().to_owned());
    assert_eq!(groups.len(), 3);
    drop(control_plane);
    assert_eq!(alive(&groups), [0; 0]);
    assert!(!folder.exists());
}

#[test]
fn no_server_outlives_a_killed_process() {
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holds_a_control_plane_until_killed", "--ignored", "--nocapture"])
        .env(HOLD_VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let groups = lines.find_map(|line| line.split_once("groups:").map(|(_, groups)| groups.to_owned()));
    let groups: Vec<u32> = groups.unwrap().split_whitespace().map(|group| group.parse().unwrap()).collect();
    assert_eq!(alive(&groups), groups, "the servers run");

    parent.kill().unwrap();
    parent.wait().unwrap();

    wait_until("all servers are gone", || alive(&groups).is_empty());
}

/// The process that [`no_server_outlives_a_killed_process`] kills.
#[test]
#[ignore = "a part of another test, which runs it in a process of its own"]
fn holds_a_control_plane_until_killed() {
    if env::var_os(HOLD_VARIABLE).is_none() {
        return;
    }
    let control_plane = ControlPlane::start(Options::default()).unwrap();
    let groups: Vec<_> = control_plane.process_groups().iter().map(ToString::to_string).collect();
    println!("groups:{}", groups.join(" "));
    loop {
        thread::park();
    }
}

/// Creates a ConfigMap and returns its uid.
fn config_map(cluster: &Cluster, name: &str, owners: &str) -> String {
    let owners = if owners.is_empty() { "[]" } else { owners };
    let manifest =
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, ownerReferences: {owners}}}}}");
    cluster.kubectl_with_input(&["create", "-f", "-", "-o", "jsonpath={.metadata.uid}"], &manifest).unwrap()
}

/// The status codes of what this user asked of this resource, in the order of the audit log.
fn audited(cluster: &Cluster, user: &str, resource: &str) -> Vec<u64> {
    let log = fs::read_to_string(cluster.audit_log()).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of_user =
        events.filter(|event| event["user"]["username"] == user && event["objectRef"]["resource"] == resource);
    of_user.filter_map(|event| event["responseStatus"]["code"].as_u64()).collect()
}

/// Those of the process groups that have a process which runs. A dead process that nobody has waited for is none.
fn alive(groups: &[u32]) -> Vec<u32> {
    let processes = Command::new("ps").args(["-A", "-o", "pgid=,stat="]).output();
    let processes = processes.map_or_else(|_| from_proc(), |output| String::from_utf8(output.stdout).unwrap());
    let running = processes.lines().filter_map(|line| {
        let (group, state) = line.trim().split_once(' ')?;
        (!state.trim().starts_with('Z')).then(|| group.parse::<u32>().ok()).flatten()
    });
    let running: Vec<_> = running.collect();
    groups.iter().copied().filter(|group| running.contains(group)).collect()
}

/// What `ps` would print, for Linux without it.
fn from_proc() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| {
        let line = fs::read_to_string(process.path().join("stat")).ok()?;
        // pid (name) state parent group …; the name may hold anything.
        let mut fields = line.rsplit_once(')')?.1.split_whitespace();
        let (state, group) = (fields.next()?, fields.nth(1)?);
        Some(format!("{group} {state}\n"))
    });
    lines.collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_mins(1), "{what}: not within 60 s");
        thread::sleep(Duration::from_millis(100));
    }
}
