//! The container hangs, and is killed for want of memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::change::published;
use super::{TOOL, World};
use crate::machine::run;
use crate::node::process_of;
use crate::release::{self, NAMESPACE};
use crate::wait::{PATIENCE, ensure, until, until_true};
use crate::{Result, objects};

/// The liveness probe fails three times, and a process that does not end is killed.
const HANGING_PATIENCE: Duration = Duration::from_secs(180);

/// Enough for a few objects.
const SMALL_LIMIT: &str = "--set=resources.limits.memory=24Mi,resources.requests.memory=16Mi";

/// Tools that only take room: the operator does nothing for them.
const IDLE_TOOLS: usize = 100;

/// Where they are: they go with it.
const IDLE_NAMESPACE: &str = "idle";

/// The largest annotation that Kubernetes takes is a little more.
const ANNOTATION: usize = 250_000;

/// How long the publish takes that the operator is killed in.
const PUBLISH_SECONDS: u32 = 90;

/// A process that is stopped answers no probe, and no SIGTERM either.
pub(super) fn hangs(world: &World) -> Result<()> {
    let pod = release::pod(&world.node)?;
    let container = release::container(&pod)["containerID"].as_str().unwrap_or_default();
    let process = process_of(container)?;
    run("kill", &["-STOP", &process.to_string()])?;
    until_true("the container is restarted", HANGING_PATIENCE, || {
        let pod = release::pod(&world.node)?;
        Ok(release::restarts(&pod) == 1 && release::is_ready(&pod))
    })?;
    let events = world.node.kubectl(&["get", "events", "--namespace", NAMESPACE])?;
    ensure(events.contains("Liveness probe failed"), || format!("it was not the probe: {events}"))?;
    world.is_looked_at(&format!("tool/{TOOL}"))
}

/// The limit is enough until there are more objects. The operator is killed with a publish in flight, and whenever it starts.
pub(super) fn is_killed(world: &World) -> Result<()> {
    world.release.upgrade(&world.node, &[SMALL_LIMIT])?;
    world.begin_to_publish("1.3.0", PUBLISH_SECONDS)?;
    let mut was_publishing = None;
    world.node.kubectl(&["create", "namespace", IDLE_NAMESPACE])?;
    for some in idle_tools().chunks(10) {
        world.node.apply(IDLE_NAMESPACE, &objects::list(some))?;
        if was_publishing.is_none() && release::restarts(&release::pod(&world.node)?) > 0 {
            was_publishing = Some(world.service.publishes(TOOL)?);
        }
    }
    ensure(was_publishing == Some(true), || {
        format!("whether it was killed, and then in a publish: {was_publishing:?}")
    })?;
    let ended = until("it is killed again", PATIENCE, || {
        let pod = release::pod(&world.node)?;
        let ended = &release::container(&pod)["lastState"]["terminated"];
        Ok((release::restarts(&pod) > 1).then(|| ended.clone()))
    })?;
    ensure(ended["reason"] == "OOMKilled" && ended["exitCode"] == 137, || format!("how it has ended: {ended}"))
}

fn idle_tools() -> Vec<Value> {
    let filler = json!({"example.com/filler": "x".repeat(ANNOTATION)});
    let tools = (0..IDLE_TOOLS).map(|number| {
        let mut tool = objects::tool(&format!("idle-{number}"), &filler);
        tool["spec"]["suspend"] = json!(true);
        tool
    });
    tools.collect()
}

/// As a person would put it right.
pub(super) fn rolls_back(world: &World) -> Result<()> {
    world.release.roll_back(&world.node)?;
    let pod = release::pod(&world.node)?;
    let limit = &pod["spec"]["containers"][0]["resources"]["limits"]["memory"];
    ensure(*limit == "256Mi", || format!("the limit is {limit}"))?;
    world.ready("toolversion/weather-1.3.0")?;
    published(world, &["1.0.0", "1.1.0", "1.2.0", "1.3.0"])?;
    world.node.kubectl(&["delete", "namespace", IDLE_NAMESPACE, "--wait=false"])?;
    Ok(())
}
