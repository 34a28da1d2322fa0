//! Kills, lost answers, leaders that sleep and clocks that are wrong, in numbers. Chance is seeded (`AMIGO_SEED`), and the seed is printed.
//!
//! At the end of each test the service is compared with the manifests: duplicates, losses and wrong deprecations are to be
//! zero. [`World::finish`] searches for secret values in the log, the metrics, every state of every object that was seen, the
//! audit log, and all that etcd holds outside of Secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::thread;
use std::time::Duration;

use amigo_operator::sandbox::{Effect, Fault, Operation, RateLimits, Settings};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use support::crowd::Crowd;
use support::dice::{dice, seed};
use support::leaders;
use support::manifests::{acme, all};
use support::{Setup, World};

/// A service that is quick and lets many calls through, so that hundreds of objects take minutes.
fn quick(seed: u64) -> Settings {
    let log_size = 100_000;
    Settings { seed, rate_limits: RateLimits::Scaled(50.0), publish_seconds: 0.5, log_size, ..Settings::default() }
}

/// Loses one answer in ten, half of them before the call has its effect and half after it.
fn lose_answers(world: &World) {
    let lost = Fault::always("*", Effect::LostBeforeEffect);
    world.sandbox.add_fault(lost.with_probability(0.05));
    let lost = Fault::always("*", Effect::LostAfterEffect { seconds: None });
    world.sandbox.add_fault(lost.with_probability(0.05 / 0.95));
}

#[test]
fn a_hundred_of_each_come_once_through_kills_and_lost_answers() {
    const KILLS: usize = 16;
    let seed = seed();
    let mut dice = dice(seed);
    let mut world = World::with("kills", Setup { service: quick(seed), ..Setup::default() });
    lose_answers(&world);
    let crowd = Crowd::new(&world, 100);
    let mut manifests: Vec<String> = (0..crowd.size).flat_map(|n| crowd.manifests(n)).collect();
    manifests.shuffle(&mut dice);
    world.apply(&acme(&world));
    // A kill after each part of the manifests, and some more while the rest of the work is done.
    let parts: Vec<String> = manifests.chunks(manifests.len().div_ceil(KILLS - 4)).map(all).collect();
    let mut kills = 0;
    for part in parts.iter().map(String::as_str).chain(std::iter::repeat_n("", 4)) {
        world.apply(part);
        thread::sleep(Duration::from_millis(dice.random_range(0..2500)));
        world.kill_operator();
        world.start_operator();
        kills += 1;
    }
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    let lost: u64 = world.sandbox.counters().values().map(|counter| counter.lost).sum();
    let published = world.sandbox.calls(Operation::PublishVersion);
    println!("{kills} kills, {} calls, {lost} answers lost, {published} publishes for 100 versions", world.calls());
    assert!(lost > 0);
    crowd.check(&world, &["1.0.0"]);
    world.finish();
}

/// Two replicas that can be told apart, with clocks that are so many seconds ahead; the first leads.
fn replicas(name: &str, service: Settings, ahead: [i64; 2]) -> World {
    let mut world = World::without_operator(name, Setup { leader_elect: true, service, ..Setup::default() });
    for seconds in ahead {
        let kubeconfig = world.another_kubeconfig();
        let variables = if seconds == 0 { Vec::new() } else { world.clock_ahead(seconds).to_vec() };
        world.start_operator_with(&kubeconfig, &variables);
        world.until("the first leads", || world.lease_holder().is_some());
    }
    world
}

/// Stops the leader in the middle of publishes, until another has led for a moment.
fn put_the_leader_to_sleep(world: &World, first: &str) {
    world.until("publishes are under way", || Crowd::under_way(world) > 5);
    let holder = world.lease_holder().unwrap();
    let sleeper = usize::from(holder != first);
    world.pause_operator(sleeper);
    world.until("another leads", || world.lease_holder().is_some_and(|other| other != holder));
    world.resume_operator(sleeper);
}

#[test]
fn a_leader_that_sleeps_past_its_lease_writes_nothing_when_it_wakes() {
    let seed = seed();
    // Longer than a lease: the next leader finds publishes that are still under way.
    let service = Settings { publish_seconds: 20.0, ..quick(seed) };
    let world = replicas("sleeper", service, [0, 0]);
    let first = world.lease_holder().unwrap();
    let crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 20) };
    world.apply(&all([acme(&world), crowd.everything()]));
    put_the_leader_to_sleep(&world, &first);
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    // The other way round, with bumps that are published long before the next one leads.
    world.sandbox.change_settings(|settings| settings.publish_seconds = 3.0);
    world.apply(&crowd.bumps());
    put_the_leader_to_sleep(&world, &first);
    world.until_within(Duration::from_secs(240), "the bumps are Ready", || crowd.bumps_are_ready(&world));
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    assert_eq!(world.made(Operation::PublishVersion), 40);
    let (changes, writes) = leaders::check(&world);
    assert!(changes >= 2, "{changes}");
    println!("{changes} changes of leader, {writes} writes, all of them by the leader");
    world.finish();
}

#[test]
fn replicas_whose_clocks_are_hours_apart_publish_once() {
    let seed = seed();
    let mut world = replicas("clocks", quick(seed), [2 * 3600, -3 * 3600]);
    let crowd = Crowd { version: "bumpType: minor", ..Crowd::new(&world, 10) };
    let lost = |effect| Fault::once("publish-version", effect).times(5);
    world.sandbox.add_fault(lost(Effect::LostAfterEffect { seconds: None }));
    world.apply(&all([acme(&world), crowd.everything()]));
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    crowd.check(&world, &["1.0.0"]);
    // What the one has begun, the other one ends: five publishes have happened, and five have not.
    world.sandbox.add_fault(lost(Effect::LostAfterEffect { seconds: None }));
    world.sandbox.add_fault(lost(Effect::LostBeforeEffect));
    world.apply(&crowd.bumps());
    let published = world.sandbox.calls(Operation::PublishVersion);
    // Where no answer tells what is left of the budget, publishes leave ten seconds apart.
    let all_are_sent = || world.sandbox.calls(Operation::PublishVersion) >= published + 10;
    world.until_within(Duration::from_secs(240), "all are sent", all_are_sent);
    world.kill_first_operator();
    world.until_within(Duration::from_secs(240), "the bumps are Ready", || crowd.bumps_are_ready(&world));
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    let (changes, writes) = leaders::check(&world);
    assert!(changes >= 1);
    println!("{changes} changes of leader, {writes} writes, all of them by the leader");
    world.finish();
}
