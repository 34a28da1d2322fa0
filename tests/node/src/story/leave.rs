//! The release goes, comes back, and comes from an older chart.

use super::{TOOL, World};
use crate::release;
use crate::wait::{PATIENCE, ensure, until_true};
use crate::{Result, objects};

/// The tool of the installation that is upgraded.
const OTHER_TOOL: &str = "traffic";

/// What a person would miss stays: objects with their uids, and everything in the service.
pub(super) fn uninstalls(world: &World) -> Result<()> {
    let (uids, writes) = (world.uids()?, world.service.writes()?);
    world.release.uninstall(&world.node)?;
    let (uids_after, writes_after) = (world.uids()?, world.service.writes()?);
    ensure(!uids.is_empty() && uids == uids_after, || format!("objects: {uids:?}, and then {uids_after:?}"))?;
    ensure(writes == writes_after, || format!("calls: {writes:?}, and then {writes_after:?}"))
}

/// Nothing is made again; what is new is.
pub(super) fn comes_back(world: &World) -> Result<()> {
    let (uids, writes) = (world.uids()?, world.service.writes()?);
    world.release.install(&world.node, &[])?;
    world.is_looked_at(&format!("tool/{TOOL}"))?;
    let (uids_after, writes_after) = (world.uids()?, world.service.writes()?);
    ensure(uids == uids_after, || format!("objects: {uids:?}, and then {uids_after:?}"))?;
    ensure(writes == writes_after, || format!("calls: {writes:?}, and then {writes_after:?}"))?;
    world.begin_to_publish("1.4.0", 1)?;
    world.ready("toolversion/weather-1.4.0")
}

/// Everything is taken away as the manual says, and installed from the chart as it was before.
pub(super) fn upgrades_from_before(world: &World) -> Result<()> {
    remove_everything(world)?;
    let earlier = world.release.of(&world.earlier_chart);
    earlier.install(&world.node, &[])?;
    world.apply(&objects::everything(OTHER_TOOL))?;
    for name in objects::names(OTHER_TOOL) {
        world.ready(&name)?;
    }
    let (uids, writes) = (world.uids()?, world.service.writes()?);
    world.release.upgrade(&world.node, &["--set=podAnnotations.example\\.com/upgraded=yes"])?;
    for name in objects::names(OTHER_TOOL) {
        world.is_looked_at(&name)?;
    }
    let (uids_after, writes_after) = (world.uids()?, world.service.writes()?);
    ensure(uids.len() == 4 && uids == uids_after, || format!("objects: {uids:?}, and then {uids_after:?}"))?;
    ensure(writes == writes_after, || format!("calls: {writes:?}, and then {writes_after:?}"))?;
    world.apply(&objects::version(OTHER_TOOL, "1.1.0"))?;
    world.ready(&format!("toolversion/{OTHER_TOOL}-1.1.0"))?;
    let versions = world.service.versions(OTHER_TOOL)?;
    ensure(versions == ["1.0.0", "1.1.0"], || format!("in the service: {versions:?}"))
}

/// The objects while the operator runs, then the release, then the definitions.
fn remove_everything(world: &World) -> Result<()> {
    for kinds in ["toolversions,toolenvsecrets,tools", "organizations"] {
        world.node.kubectl(&["delete", kinds, "--all", "--namespace", objects::NAMESPACE, "--timeout=120s"])?;
    }
    let versions = world.service.versions(TOOL)?;
    ensure(versions.len() == 5, || format!("the versions do not stay by default: {versions:?}"))?;
    world.release.uninstall(&world.node)?;
    let crds = ["organizations", "tools", "toolversions", "toolenvsecrets"].map(|kind| format!("{kind}.amigo.ai"));
    let crds: Vec<_> = crds.iter().map(String::as_str).collect();
    world.node.kubectl(&[&["delete", "customresourcedefinition"], &crds[..]].concat())?;
    until_true("no Pod is left", PATIENCE, || Ok(release::pods(&world.node)?.is_empty()))
}
