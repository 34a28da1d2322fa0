//! The CustomResourceDefinitions, as they are installed. What the derive writes is finished here: the default status, and
//! what the derive cannot be told.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{Organization, Tool, ToolEnvSecret, ToolVersion};

/// The first line of every generated file.
const HEADER: &str = "# Generated from src/resources by `cargo xtask crds`. Do not edit.\n";

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
