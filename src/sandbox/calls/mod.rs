//! The calls of the API: what each does to the state. Form has been checked before ([`super::validate`],
//! [`super::query`]); faults, limits and the log stand around them ([`super::exchange`]).

mod keys;
mod publish;
mod tools;
mod underway;
mod variables;
mod versions;

pub(super) use publish::{Build, next_number};

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::Sandbox;
use super::access::Caller;
use super::answer::{Answer, Outcome};
use super::faults::View;
use super::operation::Operation;
use super::state::{Moment, State, ToolRecord};
use super::validate::{Issues, document, is_id};

/// A request, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    pub operation: Operation,
    pub organization: String,
    pub tool_id: String,
    /// The specifier in the path of a deprecation.
    pub versions: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Its number in the log.
    pub sequence: u64,
}

impl Inbound {
    fn document(&self) -> Result<Value, Answer> {
        document(&self.headers, &self.body)
    }

    /// Refuses an id of a tool that is out of form.
    fn check_tool_id(&self) -> Result<(), Answer> {
        let mut issues = Issues::default();
        if !is_id(&self.tool_id) {
            let message = "String should match pattern '^[a-f0-9]{24}$'";
            issues.add("string_pattern_mismatch", &["path", "tool_id"], message, &json!(self.tool_id));
        }
        issues.none()
    }
}

/// Carries out a call: everything but limits and faults.
pub(super) async fn perform(sandbox: &Sandbox, inbound: &Inbound, view: View) -> Outcome {
    match inbound.operation {
        Operation::PublishVersion => publish::publish(sandbox, inbound).await,
        Operation::DeprecateTool => tools::deprecate(sandbox, inbound).await,
        _ => {
            let now = sandbox.moment();
            let state = &mut *sandbox.state();
            at_once(state, inbound, view, &now)
        }
    }
}

/// The calls that take no time.
fn at_once(state: &mut State, inbound: &Inbound, view: View, now: &Moment) -> Outcome {
    if inbound.operation == Operation::SignIn {
        open(state, inbound)?;
        return state.sign_in(&inbound.organization, &inbound.headers, now);
    }
    let caller = enter(state, inbound, now)?;
    match inbound.operation {
        Operation::ListTools => tools::list(state, inbound, view, now),
        Operation::CreateTool => tools::create(state, &caller, inbound, now),
        Operation::ModifyTool => tools::modify(state, &caller, inbound, now),
        Operation::ModifyVariables => variables::modify(state, &caller, inbound, now),
        Operation::ListVersions => versions::list(state, inbound, view, now),
        Operation::DeprecateVersions => versions::deprecate(state, &caller, inbound, now),
        Operation::ListApiKeys => keys::list(state, &caller, inbound),
        Operation::SignIn | Operation::PublishVersion | Operation::DeprecateTool => Err(Answer::not_found("Call")),
    }
}

/// Refuses everybody during maintenance.
fn open(state: &State, inbound: &Inbound) -> Result<(), Answer> {
    if state.organization(&inbound.organization)?.maintenance { Err(Answer::unavailable()) } else { Ok(()) }
}

/// Lets a caller in and notes who it is.
fn enter(state: &mut State, inbound: &Inbound, now: &Moment) -> Result<Caller, Answer> {
    open(state, inbound)?;
    let caller = state.authenticate(&inbound.organization, &inbound.headers, now)?;
    if let Some(entry) = state.journal.entry(inbound.sequence) {
        entry.user_id = Some(caller.user_id.clone());
        entry.sign_in = Some(caller.sign_in);
    }
    Ok(caller)
}

/// The tool of a call that changes it: it must exist and be active, and the caller must be allowed to.
fn writable(state: &State, caller: &Caller, inbound: &Inbound) -> Result<Arc<ToolRecord>, Answer> {
    let tool = state.organization(&inbound.organization)?.tool(&inbound.tool_id);
    let tool = tool.filter(|tool| !tool.deprecated).ok_or_else(|| Answer::not_found("Tool"))?;
    state.permit(caller, inbound.operation)?;
    Ok(Arc::clone(tool))
}
