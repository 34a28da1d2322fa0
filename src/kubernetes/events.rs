//! Events: one for each change of an object's outcome, never for a poll. A lost Event changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::object::bounded;
use crate::resources::{Reason, Resource};

/// Longest note that the server takes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Whether an Event tells good news or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something went as it should.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Publishes Events in the operator's name.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    instance: String,
    published: Arc<AtomicU64>,
}

impl Publisher {
    /// `instance` tells the replicas apart.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, published: Arc::default() }
    }

    /// Publishes one Event about `object`. Failures are logged only: an Event is never worth a retry.
    pub async fn publish<K: Resource>(&self, object: &K, kind: Kind, reason: Reason, note: &str, now: Timestamp) {
        let namespace = object.namespace().unwrap_or_default();
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            metadata: ObjectMeta {
                namespace: Some(namespace.clone()),
                name: Some(name(&object.name_any(), now, number)),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            reason: Some(reason.as_str().to_owned()),
            note: Some(cut(note)),
            type_: Some(match kind {
                Kind::Normal => "Normal".to_owned(),
                Kind::Warning => "Warning".to_owned(),
            }),
            regarding: Some(object.object_ref(&())),
            reporting_controller: Some("amigo.ai/amigo-operator".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = bounded(api.create(&PostParams::default(), &event)).await {
            tracing::debug!(%reason, %error, "an Event could not be published");
        }
    }
}

/// A name that no other Event has, in the form that Kubernetes itself gives Events: only one process publishes at a time.
fn name(object: &str, now: Timestamp, number: u64) -> String {
    let object: String = object.chars().take(220).collect();
    format!("{}.{:x}{:04x}", object.trim_end_matches(['.', '-']), now.as_microsecond(), number & 0xffff)
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(NOTE_LIMIT);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
