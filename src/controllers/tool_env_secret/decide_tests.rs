//! Tables for the decision on the variables of a tool.

use super::super::resolve::Variable;
use super::*;
use crate::amigo::types::VersionNumber;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use Visibility::{Plain, Secret};

fn member(name: &str, created: i64, wants: &[(&str, Visibility)], recorded: &[(&str, Visibility)]) -> Member {
    let time = Time(jiff::Timestamp::from_second(created).unwrap());
    let variable = |visibility| Variable { visibility, value: SecretString::from(format!("value of {name}")) };
    let variables = wants.iter().map(|(n, v)| ((*n).to_owned(), variable(*v))).collect();
    let resolved = Resolved { variables, ..Resolved::default() };
    Member {
        uid: name.into(),
        name: name.into(),
        age: (Some(time), "travel".into(), name.into(), name.into()),
        resolved,
        recorded: recorded.iter().map(|(n, v)| SyncedVariable { name: (*n).into(), visibility: *v }).collect(),
        deletion_policy: VariableDeletionPolicy::Delete,
        acts: true,
        synced: false,
        in_hand: true,
    }
}

fn remote(plain: &[&str], secret: &[&str]) -> RemoteTool {
    RemoteTool {
        envvars: plain.iter().map(|n| (*n).to_owned()).collect(),
        secret_envvars: secret.iter().map(|n| (*n).to_owned()).collect(),
        ..RemoteTool::for_tests()
    }
}

fn requiring(name: &str, deprecated: bool) -> RemoteVersion {
    RemoteVersion {
        required_secret_envvars: vec![name.into()],
        deprecated,
        ..RemoteVersion::for_tests(VersionNumber::new(1, 0, 0))
    }
}

fn plan(members: &[Member], remote: &RemoteTool, versions: &[RemoteVersion], sent: &[&str]) -> Plan {
    let freshness = |_: &str, name: &str, _: &SecretString| {
        if sent.contains(&name) { Freshness::Sent } else { Freshness::Unsent }
    };
    decide(members, remote, Some(versions), freshness)
}

fn names(share: &Share) -> Vec<&str> {
    share.variables.iter().map(|v| v.name.as_str()).collect()
}

fn reasons(share: &Share) -> Vec<Reason> {
    share.problems.iter().map(|p| p.reason).collect()
}

#[test]
fn inserts_updates_and_leaves_alone() {
    let one = member("one", 1, &[("NEW", Secret), ("OLD", Plain), ("SAME", Plain)], &[]);
    let plan = plan(&[one], &remote(&["OLD", "SAME", "OTHERS"], &[]), &[], &["SAME"]);
    assert_eq!(plan.delta.inserts, BTreeMap::from([("NEW".to_owned(), Secret)]));
    assert_eq!(plan.delta.updates, BTreeSet::from(["OLD".to_owned()]));
    assert!(plan.delta.deletes.is_empty(), "what no object names is left alone");
    assert_eq!(names(&plan.shares["one"]), ["NEW", "OLD", "SAME"]);
}

#[test]
fn a_variable_that_went_away_remotely_is_sent_again() {
    let one = member("one", 1, &[("KEY", Secret)], &[("KEY", Secret)]);
    assert!(plan(&[one], &remote(&[], &[]), &[], &["KEY"]).delta.inserts.contains_key("KEY"));
}

#[test]
fn a_variable_cannot_change_its_visibility() {
    let one = member("one", 1, &[("A", Secret), ("B", Plain), ("C", Plain)], &[]);
    let plan = plan(&[one], &remote(&["A"], &["B"]), &[], &[]);
    assert_eq!(reasons(&plan.shares["one"]), [Reason::VisibilityMismatch, Reason::VisibilityMismatch]);
    assert_eq!(names(&plan.shares["one"]), ["C"], "the rest is synced");
}

#[test]
fn the_older_object_keeps_a_variable() {
    let old = member("old", 1, &[("KEY", Secret)], &[]);
    let young = member("young", 2, &[("KEY", Secret), ("OWN", Plain)], &[]);
    for members in [[old.clone(), young.clone()], [young, old]] {
        let plan = plan(&members, &remote(&[], &[]), &[], &[]);
        assert_eq!(names(&plan.shares["old"]), ["KEY"]);
        assert_eq!(names(&plan.shares["young"]), ["OWN"]);
        assert_eq!(reasons(&plan.shares["young"]), [Reason::VariableConflict]);
        assert_eq!(plan.delta.inserts.len(), 2, "one delta for both");
    }
}

#[test]
fn a_suspended_object_keeps_its_variables_and_sends_nothing() {
    let mut old = member("old", 1, &[("KEY", Secret)], &[("KEY", Secret), ("GONE", Plain)]);
    old.acts = false;
    let young = member("young", 2, &[("KEY", Secret)], &[]);
    let plan = plan(&[old, young], &remote(&["GONE"], &[]), &[], &[]);
    assert_eq!(plan.delta, Delta::default());
    assert_eq!(reasons(&plan.shares["young"]), [Reason::VariableConflict]);
}

