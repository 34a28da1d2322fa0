//! What a refused publish means. Several meanings share a status, and the service's text is no basis for telling them apart:
//! state is. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::amigo;
use crate::amigo::types::{Tool as RemoteTool, ToolVersion as RemoteVersion};
use crate::controllers::outcome::{Outcome, of_service_error};
use crate::resources::Reason;

/// Whatever the service checks before it builds, it checks within this time; a refusal after it is a failed build.
const CHECKED_WITHIN: Duration = Duration::from_secs(3);

/// How many active versions a tool may have; the number is the service's and has changed before, so it is a hint only.
const ACTIVE_LIMIT: usize = 3;

/// The outcome of a publish that had no effect.
#[must_use]
pub fn outcome(
    error: &amigo::Error,
    elapsed: Duration,
    project_path: &str,
    versions: &[RemoteVersion],
    tool: Option<&RemoteTool>,
) -> Outcome {
    match error.status() {
        Some(400) if elapsed >= CHECKED_WITHIN => Outcome::stalled(
            Reason::BuildFailed,
            format!(
                "the service could not build {project_path}: {error}; mend it, then ask again with `amigo.ai/reconcile-requested-at`"
            ),
        ),
        Some(400) => unbuilt(error, versions, tool),
        Some(404) => Outcome::stalled(
            Reason::ProjectNotFound,
            format!("the service found nothing to build at {project_path}: {error}"),
        ),
        Some(409) => Outcome::retrying("another operation on the tool is under way"),
        // Should the lease be renewed after all, the status must be written: it says that a publish is under way.
        _ if *error == amigo::Error::NotLeader => {
            Outcome::retrying("the publish was not sent, as the leader lease had run out for a moment")
        }
        _ => of_service_error(error),
    }
}

/// Refused before it was built.
fn unbuilt(error: &amigo::Error, versions: &[RemoteVersion], tool: Option<&RemoteTool>) -> Outcome {
    let missing = missing_variables(versions, tool);
    let active = versions.iter().filter(|version| !version.deprecated).count();
    if !missing.is_empty() {
        let names = missing.into_iter().collect::<Vec<_>>().join(", ");
        return Outcome::stalled(
            Reason::VariablesMissing,
            format!(
                "the tool lacks variables that its versions require ({names}); add them to a ToolEnvSecret: {error}"
            ),
        );
    }
    if versions.is_empty() {
        // Neither an older commit nor too many versions can be the cause of a first one's refusal.
        return Outcome::stalled(
            Reason::VariablesMissing,
            format!("the version requires variables that the tool lacks; add them to a ToolEnvSecret: {error}"),
        );
    }
    let limit = if active >= ACTIVE_LIMIT {
        format!("{active} versions are active, which may be too many; ")
    } else {
        String::new()
    };
    Outcome::stalled(
        Reason::PublishRefused,
        format!(
            "the service refused to publish: {limit}the commit may be older than the last version's, or variables that the \
             version requires may be missing: {error}"
        ),
    )
}

