//! The operator works on while what it stands on goes and comes: the API server, etcd, the service, its credentials, and the
//! watches that tell it what happens. At the end everything is there, once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use amigo_operator::sandbox::{Operation, RateLimits, Settings, User};
use controlplane::{ControlPlane, Options};
use rand::Rng as _;
use serde_json::json;

use support::crowd::Crowd;
use support::dice::{dice, seed};
use support::hop::Hop;
use support::manifests::{acme, all, secret};
use support::{ACME, Setup, World};

/// Lets outages of the service last as long as real ones.
const FULL: &str = "AMIGO_VIOLENCE_FULL";

/// A service that lets many calls through.
fn quick(seed: u64, publish_seconds: f64) -> Setup {
    let rate_limits = RateLimits::Scaled(50.0);
    let service = Settings { seed, rate_limits, publish_seconds, ..Settings::default() };
    Setup { service, ..Setup::default() }
}

/// Rotates the Secret of each that is there.
fn rotate(world: &World, crowd: &mut Crowd, there: usize) {
    for n in 0..there {
        crowd.secrets[n] = world.canary();
        world.apply(&crowd.secret(n));
    }
}

#[test]
fn the_api_server_and_etcd_may_be_killed_in_the_middle_of_work() {
    let seed = seed();
    let mut dice = dice(seed);
    let mut control_plane = ControlPlane::start(Options::default().crds(controlplane::project_crds())).unwrap();
    let mut world = World::on(&control_plane, "servers", Setup { everywhere: true, ..quick(seed, 3.0) });
    world.start_operator();
    // An API server that has just started does not know all permissions yet.
    world.expect_refusals();
    let mut crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 30) };
    world.apply(&all([acme(&world), crowd.everything()]));
    let mut moment = || thread::sleep(Duration::from_millis(dice.random_range(0..1500)));
    let began = Instant::now();
    moment();
    control_plane.kill_api_server();
    moment();
    control_plane.start_api_server().unwrap();
    moment();
    control_plane.kill_etcd();
    moment();
    control_plane.restart_etcd().unwrap();
    moment();
    control_plane.kill_api_server();
    control_plane.kill_etcd();
    control_plane.restart_etcd().unwrap();
    control_plane.start_api_server().unwrap();
    println!("two kills of each within {:.1} s", began.elapsed().as_secs_f64());
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    rotate(&world, &mut crowd, 30);
    world.until("the new values are sent", || crowd.is_sent(&world));
    crowd.check(&world, &["1.0.0"]);
    assert_eq!(world.made(Operation::PublishVersion), 30);
    world.finish();
}

#[test]
fn the_service_may_be_away_for_long() {
    let seed = seed();
    let away = Duration::from_secs(if std::env::var_os(FULL).is_some() { 600 } else { 40 });
    let mut world = World::with("away", quick(seed, 5.0));
    let mut crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 20) };
    let there = 10;
    world.apply(&all([acme(&world), all((0..there).flat_map(|n| crowd.manifests(n)))]));
    world.until("they are Ready", || crowd.ready(&world) == 3 * there);
    world.apply(&all((0..there).map(|n| crowd.bump(n))));
    world.until("publishes are under way", || Crowd::under_way(&world) > 3);
    // Nobody listens, then 503 to everybody.
    world.service_goes();
    let gone = Instant::now();
    world.apply(&all((there..20).flat_map(|n| crowd.manifests(n))));
    rotate(&world, &mut crowd, there);
    world.until_within(away, "half of the time is over", || gone.elapsed() > away / 2);
    world.sandbox.set_maintenance(ACME, true).unwrap();
    world.service_comes();
    world.apply(&all((there..20).map(|n| crowd.bump(n))));
    let calls = world.calls();
    world.until_within(away, "the rest is over", || gone.elapsed() > away);
    println!("{} calls in {} s of maintenance", world.calls() - calls, away.as_secs() / 2);
    world.sandbox.set_maintenance(ACME, false).unwrap();
    let back = Instant::now();
    let is_done = || crowd.is_ready(&world) && crowd.bumps_are_ready(&world) && crowd.is_sent(&world);
    // Who was refused again and again tries less and less often, up to every quarter of an hour: but not after an outage,
    // however long it was.
    world.until_within(Duration::from_secs(180), "all is done", is_done);
    println!("away for {} s, and {:.1} s later all was done", away.as_secs(), back.elapsed().as_secs_f64());
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    world.finish();
}

