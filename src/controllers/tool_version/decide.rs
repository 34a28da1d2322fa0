//! One ToolVersion, one version: what to do about a ToolVersion, from the manifest, the recorded intent, the versions that
//! exist and the other ToolVersions of the tool. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::amigo::types::{BumpType, ToolVersion as RemoteVersion, VersionNumber};
use crate::controllers::memory::MISSING_LOOK;
use crate::controllers::outcome::{Outcome, STALLED_LOOK};
use crate::controllers::tool::rivals::Age;
use crate::resources::Reason;
use crate::resources::tool_version::Wanted;

/// How long new objects are waited for before anything is published, so that versions that are applied together are
/// published in their order whatever order they arrive in.
pub const SETTLING: Duration = Duration::from_secs(5);

/// The same for a version that no other could go before: only the tool's variables may still be on their way.
const SETTLING_OF_THE_NEXT: Duration = Duration::from_secs(2);

/// How far the service's clock may be behind ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How often the list is read while the outcome of a publish is being found out.
const EVIDENCE_LOOK: Duration = Duration::from_secs(20);

/// How often the list is read for a version that was confirmed and is not listed yet.
const LISTING_LOOK: Duration = Duration::from_secs(2);

/// The recorded intent of a publish.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Just before it was sent.
    pub started: Timestamp,
    /// The versions that existed then.
    pub known: BTreeSet<VersionNumber>,
    /// The number that should come out.
    pub expected: Option<VersionNumber>,
    /// The user that published.
    pub user_id: Option<String>,
}

/// What this process knows of a publish that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flight {
    /// Nothing: none was sent, or its answer was lost, or another process sent it.
    Unknown,
    /// No answer yet.
    Running,
    /// It was answered with this number.
    Confirmed(VersionNumber),
}

/// Another ToolVersion of the same tool.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// Its name, for messages.
    pub name: String,
    /// Its place among those that want the same.
    pub age: Age,
    /// What it wants; `None` when that cannot be read.
    pub wanted: Option<Wanted>,
    /// The version that it stands for already.
    pub version_id: Option<String>,
    /// Whether the outcome of a publish is open.
    pub publishing: bool,
    /// Whether it can still go on by itself: not stalled, suspended or being deleted.
    pub active: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Everything that the decision looks at.
#[derive(Debug)]
pub struct Situation<'a> {
    /// What the manifest asks for.
    pub wanted: Wanted,
    /// The folder that is built.
    pub project_path: &'a str,
    /// This object's place among its siblings.
    pub age: Age,
    /// When this object was created.
    pub created: Option<Timestamp>,
    /// The version that this object stands for already.
    pub version_id: Option<&'a str>,
    /// The publish whose outcome is open.
    pub intent: Option<&'a Intent>,
    /// What this process knows of it.
    pub flight: Flight,
    /// How long a publish without an answer is waited for.
    pub publish_timeout: Duration,
    /// The versions that exist.
    pub versions: &'a [RemoteVersion],
    /// The other ToolVersions of the tool.
    pub siblings: &'a [Sibling],
    /// Why the tool's variables are not ready; `None` when they are.
    pub variables: Option<&'a str>,
    /// Whether the last publish was refused for good, and nobody asked for another.
    pub refused: bool,
    /// The time.
    pub now: Timestamp,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The version that this object stands for is there.
    Keep(RemoteVersion),
    /// Take this version as this object's.
    Claim(RemoteVersion),
    /// Publish, after the intent is written.
    Publish {
        /// Which part of the number rises.
        bump: BumpType,
        /// The number that should come out.
        expected: VersionNumber,
    },
    /// Nothing can be done now.
    End(Outcome),
}

/// Decides. The first line that applies, applies.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Plan {
    if let Some(id) = s.version_id {
        return recorded(s, id);
    }
    match (s.flight, s.intent.map(|intent| evidence(s, intent)), s.intent) {
        (Flight::Running, _, _) => return Plan::End(publishing(&being_published(s))),
        (_, Some(Some(version)), _) if fits(s.wanted, version.version) => return Plan::Claim(version.clone()),
        (Flight::Confirmed(number), Some(None), _) => {
            let message = format!("version {number} was published and is about to be listed");
            return Plan::End(Outcome::working(Reason::Publishing, message, LISTING_LOOK));
        }
        (Flight::Unknown, Some(None), Some(intent)) if !is_over(s, intent) => {
            return Plan::End(publishing("the answer to the publish was lost; the list of versions decides"));
        }
        _ => {}
    }
    existing(s).or_else(|| duplicate(s)).or_else(|| blocked(s)).unwrap_or_else(|| publish(s))
}

