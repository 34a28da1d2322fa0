//! Which objects are to be looked at next. One queue a kind, fed by watches, timers and the remote API; it never fails, so
//! that a broken watch of one kind cannot delay another.

use futures::{Stream, StreamExt};
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::ObjectRef;
use std::convert::Infallible;
use tokio::sync::mpsc;

use crate::resources::Resource;

/// Asks for objects of one kind to be reconciled.
#[derive(Debug)]
pub struct Queue<K: Resource> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<K: Resource> Queue<K> {
    /// A queue and the end that the controller reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<ObjectRef<K>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    /// Asks for the object to be reconciled. Asking twice before it happens is asking once.
    pub fn push(&self, namespace: &str, name: &str) {
        // The receiver is gone only while the process steps down; the next leader looks at everything anyway.
        let _ = self.sender.send(ObjectRef::new(name).within(namespace));
    }
}

/// The reading end as the stream that kube's applier takes.
pub fn requests<K: Resource>(
    receiver: mpsc::UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, Infallible>> {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
        .map(|object| Ok(ReconcileRequest::from(object)))
}
