//! One object in hand during a reconcile: the only place where its status and finalizer are written.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::conditions::{self, Verdict};
use crate::resources::annotations::{self, FINALIZER};
use crate::resources::{CommonStatus, Resource};
use crate::text;

/// The name under which the server records who changed a field.
pub const FIELD_MANAGER: &str = "amigo-operator";

/// Longest duration of one call to the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a status is written again after a conflict that did not touch the status.
const STATUS_ATTEMPTS: usize = 4;

/// Why a call to the API server did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object changed since it was read, or another replica wrote it. It is looked at again.
    #[error("{0} changed in the meantime")]
    Changed(String),
    /// The object is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// The server refused, or could not be reached.
    #[error("the API server: {}", said(.0))]
    Server(#[source] Box<kube::Error>),
    /// No answer in time.
    #[error("the API server gave no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// This process is not the leader any more, and writes nothing.
    #[error("this process is not the leader")]
    NotLeader,
}

impl Error {
    /// What the API server says of a permission that is missing, if it is that.
    #[must_use]
    pub fn denial(&self) -> Option<&str> {
        match self {
            Self::Server(error) => match &**error {
                kube::Error::Api(status) if status.is_forbidden() => Some(&status.message),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What the API server said, without the answer's innards.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => text::with_cause(other),
    }
}

/// Bounds a call to the API server.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| Error::Server(Box::new(error))),
        Err(_) => Err(Error::Timeout),
    }
}

/// A read that may find nothing; any other failure is not absence.
pub async fn get_opt<K>(api: &Api<K>, name: &str) -> Result<Option<K>, Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    bounded(api.get_opt(name)).await
}

/// Asks whether this process may write.
pub type MayWrite = std::sync::Arc<dyn Fn() -> bool + Send + Sync>;

/// Hears of what is written during a reconcile.
pub trait Witness<K: Resource>: Send + Sync {
    /// This status is about to be written.
    fn writes(&self, object: &K, status: &K::Status);
    /// The server has the object like this now.
    fn wrote(&self, object: &K);
}

/// An object during its reconcile.
pub struct Handle<K: Resource> {
    api: Api<K>,
    may_write: MayWrite,
    witness: Arc<dyn Witness<K>>,
    object: K,
    /// Whether this reconcile has written the object.
    wrote: bool,
}

impl<K: Resource> Handle<K> {
    /// Takes an object in hand as the cache shows it.
    #[must_use]
    pub fn new(client: Client, may_write: MayWrite, witness: Arc<dyn Witness<K>>, object: K) -> Self {
        let api = Api::namespaced(client, &object.namespace().unwrap_or_default());
        Self { api, may_write, witness, object, wrote: false }
    }

