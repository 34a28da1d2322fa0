//! What people do in a run, each story on objects of its own, and how it must end. A story goes on whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amigo_operator::amigo::types::Tags;
use amigo_operator::controllers::ownership::mark;
use amigo_operator::sandbox::{NewTool, NewVersion, ToolEdit, Variable};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::referee::Limit;
use crate::sim::{ACME, Sim};
use crate::trace::CANARY;

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

    async fn numbers(&self, dice: &mut Dice) -> Expectation {
        let count = 1 + dice.below(4);
        let numbers = numbers(dice, count);
        self.allow(&numbers, 0);
        self.tool(&json!({}));
        for number in &numbers {
            self.pause(dice, 120.0).await;
            self.version(number, &json!({}));
            // Deleted before it is published, it would be passed over by those that follow.
            if dice.chance(0.2) && self.patiently("ToolVersion", &self.version_name(number), "Succeeded").await {
                self.pause(dice, 60.0).await;
                self.sim.delete("ToolVersion", &self.version_name(number));
                self.pause(dice, 60.0).await;
                self.version(number, &json!({}));
            }
        }
        // One that was applied again while its first object was still going is missing.
        self.pause(dice, 60.0).await;
        self.settle_missing(&numbers).await;
        self.well(numbers.into_iter().map(|number| (number, "Succeeded")).collect())
    }

    /// Applies what a deletion that took its time has taken away.
    async fn settle_missing(&self, numbers: &[String]) {
        for number in numbers {
            let name = self.version_name(number);
            let going = |sim: &Sim| {
                let object = sim.kubernetes.get("amigo.ai/toolversions", crate::sim::TRAVEL, &name);
                object.is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_string())
            };
            self.sim.wait(Duration::from_secs(7200), going).await;
            self.version(number, &json!({}));
        }
    }

    async fn bumps(&self, dice: &mut Dice) -> Expectation {
        let count = 1 + dice.below(3);
        self.allow(&[], count);
        self.tool(&json!({}));
        let names: Vec<String> = (0..count).map(|number| format!("{}-bump-{number}", self.name)).collect();
        for name in &names {
            self.pause(dice, 120.0).await;
            let bump = *dice.pick(&["major", "minor", "patch"]);
            let spec = json!({"toolRef": {"name": self.name}, "bumpType": bump, "projectPath": "tools/weather"});
            self.sim.apply("ToolVersion", name, &spec);
        }
        let tool = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &tool, "Succeeded").into_iter().collect();
            open.extend(names.iter().filter_map(|name| sim.expect("ToolVersion", name, "Succeeded")));
            let active = active_versions(sim, &tool).len();
            if active != names.len() {
                open.push(format!("{tool} has {active} versions for {} objects", names.len()));
            }
            open
        })
    }

    async fn variables(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({}));
        let secret = format!("{}-values", self.name);
        let value = |dice: &mut Dice| format!("{CANARY}-{}", dice.below(1_000_000));
        let mut data = BTreeMap::new();
        for key in ["TOKEN", "PASSWORD", "URL"] {
            if dice.chance(0.7) {
                data.insert(key.to_owned(), value(dice));
            }
        }
        data.insert("ALWAYS".to_owned(), value(dice));
        self.sim.secret(&secret, &data);
        let spec = |units: &str| {
            json!({"toolRef": {"name": self.name}, "envFrom": [{"secretRef": {"name": secret}}],
                "env": [{"name": "UNITS", "value": units}]})
        };
        self.sim.apply("ToolEnvSecret", &self.name, &spec("metric"));
        let versions = numbers(dice, 1);
        self.allow(&versions, 0);
        let with_version = dice.chance(0.5);
        if with_version {
            self.version(&versions[0], &json!({}));
        }
        let mut units = "metric";
        for _ in 0..dice.below(5) {
            self.pause(dice, 200.0).await;
            match dice.below(4) {
                0 => {
                    units = if units == "metric" { "imperial" } else { "metric" };
                    self.sim.apply("ToolEnvSecret", &self.name, &spec(units));
                }
                1 => {
                    self.sim.delete("Secret", &secret);
                    self.pause(dice, 100.0).await;
                }
                2 => {
                    data.remove("URL");
                }
                _ => {
                    data.insert("PASSWORD".to_owned(), value(dice));
                }
            }
            self.sim.secret(&secret, &data);
        }
        self.foreign_variable(dice).await;
        let mut wanted: BTreeMap<String, (String, bool)> =
            data.into_iter().map(|(name, value)| (name, (value, true))).collect();
        wanted.insert("UNITS".to_owned(), (units.to_owned(), false));
        wanted.insert("OF_OTHERS".to_owned(), ("theirs".to_owned(), false));
        let name = self.name.clone();
        let version = self.version_name(&versions[0]);
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("ToolEnvSecret", &name, "Succeeded").into_iter().collect();
            open.extend(exactly_one(sim, &name));
            open.extend(sim.expect("ToolVersion", &version, if with_version { "Succeeded" } else { "-" }));
            open.extend(differences(sim, &name, &wanted));
            open
        })
    }

    /// Somebody else sets a variable of theirs.
    async fn foreign_variable(&self, dice: &mut Dice) {
        let remote = self.remote();
        let there = self.sim.wait(Duration::from_secs(3600), |sim| sim.active(&remote).len() == 1).await;
        self.pause(dice, 30.0).await;
        if let (true, Some(tool)) = (there, self.sim.active(&remote).pop()) {
            let mut variables = tool.variables;
            variables.insert("OF_OTHERS".to_owned(), Variable { value: "theirs".to_owned(), is_secret: false });
            self.sim.by_hand("a variable of others", |sandbox| {
                let _ =
                    sandbox.edit_tool(ACME, &tool.id, ToolEdit { variables: Some(variables), ..ToolEdit::default() });
            });
        }
    }

    async fn dispute(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({}));
        let (older, younger) = (format!("{}-older", self.name), format!("{}-younger", self.name));
        let spec = |own: &str, value: &str| json!({"toolRef": {"name": self.name}, "env": [{"name": "SHARED", "value": value}, {"name": own, "value": value}]});
        self.sim.apply("ToolEnvSecret", &older, &spec("OLDER", "older"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.pause(dice, 100.0).await;
        self.sim.apply("ToolEnvSecret", &younger, &spec("YOUNGER", "younger"));
        self.pause(dice, 200.0).await;
        let older_goes = dice.chance(0.5);
        let retained = dice.chance(0.5);
        if older_goes {
            if retained {
                let mut retained = spec("OLDER", "older");
                retained["deletionPolicy"] = json!("Retain");
                self.sim.apply("ToolEnvSecret", &older, &retained);
                self.pause(dice, 60.0).await;
            }
            self.sim.delete("ToolEnvSecret", &older);
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let pair = |value: &str| (value.to_owned(), false);
            let mut wanted = BTreeMap::from([("YOUNGER".to_owned(), pair("younger"))]);
            let mut open: Vec<String> = Vec::new();
            if older_goes {
                open.extend(sim.expect("ToolEnvSecret", &older, "-"));
                open.extend(sim.expect("ToolEnvSecret", &younger, "Succeeded"));
                wanted.insert("SHARED".to_owned(), pair("younger"));
                if retained {
                    // Whether it was sent at all before its object went depends on the weather.
                    let there =
                        sim.active(&remote(&name)).pop().is_some_and(|tool| tool.variables.contains_key("OLDER"));
                    if there {
                        wanted.insert("OLDER".to_owned(), pair("older"));
                    }
                }
            } else {
                open.extend(sim.expect("ToolEnvSecret", &older, "Succeeded"));
                open.extend(sim.expect("ToolEnvSecret", &younger, "VariableConflict"));
                wanted.extend([("SHARED".to_owned(), pair("older")), ("OLDER".to_owned(), pair("older"))]);
            }
            open.extend(differences(sim, &name, &wanted));
            open
        })
    }

    async fn tool_goes(&self, dice: &mut Dice) -> Expectation {
        let policy = *dice.pick(&["Retain", "Deprecate"]);
        let number = numbers(dice, 1).remove(0);
        self.allow(std::slice::from_ref(&number), 0);
        self.tool(&json!({"deletionPolicy": policy}));
        let with_version = dice.chance(0.5);
        if with_version {
            self.version(&number, &json!({}));
        }
        let created = if dice.chance(0.7) { self.patiently("Tool", &self.name, "Succeeded").await } else { false };
        self.pause(dice, 120.0).await;
        if with_version && dice.chance(0.5) {
            self.sim.delete("ToolVersion", &self.version_name(&number));
        }
        let before: Vec<String> = self.sim.active(&self.remote()).into_iter().map(|tool| tool.id).collect();
        self.sim.delete("Tool", &self.name);
        let name = self.name.clone();
        let is_gone = |sim: &Sim| sim.ready("Tool", &name).is_none();
        let comes_back = dice.chance(0.4);
        if comes_back && self.sim.wait(Duration::from_secs(2 * 3600), is_gone).await {
            self.pause(dice, 120.0).await;
            self.tool(&json!({"deletionPolicy": policy}));
            let name = self.name.clone();
            return Box::new(move |sim| {
                let mut open: Vec<String> = sim.expect("Tool", &name, "Succeeded").into_iter().collect();
                open.extend(exactly_one(sim, &name));
                let same = sim.active(&remote(&name)).iter().any(|tool| before.contains(&tool.id));
                if created && policy == "Retain" && !same {
                    open.push(format!("{name} is not bound to the tool that was retained"));
                }
                if policy == "Deprecate" && same {
                    open.push(format!("the tool of {name} was not deprecated"));
                }
                open
            });
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "-").into_iter().collect();
            let active = sim.active(&remote(&name)).len();
            let wanted = match policy {
                "Retain" if created => active == 1,
                "Retain" => active <= 1,
                _ => active == 0,
            };
            if !wanted {
                open.push(format!("{active} active tools for {name}, deleted with {policy}"));
            }
            open
        })
    }

    async fn drift(&self, dice: &mut Dice) -> Expectation {
        let tags = dice.chance(0.5);
        let spec = if tags { json!({"tags": [{"key": "team", "value": "travel"}]}) } else { json!({}) };
        self.tool(&spec);
        self.patiently("Tool", &self.name, "Succeeded").await;
        let mut description = DESCRIPTION.to_owned();
        for number in 0..=dice.below(3) {
            self.pause(dice, 300.0).await;
            if dice.chance(0.3) {
                description = format!("{DESCRIPTION} Edition {number}.");
                let mut edited = spec.clone();
                edited["description"] = json!(description);
                self.tool(&edited);
            } else if let Some(tool) = self.sim.active(&self.remote()).pop() {
                let mut kept: Tags = tool.tags.clone();
                kept.insert("of_others".to_owned(), Some("1".to_owned()));
                let edit = match dice.below(3) {
                    0 => ToolEdit { description: Some("Edited by hand.".to_owned()), ..ToolEdit::default() },
                    1 => ToolEdit { tags: Some(Tags::new()), ..ToolEdit::default() },
                    _ => ToolEdit { tags: Some(kept), ..ToolEdit::default() },
                };
                self.sim.by_hand("an edit", |sandbox| {
                    let _ = sandbox.edit_tool(ACME, &tool.id, edit);
                });
            }
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "Succeeded").into_iter().collect();
            open.extend(exactly_one(sim, &name));
            if let Some(tool) = sim.active(&remote(&name)).pop() {
                let marked = tool.tags.contains_key("kubernetes_owner");
                let team = tool.tags.get("team").cloned().flatten();
                let others = tool.tags.contains_key("of_others");
                if tool.description != description || !marked || tags && (team.as_deref() != Some("travel") || others) {
                    open.push(format!("{name} was not corrected: {:?} {:?}", tool.description, tool.tags));
                }
            }
            open
        })
    }

    async fn deprecated_by_hand(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        self.pause(dice, 100.0).await;
        let Some(tool) = self.sim.active(&self.remote()).pop() else { return self.well(Vec::new()) };
        self.sim.by_hand("a deprecation", |sandbox| {
            let _ = sandbox.edit_tool(ACME, &tool.id, ToolEdit { deprecated: Some(true), ..ToolEdit::default() });
        });
        if dice.chance(0.5) {
            self.pause(dice, 900.0).await;
            let consent = json!({"amigo.ai/recreate": tool.id});
            self.sim.annotated("Tool", &self.name, &tool_spec(&json!({})), &consent);
            return self.well(Vec::new());
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "DeprecatedRemotely").into_iter().collect();
            if !sim.active(&remote(&name)).is_empty() {
                open.push(format!("{name} was replaced without consent"));
            }
            open
        })
    }

    async fn rivals(&self, dice: &mut Dice) -> Expectation {
        let shared = self.remote();
        let younger = format!("{}-rival", self.name);
        let policy = *dice.pick(&["Retain", "Deprecate"]);
        self.tool(&json!({"name": shared, "deletionPolicy": policy}));
        tokio::time::sleep(Duration::from_secs(1 + u64::try_from(dice.below(60)).unwrap_or_default())).await;
        self.sim.apply("Tool", &younger, &tool_spec(&json!({"name": shared})));
        let older_goes = dice.chance(0.5);
        if older_goes {
            self.patiently("Tool", &self.name, "Succeeded").await;
            self.pause(dice, 120.0).await;
            self.sim.delete("Tool", &self.name);
        }
        let older = self.name.clone();
        Box::new(move |sim| {
            let (first, second) = match (older_goes, policy) {
                (false, _) => ("Succeeded", "NameTaken"),
                (true, "Retain") => ("-", "NameTaken"),
                (true, _) => ("-", "Succeeded"),
            };
            let mut open: Vec<String> = sim.expect("Tool", &older, first).into_iter().collect();
            open.extend(sim.expect("Tool", &younger, second));
            if sim.active(&shared).len() != 1 {
                open.push(format!("{} active tools named {shared}", sim.active(&shared).len()));
            }
            open
        })
    }

    async fn specifier(&self, dice: &mut Dice) -> Expectation {
        let numbers = ["1.0.0", "1.1.0", "2.0.0"].map(ToOwned::to_owned);
        self.allow(&numbers, 0);
        self.tool(&json!({}));
        for number in &numbers {
            self.version(number, &json!({}));
        }
        self.patiently("ToolVersion", &self.version_name("2.0.0"), "Succeeded").await;
        self.pause(dice, 60.0).await;
        self.tool(&json!({"deprecatedVersions": "<2"}));
        let [first, second, third] = numbers;
        self.well(vec![(first, "VersionDeprecated"), (second, "VersionDeprecated"), (third, "Succeeded")])
    }

    async fn version_goes(&self, dice: &mut Dice) -> Expectation {
        let numbers = numbers(dice, 2);
        self.allow(&numbers, 0);
        let order = json!({"deletionPolicy": "Deprecate"});
        self.tool(&json!({}));
        for number in &numbers {
            self.version(number, &order);
        }
        let (goes, stays) = (numbers[0].clone(), numbers[1].clone());
        // A version whose object goes before it is published is never published, and the next may not be reachable.
        let published = self.patiently("ToolVersion", &self.version_name(&goes), "Succeeded").await
            && self.patiently("ToolVersion", &self.version_name(&stays), "Succeeded").await;
        if !published {
            return self.well(vec![(stays, "Succeeded"), (goes, "Succeeded")]);
        }
        self.pause(dice, 60.0).await;
        self.sim.delete("ToolVersion", &self.version_name(&goes));
        let well = self.well(vec![(stays, "Succeeded"), (goes.clone(), "-")]);
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open = well(sim);
            if active_versions(sim, &name).contains(&goes) {
                open.push(format!("version {goes} of {name} is active"));
            }
            open
        })
    }

    async fn version_deprecated_by_hand(&self, dice: &mut Dice) -> Expectation {
        let number = numbers(dice, 1).remove(0);
        self.allow(std::slice::from_ref(&number), 0);
        self.tool(&json!({}));
        self.version(&number, &json!({}));
        if !self.patiently("ToolVersion", &self.version_name(&number), "Succeeded").await {
            return self.well(vec![(number, "Succeeded")]);
        }
        self.pause(dice, 60.0).await;
        let remote = self.remote();
        self.sim.by_hand("a version deprecated", |sandbox| {
            let _ = sandbox.deprecate_versions(ACME, &remote, &format!("=={number}"));
        });
        // Found by the resync of versions, or at once when a person asks.
        self.pause(dice, 60.0).await;
        let spec = json!({"toolRef": {"name": self.name}, "version": number, "projectPath": "tools/weather"});
        let request = json!({"amigo.ai/reconcile-requested-at": "now"});
        self.sim.annotated("ToolVersion", &self.version_name(&number), &spec, &request);
        self.well(vec![(number, "VersionDeprecated")])
    }

    async fn ownership_lost(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        self.pause(dice, 100.0).await;
        let Some(tool) = self.sim.active(&self.remote()).pop() else { return self.well(Vec::new()) };
        let mut tags = tool.tags.clone();
        tags.insert("kubernetes_owner".to_owned(), Some(mark("another-cluster", "travel", &self.name)));
        self.sim.by_hand("another mark", |sandbox| {
            let _ = sandbox.edit_tool(ACME, &tool.id, ToolEdit { tags: Some(tags.clone()), ..ToolEdit::default() });
        });
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "OwnershipLost").into_iter().collect();
            let now = sim.active(&remote(&name)).pop();
            if now.is_none_or(|now| now.tags != tags || now.id != tool.id) {
                open.push(format!("the tool of {name} was fought over"));
            }
            open
        })
    }

    async fn suspended(&self, dice: &mut Dice) -> Expectation {
        let number = numbers(dice, 1).remove(0);
        self.allow(std::slice::from_ref(&number), 0);
        self.tool(&json!({"suspend": dice.chance(0.5)}));
        self.version(&number, &json!({"suspend": dice.chance(0.3)}));
        for _ in 0..dice.below(4) {
            self.pause(dice, 100.0).await;
            self.tool(&json!({"suspend": dice.chance(0.5)}));
        }
        self.pause(dice, 100.0).await;
        self.tool(&json!({}));
        self.version(&number, &json!({}));
        self.well(vec![(number, "Succeeded")])
    }

    async fn observed(&self, dice: &mut Dice) -> Expectation {
        let number = numbers(dice, 1).remove(0);
        self.allow(std::slice::from_ref(&number), 0);
        let spec = json!({"organizationRef": {"name": "acme"}, "managementPolicy": "Observe"});
        if dice.chance(0.5) {
            self.sim.apply("Tool", &self.name, &spec);
            self.pause(dice, 100.0).await;
        }
        let id = self.made_by_hand();
        self.sim.untouchable(&id);
        self.sim.apply("Tool", &self.name, &spec);
        self.version(&number, &json!({}));
        self.pause(dice, 100.0).await;
        self.well(vec![(number, "Succeeded")])
    }

    fn made_by_hand(&self) -> String {
        let tool = NewTool { name: self.remote(), description: "Made by hand.".to_owned(), ..NewTool::default() };
        self.sim.by_hand("a tool", |sandbox| sandbox.add_tool(ACME, tool)).unwrap_or_default()
    }

    async fn adopted(&self, dice: &mut Dice) -> Expectation {
        let id = self.made_by_hand();
        let adopts = dice.chance(0.5);
        let policy = if adopts { "Unmarked" } else { "Marked" };
        self.pause(dice, 30.0).await;
        self.tool(&json!({"adoptionPolicy": policy}));
        self.pause(dice, 100.0).await;
        if !adopts {
            self.sim.untouchable(&id);
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let reason = if adopts { "Succeeded" } else { "NameTaken" };
            let mut open: Vec<String> = sim.expect("Tool", &name, reason).into_iter().collect();
            open.extend(exactly_one(sim, &name));
            if let Some(tool) = sim.active(&remote(&name)).pop()
                && (tool.id != id || adopts != (tool.description == DESCRIPTION))
            {
                open.push(format!("{name} is not the tool that was made by hand, as it should be"));
            }
            open
        })
    }

    async fn others_publish(&self, dice: &mut Dice) -> Expectation {
        self.allow(&[], 2);
        self.tool(&json!({}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        let names: Vec<String> = (0..2).map(|number| format!("{}-bump-{number}", self.name)).collect();
        let remote_name = self.remote();
        for name in &names {
            let spec = json!({"toolRef": {"name": self.name}, "bumpType": "minor", "projectPath": "tools/weather"});
            self.sim.apply("ToolVersion", name, &spec);
            self.pause(dice, 60.0).await;
            self.sim.by_hand("a version of others", |sandbox| {
                let _ = sandbox.add_version(ACME, &remote_name, NewVersion::default());
            });
            self.pause(dice, 60.0).await;
        }
        Box::new(move |sim| {
            let mut open: Vec<String> =
                names.iter().filter_map(|name| sim.expect("ToolVersion", name, "Succeeded")).collect();
            let ids: BTreeSet<String> = names
                .iter()
                .filter_map(|name| sim.kubernetes.get("amigo.ai/toolversions", crate::sim::TRAVEL, name))
                .filter_map(|object| object["status"]["versionId"].as_str().map(ToOwned::to_owned))
                .collect();
            let tool = sim.active(&remote_name).pop();
            let ours = tool.map(|tool| tool.versions).unwrap_or_default();
            let ours = ours.iter().filter(|version| version.creator.as_ref().is_some_and(|c| c.user_id == "demo-user"));
            let ours: BTreeSet<String> = ours.map(|version| version.id.clone()).collect();
            // A service that tells neither creator nor path leaves the operator no evidence of whose a version is.
            let told = !sim.plan.service.sparse;
            if ids.len() != names.len() || told && ids != ours {
                open.push(format!("the objects of {remote_name} have {ids:?}, the operator made {ours:?}"));
            }
            open
        })
    }

    async fn crds_deleted(&self, dice: &mut Dice) -> Expectation {
        let numbers = numbers(dice, 1 + dice.clone().below(2));
        self.allow(&numbers, 0);
        let apply = || {
            self.tool(&json!({"deletionPolicy": "Deprecate"}));
            for number in &numbers {
                self.version(number, &json!({"deletionPolicy": "Deprecate"}));
            }
            let spec = json!({"toolRef": {"name": self.name}, "env": [{"name": "UNITS", "value": "metric"}]});
            self.sim.apply("ToolEnvSecret", &self.name, &spec);
        };
        apply();
        if dice.chance(0.7) {
            self.patiently("ToolVersion", &self.version_name(&numbers[numbers.len() - 1]), "Succeeded").await;
        }
        self.pause(dice, 120.0).await;
        let before: Vec<String> = self.sim.active(&self.remote()).into_iter().map(|tool| tool.id).collect();
        self.sim.trace.line("person", "deletes the CRDs");
        self.sim.kubernetes.delete_crds();
        let gone = |sim: &Sim| sim.kubernetes.all(crate::kubernetes::CRDS).is_empty();
        self.sim.wait(Duration::from_secs(3 * 3600), gone).await;
        self.pause(dice, 120.0).await;
        self.sim.trace.line("person", "installs the CRDs and applies everything again");
        self.sim.kubernetes.install_crds();
        self.sim.apply_organization();
        apply();
        let well = self.well(numbers.iter().map(|number| (number.clone(), "Succeeded")).collect());
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open = well(sim);
            let now: Vec<String> = sim.active(&remote(&name)).into_iter().map(|tool| tool.id).collect();
            if !before.is_empty() && now != before {
                open.push(format!("{name} has {now:?} and had {before:?}"));
            }
            open
        })
    }

    async fn change_of_mind(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({"deletionPolicy": "Deprecate"}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        // Deprecation is forbidden while the order is given, and the order is withdrawn before it is allowed again.
        self.pause(dice, 60.0).await;
        self.sim.delete("Tool", &self.name);
        self.pause(dice, 20.0).await;
        if self.sim.ready("Tool", &self.name).is_some() {
            self.tool(&json!({"deletionPolicy": "Retain"}));
        }
        let name = self.name.clone();
        Box::new(move |sim| {
            let mut open: Vec<String> = sim.expect("Tool", &name, "-").into_iter().collect();
            let active = sim.active(&remote(&name)).len();
            if active > 1 {
                open.push(format!("{active} active tools for {name}"));
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
