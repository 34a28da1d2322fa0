//! Whether an Organization may go: not while an object refers to it that still has remote work to do.

use kube::ResourceExt;

use crate::amigo::Endpoint;
use crate::controllers::Context;
use crate::controllers::connection::organization_key;
use crate::controllers::wake::{DEFAULT_ORGANIZATION, by_organization};
use crate::kubernetes::object::has_finalizer;
use crate::kubernetes::watch::key;
use crate::resources::organization::Deprecation;
use crate::resources::tool::DeletionPolicy;
use crate::resources::tool_env_secret::VariableDeletionPolicy;
use crate::resources::{Organization, Resource, Tool, ToolEnvSecret, ToolVersion, annotations};

/// How many objects the message names.
const NAMED: usize = 5;

/// Why the Organization cannot go yet, naming some objects; `None` when it can.
pub fn message(organization: &Organization, ctx: &Context) -> Option<String> {
    let namespace = organization.namespace().unwrap_or_default();
    let name = organization.name_any();
    let forbidden = organization.spec.deprecation == Deprecation::Forbidden;
    let mut tools = ctx.tools.by(&by_organization(&namespace, &name));
    if ctx.settings.default_organization.as_ref() == Some(&(namespace, name)) {
        tools.extend(ctx.tools.by(DEFAULT_ORGANIZATION));
    }
    let tools = tools.into_iter().filter(|tool| tool_has_work(tool, forbidden)).map(|tool| tool.describe());
    let versions =
        ctx.versions.all().into_iter().filter(|v| version_owes(v, organization, forbidden, ctx)).map(|v| v.describe());
    let variables =
        ctx.variables.all().into_iter().filter(|v| variables_owe(v, organization, ctx)).map(|v| v.describe());
    let mut users: Vec<String> = tools.chain(versions).chain(variables).collect();
    users.sort();
    if users.is_empty() {
        return None;
    }
    let more = users.len().saturating_sub(NAMED);
    users.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("still used by {}{more}; delete them first", users.join(", ")))
}

/// A Tool that is not being deleted always has work to do; one that is, only if it is to be deprecated.
fn tool_has_work(tool: &Tool, forbidden: bool) -> bool {
    if tool.metadata.deletion_timestamp.is_none() {
        return true;
    }
    owes(tool) && tool.spec.deletion_policy == DeletionPolicy::Deprecate && !forbidden
}

fn version_owes(version: &ToolVersion, organization: &Organization, forbidden: bool, ctx: &Context) -> bool {
    let Some(status) = &version.status else { return false };
    owes(version)
        && version.spec.deletion_policy == DeletionPolicy::Deprecate
        && !forbidden
        && status.version_id.is_some()
        && uses(organization, version, &version.spec.tool_ref.name, (&status.endpoint, &status.organization), ctx)
}

fn variables_owe(variables: &ToolEnvSecret, organization: &Organization, ctx: &Context) -> bool {
    let Some(status) = &variables.status else { return false };
    owes(variables)
        && variables.spec.deletion_policy == VariableDeletionPolicy::Delete
        && !status.variables.is_empty()
        && uses(organization, variables, &variables.spec.tool_ref.name, (&status.endpoint, &status.organization), ctx)
}

/// Whether the object's own deletion has remote work to do, now or later: when a namespace goes, its objects are not deleted
/// all at once, and those that come last still need the Organization.
fn owes<K: Resource>(object: &K) -> bool {
    has_finalizer(object) && !annotations::is_abandoned(object)
}

/// Whether an object of a Tool works through this Organization: as its Tool says, or as it has noted itself when that is gone.
fn uses<K: Resource>(
    organization: &Organization,
    object: &K,
    tool: &str,
    (endpoint, remote): (&Option<String>, &Option<String>),
    ctx: &Context,
) -> bool {
    let default = ctx.settings.default_organization.as_ref();
    if let Some(tool) = ctx.tools.get(&object.namespace().unwrap_or_default(), tool) {
        return organization_key(&tool, default) == Some(key(organization));
    }
    let endpoint_of_organization = Endpoint::parse(&organization.spec.endpoint).map(|e| e.to_string()).ok();
    *endpoint == endpoint_of_organization && remote.as_ref() == Some(&organization.spec.organization)
}