    /// The object, as last read or written.
    #[must_use]
    pub fn object(&self) -> &K {
        &self.object
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// The object as the server has it now, past the cache; `None` when it is gone or another took its name.
    pub async fn fresh(&self) -> Result<Option<K>, Error> {
        let found = get_opt(&self.api, &self.object.name_any()).await?;
        Ok(found.filter(|object| object.uid() == self.object.uid()))
    }

    /// Fails unless the object in hand is the one that the server has: for what must not be decided on a cache that is
    /// behind. What this reconcile has written is: the server takes no write to another state.
    pub async fn must_be_current(&self) -> Result<(), Error> {
        if self.wrote {
            return Ok(());
        }
        match self.fresh().await? {
            Some(fresh) if fresh.resource_version() == self.object.resource_version() => Ok(()),
            Some(_) => Err(Error::Changed(self.object.describe())),
            None => Err(Error::Gone(self.object.describe())),
        }
    }

    /// Whether the server has another object of this kind and namespace.
    pub async fn is_there(&self, name: &str, uid: &str) -> Result<bool, Error> {
        Ok(get_opt(&self.api, name).await?.is_some_and(|object| object.uid().as_deref() == Some(uid)))
    }

    /// The status, or the empty one of an object that has none.
    #[must_use]
    pub fn status(&self) -> K::Status {
        self.object.status().cloned().unwrap_or_default()
    }

    /// The status with its conditions, as [`Self::write_status`] would write it.
    #[must_use]
    pub fn next_status(&self, mut status: K::Status, verdict: &Verdict, now: Timestamp) -> K::Status {
        let generation = self.object.meta().generation;
        status.set_conditions(conditions::conditions(self.status().conditions(), verdict, generation, now));
        status.set_observed_generation(generation);
        status
    }

    /// Writes the status with its conditions if it differs from what stands there. The object's resourceVersion goes with
    /// it: a status that somebody else wrote is never overwritten, a change of the rest is no obstacle.
    pub async fn write_status(&mut self, status: K::Status, verdict: &Verdict, now: Timestamp) -> Result<bool, Error> {
        let before = self.status();
        let status = self.next_status(status, verdict, now);
        if status == before {
            return Ok(false);
        }
        self.witness.writes(&self.object, &status);
        for _ in 0..STATUS_ATTEMPTS {
            if !(self.may_write)() {
                return Err(Error::NotLeader);
            }
            let mut next = self.object.clone();
            next.set_status(status.clone());
            let name = self.object.name_any();
            match bounded(self.api.replace_status(&name, &PostParams::default(), &next)).await {
                Ok(written) => {
                    // The answer may hold a later spec, which this reconcile knows nothing of.
                    self.object.meta_mut().resource_version.clone_from(&written.meta().resource_version);
                    self.object.set_status(written.status().cloned().unwrap_or_default());
                    self.wrote = true;
                    self.witness.wrote(&written);
                    return Ok(true);
                }
                Err(Error::Server(error)) if is_conflict(&error) => self.refresh(&before).await?,
                Err(Error::Server(error)) if is_not_found(&error) => return Err(Error::Gone(self.object.describe())),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Changed(self.object.describe()))
    }

    /// After a conflict: goes on only if the status is still the one this reconcile started from. The spec in hand stays the
    /// one that was acted on, and so does its generation.
    async fn refresh(&mut self, before: &K::Status) -> Result<(), Error> {
        let Some(fresh) = self.fresh().await? else { return Err(Error::Gone(self.object.describe())) };
        if fresh.status().cloned().unwrap_or_default() != *before {
            return Err(Error::Changed(self.object.describe()));
        }
        self.object.meta_mut().resource_version.clone_from(&fresh.meta().resource_version);
        Ok(())
    }

    /// Whether the finalizer is there.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        has_finalizer(&self.object)
    }

    /// Adds the finalizer, before the first remote write.
    pub async fn ensure_finalizer(&mut self) -> Result<(), Error> {
        if self.has_finalizer() {
            return Ok(());
        }
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.patch_finalizers(&finalizers).await?;
        self.witness.wrote(&self.object);
        Ok(())
    }

    /// Removes the finalizer: the object goes.
    pub async fn remove_finalizer(&mut self) -> Result<(), Error> {
        let finalizers: Vec<String> = self.object.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
        match self.patch_finalizers(&finalizers).await {
            Err(Error::Gone(_)) => Ok(()),
            other => other,
        }
    }

    async fn patch_finalizers(&mut self, finalizers: &[String]) -> Result<(), Error> {
        if !(self.may_write)() {
            return Err(Error::NotLeader);
        }
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "resourceVersion": self.object.resource_version(),
            "uid": self.object.uid(),
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = self.object.name_any();
        match bounded(self.api.patch(&name, &params, &Patch::Merge(&patch))).await {
            Ok(object) => {
                self.object = object;
                self.wrote = true;
                Ok(())
            }
            Err(Error::Server(error)) if is_conflict(&error) => Err(Error::Changed(self.object.describe())),
            Err(Error::Server(error)) if is_not_found(&error) => Err(Error::Gone(self.object.describe())),
            Err(error) => Err(error),
        }
    }

    /// The value of `amigo.ai/reconcile-requested-at`, if it was not handled yet.
    #[must_use]
    pub fn requested(&self) -> Option<String> {
        let asked = annotations::value(&self.object, annotations::RECONCILE_REQUESTED_AT)?;
        let handled = self.object.status().and_then(CommonStatus::last_handled_reconcile_at);
        (handled != Some(asked)).then(|| asked.to_owned())
    }
}

/// Whether the operator has something to clean up for the object.
pub fn has_finalizer<K: ResourceExt>(object: &K) -> bool {
    object.finalizers().iter().any(|f| f == FINALIZER)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}
