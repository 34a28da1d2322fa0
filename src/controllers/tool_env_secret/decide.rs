//! Which variables of a tool are sent, for all its ToolEnvSecrets together, as one delta. Pure; told apart by fingerprints,
//! never by values.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use super::resolve::{Problem, Resolved};
use crate::amigo::types::{Tool as RemoteTool, ToolVersion as RemoteVersion};
use crate::controllers::tool::rivals::Age;
use crate::resources::Reason;
use crate::resources::tool_env_secret::{SyncedVariable, VariableDeletionPolicy, Visibility};

/// One ToolEnvSecret of the tool.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its uid.
    pub uid: String,
    /// Its name, for messages.
    pub name: String,
    /// Its place among those that want the same variable.
    pub age: Age,
    /// What it wants; empty when it is being deleted.
    pub resolved: Resolved,
    /// What it has set before.
    pub recorded: Vec<SyncedVariable>,
    /// What happens to what it does not want any more.
    pub deletion_policy: VariableDeletionPolicy,
    /// Whether anything is done for it: not while it is suspended, or before its finalizer is there.
    pub acts: bool,
    /// Whether the status says that this very state of manifest and Secrets was sent.
    pub synced: bool,
    /// Whether this is the object in hand. Only of that one can names be written down before they are sent; of the others
    /// only what they have written down themselves is sent, or a clean-up would not know of it.
    pub in_hand: bool,
}

/// How a variable's value is told from the one that was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The service has this value.
    Sent,
    /// The service has another value, or it is not known.
    Unsent,
}

/// What is to be sent: names only; the values are looked up when the body is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Variables that the tool does not have.
    pub inserts: BTreeMap<String, Visibility>,
    /// Variables that it has with another value.
    pub updates: BTreeSet<String>,
    /// Variables that nobody wants any more.
    pub deletes: BTreeSet<String>,
}

impl Delta {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.updates.is_empty() && self.deletes.is_empty()
    }
}

/// What becomes of one member once the delta is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// What it has set then.
    pub variables: Vec<SyncedVariable>,
    /// What is in its way.
    pub problems: BTreeSet<Problem>,
}

/// The plan for a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is to be sent.
    pub delta: Delta,
    /// By uid, what becomes of each member.
    pub shares: BTreeMap<String, Share>,
}

/// Decides for all ToolEnvSecrets of a tool.
#[must_use]
pub fn decide(
    members: &[Member],
    remote: &RemoteTool,
    versions: Option<&[RemoteVersion]>,
    freshness: impl Fn(&str, &str, &SecretString) -> Freshness,
) -> Plan {
    let mut plan = Plan::default();
    let owners = owners(members);
    for member in members.iter().filter(|member| member.acts) {
        let share = wanted(member, &owners, remote, &freshness, &mut plan.delta);
        plan.shares.insert(member.uid.clone(), share);
    }
    for member in members.iter().filter(|member| member.acts) {
        unwanted(member, members, remote, versions, &mut plan);
    }
    plan
}

/// Who may set each variable: the oldest that names it.
fn owners(members: &[Member]) -> BTreeMap<&str, &Member> {
    let mut by_age: Vec<&Member> = members.iter().collect();
    by_age.sort_by(|a, b| a.age.cmp(&b.age));
    let mut owners = BTreeMap::new();
    for member in by_age {
        for name in member.resolved.variables.keys().chain(&member.resolved.held) {
            owners.entry(name.as_str()).or_insert(member);
        }
    }
    owners
}

/// The visibility of a variable that the tool has.
#[must_use]
pub fn remote_visibility(remote: &RemoteTool, name: &str) -> Option<Visibility> {
    let has = |names: &[String]| names.iter().any(|n| n.trim() == name);
    match (has(&remote.secret_envvars), has(&remote.envvars)) {
        (true, _) => Some(Visibility::Secret),
        (false, true) => Some(Visibility::Plain),
        (false, false) => None,
    }
}

