//! What must hold before anything is deprecated, checked in this order, as nothing undoes it: the order still stands in the
//! manifest, the kind's CRD is not being removed, the Organization allows it and lets it through, and the tool itself, read
//! by its id just before, is the one it is taken for.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt};

use super::Context;
use super::connection::Connection;
use super::deprecations::Grant;
use super::outcome::{Interrupt, Outcome};
use super::ownership::{self, Ownership};
use crate::amigo::types::Tool as RemoteTool;
use crate::amigo::{Claim, Class, Operation, Permit};
use crate::kubernetes::object::{self, Handle};
use crate::kubernetes::watch::key;
use crate::resources::organization::Deprecation;
use crate::resources::{Reason, Resource};

/// Why nothing is done remotely for an object whose kind is being removed.
pub const CRD_IS_GOING: &str = "its CustomResourceDefinition is being deleted: everything is retained";

/// A deprecation that an object asks for.
pub struct Order<'a, K> {
    /// Whether the manifest, read afresh, still asks for it.
    pub stands: &'a (dyn Fn(&K) -> bool + Sync),
    /// The call.
    pub operation: Operation,
    /// How many tools or versions it deprecates.
    pub count: i32,
    /// What is deprecated, for messages.
    pub what: &'a str,
    /// The tool.
    pub tool_id: &'a str,
    /// The mark that the tool must carry; `None` for a tool that is only observed.
    pub mark: Option<&'a str>,
}

/// The answer.
pub enum Clearance {
    /// Go on, with this permit.
    Go(Permit),
    /// It is not to be deprecated, for this reason.
    Retain(String),
    /// There is nothing to deprecate any more.
    Done(String),
}

/// Checks an order. What must be waited for ends the reconcile by itself.
pub async fn clear<K: Resource>(
    order: &Order<'_, K>,
    handle: &Handle<K>,
    connection: &Connection,
    ctx: &Context,
) -> Result<Clearance, Interrupt> {
    let uid = handle.object().uid().unwrap_or_default();
    let organization = key(&*connection.object);
    must_stand(order, handle, connection, ctx).await?;
    if crd_is_going::<K>(ctx).await? {
        return Ok(Clearance::Retain(CRD_IS_GOING.into()));
    }
    if connection.object.spec.deprecation == Deprecation::Forbidden {
        ctx.deprecations.done(&organization, &uid);
        return Ok(Clearance::Retain(format!("{} forbids deprecation", connection.object.describe())));
    }
    granted(order, handle.object(), connection, ctx)?;
    let permit = permit(order, handle, connection, ctx)?;
    let tool = ctx.remote.tool(&connection.established, order.tool_id, Duration::ZERO, Class::Interactive).await?;
    match standing(tool.as_deref(), order.mark) {
        // One read that does not find it proves nothing; several over some time do.
        Standing::Gone if !ctx.memory.is_missing(&uid) => Err(Outcome::not_found_yet(Class::Interactive).into()),
        Standing::Gone => Ok(Clearance::Done("the service has it no more".into())),
        Standing::Deprecated => Ok(Clearance::Done("it is deprecated already".into())),
        Standing::NotOurs => Ok(Clearance::Retain("the tool does not carry this object's mark".into())),
        Standing::Ours => {
            ctx.memory.found(&uid);
            // The turn and the read may have been waited for, and somebody may have thought better of it meanwhile.
            must_stand(order, handle, connection, ctx).await?;
            connection.for_write(ctx)?;
            Ok(Clearance::Go(permit))
        }
    }
}

/// Ends the reconcile when the order does not stand in the manifest any more, read past the cache.
async fn must_stand<K: Resource>(
    order: &Order<'_, K>,
    handle: &Handle<K>,
    connection: &Connection,
    ctx: &Context,
) -> Result<(), Interrupt> {
    if handle.fresh().await?.is_some_and(|fresh| (order.stands)(&fresh)) {
        return Ok(());
    }
    ctx.deprecations.done(&key(&*connection.object), &handle.object().uid().unwrap_or_default());
    Err(Outcome::Unchanged { again: Duration::from_secs(1) }.into())
}

/// Whether the Organization lets it through.
fn granted<K: Resource>(
    order: &Order<'_, K>,
    object: &K,
    connection: &Connection,
    ctx: &Context,
) -> Result<(), Outcome> {
    let organization = key(&*connection.object);
    let uid = object.uid().unwrap_or_default();
    match ctx.deprecations.ask(&organization, &uid, order.count, ctx.waker(object)) {
        Grant::Granted => Ok(()),
        Grant::Pending => {
            ctx.queues.organizations.push(&organization.0, &organization.1);
            let message = format!("asks {} to let {} be deprecated", connection.object.describe(), order.what);
            Err(Outcome::working(Reason::Progressing, message, Duration::from_secs(60)))
        }
        Grant::Held => Err(Outcome::waiting(
            Reason::DeprecationHeld,
            format!(
                "the deprecation of {} is held: more than {} were asked for in an hour; check them, then annotate {} with \
                 `amigo.ai/confirm-deprecations` and the number that it shows",
                order.what,
                connection.object.spec.max_deprecations_per_hour,
                connection.object.describe(),
            ),
        )),
    }
}

fn permit<K: Resource>(
    order: &Order<'_, K>,
    handle: &Handle<K>,
    connection: &Connection,
    ctx: &Context,
) -> Result<Permit, Outcome> {
    match ctx.claim(handle.object(), &connection.established, order.operation, Class::Interactive) {
        Claim::Granted(permit) => Ok(permit),
        Claim::Queued { estimate } => Err(Outcome::queued(&format!("deprecate {}", order.what), estimate)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Gone,
    Deprecated,
    NotOurs,
    Ours,
}

fn standing(tool: Option<&RemoteTool>, mark: Option<&str>) -> Standing {
    match (tool, mark) {
        (None, _) => Standing::Gone,
        (Some(tool), _) if tool.deprecated => Standing::Deprecated,
        (Some(_), None) => Standing::Ours,
        (Some(tool), Some(mark)) if ownership::of(tool, mark) == Ownership::Ours => Standing::Ours,
        (Some(_), Some(_)) => Standing::NotOurs,
    }
}

/// Whether the kind itself is being removed from the cluster, read past every cache. Its objects are then deleted by that,
/// and nobody ordered anything remotely. A CRD that is gone counts too; one that cannot be read is no answer.
pub async fn crd_is_going<K: Resource>(ctx: &Context) -> Result<bool, object::Error> {
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    let api: Api<CustomResourceDefinition> = Api::all(ctx.client.clone());
    let found = object::get_opt(&api, &name).await?;
    Ok(found.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amigo::types::Tag;

    #[test]
    fn only_the_tool_that_carries_the_mark_is_ours() {
        let tool = |deprecated, mark: Option<&str>| RemoteTool {
            deprecated,
            tags: mark.map(|m| Tag { key: "kubernetes_owner".into(), value: Some(m.into()) }).into_iter().collect(),
            ..RemoteTool::for_tests()
        };
        let table = [
            (None, Some("m"), Standing::Gone),
            (Some(tool(true, Some("m"))), Some("m"), Standing::Deprecated),
            (Some(tool(false, Some("m"))), Some("m"), Standing::Ours),
            (Some(tool(false, Some("x"))), Some("m"), Standing::NotOurs),
            (Some(tool(false, None)), Some("m"), Standing::NotOurs),
            (Some(tool(false, Some("x"))), None, Standing::Ours),
        ];
        for (tool, mark, expected) in table {
            assert_eq!(standing(tool.as_ref(), mark), expected, "{tool:?} {mark:?}");
        }
    }
}
