//! Stories about tools: that go, come back, are edited, deprecated, contested, observed and taken over.

use std::time::Duration;

use amigo_operator::amigo::types::Tags;
use amigo_operator::controllers::ownership::mark;
use amigo_operator::sandbox::{NewTool, ToolEdit};
use serde_json::json;

use super::{DESCRIPTION, Expectation, Stage, exactly_one, numbers, remote, tool_spec};
use crate::dice::Dice;
use crate::sim::{ACME, Sim};

impl Stage<'_> {
    pub(super) async fn tool_goes(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn drift(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn deprecated_by_hand(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn rivals(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn ownership_lost(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn suspended(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn observed(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) fn made_by_hand(&self) -> String {
        let tool = NewTool { name: self.remote(), description: "Made by hand.".to_owned(), ..NewTool::default() };
        self.sim.by_hand("a tool", |sandbox| sandbox.add_tool(ACME, tool)).unwrap_or_default()
    }

    pub(super) async fn adopted(&self, dice: &mut Dice) -> Expectation {
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

    pub(super) async fn change_of_mind(&self, dice: &mut Dice) -> Expectation {
        self.tool(&json!({"deletionPolicy": "Deprecate"}));
        self.patiently("Tool", &self.name, "Succeeded").await;
        // Whether the order was carried out before it is withdrawn depends on the weather; that it is not afterwards, the
        // referee judges.
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
