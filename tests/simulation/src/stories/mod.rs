//! What people do in a run, each story on objects of its own, and how it must end. A story goes on whatever goes wrong.

mod cluster;
mod tools;
mod variables;
mod versions;

pub use variables::rotate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::referee::Limit;
use crate::sim::Sim;

/// What a story expects in the end: what is not so yet.
pub type Expectation = Box<dyn Fn(&Sim) -> Vec<String> + Send + Sync>;

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// A Tool and versions by number, one after the other.
    Numbers,
    /// A Tool and versions by bump.
    Bumps,
    /// Variables from Secrets that are rotated, vanish and come back.
    Variables,
    /// Two ToolEnvSecrets of one tool want the same variable.
    Dispute,
    /// A Tool is deleted, and perhaps applied again.
    ToolGoes,
    /// Somebody edits the tool in the service.
    Drift,
    /// Somebody deprecates the tool in the service; a person may consent to a new one.
    DeprecatedByHand,
    /// Two Tools want one remote tool.
    Rivals,
    /// Versions are deprecated by a specifier.
    Specifier,
    /// A ToolVersion is deleted, and its version deprecated with it.
    VersionGoes,
    /// A version is deprecated in the service.
    VersionDeprecatedByHand,
    /// Somebody else's mark appears on the tool.
    OwnershipLost,
    /// A Tool is suspended, and goes on.
    Suspended,
    /// A tool of others is observed, and gets versions.
    Observed,
    /// A tool without a mark is taken over.
    Adopted,
    /// Somebody publishes versions by hand in between.
    OthersPublish,
    /// The CRDs are deleted under the objects, and everything is applied again.
    CrdsDeleted,
    /// A manifest changes its mind about deprecation while the object goes.
    ChangeOfMind,
}

impl Story {
    /// All stories.
    pub const ALL: [Self; 18] = [
        Self::Numbers,
        Self::Bumps,
        Self::Variables,
        Self::Dispute,
        Self::ToolGoes,
        Self::Drift,
        Self::DeprecatedByHand,
        Self::Rivals,
        Self::Specifier,
        Self::VersionGoes,
        Self::VersionDeprecatedByHand,
        Self::OwnershipLost,
        Self::Suspended,
        Self::Observed,
        Self::Adopted,
        Self::OthersPublish,
        Self::CrdsDeleted,
        Self::ChangeOfMind,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Bumps => "bumps",
            Self::Variables => "variables",
            Self::Dispute => "dispute",
            Self::ToolGoes => "tool-goes",
            Self::Drift => "drift",
            Self::DeprecatedByHand => "deprecated-by-hand",
            Self::Rivals => "rivals",
            Self::Specifier => "specifier",
            Self::VersionGoes => "version-goes",
            Self::VersionDeprecatedByHand => "version-deprecated-by-hand",
            Self::OwnershipLost => "ownership-lost",
            Self::Suspended => "suspended",
            Self::Observed => "observed",
            Self::Adopted => "adopted",
            Self::OthersPublish => "others-publish",
            Self::CrdsDeleted => "crds-deleted",
            Self::ChangeOfMind => "change-of-mind",
        }
    }

    /// The story of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|story| story.name() == name)
    }

    /// Whether it concerns everything in the cluster.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self == Self::CrdsDeleted
    }

    /// Plays the story on objects whose names begin with `prefix`.
    pub async fn play(self, sim: Arc<Sim>, prefix: String, mut dice: Dice) -> Expectation {
        let stage = Stage { sim: &sim, name: format!("{prefix}-{}", self.name()) };
        sim.pause(&mut dice, 300.0).await;
        let dice = &mut dice;
        match self {
            Self::Numbers => stage.numbers(dice).await,
            Self::Bumps => stage.bumps(dice).await,
            Self::Variables => stage.variables(dice).await,
            Self::Dispute => stage.dispute(dice).await,
            Self::ToolGoes => stage.tool_goes(dice).await,
            Self::Drift => stage.drift(dice).await,
            Self::DeprecatedByHand => stage.deprecated_by_hand(dice).await,
            Self::Rivals => stage.rivals(dice).await,
            Self::Specifier => stage.specifier(dice).await,
            Self::VersionGoes => stage.version_goes(dice).await,
            Self::VersionDeprecatedByHand => stage.version_deprecated_by_hand(dice).await,
            Self::OwnershipLost => stage.ownership_lost(dice).await,
            Self::Suspended => stage.suspended(dice).await,
            Self::Observed => stage.observed(dice).await,
            Self::Adopted => stage.adopted(dice).await,
            Self::OthersPublish => stage.others_publish(dice).await,
            Self::CrdsDeleted => stage.crds_deleted(dice).await,
            Self::ChangeOfMind => stage.change_of_mind(dice).await,
        }
    }
}