/// Variables that the highest active version requires and the tool lacks.
fn missing_variables(versions: &[RemoteVersion], tool: Option<&RemoteTool>) -> BTreeSet<String> {
    let latest = versions.iter().filter(|version| !version.deprecated).max_by_key(|version| version.version);
    let (Some(latest), Some(tool)) = (latest, tool) else { return BTreeSet::new() };
    let plain = latest.required_envvars.iter().filter(|name| !tool.envvars.contains(name));
    let secret = latest.required_secret_envvars.iter().filter(|name| !tool.secret_envvars.contains(name));
    plain.chain(secret).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amigo::Operation;
    use crate::amigo::types::VersionNumber;

    fn refused(status: u16) -> amigo::Error {
        amigo::Error::Status { operation: Operation::PublishVersion, status, field: None, text: None }
    }

    fn version(patch: u64, requires: &[&str], deprecated: bool) -> RemoteVersion {
        RemoteVersion {
            required_secret_envvars: requires.iter().map(|name| (*name).to_owned()).collect(),
            deprecated,
            ..RemoteVersion::for_tests(VersionNumber::new(1, 0, patch))
        }
    }

    fn tool(has: &[&str]) -> RemoteTool {
        RemoteTool { secret_envvars: has.iter().map(|name| (*name).to_owned()).collect(), ..RemoteTool::for_tests() }
    }

    /// Status and time of the refusal, the versions, the tool's variables, and what is made of it.
    type Case<'a> = ((u16, Duration), &'a [RemoteVersion], &'a [&'a str], Reason);

    #[test]
    fn state_tells_the_meanings_of_a_refusal_apart() {
        let quick = Duration::from_millis(200);
        let one = [version(0, &["KEY"], false)];
        let old = [version(0, &["GONE"], true), version(1, &[], false)];
        let many: Vec<_> = (0..3).map(|patch| version(patch, &[], false)).collect();
        let table: [Case<'_>; 8] = [
            ((400, Duration::from_secs(90)), &one, &["KEY"], Reason::BuildFailed),
            ((400, CHECKED_WITHIN), &one, &["KEY"], Reason::BuildFailed),
            ((400, quick), &[], &[], Reason::VariablesMissing),
            ((400, quick), &one, &[], Reason::VariablesMissing),
            ((400, quick), &one, &["KEY"], Reason::PublishRefused),
            ((400, quick), &old, &[], Reason::PublishRefused),
            ((400, quick), &many, &[], Reason::PublishRefused),
            ((404, quick), &one, &["KEY"], Reason::ProjectNotFound),
        ];
        for ((status, elapsed), versions, has, reason) in table {
            let outcome = outcome(&refused(status), elapsed, "tools/weather", versions, Some(&tool(has)));
            assert!(
                matches!(&outcome, Outcome::Stalled { reason: found, .. } if *found == reason),
                "{status} {outcome:?}"
            );
        }
        let busy = outcome(&refused(409), quick, "tools/weather", &one, None);
        assert_eq!(busy, Outcome::retrying("another operation on the tool is under way"));
        let other = outcome(&refused(418), quick, "tools/weather", &one, None);
        assert_eq!(
            other,
            of_service_error(&refused(418)),
            "what has no meaning of its own here means what it does anywhere"
        );
    }

    /// One that leaves the status as it is leaves the intent in it, too, and waits for ever for what was refused.
    #[test]
    fn whatever_refuses_a_publish_is_told_in_the_status() {
        let of = Operation::PublishVersion;
        let refusals = [
            amigo::Error::NotLeader,
            amigo::Error::CredentialsRefused {},
            amigo::Error::PermissionDenied { operation: of, text: None },
            amigo::Error::RateLimited { operation: of, retry_after: None },
            amigo::Error::Queued { operation: of, estimate: Duration::ZERO },
            amigo::Error::NotSent("refused".into()),
            amigo::Error::RevisionMismatch { text: None },
        ];
        for error in refusals.into_iter().chain((400..=499).filter(|status| *status != 408).map(refused)) {
            assert_eq!(error.effect(), amigo::Effect::None, "{error}");
            let outcome = outcome(&error, Duration::ZERO, "tools/weather", &[], None);
            assert!(outcome.verdict().is_some(), "{error}: {outcome:?}");
        }
    }

    #[test]
    fn variables_are_missing_whatever_their_kind_if_the_highest_active_version_requires_them() {
        let plain = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut latest = version(2, &["SECRET"], false);
        latest.required_envvars = plain(&["PLAIN"]);
        let versions = [version(1, &["BEFORE"], false), latest, version(3, &["GONE"], true)];
        for (has, has_secret, missing) in [
            (&["PLAIN"][..], &["SECRET"][..], &[][..]),
            (&[], &["SECRET"], &["PLAIN"]),
            (&["PLAIN"], &[], &["SECRET"]),
            (&["SECRET"], &["PLAIN"], &["PLAIN", "SECRET"]),
        ] {
            let tool = RemoteTool { envvars: plain(has), ..tool(has_secret) };
            let found = missing_variables(&versions, Some(&tool));
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), missing, "{has:?} {has_secret:?}");
        }
        assert!(missing_variables(&versions, None).is_empty(), "without the tool nothing is known to be missing");
        assert!(missing_variables(&versions[2..], Some(&tool(&[]))).is_empty());
    }

    #[test]
    fn many_active_versions_are_told_as_a_possible_cause() {
        for (active, deprecated, told) in [(2, 0, false), (2, 5, false), (3, 0, true), (4, 1, true)] {
            let versions: Vec<_> = (0..active + deprecated).map(|n| version(n, &[], n >= active)).collect();
            let outcome = unbuilt(&refused(400), &versions, Some(&tool(&[])));
            let message = outcome.verdict().unwrap().message;
            let expected = format!("{active} versions are active, which may be too many");
            assert_eq!(message.contains(&expected), told, "{active} {deprecated}: {message}");
        }
    }
}
