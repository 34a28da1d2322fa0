//! The states that an object can be in, with what each tool should make of it, and the committed objects that are in them.

use serde_json::{Value, json};

use crate::argo::{self, Health};
use crate::support::oracle::{Kstatus, compute, condition};
use crate::{files, flux, kstatus};

/// The kinds, in the order of the documentation.
pub const KINDS: [&str; 4] = ["Organization", "Tool", "ToolVersion", "ToolEnvSecret"];

/// Where Argo CD's scripts are, in the layout of its repository.
pub const CUSTOMIZATIONS: &str = "deploy/argocd/resource_customizations/amigo.ai";

/// A state, and what Argo CD, kstatus, and Flux with the expressions of `deploy/flux` should make of it.
pub struct State {
    pub name: &'static str,
    pub argo: &'static str,
    pub kstatus: Kstatus,
    pub flux: Kstatus,
    /// Where Argo CD's message comes from: a condition, or a text of the script.
    pub says: Says,
}

/// Where a message comes from.
pub enum Says {
    Text(&'static str),
    Condition(&'static str),
    /// A condition, after a text.
    Both(&'static str, &'static str),
}

use Kstatus::{Current, Failed, InProgress, Terminating};
use Says::{Both, Condition, Text};

const fn state(name: &'static str, argo: &'static str, kstatus: Kstatus, flux: Kstatus, says: Says) -> State {
    State { name, argo, kstatus, flux, says }
}

const SUSPENDED: &str = "spec.suspend is true";
const CHANGED: &str = "Waiting for the operator to see the changed spec";

/// Every state.
pub const STATES: [State; 9] = [
    // Applied, and no operator has seen it.
    state("new", "Progressing", InProgress, InProgress, Text("Waiting for the operator")),
    state("progressing", "Progressing", InProgress, InProgress, Condition("Reconciling")),
    state("healthy", "Healthy", Current, Current, Condition("Ready")),
    // Was Ready; the spec is newer, and no operator has seen it.
    state("changed", "Progressing", InProgress, InProgress, Text(CHANGED)),
    state("degraded", "Degraded", Failed, Failed, Condition("Stalled")),
    // Was Ready, and nothing but `spec.suspend` has changed.
    state("suspended", "Suspended", Current, Current, Text(SUSPENDED)),
    // Was never Ready.
    state("suspended-new", "Suspended", InProgress, InProgress, Text(SUSPENDED)),
    // Was Ready; its Organization is suspended. There is no such Organization.
    state("suspended-by-organization", "Suspended", Current, Current, Condition("Ready")),
    // kstatus calls it Terminating; Flux' expressions know no such word.
    state("terminating", "Progressing", Terminating, InProgress, Both("Pending deletion; ", "Reconciling")),
];

impl State {
    /// The state of that name.
    pub fn named(name: &str) -> &'static Self {
        STATES.iter().find(|state| state.name == name).unwrap()
    }

    /// Whether objects of the kind can be in it.
    pub fn exists_of(&self, kind: &str) -> bool {
        kind != "Organization" || self.name != "suspended-by-organization"
    }

    /// The committed object of the kind that is in it.
    pub fn path(&self, kind: &str) -> String {
        format!("{CUSTOMIZATIONS}/{kind}/testdata/{}.yaml", self.name)
    }

    /// What Argo CD should show.
    pub fn health(&self, object: &Value) -> Health {
        let told = |type_: &str| {
            let condition = condition(object, type_).unwrap_or_else(|| panic!("no {type_} in {object}"));
            format!("{}: {}", condition["reason"].as_str().unwrap(), condition["message"].as_str().unwrap())
        };
        let message = match &self.says {
            Text(text) => (*text).to_owned(),
            Condition(type_) => told(type_),
            Both(text, type_) => format!("{text}{}", told(type_)),
        };
        Health { status: self.argo.to_owned(), message }
    }
}

/// An object in a state.
pub struct Sample {
    pub kind: String,
    pub state: &'static State,
    pub object: Value,
}

/// All committed objects.
pub fn samples() -> Vec<Sample> {
    let all = KINDS.iter().flat_map(|kind| STATES.iter().map(move |state| (*kind, state)));
    let all = all.filter(|(kind, state)| state.exists_of(kind));
    all.map(|(kind, state)| Sample { kind: kind.to_owned(), state, object: files::yaml(&state.path(kind)) }).collect()
}

/// Asks every tool about the objects, and checks each answer: Argo CD's script, kstatus in Rust and in Go, the expressions in Rust
/// and in Flux' own evaluator.
pub fn judge(samples: &[Sample]) {
    let checks = flux::checks();
    let question = |sample: &Sample| json!({"object": sample.object, "checks": checks[&sample.kind].as_json()});
    let questions: Vec<Value> = samples.iter().map(question).collect();
    for (sample, answer) in samples.iter().zip(kstatus::ask(&questions)) {
        let Sample { kind, state, object } = sample;
        let script = files::text(&format!("{CUSTOMIZATIONS}/{kind}/health.lua"));
        let what = format!("{kind}, {}: {object}", state.name);
        assert_eq!(argo::health(&script, object), state.health(object), "Argo CD on {what}");
        assert_eq!(compute(object), state.kstatus, "kstatus on {what}");
        assert_eq!(answer.kstatus, format!("{:?}", state.kstatus), "kstatus in Go on {what}");
        assert_eq!(checks[kind].evaluate(object), Ok(state.flux), "Flux' expressions on {what}");
        assert_eq!(answer.flux, format!("{:?}", state.flux), "Flux' evaluator on {what}");
    }
}

#[test]
fn every_tool_reads_every_state_as_it_is_meant() {
    judge(&samples());
}
