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

/// An annotation, as the documentation shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// The annotation and what it is set to.
    pub name: &'static str,
    /// The kinds that heed it.
    pub on: &'static str,
    /// What it asks for.
    pub meaning: &'static str,
}

/// Every annotation that the operator heeds.
pub const ALL: &[Described] = &[
    Described {
        name: "amigo.ai/reconcile-requested-at: <any new value>",
        on: "every kind",
        meaning: "Look at the remote state and try again now, also out of Stalled. Echoed in `status.lastHandledReconcileAt`.",
    },
    Described {
        name: "amigo.ai/recreate: <id of the lost tool>",
        on: "Tool",
        meaning: "Consents to a new tool, with a new id, in place of one that was deprecated by somebody else or is gone. \
                  Good for that id once.",
    },
    Described {
        name: "amigo.ai/abandon: \"true\"",
        on: "every kind",
        meaning: "Lets an object go whose remote clean-up can never succeed, without the clean-up.",
    },
    Described {
        name: "amigo.ai/confirm-deprecations: <number held>",
        on: "Organization",
        meaning: "Lets the deprecations through that are held. The number must be the one in \
                  `status.heldDeprecations`; any other does nothing.",
    },
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_annotation_is_described_under_its_name() {
        let names = [RECONCILE_REQUESTED_AT, RECREATE, ABANDON, CONFIRM_DEPRECATIONS];
        assert_eq!(ALL.len(), names.len());
        for (described, name) in ALL.iter().zip(names) {
            assert!(described.name.starts_with(&format!("{name}: ")), "{}", described.name);
        }
    }

    #[test]
    fn only_the_word_true_abandons_an_object() {
        for (set, abandoned) in [(None, false), (Some(""), false), (Some("yes"), false), (Some("true"), true)] {
            let mut object = crate::resources::Tool::new("weather", crate::resources::ToolSpec::default());
            object.metadata.annotations = set.map(|text| [(ABANDON.to_owned(), text.to_owned())].into());
            assert_eq!(value(&object, ABANDON), set);
            assert_eq!(is_abandoned(&object), abandoned, "{set:?}");
        }
    }
}
