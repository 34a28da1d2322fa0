//! What every kind's status has in common, and how the layers above reach it without knowing the kind.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::scope::{Names, Subject};

/// Access to the fields that every status has.
pub trait CommonStatus:
    Clone + Default + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The generation of the spec that the status speaks of.
    fn observed_generation(&self) -> Option<i64>;
    /// Sets [`Self::observed_generation`].
    fn set_observed_generation(&mut self, generation: Option<i64>);
    /// `Ready`, and `Reconciling` or `Stalled` while true.
    fn conditions(&self) -> &[Condition];
    /// Replaces the conditions.
    fn set_conditions(&mut self, conditions: Vec<Condition>);
    /// The last value of the annotation `amigo.ai/reconcile-requested-at` that was handled.
    fn last_handled_reconcile_at(&self) -> Option<&str>;
    /// Sets [`Self::last_handled_reconcile_at`].
    fn set_last_handled_reconcile_at(&mut self, value: Option<String>);
}

/// One of the four kinds.
pub trait Resource:
    kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind's status.
    type Status: CommonStatus;

    /// The status, if the operator or the CRD's default has set one.
    fn status(&self) -> Option<&Self::Status>;
    /// Replaces the status in memory.
    fn set_status(&mut self, status: Self::Status);
    /// Whether `spec.suspend` is set.
    fn suspended(&self) -> bool;

    /// `kind namespace/name`, for messages and logs.
    fn describe(&self) -> String {
        format!("{} {}/{}", Self::kind(&()), self.namespace().unwrap_or_default(), self.name_any())
    }

    /// The condition of this type, if present.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status()?.conditions().iter().find(|c| c.type_ == type_)
    }

    /// Whether the object is Ready at its current generation.
    fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True" && c.observed_generation == self.meta().generation)
    }

    /// Whether the object is Stalled at its current generation.
    fn is_stalled(&self) -> bool {
        self.condition("Stalled").is_some_and(|c| c.status == "True" && c.observed_generation == self.meta().generation)
    }
}

impl<K: Resource> Subject for K {
    fn names(&self) -> Names<'_> {
        let meta = self.meta();
        Names {
            kind: Self::kind(&()),
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
        }
    }
}

/// Implements [`CommonStatus`] and [`Resource`] for a kind whose status has the usual field names.
macro_rules! resource {
    ($kind:ty, $status:ty) => {
        impl $crate::resources::CommonStatus for $status {
            fn observed_generation(&self) -> Option<i64> {
                self.observed_generation
            }
            fn set_observed_generation(&mut self, generation: Option<i64>) {
                self.observed_generation = generation;
            }
            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &self.conditions
            }
            fn set_conditions(&mut self, conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>) {
                self.conditions = conditions;
            }
            fn last_handled_reconcile_at(&self) -> Option<&str> {
                self.last_handled_reconcile_at.as_deref()
            }
            fn set_last_handled_reconcile_at(&mut self, value: Option<String>) {
                self.last_handled_reconcile_at = value;
            }
        }

        impl $crate::resources::Resource for $kind {
            type Status = $status;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }
            fn set_status(&mut self, status: $status) {
                self.status = Some(status);
            }
            fn suspended(&self) -> bool {
                self.spec.suspend
            }
        }
    };
}
pub(crate) use resource;
