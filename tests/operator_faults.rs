//! Lost answers, an operator that is killed at bad moments, other replicas, and rest.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use amigo_operator::sandbox::{Effect, Fault, Operation, Settings};
use serde_json::{Value, json};

use support::manifests::{
    DESCRIPTION, acme, all, env, env_from, named_version, organization, secret, tool, variables, version,
};
use support::{ACME, Setup, World, field, has_reason};

/// The Organization and the Tool `weather`, which is Ready. Returns the id of its tool.
fn weather(world: &World) -> String {
    world.apply(&all([acme(world), tool("weather", "")]));
    field(&world.ready("Tool", "weather"), "toolId")
}

fn with_publishes_of(name: &str, seconds: f64) -> World {
    let service = Settings { publish_seconds: seconds, ..Settings::default() };
    World::with(name, Setup { service, ..Setup::default() })
}

/// The Tool `weather` becomes Ready, bound to the only tool that there is.
fn is_made_once(world: &World) {
    let object = world.ready("Tool", "weather");
    let tools = world.sandbox.tools(ACME);
    assert_eq!(tools.len(), 1);
    assert_eq!(field(&object, "toolId"), tools[0].id);
}

#[test]
fn a_lost_answer_to_a_create_makes_no_second_tool() {
    for effect in [
        Effect::LostAfterEffect { seconds: None },
        Effect::LostBeforeEffect,
        Effect::NotConnected,
        Effect::TruncatedBody,
        Effect::GarbageBody,
        Effect::Status { status: 502, body: None, after_effect: true, seconds: None },
    ] {
        let world = World::new("lostcreate");
        world.sandbox.add_fault(Fault::once("create-tool", effect));
        world.apply(&all([acme(&world), tool("weather", "")]));
        is_made_once(&world);
        world.finish();
    }
}

#[test]
fn an_empty_list_is_no_evidence_that_a_tool_is_gone() {
    let world = World::new("emptylist");
    let id = weather(&world);
    world.sandbox.add_fault(Fault::once("list-tools", Effect::EmptyList));
    world.annotate("Tool", "weather", "reconcile-requested-at", "now");
    let handled = |object: &Value| object["status"]["lastHandledReconcileAt"] == "now";
    world.wait_for("Tool", "weather", handled, "has handled the request");
    world.request("Tool", "weather");
    assert_eq!(field(&world.ready("Tool", "weather"), "toolId"), id);
    assert_eq!(world.sandbox.tools(ACME).len(), 1);
    world.finish();
}

#[test]
fn a_lost_answer_to_a_publish_makes_no_second_version() {
    for effect in [
        Effect::LostAfterEffect { seconds: None },
        Effect::LostAfterEffect { seconds: Some(0.2) },
        Effect::TruncatedBody,
        Effect::Status { status: 504, body: None, after_effect: true, seconds: Some(0.2) },
    ] {
        let world = World::new("lostpublish");
        weather(&world);
        world.sandbox.add_fault(Fault::once("publish-version", effect));
        world.apply(&named_version("v", "bumpType: major"));
        assert_eq!(field(&world.ready("ToolVersion", "v"), "version"), "1.0.0");
        assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1);
        assert_eq!(world.versions("weather"), ["1.0.0"]);
        world.finish();
    }
}

