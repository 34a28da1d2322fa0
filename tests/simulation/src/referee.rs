//! The rules that must never be broken, judged at every call and on every state of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amigo_operator::amigo::Specifier;
use amigo_operator::controllers::ownership::{OWNER_TAG, mark};
use amigo_operator::sandbox::ToolView;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::call::Call;
use crate::kubernetes::{CRDS, key_of};
use crate::oracle;
use crate::sim::{ACME, OWNER, Sim, Violation};

/// How long after its withdrawal an order may still be carried out: it was read just before, and the call was on its way.
const GRACE: Duration = Duration::from_secs(20);

/// How long a call whose place was granted may still wait for a token.
const TOKEN_WAIT: Duration = Duration::from_secs(60);

/// How soon a publish that was refused, as another operation on the tool is under way, may be refused again: at once, where a
/// person asks for that or replaces the object, but not over and over.
const HASTE: Duration = Duration::from_secs(3);

/// The user that the operator signs in as.
const USER: &str = "demo-user";

/// What versions of a tool the operator may make.
#[derive(Debug, Clone, Default)]
pub struct Limit {
    /// These numbers, once each.
    pub exact: BTreeSet<String>,
    /// And so many of any number.
    pub bumps: usize,
}

/// What the referee remembers.
#[derive(Default)]
pub struct Referee {
    /// By the name of the remote tool.
    pub limits: BTreeMap<String, Limit>,
    /// Tools that no replica may write to.
    pub untouchable: BTreeSet<String>,
    /// Orders that were withdrawn, and when they last stood.
    stood: BTreeMap<String, Instant>,
    /// When a process was last told how many calls of an operation are left, and until when that is worth something.
    told: BTreeMap<(String, &'static str), (Instant, Instant)>,
    /// When a process last made a call of an operation.
    called: BTreeMap<(String, &'static str), Instant>,
    /// The calls of a process that are not answered.
    under_way: BTreeMap<(String, &'static str), Vec<Instant>>,
    /// When a process was last told that a tool is busy.
    busy: BTreeMap<(String, String), Vec<Instant>>,
}

impl Referee {
    /// The orders to deprecate that can be read in manifests now.
    #[must_use]
    pub fn orders(sim: &Sim) -> BTreeSet<String> {
        let mut orders = BTreeSet::new();
        let crd_stays = |plural: &str| {
            let crd = sim.kubernetes.get(CRDS, "", &format!("{plural}.amigo.ai"));
            crd.is_some_and(|crd| !crd["metadata"]["deletionTimestamp"].is_string())
        };
        for tool in sim.kubernetes.all("amigo.ai/tools").iter().filter(|_| crd_stays("tools")) {
            let spec = &tool["spec"];
            let going = tool["metadata"]["deletionTimestamp"].is_string();
            let (namespace, name) = key_of(tool);
            if going && spec["deletionPolicy"] == "Deprecate" && spec["managementPolicy"] != "Observe" {
                orders.insert(format!("tool {}", mark(OWNER, &namespace, &name)));
            }
            if let (false, Some(specifier), Some(id)) =
                (going, spec["deprecatedVersions"].as_str(), tool["status"]["toolId"].as_str())
            {
                orders.insert(format!("versions {id} {specifier}"));
            }
        }
        for version in sim.kubernetes.all("amigo.ai/toolversions").iter().filter(|_| crd_stays("toolversions")) {
            let (spec, status) = (&version["spec"], &version["status"]);
            let going = version["metadata"]["deletionTimestamp"].is_string();
            if let (true, Some(id)) = (going && spec["deletionPolicy"] == "Deprecate", status["toolId"].as_str()) {
                let numbers = [&status["version"], &spec["version"], &status["publish"]["expectedVersion"]];
                let numbers = numbers.into_iter().filter_map(Value::as_str);
                orders.extend(numbers.map(|number| format!("versions {id} =={number}")));
            }
        }
        orders
    }

    /// These orders stand now, and may be withdrawn in a moment.
    pub fn remember(&mut self, orders: BTreeSet<String>) {
        let now = Instant::now();
        self.stood.extend(orders.into_iter().map(|order| (order, now)));
    }

    /// Orders that stand, or stood a moment ago.
    fn valid_orders(&self, sim: &Sim) -> BTreeSet<String> {
        let mut orders = Self::orders(sim);
        let recent = self.stood.iter().filter(|(_, stood)| stood.elapsed() <= GRACE);
        orders.extend(recent.map(|(order, _)| order.clone()));
        orders
    }

    /// Whether a process could know that a call would be one too many: the service has told it how many are left until now.
    /// Otherwise the process that was killed before may have used the calls, or one that was frozen and does not know yet
    /// that it leads no more.
    #[must_use]
    pub fn could_know(&self, me: &str, call: &Call) -> bool {
        let Some((told, until)) = self.told.get(&(me.to_owned(), call.operation)) else { return false };
        let others = self.called.iter().filter(|((other, operation), _)| other != me && *operation == call.operation);
        Instant::now() < *until && others.into_iter().all(|(_, called)| called < told)
    }

    /// A process makes a call. Where it knows nothing of the budget, it makes one alone, until that is answered or has
    /// certainly arrived. What counts is when it was decided on: a process that was frozen sends at once what it had
    /// meant to send in the meantime.
    pub fn calls(&mut self, me: &str, call: &Call, decided: Instant) -> Option<Violation> {
        let place = (me.to_owned(), call.operation);
        self.called.insert(place.clone(), Instant::now());
        let knows = self.told.get(&place).is_some_and(|(_, until)| decided < *until + TOKEN_WAIT);
        let under_way = self.under_way.entry(place).or_default();
        under_way.retain(|began| decided.duration_since(*began) < Duration::from_secs(10));
        let crowd = !knows && !under_way.is_empty();
        under_way.push(decided);
        crowd.then(|| breach("the first call goes alone", call.describe()))
    }

    /// The service has told a process that another operation on the tool is under way.
    pub fn busy(&mut self, me: &str, call: &Call) -> Option<Violation> {
        let of_late = self.busy.entry((me.to_owned(), call.tool_id.clone())).or_default();
        of_late.retain(|told| told.elapsed() < HASTE);
        of_late.push(Instant::now());
        (of_late.len() > 2).then(|| breach("a refusal is respected", call.describe()))
    }

    /// A call of a process has ended.
    pub fn ended(&mut self, me: &str, call: &Call) {
        if let Some(under_way) = self.under_way.get_mut(&(me.to_owned(), call.operation)) {
            under_way.pop();
        }
    }

    /// An answer told how many calls are left until the count starts anew in so long.
    pub fn told(&mut self, me: &str, call: &Call, reset: Duration) {
        let now = Instant::now();
        self.told.insert((me.to_owned(), call.operation), (now, now + reset));
    }

    /// Judges a call that changes something, as it leaves a replica.
    #[must_use]
    pub fn judge(&self, call: &Call, sim: &Sim) -> Option<Violation> {
        if self.untouchable.contains(&call.tool_id) && call.operation != "publish-version" {
            return Some(breach("others are left alone", format!("{} on a tool of others", call.describe())));
        }
        let tools = sim.sandbox.tools(ACME);
        let tool = tools.iter().find(|tool| tool.id == call.tool_id);
        match (call.operation, tool) {
            ("create-tool", _) => judge_create(call),
            ("deprecate-tool", Some(tool)) if !tool.deprecated => {
                let order = format!("tool {}", owner_of(tool).unwrap_or_default());
                let ordered = self.valid_orders(sim).contains(&order);
                (!ordered).then(|| breach("deprecation needs an order", format!("tool {} ({})", tool.name, tool.id)))
            }
            ("deprecate-versions", Some(tool)) => self.judge_deprecated_versions(call, tool, sim),
            _ => None,
        }
    }

    fn judge_deprecated_versions(&self, call: &Call, tool: &ToolView, sim: &Sim) -> Option<Violation> {
        let rule = "deprecation needs an order";
        let Ok(hit) = Specifier::parse(&call.versions) else {
            return Some(breach(rule, format!("{:?} is no specifier", call.versions)));
        };
        let orders = self.valid_orders(sim);
        let prefix = format!("versions {} ", tool.id);
        let ordered: Vec<Specifier> =
            orders.iter().filter_map(|order| Specifier::parse(order.strip_prefix(&prefix)?).ok()).collect();
        let mut hit = tool.versions.iter().filter(|version| !version.deprecated && hit.matches(version.version));
        let unordered = hit.find(|version| !ordered.iter().any(|order| order.matches(version.version)))?;
        Some(breach(rule, format!("version {} of {} by {:?}", unordered.version, tool.name, call.versions)))
    }

    /// Judges what the service has.
    #[must_use]
    pub fn judge_service(&self, tools: &[ToolView]) -> Option<Violation> {
        let mut marks = BTreeSet::new();
        for tool in tools.iter().filter(|tool| !tool.deprecated) {
            if let Some(mark) = owner_of(tool)
                && !marks.insert(mark)
            {
                return Some(breach(
                    "one tool for a mark",
                    format!("a second active tool {} ({})", tool.name, tool.id),
                ));
            }
        }
        tools.iter().find_map(|tool| self.judge_versions(tool))
    }

    fn judge_versions(&self, tool: &ToolView) -> Option<Violation> {
        let limit = self.limits.get(&tool.name)?;
        let ours = tool.versions.iter().filter(|version| version.creator.as_ref().is_some_and(|c| c.user_id == USER));
        let ours: Vec<String> = ours.map(|version| version.version.to_string()).collect();
        let others = ours.iter().filter(|number| !limit.exact.contains(*number)).count();
        (others > limit.bumps).then(|| breach("one version for a ToolVersion", format!("{} has {ours:?}", tool.name)))
    }
}

fn breach(rule: &'static str, text: String) -> Violation {
    Violation { rule, text }
}

fn owner_of(tool: &ToolView) -> Option<String> {
    tool.tags.get(OWNER_TAG).cloned().flatten()
}

fn judge_create(call: &Call) -> Option<Violation> {
    let mark = call.body["tags"][OWNER_TAG].as_str().unwrap_or_default();
    (mark.len() != 32).then(|| breach("a create carries the mark", call.describe()))
}

/// Which of Flux's rules a status breaks, at the generation that it speaks of: the spec may have changed while it was on
/// its way.
#[must_use]
pub fn flux_violations(object: &Value) -> Vec<String> {
    let mut object = object.clone();
    if let Some(observed) = object["status"]["observedGeneration"].as_i64().filter(|observed| *observed > 0) {
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        if observed > generation {
            return vec!["the observed generation is ahead".to_owned()];
        }
        object["metadata"]["generation"] = json!(observed);
    }
    oracle::violations(&object)
}
