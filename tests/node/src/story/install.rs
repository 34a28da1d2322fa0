//! The chart is installed, and the operator finds the API server and the service.

use serde_json::json;

use super::{TOOL, World};
use crate::release::{self, NAMESPACE};
use crate::wait::{PATIENCE, ensure, until, until_true};
use crate::{Result, objects};

/// Without the definitions the operator waits for them and says so at `/readyz`: the kubelet asks, and sends it no work.
pub(super) fn waits_for_readiness(world: &World) -> Result<()> {
    world.release.install_without_waiting(&world.node, &["--set=crds.enabled=false"])?;
    until_true("the kubelet is told 503", PATIENCE, || {
        let events = world.node.kubectl(&["get", "events", "--namespace", NAMESPACE])?;
        Ok(events.contains("Readiness probe failed: HTTP probe failed with statuscode: 503"))
    })?;
    let pod = release::pod(&world.node)?;
    ensure(!release::is_ready(&pod), || "the Pod is Ready without definitions".to_owned())?;
    ensure(release::restarts(&pod) == 0, || "the Pod was restarted: it is alive".to_owned())?;
    world.release.uninstall(&world.node)
}

/// The API server is found as in every Pod, by the Service's address and the ServiceAccount's token; the service by its name.
pub(super) fn becomes_ready(world: &World) -> Result<()> {
    world.release.install(&world.node, &[])?;
    let pod = release::pod(&world.node)?;
    ensure(release::is_ready(&pod), || "Helm has not waited".to_owned())?;
    world.node.kubectl(&["create", "namespace", objects::NAMESPACE])?;
    world.apply(&objects::everything(TOOL))?;
    for name in objects::names(TOOL) {
        world.ready(&name)?;
    }
    let (tools, versions) = (world.service.tools()?, world.service.versions(TOOL)?);
    ensure(tools == [TOOL] && versions == ["1.0.0"], || format!("in the service: {tools:?} {versions:?}"))?;
    let writes = world.service.writes()?;
    ensure(writes.iter().all(|(_, calls)| *calls == 1), || format!("once each: {writes:?}"))
}

/// The static program reads `/etc/hosts`, which the kubelet writes for each Pod.
pub(super) fn finds_a_name_of_the_hosts_file(world: &World) -> Result<()> {
    let host = json!({"ip": world.service.address.to_string(), "hostnames": [objects::OTHER_HOST]});
    patch(world, &json!([host]))?;
    world.apply(&objects::organization("by-hosts-file", &objects::other_endpoint()))?;
    world.ready("organization/by-hosts-file")?;
    let delete = ["delete", "organization/by-hosts-file", "--namespace", objects::NAMESPACE];
    world.node.kubectl(&delete)?;
    patch(world, &json!(null))
}

/// Gives the Pods these `hostAliases`, and waits until the one that is there has them.
fn patch(world: &World, aliases: &serde_json::Value) -> Result<()> {
    let patch = json!({"spec": {"template": {"spec": {"hostAliases": aliases}}}}).to_string();
    let deployment = format!("deployment/{}", release::NAME);
    world.node.kubectl(&["patch", &deployment, "--namespace", NAMESPACE, "--type=merge", "--patch", &patch])?;
    until("the Pod is replaced", PATIENCE, || {
        let pod = release::pod(&world.node)?;
        Ok((pod["spec"]["hostAliases"] == *aliases && release::is_ready(&pod)).then_some(()))
    })
}