#[test]
fn a_publish_that_did_not_happen_is_sent_again_after_its_time() {
    let world = World::new("notpublished");
    weather(&world);
    world.sandbox.add_fault(Fault::once("publish-version", Effect::LostBeforeEffect));
    world.apply(&version("1.0.0", "publishTimeoutSeconds: 10"));
    let unclear = world.reason("ToolVersion", "weather-1.0.0", "Publishing");
    let intent = &unclear["status"]["publish"];
    assert_eq!((&intent["expectedVersion"], &intent["userId"]), (&json!("1.0.0"), &json!("demo-user")));
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.versions("weather"), ["1.0.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 2);
    world.finish();
}

#[test]
fn killed_in_a_publish_it_publishes_nothing_twice() {
    let mut world = with_publishes_of("killed", 4.0);
    let id = weather(&world);
    world.apply(&all([version("1.0.0", ""), named_version("next", "bumpType: minor")]));
    for name in ["weather-1.0.0", "next"] {
        world.until("the publish is under way", || world.tool(&id).under_way.is_some());
        world.kill_operator();
        world.start_operator();
        world.ready("ToolVersion", name);
    }
    assert_eq!(world.versions(&id), ["1.0.0", "1.1.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 2);
    world.finish();
}

#[test]
fn killed_before_its_publish_arrives_it_publishes_once() {
    let mut world = World::new("notarrived");
    let id = weather(&world);
    world.sandbox.add_fault(Fault::once("publish-version", Effect::LostBeforeEffect));
    world.apply(&version("1.0.0", "publishTimeoutSeconds: 10"));
    world.until("the publish is sent", || world.sandbox.calls(Operation::PublishVersion) == 1);
    world.kill_operator();
    world.start_operator();
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.versions(&id), ["1.0.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 2);
    world.finish();
}

#[test]
fn killed_in_a_create_it_makes_no_second_tool() {
    let mut world = World::new("killedcreate");
    world.sandbox.add_fault(Fault::once("create-tool", Effect::Delay { seconds: 600.0, after_effect: true }));
    world.apply(&all([acme(&world), tool("weather", "")]));
    world.until("the tool is made", || !world.sandbox.tools(ACME).is_empty());
    world.kill_operator();
    world.start_operator();
    is_made_once(&world);
    world.finish();
}

#[test]
fn what_happened_while_it_was_away_is_caught_up_with() {
    let mut world = World::new("away");
    let id = weather(&world);
    let canary = world.canary();
    world.apply(&all([
        secret("credentials", "A: a"),
        variables("weather", &env_from("credentials")),
        tool("gone", "deletionPolicy: Deprecate"),
    ]));
    world.ready("ToolEnvSecret", "weather");
    world.ready("Tool", "gone");
    world.kill_operator();
    world.apply(&secret("credentials", &format!("A: {canary}")));
    world.edit("Tool", "weather", &json!({"description": "Edited meanwhile."}));
    world.delete("Tool", "gone");
    world.start_operator();
    world.gone("Tool", "gone");
    assert!(world.tool("gone").deprecated);
    world.until("the value is sent", || world.variable(&id, "A").as_ref() == Some(&canary));
    world.until("the edit is sent", || world.tool(&id).description == "Edited meanwhile.");
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn ended_in_order_it_leaves_no_publish_behind() {
    let mut world = with_publishes_of("ended", 3.0);
    let id = weather(&world);
    world.apply(&version("1.0.0", ""));
    world.until("the publish is under way", || world.tool(&id).under_way.is_some());
    world.stop_operator();
    assert_eq!(world.versions(&id), ["1.0.0"], "it waits for the answer");
    assert!(world.log().contains("amigo-operator ends"), "SIGTERM ends it in order");
    world.start_operator();
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 1);
    world.finish();
}

#[test]
fn at_rest_nothing_is_written_and_only_resync_reads() {
    let world = World::new("rest");
    let resync = organization(&world, "resync: {toolsPeriodSeconds: 10, versionsPeriodSeconds: 10}");
    world.apply(&all([acme(&world), resync, tool("weather", "tags: [{key: team}]"), tool("other", "")]));
    world.apply(&all([
        secret("credentials", &format!("A: {}", world.canary())),
        variables("weather", &env_from("credentials")),
        version("1.0.0", ""),
    ]));
    for (kind, name) in [("Tool", "other"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    let counts = |object: &Value| object["status"]["latestVersion"] == "1.0.0";
    world.wait_for("Tool", "weather", counts, "shows its version");
    let shows = |object: &Value| object["status"]["apiRevision"] == "2025-07";
    world.wait_for("Organization", "acme", shows, "shows the revision");
    let resyncs = |n: u64| {
        let reads = world.sandbox.calls(Operation::ListTools);
        world.until("resyncs have passed", || world.sandbox.calls(Operation::ListTools) >= reads + n);
    };
    resyncs(1);
    let (writes, states, before) = (world.writes(), world.states(), world.sandbox.counters());
    let reads = world.sandbox.calls(Operation::ListTools) + world.sandbox.calls(Operation::ListVersions);
    let began = std::time::Instant::now();
    resyncs(3);
    let after = world.sandbox.counters();
    assert_eq!(
        world.writes(),
        writes,
        "{:#?}",
        world.requests().iter().filter(|r| r.writes()).skip(writes).collect::<Vec<_>>()
    );
    assert_eq!(world.states(), states, "no object was written");
    for (operation, counter) in after {
        let is_read = matches!(operation, Operation::ListTools | Operation::ListVersions);
        assert!(is_read || before.get(&operation) == Some(&counter), "{operation} at rest");
    }
    let reads = world.sandbox.calls(Operation::ListTools) + world.sandbox.calls(Operation::ListVersions) - reads;
    println!("{reads} reads in {} s at rest", began.elapsed().as_secs());
    // Two tools and the versions of one, each ten seconds; two tools are one read when they coincide.
    assert!(reads <= (began.elapsed().as_secs() / 9 + 1) * 3, "{reads} reads in {:?}", began.elapsed());
    world.finish();
}

#[test]
fn a_restart_rewrites_nothing() {
    let mut world = World::new("restart");
    weather(&world);
    world.apply(&all([
        secret("credentials", &format!("A: {}", world.canary())),
        variables("weather", &env_from("credentials")),
        variables("plain", &env(&[("B", "1")])),
        version("1.0.0", ""),
    ]));
    for (kind, name) in [("ToolEnvSecret", "weather"), ("ToolEnvSecret", "plain"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    let counts = |object: &Value| object["status"]["latestVersion"] == "1.0.0";
    world.wait_for("Tool", "weather", counts, "shows its version");
    let shows = |object: &Value| object["status"]["apiRevision"] == "2025-07";
    world.wait_for("Organization", "acme", shows, "shows the revision");
    world.stop_operator();
    let (writes, states, before) = (world.writes(), world.states(), world.sandbox.counters());
    world.start_operator();
    world.until("it has signed in", || world.sandbox.calls(Operation::SignIn) > before[&Operation::SignIn].calls);
    // What is asked for is done after what a start brings.
    for (kind, name) in [("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.request(kind, name);
    }
    let requested = 3;
    assert_eq!(
        world.writes(),
        writes + requested,
        "{:#?}",
        world.requests().iter().filter(|r| r.writes()).skip(writes).collect::<Vec<_>>()
    );
    assert_eq!(world.states(), states + 2 * requested, "an annotation and its echo each");
    for operation in
        [Operation::CreateTool, Operation::ModifyTool, Operation::ModifyVariables, Operation::PublishVersion]
    {
        assert_eq!(world.sandbox.counters().get(&operation), before.get(&operation), "{operation} after a restart");
    }
    world.finish();
}

#[test]
fn of_two_replicas_one_works_and_the_other_takes_over() {
    let mut world = World::with("replicas", Setup { leader_elect: true, ..Setup::default() });
    world.until("the first leads", || world.log().contains(" leads"));
    world.start_operator();
    let id = weather(&world);
    world.apply(&version("1.0.0", ""));
    world.ready("ToolVersion", "weather-1.0.0");
    assert_eq!(world.sandbox.calls(Operation::SignIn), 1, "the standby calls nothing");
    world.kill_first_operator();
    world.edit("Tool", "weather", &json!({"description": "After the leader was killed."}));
    let began = std::time::Instant::now();
    world.until("the standby has taken over", || world.tool(&id).description == "After the leader was killed.");
    println!("the standby took over {} s after the leader was killed", began.elapsed().as_secs());
    world.ready("Tool", "weather");
    world.start_operator();
    world.stop_first_operator();
    world.edit("Tool", "weather", &json!({"description": DESCRIPTION}));
    let began = std::time::Instant::now();
    world.until("the next has taken over", || world.tool(&id).description == DESCRIPTION);
    println!("the next took over {} ms after the leader ended in order", began.elapsed().as_millis());
    assert_eq!(world.versions(&id), ["1.0.0"]);
    world.finish();
}

#[test]
fn maintenance_passes() {
    let world = World::new("maintenance");
    world.apply(&acme(&world));
    world.ready("Organization", "acme");
    world.sandbox.set_maintenance(ACME, true).unwrap();
    world.apply(&tool("weather", ""));
    world.reason("Tool", "weather", "ProgressingWithRetry");
    world.sandbox.set_maintenance(ACME, false).unwrap();
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn a_used_up_budget_is_waited_for() {
    let world = World::new("budget");
    world.apply(&acme(&world));
    world.ready("Organization", "acme");
    world.apply(&all((0..20).map(|n| tool(&format!("t{n}"), ""))));
    let waits = |n: usize| world.get("Tool", &format!("t{n}")).is_some_and(|tool| has_reason(&tool, "QueuedForBudget"));
    world.until("some wait for their turn", || (0..20).any(waits));
    world.until("most are made", || world.sandbox.tools(ACME).len() >= 16);
    let created = world.sandbox.calls(Operation::CreateTool);
    assert!(created <= 16, "80 % of 20 a minute, and yet {created}");
    world.finish();
}

#[test]
fn a_call_that_is_refused_for_its_rate_is_repeated_later() {
    let world = World::new("ratelimited");
    world.apply(&acme(&world));
    world.ready("Organization", "acme");
    world.sandbox.add_fault(Fault::once("create-tool", Effect::TooManyRequests { retry_after: Some("2".into()) }));
    world.apply(&tool("weather", ""));
    world.ready("Tool", "weather");
    assert_eq!(world.sandbox.calls(Operation::CreateTool), 2);
    world.finish();
}
