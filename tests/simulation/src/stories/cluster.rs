//! A story about the whole cluster.

use std::time::Duration;

use serde_json::json;

use super::{Expectation, Stage, numbers, remote};
use crate::dice::Dice;
use crate::kubernetes::CRDS;
use crate::sim::Sim;

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
            let mut open = well(sim);
            let now: Vec<String> = sim.active(&remote(&name)).into_iter().map(|tool| tool.id).collect();
            if !before.is_empty() && now != before {
                open.push(format!("{name} has {now:?} and had {before:?}"));
            }
            open
        })
    }
}
