//! Schemas of the types that come from Kubernetes itself, bounded as a CRD should be.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The server takes no more than this in all annotations of an object: an echo of one always fits.
pub const MAX_ANNOTATION: usize = 262_144;

/// Conditions of a status, a list-map by type.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
                    "description": "`Ready`, `Reconciling` or `Stalled`.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "`True`, `False` or `Unknown`.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation of the spec that the condition speaks of.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "maxLength": 64,
                    "description": "When `status` last changed.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, as one of a closed list of words.",
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, as a sentence for people.",
                },
            },
        },
    })
}

/// A selector of labels.
pub fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object", "maxProperties": 32,
                "description": "Labels and the values they must have. All must match.",
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic",
                "description": "Requirements on labels. All must match.",
                "items": requirement(),
            },
        },
    })
}

fn requirement() -> Schema {
    json_schema!({
        "type": "object",
        "description": "A requirement on one label.",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string", "minLength": 1, "maxLength": 317, "description": "The label's key."},
            "operator": {
                "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                "description": "`In`, `NotIn`, `Exists` or `DoesNotExist`.",
            },
            "values": {
                "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
                "description": "Values for `In` and `NotIn`; none for the others.",
                "items": {"type": "string", "maxLength": 63},
            },
        },
        "x-kubernetes-validations": [{
            "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "message": "must have `values` when `operator` is 'In' or 'NotIn', and must not have any otherwise",
        }],
    })
}
