//! A story about the whole cluster.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Expectation, Stage, active_versions, numbers, remote};
use crate::dice::Dice;
use crate::kubernetes::CRDS;
use crate::sim::{Sim, collection};

impl Stage<'_> {
    pub(super) async fn crds_deleted(&self, dice: &mut Dice) -> Expectation {
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
        // With the objects goes what they say of a publish that is under way. The operator remembers it while it leads; later
        // the service refuses another, but not one that is held up on its way until the first has ended.
        let under_way = self.publishes_under_way();
        self.allow(&numbers, under_way);
        self.sim.trace.line("person", "deletes the CRDs");
        self.sim.kubernetes.delete_crds();
        let gone = |sim: &Sim| sim.kubernetes.all(CRDS).is_empty();
        self.sim.wait(Duration::from_secs(3 * 3600), gone).await;
        self.pause(dice, 120.0).await;
        self.sim.trace.line("person", "installs the CRDs and applies everything again");
        self.sim.kubernetes.install_crds();
        self.sim.apply_organization();
        apply();
        let well = self.well(numbers.iter().map(|number| (number.clone(), "Succeeded")).collect());
        let name = self.name.clone();
        Box::new(move |sim| {
            let more = active_versions(sim, &name).into_iter().any(|version| !numbers.contains(&version));
            let mut open = if more && under_way > 0 { Vec::new() } else { well(sim) };
            let now: Vec<String> = sim.active(&remote(&name)).into_iter().map(|tool| tool.id).collect();
            if !before.is_empty() && now != before {
                open.push(format!("{name} has {now:?} and had {before:?}"));
            }
            open
        })
    }

    fn publishes_under_way(&self) -> usize {
        let versions = self.sim.kubernetes.all(collection("ToolVersion"));
        let open = |status: &Value| status["publish"].is_object() && !status["versionId"].is_string();
        versions.iter().filter(|version| open(&version["status"])).count()
    }
}
