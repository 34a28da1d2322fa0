//! The calls: what each sends, and what its answer means. Reads come whole or not at all; a write is sent once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Shared;
use super::account::{Account, Asking, Claim, Permit};
use super::error::Error;
use super::exchange::{Call, decode, json, segment};
use super::key::{Key, Known};
use super::operation::{Class, Operation};
use super::query::{ListTools, ListVersions};
use super::reads::{self, Reads, TOOLS_A_CALL};
use super::revision::{self, PublishRequest, Revision};
use super::session::Session;
use super::specifier::Specifier;
use super::types::{
    ApiKey, ApiKeys, CreateTool, Created, ModifyTool, Published, Tool, ToolPage, ToolVersion, VersionNumber,
    VersionPage, is_id,
};
use super::variables::VariablesDelta;

/// How long a read waits for its turn behind others before it says so instead.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first waits: until the oldest call of the last minute no longer counts, and no longer.
const FIRSTS_PATIENCE: Duration = Duration::from_secs(75);

/// How long the look at the life of a key may take, its turn included: an Organization becomes Ready after it.
const KEY_PATIENCE: Duration = Duration::from_secs(5);

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Which revision of the publish call.
    pub revision: Revision,
    /// Sent as `x-mongo-cluster-name`.
    pub mongo_cluster: Option<String>,
    /// How much of each limit may be used, 1 to 100.
    pub budget_percent: u32,
    /// What a publish has shown before; where [`Revision::Auto`] starts.
    pub detected: Option<Revision>,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedInUser {
    /// The user.
    pub user_id: String,
    /// When the token ends.
    pub expires_at: Timestamp,
}

/// Calls one organization with one set of credentials. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) account: Arc<Account>,
    pub(super) session: Arc<Session>,
    pub(super) reads: Arc<reads::Reads>,
    pub(super) options: ClientOptions,
}

impl Client {
    /// The budgets that this client draws on.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The time of day by the service's clock, as its last answer told it. What is compared with times that the service
    /// gives, or with times that another replica wrote down, is compared by this one clock.
    #[must_use]
    pub fn service_time(&self) -> Timestamp {
        self.account.service_time(self.shared.clock.now())
    }

    /// Signs in, unless a token is there that still serves.
    pub async fn sign_in(&self) -> Result<SignedInUser, Error> {
        let token = self.token(None).await.inspect_err(|error| self.note_look(error))?;
        Ok(SignedInUser { user_id: self.session.credentials.user_id.clone(), expires_at: token.expires_at })
    }

    /// Looks if the service works, by a call for the answer alone; unless nobody doubts it, or somebody has just looked.
    pub async fn look(&self) {
        if !self.account.is_look_due() {
            return;
        }
        self.account.looks();
        let query = ListTools { limit: 1, ..ListTools::default() };
        if let Err(error) = self.list_tools(&query, Class::Recovery).await {
            self.note_look(&error);
        }
    }

    /// A call that nothing but an outage can make fail has failed. One such call alone may have been unlucky.
    fn note_look(&self, error: &Error) {
        if error.is_of_the_service() && self.account.is_outage_suspected() {
            self.account.look_failed();
            let (organization, endpoint) = (self.account.organization(), self.account.endpoint());
            tracing::warn!(organization, %endpoint, %error, "the service does not work; it is looked at until it does");
        }
    }

    /// The next call signs in again, also with credentials that were refused.
    pub fn forget_token(&self) {
        self.session.forget_token();
    }

    /// How long the key of these credentials lives, if the service tells; asked once a day, or `anew`. It tells only users
    /// who may see keys. A failure, or no answer in time, says nothing for an hour, and holds nothing up: what was known stands.
    pub async fn key(&self, anew: bool) -> Key {
        let known = self.session.key();
        if !anew && !known.is_stale(Instant::now()) {
            return known.key;
        }
        let known = match tokio::time::timeout(KEY_PATIENCE, self.list_api_keys()).await {
            Ok(Ok(keys)) => Known::told(Key::of(&self.session.credentials.api_key_id, &keys), Instant::now()),
            Ok(Err(Error::PermissionDenied { .. })) => Known::told(Key::Untold, Instant::now()),
            Ok(Err(error)) => self.key_not_told(known, &error),
            Err(elapsed) => self.key_not_told(known, &elapsed),
        };
        self.session.set_key(known);
        known.key
    }

    fn key_not_told(&self, known: Known, error: &dyn std::fmt::Display) -> Known {
        tracing::debug!(organization = self.account.organization(), %error, "how long the API key lives is not known");
        known.failed(Instant::now())
    }