/// The object stands for a version already: is it still there?
fn recorded(s: &Situation<'_>, id: &str) -> Plan {
    match s.versions.iter().find(|version| version.id == id) {
        Some(version) => Plan::Keep(version.clone()),
        None => Plan::End(Outcome::stalled(
            Reason::RemoteMissing,
            "the service does not list the version any more, not even as deprecated",
        )),
    }
}

/// Whether the time to wait for the outcome of a publish has passed.
fn is_over(s: &Situation<'_>, intent: &Intent) -> bool {
    s.now.duration_since(intent.started) >= SignedDuration::try_from(s.publish_timeout).unwrap_or(SignedDuration::MAX)
}

/// The version that a publish has made, if the list shows it: a new one of our path, user and time. In the `version` form
/// only the expected number counts, in the `bumpType` form it is preferred.
fn evidence<'v>(s: &Situation<'v>, intent: &Intent) -> Option<&'v RemoteVersion> {
    if let Flight::Confirmed(number) = s.flight {
        return s.versions.iter().find(|version| version.version == number);
    }
    let claimed = |version: &RemoteVersion| s.siblings.iter().any(|o| o.version_id.as_ref() == Some(&version.id));
    let ours = |version: &&RemoteVersion| {
        let since = intent.started.saturating_sub(CLOCK_SKEW).unwrap_or(intent.started);
        let user = version.creator.as_ref().map(|creator| creator.user_id.as_str());
        !intent.known.contains(&version.version)
            && has_path(version, s.project_path)
            && (user.is_none() || intent.user_id.is_none() || user == intent.user_id.as_deref())
            && version.created_at.is_none_or(|created| created >= since)
            && !claimed(version)
    };
    let mut candidates: Vec<_> = s.versions.iter().filter(ours).collect();
    candidates.sort_by_key(|version| (Some(version.version) != intent.expected, version.version));
    candidates.into_iter().find(|version| fits(s.wanted, version.version))
}

/// Whether a number is what the manifest asks for.
fn fits(wanted: Wanted, number: VersionNumber) -> bool {
    match wanted {
        Wanted::Version(version) => version == number,
        Wanted::Bump(_) => true,
    }
}

/// Services that do not tell the path cannot be contradicted.
fn has_path(version: &RemoteVersion, path: &str) -> bool {
    version.project_directory.as_deref().is_none_or(|directory| directory.trim() == path.trim())
}

/// In the `version` form an existing version with the same number and path is taken, whoever made it.
fn existing(s: &Situation<'_>) -> Option<Plan> {
    let Wanted::Version(number) = s.wanted else { return None };
    let version = s.versions.iter().find(|version| version.version == number)?;
    if let Some(duplicate) = duplicate(s) {
        return Some(duplicate);
    }
    if !has_path(version, s.project_path) {
        let path = version.project_directory.clone().unwrap_or_default();
        return Some(Plan::End(Outcome::stalled(
            Reason::VersionTaken,
            format!(
                "version {number} exists and was built from {path}, not from {}; use another number",
                s.project_path
            ),
        )));
    }
    Some(Plan::Claim(version.clone()))
}

/// Two ToolVersions for one version: the older keeps it.
fn duplicate(s: &Situation<'_>) -> Option<Plan> {
    let Wanted::Version(number) = s.wanted else { return None };
    let same = |other: &&Sibling| other.wanted == Some(Wanted::Version(number)) && other.age < s.age;
    let other = s.siblings.iter().find(same)?;
    let message = format!("ToolVersion {} stands for version {number} already; delete one of the two", other.name);
    Some(Plan::End(Outcome::stalled(Reason::VersionTaken, message)))
}

/// What must come before a publish.
fn blocked(s: &Situation<'_>) -> Option<Plan> {
    if lacks_a_version(s) {
        let message =
            "the list of versions lacks one that was there: it is read again before anything is concluded from it";
        return Some(Plan::End(Outcome::working(Reason::ProgressingWithRetry, message, MISSING_LOOK)));
    }
    if s.refused {
        return Some(Plan::End(Outcome::Unchanged { again: STALLED_LOOK }));
    }
    let unsettled = settling(s);
    if !unsettled.is_zero() {
        let message = "waits a moment for other versions that may be applied together with this one";
        return Some(Plan::End(Outcome::working(Reason::Progressing, message, unsettled)));
    }
    if let Some(first) = s.siblings.iter().find(|other| other.publishing || goes_first(s, other)) {
        let message =
            format!("waits for ToolVersion {}: versions are published one at a time, in their order", first.name);
        return Some(Plan::End(Outcome::waiting(Reason::VersionPending, message)));
    }
    if let Some(obstacle) = s.variables {
        return Some(Plan::End(Outcome::waiting(Reason::VariablesNotSynced, obstacle)));
    }
    None
}

