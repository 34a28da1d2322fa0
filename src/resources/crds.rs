//! The CustomResourceDefinitions, as they are installed. What the derive writes is finished here: the default status, and
//! what the derive cannot be told.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{Organization, Tool, ToolEnvSecret, ToolVersion};

/// The first line of every generated file.
const HEADER: &str = "# Generated from src/resources. Do not edit.\n";

/// A definition that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// No kind of this group has the name.
    #[error("unknown kind {0:?}")]
    UnknownKind(String),
    /// The definition has no form in YAML.
    #[error("cannot write the definition of {kind} as YAML")]
    Write {
        /// The kind.
        kind: String,
        /// Why.
        source: serde_saphyr::ser::Error,
    },
}

/// The definitions of all kinds, in the order of the documentation.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [Organization::crd(), Tool::crd(), ToolVersion::crd(), ToolEnvSecret::crd()].into_iter().map(finished).collect()
}

/// The names of the definitions, in the same order.
#[must_use]
pub fn crd_names() -> [&'static str; 4] {
    [Organization::crd_name(), Tool::crd_name(), ToolVersion::crd_name(), ToolEnvSecret::crd_name()]
}

/// The definition of one kind, as it stands in `crds/`.
pub fn crd_yaml(kind: &str) -> Result<String, CrdError> {
    let crd = crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .ok_or_else(|| CrdError::UnknownKind(kind.to_owned()))?;
    let options = serde_saphyr::ser_options! { compact_list_indent: true, prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&crd, options)
        .map_err(|source| CrdError::Write { kind: kind.to_owned(), source })?;
    Ok(format!("{HEADER}{yaml}"))
}

/// The definitions of all kinds in one YAML stream, for `kubectl apply -f -`.
pub fn crds_yaml() -> Result<String, CrdError> {
    let kinds = crds().into_iter().map(|crd| crd_yaml(&crd.spec.names.kind));
    Ok(kinds.collect::<Result<Vec<_>, _>>()?.join("---\n"))
}

/// The name of the file in `crds/` that holds a definition.
#[must_use]
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            finish(schema);
            if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
                // A new object counts as in progress until the operator has seen it; without, tools take it as done.
                status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
            }
        }
    }
    crd
}

/// Strips `nullable`, which the derive puts on every optional field (an explicit null then counts as absent), and joins the
/// lines of descriptions.
fn finish(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|JSON(value)| !value.is_null());
    }
    if let Some(description) = &mut schema.description {
        *description = one_line(description);
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        finish(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        finish(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        finish(values);
    }
}

fn one_line(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the conventions of the Kubernetes API ask of every field, collected as complaints.
    fn complaints(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("{path} must {what}"));
            }
        };
        must(
            schema.description.as_ref().is_some_and(|text| text.ends_with('.')),
            "have a description that ends in '.'",
        );
        must(schema.nullable.is_none(), "not be nullable");
        match schema.type_.as_deref() {
            Some("string") => must(schema.max_length.is_some() || schema.enum_.is_some(), "have a longest length"),
            Some("integer") => {
                must(schema.minimum.is_some(), "have a least value");
                must(matches!(schema.format.as_deref(), Some("int32" | "int64")), "be int32 or int64");
            }
            Some("array") => {
                must(schema.max_items.is_some(), "have a largest number of entries");
                must(schema.x_kubernetes_list_type.is_some(), "have a list type");
            }
            Some("object" | "boolean") => {}
            other => must(false, &format!("not be of type {other:?}")),
        }
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let message = rule.message.as_deref().unwrap_or_default();
            let sentence = message.starts_with("must ") || message.starts_with('`') && message.contains("` must ");
            must(sentence && message.len() < 200, "have rules that say what must be");
        }
        for (name, property) in schema.properties.iter().flatten() {
            let required = schema.required.iter().flatten().any(|field| field == name);
            let camel =
                name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
            must(camel, "have fields in camelCase only");
            must(!(required && property.default.is_some()), "not have a required field with a default");
        }
        for (name, property) in schema.properties.iter().flatten() {
            complaints(&format!("{path}.{name}"), property, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            let bounded = items.type_.as_deref() != Some("string") || items.max_length.is_some();
            if items.properties.is_some() {
                complaints(&format!("{path}[]"), items, found);
            } else if !bounded {
                found.push(format!("{path}[] must have a longest length"));
            }
        }
    }

    #[test]
    fn definitions_keep_the_conventions_of_the_api() {
        let mut found = Vec::new();
        for crd in crds() {
            assert_eq!(crd.spec.scope, "Namespaced");
            assert_eq!(crd.spec.names.categories.as_deref(), Some(&["amigo".to_owned()][..]));
            for version in &crd.spec.versions {
                let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
                complaints(&crd.spec.names.kind, schema.expect("schema"), &mut found);
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn bounds_of_the_spec_have_both_ends() {
        fn visit(path: &str, schema: &JSONSchemaProps) {
            let integer = schema.type_.as_deref() == Some("integer");
            assert!(!integer || schema.minimum.is_some() && schema.maximum.is_some(), "{path}");
            for (name, property) in schema.properties.iter().flatten() {
                visit(&format!("{path}.{name}"), property);
            }
        }
        for crd in crds() {
            let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            visit(&crd.spec.names.kind, &schema.expect("schema").properties.as_ref().expect("properties")["spec"]);
        }
    }

    #[test]
    fn a_new_object_counts_as_not_seen() {
        for crd in crds() {
            let yaml = crd_yaml(&crd.spec.names.kind).expect("YAML");
            assert!(yaml.contains("default:\n              observedGeneration: -1\n"), "{yaml}");
        }
    }

    #[test]
    fn unknown_kinds_are_an_error() {
        assert!(matches!(crd_yaml("Widget"), Err(CrdError::UnknownKind(kind)) if kind == "Widget"));
    }

    #[test]
    fn short_names_are_used_once() {
        let mut names: Vec<_> =
            crds().iter().flat_map(|crd| crd.spec.names.short_names.clone().unwrap_or_default()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["amenv", "amorg", "amtool", "amver"]);
    }
}