#[test]
fn what_nobody_wants_any_more_goes() {
    let one = member("one", 1, &[], &[("GONE", Secret), ("MOVED", Plain), ("NEVER", Plain)]);
    let two = member("two", 2, &[("MOVED", Plain)], &[]);
    let plan = plan(&[one.clone(), two], &remote(&["MOVED"], &["GONE"]), &[], &["MOVED"]);
    assert_eq!(plan.delta.deletes, BTreeSet::from(["GONE".to_owned()]));
    assert!(names(&plan.shares["one"]).is_empty());
    assert_eq!(names(&plan.shares["two"]), ["MOVED"]);
    let retain = Member { deletion_policy: VariableDeletionPolicy::Retain, ..one };
    let kept = super::tests::plan(&[retain], &remote(&[], &["GONE"]), &[], &[]);
    assert!(kept.delta.is_empty() && names(&kept.shares["one"]).is_empty());
}

#[test]
fn what_active_versions_require_stays() {
    let one = member("one", 1, &[], &[("KEY", Secret)]);
    let there = remote(&[], &["KEY"]);
    let active = plan(std::slice::from_ref(&one), &there, &[requiring("KEY", false)], &[]);
    assert!(active.delta.is_empty());
    assert_eq!(reasons(&active.shares["one"]), [Reason::VariableInUse]);
    assert!(active.shares["one"].problems.iter().all(|p| p.message.contains("1.0.0")));
    assert_eq!(names(&active.shares["one"]), ["KEY"]);
    let deprecated = plan(&[one], &there, &[requiring("KEY", true)], &[]);
    assert_eq!(deprecated.delta.deletes.len(), 1);
}

#[test]
fn what_cannot_be_had_now_stays() {
    let mut one = member("one", 1, &[], &[("HELD", Secret), ("FROM", Secret)]);
    one.resolved.held.insert("HELD".into());
    one.resolved.hold_all = true;
    let plan = plan(&[one], &remote(&[], &["HELD", "FROM"]), &[], &[]);
    assert!(plan.delta.is_empty());
    assert_eq!(names(&plan.shares["one"]), ["FROM", "HELD"]);
}

#[test]
fn there_is_nothing_to_send_when_nothing_of_any_sort_is() {
    let name = || BTreeSet::from(["KEY".to_owned()]);
    assert!(Delta::default().is_empty());
    for delta in [
        Delta { inserts: BTreeMap::from([("KEY".to_owned(), Plain)]), ..Delta::default() },
        Delta { updates: name(), ..Delta::default() },
        Delta { deletes: name(), ..Delta::default() },
    ] {
        assert!(!delta.is_empty(), "{delta:?}");
    }
}

#[test]
fn versions_are_read_only_for_a_variable_that_may_go() {
    let had = || member("one", 1, &[], &[("KEY", Secret)]);
    let mut held = had();
    held.resolved.held.insert("KEY".into());
    let table = [
        (vec![], false),
        (vec![member("one", 1, &[], &[])], false),
        (vec![had()], true),
        (vec![Member { acts: false, ..had() }], false),
        (vec![Member { deletion_policy: VariableDeletionPolicy::Retain, ..had() }], false),
        (vec![member("one", 1, &[("KEY", Secret)], &[("KEY", Secret)])], false),
        (vec![member("one", 1, &[("KEY", Secret)], &[("KEY", Secret), ("GONE", Secret)])], true),
        (vec![held], false),
        (vec![had(), member("two", 2, &[("KEY", Secret)], &[])], false),
        (vec![member("two", 2, &[], &[]), had()], true),
    ];
    for (members, expected) in table {
        assert_eq!(may_delete(&members), expected, "{members:?}");
    }
}

#[test]
fn of_other_objects_only_what_they_have_written_down_is_sent() {
    let mine = member("mine", 2, &[("MINE", Plain)], &[]);
    let other = |recorded: &[(&str, Visibility)]| Member {
        in_hand: false,
        ..member("other", 1, &[("NEW", Plain), ("KNOWN", Plain)], recorded)
    };
    let delta = plan(&[mine.clone(), other(&[("KNOWN", Plain)])], &remote(&["KNOWN"], &[]), &[], &[]).delta;
    assert_eq!(delta.inserts.keys().collect::<Vec<_>>(), ["MINE"]);
    assert_eq!(delta.updates.iter().collect::<Vec<_>>(), ["KNOWN"]);
    let taken_over = plan(&[mine, other(&[])], &remote(&["NEW"], &[]), &[], &[]).delta;
    assert!(taken_over.updates.is_empty(), "{taken_over:?}");
}
