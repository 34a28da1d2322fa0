//! Whether an Organization may go: not while an object refers to it that still has remote work to do.

use std::fmt;

use kube::{Api, ResourceExt};

use crate::amigo::Endpoint;
use crate::controllers::Context;
use crate::controllers::connection::organization_key;
use crate::controllers::wake::{DEFAULT_ORGANIZATION, by_organization};
use crate::kubernetes::object::{self, bounded, has_finalizer};
use crate::kubernetes::watch::{Key, key};
use crate::resources::organization::Deprecation;
use crate::resources::tool::DeletionPolicy;
use crate::resources::tool_env_secret::VariableDeletionPolicy;
use crate::resources::{Organization, Resource, Tool, ToolEnvSecret, ToolVersion, annotations};

/// How many objects the message names.
const NAMED: usize = 5;

/// Why the Organization cannot go yet, naming some objects; `None` when it can. What the caches show is read again: a
/// kind that was removed from the cluster took its objects with it, and its watch cannot tell any more.
pub async fn message(organization: &Organization, ctx: &Context) -> Result<Option<String>, object::Error> {
    let mut users = users(organization, ctx);
    users.sort();
    let mut confirmed = Vec::new();
    let mut left = users.into_iter();
    while confirmed.len() < NAMED
        && let Some(user) = left.next()
    {
        if user.is_there(ctx).await? {
            confirmed.push(user.to_string());
        }
    }
    if confirmed.is_empty() {
        return Ok(None);
    }
    let more = left.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Some(format!("still used by {}{more}; delete them first", confirmed.join(", "))))
}

/// An object that uses the Organization.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum User {
    Tool(Key),
    ToolEnvSecret(Key),
    ToolVersion(Key),
}

impl User {
    async fn is_there(&self, ctx: &Context) -> Result<bool, object::Error> {
        match self {
            Self::Tool(key) => exists::<Tool>(key, ctx).await,
            Self::ToolEnvSecret(key) => exists::<ToolEnvSecret>(key, ctx).await,
            Self::ToolVersion(key) => exists::<ToolVersion>(key, ctx).await,
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, (namespace, name)) = match self {
            Self::Tool(key) => ("Tool", key),
            Self::ToolEnvSecret(key) => ("ToolEnvSecret", key),
            Self::ToolVersion(key) => ("ToolVersion", key),
        };
        write!(f, "{kind} {namespace}/{name}")
    }
}

async fn exists<K: Resource>((namespace, name): &Key, ctx: &Context) -> Result<bool, object::Error> {
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    Ok(bounded(api.get_metadata_opt(name)).await?.is_some())
}

/// Who uses the Organization, as the caches show it.
fn users(organization: &Organization, ctx: &Context) -> Vec<User> {
    let namespace = organization.namespace().unwrap_or_default();
    let name = organization.name_any();
    let forbidden = organization.spec.deprecation == Deprecation::Forbidden;
    let mut tools = ctx.tools.by(&by_organization(&namespace, &name));
    if ctx.settings.default_organization.as_ref() == Some(&(namespace, name)) {
        tools.extend(ctx.tools.by(DEFAULT_ORGANIZATION));
    }
    let tools = tools.iter().filter(|tool| tool_has_work(tool, forbidden)).map(|tool| User::Tool(key(&**tool)));
    let versions = ctx.versions.all();
    let versions = versions.iter().filter(|version| version_owes(version, organization, forbidden, ctx));
    let variables = ctx.variables.all();
    let variables = variables.iter().filter(|variables| variables_owe(variables, organization, ctx));
    tools
        .chain(versions.map(|version| User::ToolVersion(key(&**version))))
        .chain(variables.map(|variables| User::ToolEnvSecret(key(&**variables))))
        .collect()
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
