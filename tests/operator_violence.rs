//! Kills, lost answers and leaders that sleep, in numbers. Chance is seeded (`AMIGO_SEED`), and the seed is printed.
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

/// Two replicas that can be told apart; the first leads.
fn replicas(name: &str, service: Settings) -> World {
    let mut world = World::without_operator(name, Setup { leader_elect: true, service, ..Setup::default() });
    for _ in 0..2 {
        let kubeconfig = world.another_kubeconfig();
        world.start_operator_with(&kubeconfig, &[]);
        world.until("the first leads", || terms(&world) == 1);
    }
    world
}

/// How often a replica has begun to lead.
fn terms(world: &World) -> usize {
    world.log().lines().filter(|line| line.contains(" leads identity=")).count()
}

#[test]
fn a_leader_that_sleeps_past_its_lease_writes_nothing_when_it_wakes() {
    let seed = seed();
    // Longer than a lease: the next leader finds publishes that are still under way.
    let service = Settings { publish_seconds: 20.0, ..quick(seed) };
    let world = replicas("sleeper", service);
    let crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 20) };
    world.apply(&all([acme(&world), crowd.everything()]));
    world.until("publishes are under way", || Crowd::under_way(&world) > 5);
    world.pause_operator(0);
    world.until("the second leads", || terms(&world) == 2);
    world.resume_operator(0);
    world.until("the first knows", || world.log().contains("leads no more"));
    crowd.wait_until_ready(&world, Duration::from_secs(120));
    // The other way round, with bumps that are published long before the next one leads.
    world.sandbox.change_settings(|settings| settings.publish_seconds = 3.0);
    world.apply(&crowd.bumps());
    world.until("publishes are under way", || Crowd::under_way(&world) > 5);
    world.pause_operator(1);
    world.until("the first leads again", || terms(&world) == 3);
    world.resume_operator(1);
    world.until_within(Duration::from_secs(120), "the bumps are Ready", || crowd.bumps_are_ready(&world));
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    assert_eq!(world.sandbox.calls(Operation::PublishVersion), 40, "none was sent twice");
    let (changes, writes) = leaders::check(&world);
    assert_eq!(changes, 2);
    println!("{changes} changes of leader, {writes} writes, all of them by the leader");
    world.finish();
}
