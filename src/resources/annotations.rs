//! Annotations that a person sets to ask the operator for something, and the finalizer. The operator itself writes none of
//! the annotations.

use kube::ResourceExt;

/// Keeps an object until its remote clean-up is done.
pub const FINALIZER: &str = "amigo.ai/finalizer";

/// Any new value: look and try again now, also out of Stalled. Echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "amigo.ai/reconcile-requested-at";

/// Id of the tool that was deprecated by somebody else: consents to a new tool in its place, once.
pub const RECREATE: &str = "amigo.ai/recreate";

/// `"true"`: let an object go whose remote clean-up can never succeed.
pub const ABANDON: &str = "amigo.ai/abandon";

/// On an Organization: the number of held deprecations that may go through.
pub const CONFIRM_DEPRECATIONS: &str = "amigo.ai/confirm-deprecations";

/// The value of an annotation, if it is set.
#[must_use]
pub fn value<'a, K: ResourceExt>(object: &'a K, annotation: &str) -> Option<&'a str> {
    object.annotations().get(annotation).map(String::as_str)
}

/// Whether a person lets the object go without its remote clean-up.
#[must_use]
pub fn is_abandoned<K: ResourceExt>(object: &K) -> bool {
    value(object, ABANDON) == Some("true")
}
