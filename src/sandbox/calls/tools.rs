//! List, create, modify and deprecate tools.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::underway::{Work, run};
use super::{Inbound, enter, writable};
use crate::amigo::types::{Created, Tool};
use crate::sandbox::Sandbox;
use crate::sandbox::access::Caller;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::faults::View;
use crate::sandbox::query::{self, TagFilter, TagValue, ToolQuery};
use crate::sandbox::settings::{Revision, Settings, SeveralTags, seconds};
use crate::sandbox::state::{Moment, Organization, State, ToolRecord};
use crate::sandbox::validate;

/// A tool, with what later revisions add.
#[derive(Serialize)]
struct ToolBody {
    #[serde(flatten)]
    tool: Tool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
}

pub(super) fn list(state: &State, inbound: &Inbound, view: View, now: &Moment) -> Outcome {
    let query = query::tools(&inbound.query)?;
    let organization = state.organization(&inbound.organization)?;
    let tools = match view {
        View::Now => organization.all_tools(None),
        View::Ago(ago) => {
            now.instant.checked_sub(ago).map(|then| organization.all_tools(Some(then))).unwrap_or_default()
        }
        View::Nothing => Vec::new(),
    };
    let mut found: Vec<_> =
        tools.into_iter().filter(|tool| matches(tool, &query, &state.settings)).map(AsRef::as_ref).collect();
    query::sort(&mut found, &query.sort_by, compare);
    let (part, has_more, continuation_token) = query.page.of(found);
    let first_page = query.page.offset == 0 && !state.settings.sparse;
    Ok(Answer::json(
        StatusCode::OK,
        &json!({
            "tools": part.into_iter().map(|tool| body(tool, &state.settings)).collect::<Vec<_>>(),
            "has_more": has_more,
            "continuation_token": continuation_token,
            "filter_values": first_page.then(|| filter_values(organization)),
        }),
    ))
}

fn body(tool: &ToolRecord, settings: &Settings) -> ToolBody {
    let dated = settings.revision != Revision::July2025 && !settings.sparse;
    ToolBody {
        tool: tool.wire(),
        created_at: dated.then_some(tool.created_at),
        updated_at: dated.then_some(tool.updated_at),
    }
}

fn filter_values(organization: &Organization) -> Value {
    let tools = organization.all_tools(None);
    let tags = tools.iter().flat_map(|tool| &tool.tags);
    let texts = tags.map(|(key, value)| format!("{key}:{}", value.as_deref().unwrap_or_default()));
    json!({ "tags": texts.collect::<BTreeSet<_>>() })
}

fn matches(tool: &ToolRecord, query: &ToolQuery, settings: &Settings) -> bool {
    let tagged = |filter: &TagFilter| match (tool.tags.get(&filter.key), &filter.value) {
        (Some(_), TagValue::Any) | (Some(None), TagValue::Null) => true,
        (Some(value), TagValue::Exactly(wanted)) => value.as_ref() == Some(wanted),
        (None, _) | (Some(Some(_)), TagValue::Null) => false,
    };
    (query.ids.is_empty() || query.ids.contains(&tool.id))
        && query.deprecated.is_none_or(|deprecated| deprecated == tool.deprecated)
        && match settings.several_tags {
            SeveralTags::Any => query.tags.is_empty() || query.tags.iter().any(tagged),
            SeveralTags::All => query.tags.iter().all(tagged),
        }
}

fn compare(field: &str, a: &ToolRecord, b: &ToolRecord) -> Ordering {
    match field {
        "name" => a.name.cmp(&b.name),
        _ => a.deprecated.cmp(&b.deprecated),
    }
}

pub(super) fn create(state: &mut State, caller: &Caller, inbound: &Inbound, now: &Moment) -> Outcome {
    let wanted = validate::create_tool(&inbound.document()?, &state.settings)?;
    state.permit(caller, inbound.operation)?;
    if state.settings.longest_name.is_some_and(|longest| wanted.name.chars().count() > longest) {
        return Err(Answer::bad_request("Tool name is too long"));
    }
    if state.organization(&inbound.organization)?.active_named(&wanted.name).is_some() {
        return Err(Answer::conflict("A tool with this name already exists"));
    }
    let id = state.ids.object();
    let tool = ToolRecord {
        id: id.clone(),
        org_id: inbound.organization.clone(),
        name: wanted.name,
        description: wanted.description,
        deprecated: false,
        tags: wanted.tags,
        variables: BTreeMap::new(),
        deleted: BTreeMap::new(),
        versions: Vec::new(),
        created_at: now.time,
        updated_at: now.time,
        creator: caller.creator(),
    };
    state.organization_mut(&inbound.organization)?.insert_tool(tool, now);
    Ok(Answer::json(StatusCode::CREATED, &Created { id }))
}

pub(super) fn modify(state: &mut State, caller: &Caller, inbound: &Inbound, now: &Moment) -> Outcome {
    inbound.check_tool_id()?;
    let wanted = validate::modify_tool(&inbound.document()?, &state.settings)?;
    let tool = writable(state, caller, inbound)?;
    state.organization_mut(&inbound.organization)?.change_tool(&tool.id, now, |tool| {
        if let Some(description) = wanted.description {
            tool.description = description;
        }
        if let Some(tags) = wanted.tags {
            tool.tags = tags;
        }
    });
    Ok(Answer::no_content())
}

pub(super) async fn deprecate(sandbox: &Sandbox, inbound: &Inbound) -> Outcome {
    let duration = {
        let state = &mut *sandbox.state();
        let caller = enter(state, inbound, &sandbox.moment())?;
        inbound.check_tool_id()?;
        writable(state, &caller, inbound)?;
        seconds(state.settings.deprecate_seconds)
    };
    let (organization, tool_id) = (inbound.organization.clone(), inbound.tool_id.clone());
    let effect = move |state: &mut State, now: &Moment| {
        state.organization_mut(&organization)?.change_tool(&tool_id, now, |tool| {
            tool.deprecated = true;
            tool.deprecate_versions(|_| true);
        });
        Ok(Answer::no_content())
    };
    run(sandbox, inbound, Work { name: "deprecation", duration, effect }).await
}