    async fn list_api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let operation = Operation::ListApiKeys;
        let turn = self.turn(operation, Class::Resync).await?;
        let call = Call { operation, method: Method::GET, path: "/organization/api_key/".to_owned(), body: None };
        decode(operation, &self.perform(&call, turn, Class::Resync).await?).map(|keys: ApiKeys| keys.api_keys)
    }

    /// One tool by its id, together with others that are asked for at the same time. `None` when no read finds it, not even
    /// one for deprecated tools.
    pub async fn tool(&self, id: &str, class: Class) -> Result<Option<Tool>, Error> {
        // One id that the service refuses would fail the call for the others in it.
        self.reads.tool(self, checked(id)?, class).await
    }

    /// These tools, at most [`TOOLS_A_CALL`], by id; those that no read finds are absent. An id that is none is passed over.
    pub async fn tools(&self, ids: BTreeSet<String>, class: Class) -> Result<Arc<BTreeMap<String, Tool>>, Error> {
        let ids = ids.into_iter().filter(|id| is_id(id)).take(TOOLS_A_CALL).collect();
        Reads::tools(self, ids, class).await
    }

    /// The active tools with a tag. The service's filter is not relied upon.
    pub async fn tools_with_tag(&self, key: &str, value: &str, asking: impl Into<Asking>) -> Result<Vec<Tool>, Error> {
        let asking = asking.into();
        let query = ListTools { tags: vec![format!("{key}:{value}")], ..reads::active_tools() };
        let turn = self.turn_of(Operation::ListTools, &asking).await?;
        let has_it = |tool: &Tool| !tool.deprecated && tool.tag(key).flatten().map(str::trim) == Some(value);
        reads::all_tools(self, turn, query, asking.class, has_it).await
    }

    /// The active tools that have a tag of this key, from a sweep over all pages; many share one.
    pub async fn tools_with_key(&self, key: &str, class: Class) -> Result<Arc<Vec<Tool>>, Error> {
        self.reads.sweep(self, Some(key), class).await
    }

    /// The active tool of a name, from a sweep over all pages that began after this was asked; many share one sweep.
    pub async fn tool_by_name(&self, name: &str, class: Class) -> Result<Option<Tool>, Error> {
        let tools = self.reads.sweep(self, None, class).await?;
        Ok(tools.iter().find(|tool| !tool.deprecated && tool.name == name).cloned())
    }

    /// One page of tools.
    pub async fn list_tools(&self, query: &ListTools, class: Class) -> Result<ToolPage, Error> {
        let turn = self.turn(Operation::ListTools, class).await?;
        self.list_tools_with(turn, query, class).await
    }

    /// All versions of a tool; those who ask before a read begins share it.
    pub async fn versions(&self, tool_id: &str, asking: impl Into<Asking>) -> Result<Vec<ToolVersion>, Error> {
        self.reads.versions(self, checked(tool_id)?, asking.into()).await
    }

    /// One page of versions.
    pub async fn list_versions(&self, tool_id: &str, query: &ListVersions, class: Class) -> Result<VersionPage, Error> {
        let turn = self.turn(Operation::ListVersions, class).await?;
        self.list_versions_with(turn, tool_id, query, class).await
    }

    /// One page of tools, by a turn that was waited for before.
    pub(super) async fn list_tools_with(
        &self,
        turn: Permit,
        query: &ListTools,
        class: Class,
    ) -> Result<ToolPage, Error> {
        let operation = Operation::ListTools;
        let call = Call { operation, method: Method::GET, path: format!("/tool/{}", query.encode()), body: None };
        decode(operation, &self.perform(&call, turn, class).await?)
    }

    /// One page of versions, by a turn that was waited for before.
    pub(super) async fn list_versions_with(
        &self,
        turn: Permit,
        tool_id: &str,
        query: &ListVersions,
        class: Class,
    ) -> Result<VersionPage, Error> {
        let operation = Operation::ListVersions;
        let path = format!("/tool/{}/version{}", checked(tool_id)?, query.encode());
        let call = Call { operation, method: Method::GET, path, body: None };
        decode(operation, &self.perform(&call, turn, class).await?)
    }

    /// Waits for the turn of a read. Where the queue is long, says so instead of waiting unseen, and keeps a place for who comes
    /// back for it.
    pub(super) async fn turn_of(&self, operation: Operation, asking: &Asking) -> Result<Permit, Error> {
        let Some(place) = &asking.place else { return self.turn(operation, asking.class).await };
        match self.account.claim(operation, asking.class, &place.party, &place.key, Arc::clone(&place.wake)) {
            Claim::Granted(permit) => Ok(permit),
            Claim::Queued { estimate } if estimate > PATIENCE => Err(Error::Queued { operation, estimate }),
            Claim::Queued { .. } => {
                Ok(self.account.acquire_as(operation, asking.class, &place.party, place.key.clone()).await)
            }
        }
    }

    /// Waits for the turn of a read that several share. Only the first of a class may wait out a full minute, so that a class
    /// that keeps asking keeps a place.
    pub(super) async fn turn(&self, operation: Operation, class: Class) -> Result<Permit, Error> {
        let estimate = self.account.estimate(operation, class);
        let patience = if self.account.is_waited_for(operation, class) { PATIENCE } else { FIRSTS_PATIENCE };
        if estimate > patience {
            return Err(Error::Queued { operation, estimate });
        }
        Ok(self.account.acquire(operation, class).await)
    }

    /// Creates a tool; its id.
    pub async fn create_tool(&self, permit: Permit, body: &CreateTool) -> Result<String, Error> {
        let operation = Operation::CreateTool;
        let body = Some(json(operation, body)?);
        let answer = self.write(permit, operation, Method::POST, "/tool/".to_owned(), body).await?;
        decode(operation, &answer).map(|created: Created| created.id)
    }

    /// Changes a tool.
    pub async fn modify_tool(&self, permit: Permit, id: &str, body: &ModifyTool) -> Result<(), Error> {
        let operation = Operation::ModifyTool;
        let body = Some(json(operation, body)?);
        self.write(permit, operation, Method::POST, format!("/tool/{}", checked(id)?), body).await.map(drop)
    }

    /// Deprecates a tool, for good.
    pub async fn deprecate_tool(&self, permit: Permit, id: &str) -> Result<(), Error> {
        let path = format!("/tool/{}", checked(id)?);
        self.write(permit, Operation::DeprecateTool, Method::DELETE, path, None).await.map(drop)
    }

    /// Changes a tool's variables, all or none. No text of a refusal is kept.
    pub async fn modify_variables(&self, permit: Permit, id: &str, delta: &VariablesDelta) -> Result<(), Error> {
        let operation = Operation::ModifyVariables;
        let unwritable = |_| Error::NotSent("the variables cannot be written as JSON".into());
        let body = Some(delta.body().map_err(unwritable)?);
        self.write(permit, operation, Method::POST, format!("/tool/{}/envvar", checked(id)?), body).await.map(drop)
    }

    /// Publishes a version; takes minutes. A 422 has no effect; one that complains about the form of the call is answered with
    /// the next revision of it.
    pub async fn publish(&self, permit: Permit, id: &str, request: &PublishRequest) -> Result<VersionNumber, Error> {
        let operation = Operation::PublishVersion;
        let path = format!("/tool/{}/version", checked(id)?);
        let mut permit = Some(permit);
        let known = self.account.detected_revision();
        let mut refused = Error::RevisionMismatch { text: None };
        for revision in revision::to_try(self.options.revision, known) {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.account.acquire(operation, Class::Interactive).await,
            };
            let body = json(operation, &revision::body(revision, request))?;
            match self.write(permit, operation, Method::POST, path.clone(), Some(body)).await {
                Ok(answer) => {
                    self.account.set_detected_revision(revision);
                    return published(&answer);
                }
                Err(Error::Status { status: 422, field, text, .. }) if revision::may_be_blamed(field.as_deref()) => {
                    // Where a form is known to work and the service names no field, what is asked is rather at fault.
                    refused = if known.is_some() && field.is_none() {
                        Error::Status { operation, status: 422, field, text }
                    } else {
                        Error::RevisionMismatch { text }
                    };
                }
                Err(error) => {
                    if matches!(error.status(), Some(400 | 404 | 409)) {
                        // Refused for what it asks, not for its form: the service speaks this revision.
                        self.account.set_detected_revision(revision);
                    }
                    return Err(error);
                }
            }
        }
        Err(refused)
    }

    /// Deprecates every version that matches, for good.
    pub async fn deprecate_versions(&self, permit: Permit, id: &str, specifier: &Specifier) -> Result<(), Error> {
        let path = format!("/tool/{}/version/{}", checked(id)?, segment(&specifier.to_string()));
        self.write(permit, Operation::DeprecateVersions, Method::DELETE, path, None).await.map(drop)
    }

    async fn write(
        &self,
        permit: Permit,
        operation: Operation,
        method: Method,
        path: String,
        body: Option<Bytes>,
    ) -> Result<Bytes, Error> {
        self.perform(&Call { operation, method, path, body }, permit, Class::Interactive).await
    }
}

/// The number in the answer to a publish.
fn published(answer: &Bytes) -> Result<VersionNumber, Error> {
    let operation = Operation::PublishVersion;
    let published: Published = decode(operation, answer)?;
    // Not what stands there instead, which may be anything.
    published.new_version.parse().map_err(|_| Error::Unreadable { operation, text: "the version is none".into() })
}

/// An id as part of a path. Anything else could lead to another call: without an id, the deprecation of a tool becomes a call
/// to the list of tools.
fn checked(id: &str) -> Result<&str, Error> {
    if is_id(id) { Ok(id) } else { Err(Error::NotSent("the tool's id is not 24 hex digits".into())) }
}

#[cfg(test)]
#[path = "client_tests/mod.rs"]
mod tests;
