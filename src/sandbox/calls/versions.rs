//! List and deprecate versions.

use std::cmp::Ordering;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Inbound, writable};
use crate::amigo::types::{Branch, Creator, ToolVersion};
use crate::sandbox::access::Caller;
use crate::sandbox::answer::{Answer, Outcome};
use crate::sandbox::faults::View;
use crate::sandbox::query::{self, VersionQuery};
use crate::sandbox::settings::{Revision, Settings};
use crate::sandbox::state::{Moment, State, ToolRecord, VersionRecord};

/// A version, with what clients need not know and what depends on the revision.
#[derive(Serialize)]
struct VersionBody {
    #[serde(flatten)]
    version: ToolVersion,
    org_id: String,
    input_schema: Value,
    amigo_scaffold_commit_hash: &'static str,
    lambda_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_branch_name: Option<Branch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_repo: Option<Branch>,
}

pub(super) fn list(state: &State, inbound: &Inbound, view: View, now: &Moment) -> Outcome {
    inbound.check_tool_id()?;
    let query = query::versions(&inbound.query)?;
    let organization = state.organization(&inbound.organization)?;
    let current = organization.tool(&inbound.tool_id).ok_or_else(|| Answer::not_found("Tool"))?;
    let shown = match view {
        View::Now => Some(current),
        View::Ago(ago) => {
            let line = organization.tools.get(&inbound.tool_id);
            now.instant.checked_sub(ago).and_then(|then| line.and_then(|line| line.at(then)))
        }
        View::Nothing => None,
    };
    let versions = shown.map(|tool| tool.versions.as_slice()).unwrap_or_default();
    let mut found: Vec<&VersionRecord> =
        versions.iter().map(AsRef::as_ref).filter(|version| matches(version, &query)).collect();
    query::sort(&mut found, &query.sort_by, compare);
    let (part, has_more, continuation_token) = query.page.of(found);
    let first_page = query.page.offset == 0 && !state.settings.sparse;
    Ok(Answer::json(
        StatusCode::OK,
        &json!({
            "tool_versions": part.into_iter().map(|version| body(version, &state.settings)).collect::<Vec<_>>(),
            "has_more": has_more,
            "continuation_token": continuation_token,
            "filter_values": first_page.then(|| filter_values(current)),
        }),
    ))
}

fn body(version: &VersionRecord, settings: &Settings) -> Value {
    let revision = settings.revision;
    let body = VersionBody {
        version: version.wire.clone(),
        org_id: version.org_id.clone(),
        input_schema: json!({ "type": "object", "properties": {} }),
        amigo_scaffold_commit_hash: "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567",
        lambda_version: 1,
        tool_branch_name: (revision == Revision::July2025).then_some(version.branch),
        tool_repo: (revision == Revision::September2025).then_some(version.branch),
    };
    let mut value = json!(body);
    if settings.sparse
        && let Some(object) = value.as_object_mut()
    {
        object.retain(|field, _| matches!(field.as_str(), "id" | "version" | "deprecated"));
    }
    value
}

fn filter_values(tool: &ToolRecord) -> Value {
    let mut creators: Vec<&Creator> = Vec::new();
    for creator in tool.versions.iter().filter_map(|version| version.wire.creator.as_ref()) {
        if !creators.contains(&creator) {
            creators.push(creator);
        }
    }
    json!({ "creators": creators })
}

fn matches(version: &VersionRecord, query: &VersionQuery) -> bool {
    let wire = &version.wire;
    let made_by = |(organization, user): &(String, String)| {
        wire.creator.as_ref().is_some_and(|creator| creator.user_org_id == *organization && creator.user_id == *user)
    };
    query.deprecated.is_none_or(|deprecated| deprecated == wire.deprecated)
        && query.versions.as_ref().is_none_or(|within| query::contains(within, wire.version))
        && (query.creators.is_empty() || query.creators.iter().any(made_by))
}

fn compare(field: &str, a: &VersionRecord, b: &VersionRecord) -> Ordering {
    let (a, b) = (&a.wire, &b.wire);
    match field {
        "created_at" => a.created_at.cmp(&b.created_at),
        "version.major" => a.version.major.cmp(&b.version.major),
        "version.minor" => a.version.minor.cmp(&b.version.minor),
        "version.patch" => a.version.patch.cmp(&b.version.patch),
        _ => a.deprecated.cmp(&b.deprecated),
    }
}

pub(super) fn deprecate(state: &mut State, caller: &Caller, inbound: &Inbound, now: &Moment) -> Outcome {
    inbound.check_tool_id()?;
    let within = query::specifier(&inbound.versions)?;
    let tool = writable(state, caller, inbound)?;
    state.organization_mut(&inbound.organization)?.change_tool(&tool.id, now, |tool| {
        tool.deprecate_versions(|number| query::contains(&within, number));
    });
    Ok(Answer::no_content())
}
