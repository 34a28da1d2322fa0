//! The versions of a Tool: the highest and the number of active ones for its status, and `deprecatedVersions`.

use std::time::Duration;

use kube::ResourceExt;

use super::wants_specifier;
use crate::amigo::types::ToolVersion;
use crate::amigo::{Class, Operation, Specifier};
use crate::controllers::Context;
use crate::controllers::connection::Connection;
use crate::controllers::deprecate::{Clearance, Order, clear};
use crate::controllers::driver::Visit;
use crate::controllers::memory::seconds;
use crate::controllers::outcome::{Interrupt, Outcome};
use crate::controllers::ownership;
use crate::controllers::tool_version::is_publishing;
use crate::kubernetes::object::Handle;
use crate::kubernetes::watch::key;
use crate::resources::{Reason, Tool, ToolStatus};

/// Keeps the status up with the versions and deprecates those that the manifest names; how long until the next look.
pub async fn follow(
    handle: &Handle<Tool>,
    status: &mut ToolStatus,
    visit: Visit,
    connection: &Connection,
    ctx: &Context,
) -> Result<Duration, Interrupt> {
    let Some(id) = status.tool_id.clone() else { return Ok(Duration::MAX) };
    let looks = looks(handle.object());
    let at = &connection.established;
    let period = ctx.periods.of_versions(at, seconds(connection.object.spec.resync.versions_period_seconds));
    let due = visit.requested || status.active_versions.is_none() || ctx.memory.until_look(&looks, period).is_zero();
    let stale = ctx.remote.versions_are_out_of_date(at, &id);
    let wanted = wants_specifier(handle.object()) && !visit.settled;
    let versions = if due || stale || wanted {
        let class = if visit.settled { Class::Resync } else { Class::Interactive };
        let age = if visit.requested || wanted { Duration::ZERO } else { period / 2 };
        let (versions, changed) = ctx.list_versions(handle.object(), at, &id, age, class).await?;
        ctx.memory.looked(&looks);
        if changed {
            let (namespace, name) = key(handle.object());
            ctx.wake_versions_of_tool(&namespace, &name);
        }
        Some(versions)
    } else {
        ctx.remote.known_versions(at, &id)
    };
    let Some(versions) = versions else { return Ok(ctx.memory.until_look(&looks, period)) };
    let turn = tell(status, &versions, visit, &handle.object().uid().unwrap_or_default(), ctx);
    deprecate(handle, &id, &versions, connection, ctx).await?;
    Ok(ctx.memory.until_look(&looks, period).min(turn))
}

/// Under what it is remembered when the versions of a Tool were last read: once for the Tool and its ToolVersions.
#[must_use]
pub fn looks(tool: &Tool) -> String {
    format!("{}/versions", tool.uid().unwrap_or_default())
}

/// Puts the summary of the versions into the status. Nobody waits for it where the Tool is Ready already: then it takes its turn
/// among those of all Tools, so that it does not compete with what somebody waits for where many versions are published at
/// once. Until the turn, if it is still to come.
fn tell(status: &mut ToolStatus, versions: &[ToolVersion], visit: Visit, uid: &str, ctx: &Context) -> Duration {
    let summary = summary(versions);
    if (&status.latest_version, &status.active_versions) == (&summary.0, &summary.1) {
        return Duration::MAX;
    }
    let turn = if visit.settled { ctx.memory.until_turn(uid) } else { Duration::ZERO };
    if !turn.is_zero() {
        return turn;
    }
    (status.latest_version, status.active_versions) = summary;
    Duration::MAX
}

/// The highest version that is active, and how many are.
fn summary(versions: &[ToolVersion]) -> (Option<String>, Option<i32>) {
    let active = || versions.iter().filter(|version| !version.deprecated);
    let latest = active().map(|version| version.version).max();
    (latest.map(|latest| latest.to_string()), i32::try_from(active().count()).ok())
}

/// The active versions that a specifier matches.
fn matching<'v>(specifier: &Specifier, versions: &'v [ToolVersion]) -> Vec<&'v ToolVersion> {
    versions.iter().filter(|v| !v.deprecated && specifier.matches(v.version)).collect()
}