/// The objects of one story.
struct Stage<'a> {
    sim: &'a Arc<Sim>,
    /// The Tool, and the beginning of the other names.
    name: String,
}

const DESCRIPTION: &str = "Weather for a city.";

fn tool_spec(more: &Value) -> Value {
    let mut spec = json!({"organizationRef": {"name": "acme"}, "description": DESCRIPTION});
    json_patch::merge(&mut spec, more);
    spec
}

/// Numbers that follow each other from the first, each by one bump.
fn numbers(dice: &mut Dice, count: usize) -> Vec<String> {
    let mut number = [1_u32, 0, 0];
    let mut all = vec!["1.0.0".to_owned()];
    for _ in 1..count {
        let part = dice.below(3);
        number[part] += 1;
        number[part + 1..].fill(0);
        all.push(format!("{}.{}.{}", number[0], number[1], number[2]));
    }
    all
}

impl Stage<'_> {
    fn remote(&self) -> String {
        remote(&self.name)
    }

    fn tool(&self, more: &Value) {
        self.sim.apply("Tool", &self.name, &tool_spec(more));
    }

    fn allow(&self, exact: &[String], bumps: usize) {
        let exact: BTreeSet<String> = exact.iter().cloned().collect();
        self.sim.limit(&self.remote(), Limit { exact, bumps });
    }

    fn version(&self, number: &str, more: &Value) {
        let mut spec = json!({"toolRef": {"name": self.name}, "version": number, "projectPath": "tools/weather"});
        json_patch::merge(&mut spec, more);
        self.sim.apply("ToolVersion", &self.version_name(number), &spec);
    }

    fn version_name(&self, number: &str) -> String {
        format!("{}-{number}", self.name)
    }

    async fn pause(&self, dice: &mut Dice, seconds: f64) {
        self.sim.pause(dice, seconds).await;
    }

    /// Waits until an object is as said, or for long enough.
    async fn patiently(&self, kind: &'static str, name: &str, reason: &'static str) -> bool {
        let name = name.to_owned();
        self.sim.wait(Duration::from_secs(3600), move |sim| sim.expect(kind, &name, reason).is_none()).await
    }

    /// The Tool is Ready with one active remote tool; its versions are as said.
    fn well(&self, versions: Vec<(String, &'static str)>) -> Expectation {
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "Succeeded").into_iter().collect();
            open.extend(exactly_one(sim, &name));
            open.extend(
                versions
                    .iter()
                    .filter_map(|(version, reason)| sim.expect("ToolVersion", &format!("{name}-{version}"), reason)),
            );
            let active: BTreeSet<String> = active_versions(sim, &name);
            for (version, reason) in &versions {
                let is_active = active.contains(version);
                if *reason == "Succeeded" && !is_active {
                    open.push(format!("{name} lacks version {version}, though its object is Ready"));
                }
                if *reason == "VersionDeprecated" && is_active {
                    open.push(format!("version {version} of {name} is active"));
                }
            }
            open
        })
    }
}

fn remote(name: &str) -> String {
    name.replace(['-', '.'], "_")
}

fn exactly_one(sim: &Sim, name: &str) -> Option<String> {
    let active = sim.active(&remote(name)).len();
    (active != 1).then(|| format!("{active} active tools for {name}"))
}

fn active_versions(sim: &Sim, name: &str) -> BTreeSet<String> {
    sim.active(&remote(name)).pop().map(|tool| tool.active_versions().into_iter().collect()).unwrap_or_default()
}

/// How the variables in the service differ from those wanted. Values are compared, never told.
fn differences(sim: &Sim, name: &str, wanted: &BTreeMap<String, (String, bool)>) -> Vec<String> {
    let Some(tool) = sim.active(&remote(name)).pop() else { return vec![format!("{name} has no tool")] };
    let names = wanted.keys().chain(tool.variables.keys()).collect::<BTreeSet<_>>();
    let differs = |name: &&&String| {
        let has = tool.variables.get(**name).map(|variable| (variable.value.clone(), variable.is_secret));
        has != wanted.get(**name).cloned()
    };
    names
        .iter()
        .filter(differs)
        .map(|variable| format!("variable {variable} of {name} is not as it should be"))
        .collect()
}
