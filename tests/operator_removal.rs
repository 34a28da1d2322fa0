//! What happens remotely when much is removed at once: the kinds themselves, or a whole namespace. Only what a manifest
//! orders is deprecated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use amigo_operator::sandbox::{Operation, RateLimits, Settings};
use controlplane::{ControlPlane, Options};

use support::crowd::Crowd;
use support::manifests::{acme, all, credentials, organization};
use support::{ACME, Setup, World, field};

const CRDS: [&str; 4] = ["toolversions", "toolenvsecrets", "tools", "organizations"];

fn quick() -> Setup {
    let service = Settings { rate_limits: RateLimits::Scaled(50.0), publish_seconds: 0.5, ..Settings::default() };
    Setup { service, everywhere: true, ..Setup::default() }
}

/// The ids of the crowd's tools, as the manifests show them.
fn ids(world: &World, crowd: &Crowd) -> Vec<String> {
    (0..crowd.size).map(|n| field(&world.get("Tool", &Crowd::name(n)).unwrap(), "toolId")).collect()
}

#[test]
fn kinds_that_are_removed_leave_everything_and_take_it_again_when_they_come_back() {
    let control_plane = ControlPlane::start(Options::default().crds(controlplane::project_crds())).unwrap();
    let mut world = World::on(&control_plane, "kinds", quick());
    world.start_operator();
    let deprecating = Crowd { tool: "deletionPolicy: Deprecate", ..Crowd::new(&world, 10) };
    let crowd = Crowd { version: "version: 1.0.0, deletionPolicy: Deprecate", ..deprecating };
    let everything = all([acme(&world), crowd.everything()]);
    world.apply(&everything);
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    let before = ids(&world, &crowd);

    let names = CRDS.map(|plural| format!("{plural}.amigo.ai"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A first operator is killed in the middle of it.
    let delete = [&["delete", "customresourcedefinition", "--wait=false"], &names[..]].concat();
    control_plane.kubectl(&delete).unwrap();
    world.kill_operator();
    world.start_operator();
    let waits = [&["wait", "--for=delete", "--timeout=90s", "customresourcedefinition"], &names[..]].concat();
    control_plane.kubectl(&waits).unwrap();
    crowd.check(&world, &["1.0.0"]);

    let crds = controlplane::project_crds();
    let crds = crds.to_str().unwrap();
    control_plane.kubectl(&["apply", "--server-side", "--filename", crds]).unwrap();
    control_plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", crds]).unwrap();
    world.apply(&everything);
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    assert_eq!(ids(&world, &crowd), before, "the same tools");
    crowd.check(&world, &["1.0.0"]);
    for (operation, calls) in [(Operation::CreateTool, 10), (Operation::PublishVersion, 10)] {
        assert_eq!(world.sandbox.calls(operation), calls, "{operation}");
    }
    for operation in [Operation::DeprecateTool, Operation::DeprecateVersions] {
        assert_eq!(world.sandbox.calls(operation), 0, "{operation}");
    }
    world.finish();
}

#[test]
fn a_namespace_that_goes_takes_with_it_what_its_manifests_order_and_nothing_else() {
    let world = World::with("going", quick());
    world.apply(&all([organization(&world, "maxDeprecationsPerHour: 100"), credentials(&world)]));
    // By number: nothing, the version, the tool, both.
    let orders = |n: usize| (["", "deletionPolicy: Deprecate"][n / 2 % 2], n % 2 == 1);
    let crowd = Crowd::new(&world, 20);
    let one = |n: usize| {
        let (tool, deprecates_version) = orders(n);
        let version = if deprecates_version { "version: 1.0.0, deletionPolicy: Deprecate" } else { "version: 1.0.0" };
        all(Crowd { tool, version, secrets: crowd.secrets.clone(), size: 20, publish_timeout: 10 }.manifests(n))
    };
    world.apply(&all((0..20).map(one)));
    crowd.wait_until_ready(&world, Duration::from_secs(240));
    world.kubectl(&["delete", "namespace", &world.namespace, "--timeout=120s"]);
    for n in 0..20 {
        let (tool_orders, deprecates_version) = orders(n);
        let tool = world.sandbox.tool(ACME, &Crowd::remote(n)).unwrap();
        assert_eq!(tool.deprecated, !tool_orders.is_empty(), "tool {n}");
        assert_eq!(tool.active_versions().is_empty(), tool.deprecated || deprecates_version, "the version of tool {n}");
    }
    assert_eq!(world.sandbox.tools(ACME).len(), 20);
    assert_eq!(world.sandbox.calls(Operation::DeprecateTool), 10);
    world.finish();
}
