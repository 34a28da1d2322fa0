//! Stories about versions: by number, by bump, deprecated by a specifier, with their object, by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use amigo_operator::sandbox::NewVersion;
use serde_json::json;

use super::{Expectation, Stage, active_versions, numbers};
use crate::dice::Dice;
use crate::sim::{ACME, Sim, TRAVEL};

impl Stage<'_> {
    pub(super) async fn numbers(&self, dice: &mut Dice) -> Expectation {
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
    pub(super) async fn settle_missing(&self, numbers: &[String]) {
        for number in numbers {
            let name = self.version_name(number);
            let going = |sim: &Sim| {
                let object = sim.kubernetes.get("amigo.ai/toolversions", TRAVEL, &name);
                object.is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_string())
            };
            self.sim.wait(Duration::from_secs(7200), going).await;
            self.version(number, &json!({}));
        }
    }

    pub(super) async fn bumps(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn specifier(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn version_goes(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn version_deprecated_by_hand(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn others_publish(&self, dice: &mut Dice) -> Expectation {
        self.allow(&[], 2);
        self.tool(&json!({}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        let names: Vec<String> = (0..2).map(|number| format!("{}-bump-{number}", self.name)).collect();
        let remote_name = self.remote();
        for name in &names {
            let spec = json!({"toolRef": {"name": self.name}, "bumpType": "minor", "projectPath": "tools/weather"});
            self.sim.apply("ToolVersion", name, &spec);
            self.pause(dice, 60.0).await;
            // Perhaps from the very folder that the objects name: then the creator alone tells whose it is.
            let project_path = dice.chance(0.5).then(|| "tools/weather".to_owned());
            self.sim.by_hand("a version of others", |sandbox| {
                let _ = sandbox.add_version(ACME, &remote_name, NewVersion { project_path, ..NewVersion::default() });
            });
            self.pause(dice, 60.0).await;
        }
        Box::new(move |sim| {
            let mut open: Vec<String> =
                names.iter().filter_map(|name| sim.expect("ToolVersion", name, "Succeeded")).collect();
            let ids: BTreeSet<String> = names
                .iter()
                .filter_map(|name| sim.kubernetes.get("amigo.ai/toolversions", TRAVEL, name))
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
}
