//! Pods come and go while the operator works.

use std::time::Duration;

use serde_json::json;

use super::{TOOL, World};
use crate::release::{self, NAMESPACE};
use crate::wait::{PATIENCE, ensure, until, until_true};
use crate::{Result, objects};

/// How long the publishes take here: longer than the next Pod needs to lead.
const PUBLISH_SECONDS: u32 = 20;

/// A new Pod template: the old Pod ends in the middle of a publish.
pub(super) fn rolls(world: &World) -> Result<()> {
    let before = release::pod(&world.node)?;
    world.begin_to_publish("1.1.0", PUBLISH_SECONDS)?;
    world.release.upgrade(&world.node, &["--set=podAnnotations.example\\.com/rolled=yes"])?;
    world.ready("toolversion/weather-1.1.0")?;
    let after = release::pod(&world.node)?;
    ensure(before["metadata"]["uid"] != after["metadata"]["uid"], || "it is the same Pod".to_owned())?;
    published(world, &["1.0.0", "1.1.0"])
}

/// SIGTERM: the Lease is given up at once, the publish keeps its connection until there is an answer, and the process ends
/// with 0 long before it would be killed.
pub(super) fn drains(world: &World) -> Result<()> {
    let pod = release::name(&release::pod(&world.node)?);
    // It stays in the API when it has ended, so that it can be seen how.
    keep(world, &pod, &json!(["example.com/seen"]))?;
    world.begin_to_publish("1.2.0", PUBLISH_SECONDS)?;
    world.node.kubectl(&["delete", &pod, "--wait=false", "--namespace", NAMESPACE])?;
    until_true("another Pod leads", PATIENCE, || {
        let leader = release::leader(&world.node)?;
        Ok(!leader.is_empty() && !leader.starts_with(pod.trim_start_matches("pod/")))
    })?;
    let is_publishing = world.service.publishes(TOOL)?;
    ensure(is_publishing, || "the publish was over before another Pod led, which proves nothing".to_owned())?;
    let grace = Duration::from_secs(360);
    let ended = until("the Pod ends", grace, || {
        let pod = world.node.get(NAMESPACE, &pod)?;
        let ended = &release::container(&pod)["state"]["terminated"];
        Ok((!ended.is_null()).then(|| ended.clone()))
    })?;
    keep(world, &pod, &json!(null))?;
    ensure(ended["exitCode"] == 0 && ended["reason"] == "Completed", || format!("how it has ended: {ended}"))?;
    let is_publishing = world.service.publishes(TOOL)?;
    ensure(!is_publishing, || "it has ended before its publish".to_owned())?;
    world.ready("toolversion/weather-1.2.0")?;
    published(world, &["1.0.0", "1.1.0", "1.2.0"])
}

/// Scaled to none: the next leader need not wait until the Lease has run out.
pub(super) fn gives_the_lease_up(world: &World) -> Result<()> {
    scale(world, 0)?;
    until_true("the Pod goes", PATIENCE, || Ok(release::pods(&world.node)?.is_empty()))?;
    let leader = release::leader(&world.node)?;
    ensure(leader.is_empty(), || format!("{leader} holds the Lease and is gone"))?;
    scale(world, 1)?;
    world.is_looked_at(&format!("tool/{TOOL}"))
}

/// Gives a Pod these finalizers.
fn keep(world: &World, pod: &str, finalizers: &serde_json::Value) -> Result<()> {
    let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
    world.node.kubectl(&["patch", pod, "--namespace", NAMESPACE, "--type=merge", "--patch", &patch])?;
    Ok(())
}

fn scale(world: &World, replicas: u32) -> Result<()> {
    let deployment = format!("deployment/{}", release::NAME);
    let replicas = format!("--replicas={replicas}");
    world.node.kubectl(&["scale", &deployment, &replicas, "--namespace", NAMESPACE])?;
    Ok(())
}

/// Exactly these versions are in the service, and each was asked for once.
pub(super) fn published(world: &World, wanted: &[&str]) -> Result<()> {
    let versions = world.service.versions(TOOL)?;
    let calls = world.service.calls("publish-version")?;
    let is_so = versions == wanted && calls == wanted.len() as u64;
    ensure(is_so, || format!("in the service: {versions:?}, published by {calls} calls, and not {wanted:?}"))?;
    let tools = world.service.calls("create-tool")?;
    ensure(tools == 1, || format!("{tools} tools were made in {}", objects::NAMESPACE))
}
