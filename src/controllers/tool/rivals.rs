//! Two Tools that want one remote tool: one keeps it, and the other says so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::amigo::Endpoint;
use crate::controllers::Context;
use crate::controllers::connection::organization_key;
use crate::controllers::outcome::Outcome;
use crate::controllers::wake::by_remote_name;
use crate::kubernetes::watch::key;
use crate::resources::{Reason, Resource, Tool};

/// The place of an object among those that want the same: earlier creationTimestamp, then namespace/name, then uid.
pub type Age = (Option<Time>, String, String, String);

/// The age of an object, for comparing.
pub fn age<K: Resource>(object: &K) -> Age {
    let (namespace, name) = key(object);
    (object.creation_timestamp(), namespace, name, object.uid().unwrap_or_default())
}

/// Whether `tool` must leave its remote tool to another Tool.
pub fn taken(tool: &Tool, ctx: &Context) -> Option<Outcome> {
    let here = place(tool, ctx)?;
    let rivals = ctx.tools.by(&by_remote_name(&tool.remote_name()));
    let winner = rivals
        .iter()
        .filter(|rival| rival.uid() != tool.uid() && place(rival, ctx).as_ref() == Some(&here))
        .find(|rival| precedes(rival, tool))?;
    Some(Outcome::stalled(
        Reason::NameTaken,
        format!(
            "{} stands for the remote tool {} already; choose another `spec.name`",
            winner.describe(),
            tool.remote_name()
        ),
    ))
}

/// Who is bound already keeps the tool; else the older one.
fn precedes(rival: &Tool, tool: &Tool) -> bool {
    let bound = |t: &Tool| t.status.as_ref().is_some_and(|s| s.tool_id.is_some());
    match (bound(rival), bound(tool)) {
        (true, false) => true,
        (false, true) => false,
        _ => age(rival) < age(tool),
    }
}

/// Where a Tool's remote tool lives: endpoint and organization.
fn place(tool: &Tool, ctx: &Context) -> Option<(String, String)> {
    let (namespace, name) = organization_key(tool, ctx.settings.default_organization.as_ref())?;
    let organization = ctx.organizations.get(&namespace, &name)?;
    let endpoint = Endpoint::parse(&organization.spec.endpoint).ok()?;
    Some((endpoint.to_string(), organization.spec.organization.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{ToolSpec, ToolStatus};

    fn tool(name: &str, created: i64, id: Option<&str>) -> Tool {
        let mut tool = Tool::new(name, ToolSpec::default());
        tool.metadata.namespace = Some("travel".into());
        tool.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(created).unwrap()));
        tool.status = Some(ToolStatus { tool_id: id.map(str::to_owned), ..ToolStatus::default() });
        tool
    }

    #[test]
    fn who_is_bound_keeps_the_tool_and_else_the_older_one() {
        let (old, young) = (tool("b", 1, None), tool("a", 2, None));
        assert!(precedes(&old, &young) && !precedes(&young, &old));
        let bound = tool("a", 2, Some("x"));
        assert!(precedes(&bound, &old) && !precedes(&old, &bound));
        let same_second = tool("a", 1, None);
        assert!(precedes(&same_second, &old));
        assert!(!precedes(&old, &old), "nobody is before itself");
    }
}