async fn deprecate(
    handle: &Handle<Tool>,
    id: &str,
    versions: &[ToolVersion],
    connection: &Connection,
    ctx: &Context,
) -> Result<(), Interrupt> {
    let tool = handle.object();
    let Some(text) = tool.spec.deprecated_versions.as_deref().filter(|_| wants_specifier(tool)) else { return Ok(()) };
    let specifier = Specifier::parse(text).map_err(|error| {
        Outcome::stalled(
            Reason::InvalidSpec,
            format!("`spec.deprecatedVersions`: {error}; use a PEP 440 specifier such as '<1.4'"),
        )
    })?;
    let at = &connection.established;
    let mut matching = matching(&specifier, versions);
    matching.retain(|version| !ctx.remote.was_deprecated(at, &version.id));
    if matching.is_empty() {
        return Ok(());
    }
    if is_publishing(tool, id, connection.client().service_time(), ctx) {
        let message = "waits for a publish of the tool to end before versions are deprecated";
        return Err(Outcome::working(Reason::Publishing, message, Duration::from_secs(30)).into());
    }
    let (namespace, name) = key(tool);
    let order = Order {
        stands: &|fresh: &Tool| {
            fresh.metadata.deletion_timestamp.is_none()
                && !fresh.spec.suspend
                && fresh.spec.deprecated_versions.as_deref() == Some(text)
        },
        operation: Operation::DeprecateVersions,
        count: i32::try_from(matching.len()).unwrap_or(i32::MAX),
        what: &format!("versions {text} of tool {}", tool.remote_name()),
        tool_id: id,
        mark: Some(&ownership::mark(&ctx.settings.owner_id, &namespace, &name)),
    };
    let Clearance::Go(permit) = clear(&order, handle, connection, ctx).await? else { return Ok(()) };
    let done = connection.client().deprecate_versions(permit, id, &specifier).await;
    ctx.remote.age_versions(at, id);
    if let Err(error) = done
        && error.status() != Some(404)
    {
        return Err(error.into());
    }
    for version in matching {
        ctx.remote.note_deprecated(at, &version.id);
    }
    ctx.deprecations.done(&key(&*connection.object), &tool.uid().unwrap_or_default());
    ctx.wake_dependants_of_tool(&namespace, &name);
    Err(Outcome::working(Reason::Progressing, format!("versions {text} were deprecated"), Duration::from_secs(1))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, bool)]) -> Vec<ToolVersion> {
        let version = |(number, deprecated): &(&str, bool)| ToolVersion {
            id: (*number).to_owned(),
            deprecated: *deprecated,
            ..ToolVersion::for_tests(number.parse().unwrap())
        };
        of.iter().map(version).collect()
    }

    /// Versions and whether each is deprecated.
    const MIXED: &[(&str, bool)] = &[("1.0.0", true), ("1.9.0", false), ("1.10.0", false), ("2.0.0", true)];

    #[test]
    fn each_tool_has_a_clock_of_its_own() {
        let tool = |uid: &str| {
            let mut tool = Tool::new("weather", crate::resources::ToolSpec::default());
            tool.metadata.uid = Some(uid.to_owned());
            tool
        };
        assert_eq!(looks(&tool("a")), looks(&tool("a")));
        assert_ne!(looks(&tool("a")), looks(&tool("b")));
    }

    #[test]
    fn the_summary_tells_of_active_versions_only() {
        for (there, latest, active) in
            [(&[][..], None, 0), (&[("1.0.0", true)], None, 0), (MIXED, Some("1.10.0".to_owned()), 2)]
        {
            assert_eq!(summary(&versions(there)), (latest, Some(active)), "{there:?}");
        }
    }

    #[test]
    fn a_specifier_names_active_versions_only() {
        for (text, expected) in
            [("<1.10", &["1.9.0"][..]), (">=1", &["1.9.0", "1.10.0"]), ("<1", &[]), ("==1.0.0", &[])]
        {
            let all = versions(MIXED);
            let named = matching(&Specifier::parse(text).unwrap(), &all);
            assert_eq!(named.iter().map(|version| version.id.as_str()).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