/// Whether the list lacks a version that another object has: it is stale, or came half, and says nothing of what can be
/// published next.
fn lacks_a_version(s: &Situation<'_>) -> bool {
    let recorded = s.siblings.iter().filter(|other| other.active).filter_map(|other| other.version_id.as_ref());
    recorded.into_iter().any(|id| !s.versions.iter().any(|version| &version.id == id))
}

/// How long until the youngest of the unpublished objects has settled.
fn settling(s: &Situation<'_>) -> Duration {
    let unpublished = s.siblings.iter().filter(|other| other.active && other.version_id.is_none());
    let youngest = unpublished.map(|other| other.created).chain([s.created]).flatten().max();
    let Some(youngest) = youngest else { return Duration::ZERO };
    let age = s.now.duration_since(youngest);
    let wait = SignedDuration::try_from(if is_next(s) { SETTLING_OF_THE_NEXT } else { SETTLING }).unwrap_or_default();
    // An object from the future tells that the clocks differ: nothing can be waited for then.
    if age < -wait { Duration::ZERO } else { Duration::try_from(wait - age).unwrap_or(Duration::ZERO) }
}

/// Whether the object wants the lowest number that can be published, so that no other version can go before it.
fn is_next(s: &Situation<'_>) -> bool {
    let highest = s.versions.iter().map(|version| version.version).max();
    let lowest = legal(highest).first().map(|(_, lowest)| *lowest);
    matches!((s.wanted, lowest), (Wanted::Version(wanted), Some(lowest)) if wanted == lowest)
}

/// Unpublished versions of one tool go in ascending order, and exact versions before bumps.
fn goes_first(s: &Situation<'_>, other: &Sibling) -> bool {
    if !other.active || other.version_id.is_some() {
        return false;
    }
    match (other.wanted, s.wanted) {
        (Some(Wanted::Version(theirs)), Wanted::Version(ours)) => theirs < ours,
        (Some(Wanted::Version(_)), Wanted::Bump(_)) => true,
        (Some(Wanted::Bump(_)), Wanted::Bump(_)) => other.age < s.age,
        (Some(Wanted::Bump(_)), Wanted::Version(_)) | (None, _) => false,
    }
}

/// The bump that makes the wanted version, from the highest there is.
fn publish(s: &Situation<'_>) -> Plan {
    let highest = s.versions.iter().map(|version| version.version).max();
    match s.wanted {
        Wanted::Bump(bump) => {
            // The first version of a tool is a major one, whatever the manifest says.
            let bump = if highest.is_none() { BumpType::Major } else { bump };
            Plan::Publish { bump, expected: successor(highest, bump) }
        }
        Wanted::Version(number) => match legal(highest).into_iter().find(|(_, next)| *next == number) {
            Some((bump, expected)) => Plan::Publish { bump, expected },
            None => Plan::End(unreachable(number, highest)),
        },
    }
}

/// The number that a bump makes.
fn successor(highest: Option<VersionNumber>, bump: BumpType) -> VersionNumber {
    highest.map_or(VersionNumber::new(1, 0, 0), |highest| highest.bumped(bump))
}

/// The numbers that a single bump leads to.
#[must_use]
pub fn legal(highest: Option<VersionNumber>) -> Vec<(BumpType, VersionNumber)> {
    let bumps: &[BumpType] = match highest {
        None => &[BumpType::Major],
        Some(_) => &[BumpType::Patch, BumpType::Minor, BumpType::Major],
    };
    bumps.iter().map(|bump| (*bump, successor(highest, *bump))).collect()
}

fn unreachable(number: VersionNumber, highest: Option<VersionNumber>) -> Outcome {
    let legal: Vec<String> = legal(highest).iter().map(|(_, next)| next.to_string()).collect();
    let there = highest.map_or("the tool has no version yet".to_owned(), |h| format!("the highest version is {h}"));
    Outcome::stalled(
        Reason::VersionUnreachable,
        format!("no single bump leads to {number}: {there}, and the next can be {}", legal.join(", ")),
    )
}

/// What is said of a publish while it runs: the same from its begin to its end, as each change of it would be a write.
#[must_use]
pub fn publishes(expected: VersionNumber) -> String {
    format!("publishes version {expected}; this takes minutes")
}

fn being_published(s: &Situation<'_>) -> String {
    let expected = s.intent.and_then(|intent| intent.expected);
    expected.map_or_else(|| "the service builds the version".to_owned(), publishes)
}

fn publishing(message: &str) -> Outcome {
    Outcome::working(Reason::Publishing, message, EVIDENCE_LOOK)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
