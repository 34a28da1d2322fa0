//! Stories about variables: from Secrets that change, and wanted by two objects.

use std::collections::BTreeMap;
use std::time::Duration;

use amigo_operator::sandbox::{ToolEdit, Variable};
use serde_json::json;

use super::{Expectation, Stage, differences, exactly_one, numbers, remote};
use crate::dice::Dice;
use crate::kubernetes::key_of;
use crate::sim::{ACME, Sim};
use crate::trace::CANARY;

/// The variable that is always there.
const ALWAYS: &str = "ALWAYS";

/// The end of the name of a Secret with variables.
const VALUES: &str = "-values";

/// How long after a Secret has changed its value may not have been sent yet, when nothing goes wrong. The next resync, which
/// would send it as well, is further off at least the second time.
const SENT_WITHIN: Duration = Duration::from_secs(240);

/// Changes every Secret with variables, and back; whether each change was sent at once.
pub async fn rotate(sim: &Sim) {
    let secrets = sim.kubernetes.all("/secrets").into_iter().map(|secret| key_of(&secret).1);
    for secret in secrets.filter(|name| name.ends_with(VALUES)).collect::<Vec<_>>() {
        let tool = remote(secret.trim_end_matches(VALUES));
        let Some(before) = sent(sim, &tool) else { continue };
        for value in [format!("{CANARY}-rotated"), before] {
            sim.change_secret(&secret, ALWAYS, &value);
            if !sim.wait(SENT_WITHIN, |sim| sent(sim, &tool).as_ref() == Some(&value)).await {
                sim.violated("a changed Secret is sent at once", format!("{ALWAYS} of {tool} is not"));
            }
        }
    }
}

fn sent(sim: &Sim, tool: &str) -> Option<String> {
    let variables = sim.active(tool).pop()?.variables;
    variables.get(ALWAYS).map(|variable| variable.value.clone())
}

impl Stage<'_> {
    pub(super) async fn variables(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({}));
        let secret = format!("{}{VALUES}", self.name);
        let value = |dice: &mut Dice| format!("{CANARY}-{}", dice.below(1_000_000));
        let mut data = BTreeMap::new();
        for key in ["TOKEN", "PASSWORD", "URL"] {
            if dice.chance(0.7) {
                data.insert(key.to_owned(), value(dice));
            }
        }
        data.insert(ALWAYS.to_owned(), value(dice));
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
    pub(super) async fn foreign_variable(&self, dice: &mut Dice) {
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

    pub(super) async fn dispute(&self, dice: &mut Dice) -> Expectation {
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
}