fn wanted(
    member: &Member,
    owners: &BTreeMap<&str, &Member>,
    remote: &RemoteTool,
    freshness: &impl Fn(&str, &str, &SecretString) -> Freshness,
    delta: &mut Delta,
) -> Share {
    let mut share = Share { variables: Vec::new(), problems: member.resolved.problems.clone() };
    for (name, variable) in &member.resolved.variables {
        if let Some(owner) = owners.get(name.as_str()).filter(|owner| owner.uid != member.uid) {
            share.problems.insert(conflict(name, owner));
            continue;
        }
        if !member.in_hand && !member.recorded.iter().any(|recorded| &recorded.name == name) {
            continue;
        }
        match (remote_visibility(remote, name), freshness(&member.uid, name, &variable.value)) {
            (None, _) => {
                delta.inserts.insert(name.clone(), variable.visibility);
            }
            (Some(there), _) if there != variable.visibility => {
                share.problems.insert(mismatch(name, there));
                continue;
            }
            (Some(_), Freshness::Unsent) => {
                delta.updates.insert(name.clone());
            }
            (Some(_), Freshness::Sent) => {}
        }
        share.variables.push(SyncedVariable { name: name.clone(), visibility: variable.visibility });
    }
    share
}

/// What a member has set and nobody wants any more goes, unless it must stay.
fn unwanted(
    member: &Member,
    members: &[Member],
    remote: &RemoteTool,
    versions: Option<&[RemoteVersion]>,
    plan: &mut Plan,
) {
    for recorded in &member.recorded {
        let name = &recorded.name;
        let of_mine = plan.shares.get(&member.uid).is_some_and(|share| share.variables.iter().any(|v| &v.name == name));
        let of_others = members.iter().any(|other| other.uid != member.uid && other.resolved.names(name));
        if of_mine || of_others {
            continue;
        }
        let keep = member.resolved.hold_all || member.resolved.names(name);
        let required_by = required_by(name, versions.unwrap_or_default());
        let share = plan.shares.entry(member.uid.clone()).or_default();
        match (keep, member.deletion_policy, remote_visibility(remote, name)) {
            (true, _, Some(_)) => share.variables.push(recorded.clone()),
            (true, _, None) | (false, VariableDeletionPolicy::Retain, _) | (false, _, None) => {}
            (false, VariableDeletionPolicy::Delete, Some(_)) if required_by.is_empty() => {
                plan.delta.deletes.insert(name.clone());
            }
            (false, VariableDeletionPolicy::Delete, Some(_)) => {
                share.variables.push(recorded.clone());
                share.problems.insert(in_use(name, &required_by));
            }
        }
        share.variables.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// The active versions that require a variable.
fn required_by(name: &str, versions: &[RemoteVersion]) -> Vec<String> {
    let requires = |version: &&RemoteVersion| {
        let mut names = version.required_envvars.iter().chain(&version.required_secret_envvars);
        !version.deprecated && names.any(|required| required.trim() == name)
    };
    versions.iter().filter(requires).map(|version| version.version.to_string()).collect()
}

fn conflict(name: &str, owner: &Member) -> Problem {
    let message = format!(
        "variable {name} belongs to ToolEnvSecret {}, which is older; remove it from one of the two",
        owner.name
    );
    Problem::new(Reason::VariableConflict, message)
}

fn mismatch(name: &str, there: Visibility) -> Problem {
    let (is, should) = match there {
        Visibility::Plain => ("plain", "secret"),
        Visibility::Secret => ("secret", "plain"),
    };
    let message = format!(
        "variable {name} is {is} in the service and cannot become {should}: use another name, or delete it first and add it \
         again after a while"
    );
    Problem::new(Reason::VisibilityMismatch, message)
}

fn in_use(name: &str, versions: &[String]) -> Problem {
    let message = format!("variable {name} stays, as active versions require it: {}", versions.join(", "));
    Problem::new(Reason::VariableInUse, message)
}

/// Whether a variable that a member has set is to go, so that the versions must be read.
#[must_use]
pub fn may_delete(members: &[Member]) -> bool {
    members.iter().any(|member| {
        let wanted = |name: &str| members.iter().any(|m| m.resolved.names(name));
        member.acts
            && member.deletion_policy == VariableDeletionPolicy::Delete
            && member.recorded.iter().any(|v| !wanted(&v.name))
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