#[test]
fn credentials_may_be_revoked_and_replaced_in_the_middle_of_work() {
    let seed = seed();
    let world = World::with("rotation", quick(seed, 3.0));
    let mut crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 20) };
    world.apply(&all([acme(&world), crowd.everything()]));
    world.until("publishes are under way", || Crowd::under_way(&world) > 5);
    world.sandbox.revoke_key(ACME, "demo-key-id").unwrap();
    world.sandbox.end_tokens(ACME);
    world.reason("Organization", "acme", "CredentialsRefused");
    rotate(&world, &mut crowd, 20);
    // Errors use budgets up too: what is refused is not tried again and again.
    let sign_ins = world.sandbox.calls(Operation::SignIn);
    assert!(sign_ins <= 3, "{sign_ins} sign-ins");
    // Another key of another user: what the first user has published is still known for what it is.
    let replace = |key_id: &str| {
        let key = world.canary();
        world.sandbox.put_key(ACME, key_id, &key, None).unwrap();
        world.sandbox.put_user(ACME, "second-user", User::default()).unwrap();
        let data = format!("api-key: {key}, api-key-id: {key_id}, user-id: second-user");
        world.apply(&secret("acme-api-key", &data));
    };
    replace("second-key");
    world.ready("Organization", "acme");
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    crowd.check(&world, &["1.0.0"]);
    // Once more, with an overlap, as a planned rotation has it.
    world.apply(&crowd.bumps());
    world.until("publishes are under way", || Crowd::under_way(&world) > 5);
    replace("third-key");
    world.until("it signs in again", || world.sandbox.calls(Operation::SignIn) > sign_ins + 1);
    world.sandbox.revoke_key(ACME, "second-key").unwrap();
    world.sandbox.end_tokens(ACME);
    rotate(&world, &mut crowd, 20);
    world.until_within(Duration::from_secs(240), "the bumps are Ready", || crowd.bumps_are_ready(&world));
    world.until("the new values are sent", || crowd.is_sent(&world));
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    assert_eq!(world.made(Operation::PublishVersion), 40);
    world.finish();
}

/// The longest that a watch is held back.
const LATEST: Duration = Duration::from_secs(5);

#[test]
fn watches_may_be_late_and_break() {
    let seed = seed();
    let mut dice = dice(seed);
    let mut world = World::without_operator("late", quick(seed, 2.0));
    let (hop, kubeconfig) = Hop::start(&world);
    hop.delay_watches(Duration::from_secs(3));
    world.expect_late_watches(LATEST);
    world.start_operator_with(&kubeconfig, &[]);
    let mut crowd = Crowd { publish_timeout: 60, ..Crowd::new(&world, 20) };
    world.apply(&all([acme(&world), crowd.everything()]));
    for round in 0..6 {
        thread::sleep(Duration::from_millis(dice.random_range(0..4000)));
        let n = dice.random_range(0..crowd.size);
        world.edit("Tool", &Crowd::name(n), &json!({"description": format!("Round {round}.")}));
        hop.delay_watches(dice.random_range(Duration::from_secs(1)..LATEST));
        match round % 3 {
            0 => hop.cut_watches(),
            1 => rotate(&world, &mut crowd, 5),
            _ => {
                world.kill_operator();
                world.start_operator_with(&kubeconfig, &[]);
            }
        }
    }
    world.apply(&crowd.bumps());
    hop.cut_watches();
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    world.until_within(Duration::from_secs(240), "the bumps are Ready", || crowd.bumps_are_ready(&world));
    world.until("the new values are sent", || crowd.is_sent(&world));
    crowd.check(&world, &["1.0.0", "1.1.0"]);
    // What was under way at a kill is not counted.
    assert!(world.made(Operation::CreateTool) <= 20 && world.made(Operation::PublishVersion) <= 40);
    world.finish();
}
