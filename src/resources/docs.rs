//! The generated pages of the reference: every kind with its fields and rules, and every reason. They are made from the
//! definitions that are installed, so that they cannot say anything else.

use std::fmt::{self, Write};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};

use super::{Reason, annotations, crds};

const HEADER: &str = "<!-- Generated from src/resources. Do not edit. -->\n";

/// The pages of `docs/reference/`: name and content.
pub fn pages() -> Result<Vec<(String, String)>, fmt::Error> {
    Ok(vec![("api.md".to_owned(), api_page()?), ("reasons.md".to_owned(), reasons_page()?)])
}

fn api_page() -> Result<String, fmt::Error> {
    let mut page = format!("{HEADER}# The custom resources\n\n");
    page.push_str(
        "Group `amigo.ai`, version `v1alpha1`; all kinds are namespaced and listed by `kubectl get amigo`. The server \
         refuses a manifest that breaks a rule of this page, and names the rule; `kubectl explain` shows the same texts. \
         A field with a default may be left out. An explicit `null` counts as absent.\n",
    );
    for crd in crds() {
        kind(&mut page, &crd)?;
    }
    page.push_str(
        "\n## Annotations\n\nSet by a person to ask for something; the operator never writes one of them.\n\n",
    );
    page.push_str("| Annotation | On | Meaning |\n|---|---|---|\n");
    for annotation in annotations::ALL {
        writeln!(page, "| `{}` | {} | {} |", annotation.name, annotation.on, cell(annotation.meaning))?;
    }
    Ok(page)
}

fn reasons_page() -> Result<String, fmt::Error> {
    let mut page = format!("{HEADER}# Reasons\n\n");
    page.push_str(
        "What stands in `reason` of the condition `Ready`, and of `Reconciling` or `Stalled` while one of them is true. \
         The condition's message has the particulars.\n\n| Reason | Meaning | Usual cause | What to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let texts = [reason.meaning(), reason.cause(), reason.remedy()].map(cell);
        writeln!(page, "| `{reason}` | {} |", texts.join(" | "))?;
    }
    Ok(page)
}

fn kind(page: &mut String, crd: &CustomResourceDefinition) -> fmt::Result {
    let names = &crd.spec.names;
    writeln!(page, "\n## {}\n", names.kind)?;
    for version in &crd.spec.versions {
        let Some(schema) = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
            continue;
        };
        writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default())?;
        writeln!(page, "Resource `{}`, short name {}.", names.plural, quoted(names.short_names.iter().flatten()))?;
        let part = |name: &str| schema.properties.as_ref().and_then(|properties| properties.get(name));
        if let Some(spec) = part("spec") {
            writeln!(page, "\n### {} spec\n", names.kind)?;
            self::spec(page, spec)?;
        }
        if let Some(status) = part("status") {
            writeln!(page, "\n### {} status\n", names.kind)?;
            self::status(page, status)?;
        }
    }
    Ok(())
}

fn spec(page: &mut String, schema: &JSONSchemaProps) -> fmt::Result {
    writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default())?;
    let rules: Vec<_> = rules(schema).collect();
    if !rules.is_empty() {
        page.push_str("Rules between fields:\n");
        for rule in &rules {
            writeln!(page, "- {rule}")?;
        }
        page.push('\n');
    }
    page.push_str("| Field | Type | Default | Meaning and rules |\n|---|---|---|---|\n");
    walk("spec", schema, &mut |path, field, required| {
        let default = match &field.default {
            Some(JSON(value)) => format!("`{value}`"),
            None if required => "required".to_owned(),
            None => "absent".to_owned(),
        };
        let of_entries = items(field).into_iter().flat_map(self::rules).map(|rule| format!("each entry: {rule}"));
        let mut meaning = field.description.clone().unwrap_or_default();
        for rule in limits(field).into_iter().chain(self::rules(field)).chain(of_entries) {
            write!(meaning, "<br>• {rule}")?;
        }
        writeln!(page, "| `{path}` | {} | {} | {} |", type_name(field), cell(&default), cell(&meaning))
    })
}

/// The operator writes the status, so that nobody has to know its limits.
fn status(page: &mut String, schema: &JSONSchemaProps) -> fmt::Result {
    writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default())?;
    page.push_str("| Field | Type | Meaning |\n|---|---|---|\n");
    walk("status", schema, &mut |path, field, _| {
        let meaning = field.description.as_deref().unwrap_or_default();
        writeln!(page, "| `{path}` | {} | {} |", type_name(field), cell(meaning))
    })
}

/// Visits each field below `path` with its path and whether it is required, required ones first.
fn walk(
    path: &str,
    schema: &JSONSchemaProps,
    visit: &mut impl FnMut(&str, &JSONSchemaProps, bool) -> fmt::Result,
) -> fmt::Result {
    let required = |name: &str| schema.required.iter().flatten().any(|field| field == name);
    let mut properties: Vec<_> = schema.properties.iter().flatten().collect();
    properties.sort_by_key(|(name, _)| !required(name));
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        visit(&path, field, required(name))?;
        match items(field) {
            Some(items) => walk(&format!("{path}[]"), items, visit)?,
            None => walk(&path, field, visit)?,
        }
    }
    Ok(())
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

fn type_name(schema: &JSONSchemaProps) -> String {
    let own = schema.type_.as_deref().unwrap_or("any");
    match (own, items(schema), &schema.additional_properties, schema.format.as_deref()) {
        ("array", Some(items), ..) => format!("list of {}", type_name(items)),
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(values)), _) => format!("map to {}", type_name(values)),
        ("string", .., Some("date-time")) => "time".to_owned(),
        _ => own.to_owned(),
    }
}

/// What the schema itself forbids, as sentences like those of the rules.
fn limits(schema: &JSONSchemaProps) -> Vec<String> {
    let mut limits = Vec::new();
    if let Some(values) = &schema.enum_ {
        let values: Vec<_> = values.iter().map(|JSON(value)| value.as_str().unwrap_or_default().to_owned()).collect();
        limits.push(format!("must be one of {}", quoted(&values)));
    }
    limits.extend(bounds(schema.minimum, schema.maximum).map(|range| format!("must be {range}")));
    limits.extend(bounds(schema.min_length, schema.max_length).map(|range| format!("must have {range} characters")));
    limits.extend(bounds(schema.min_items, schema.max_items).map(|range| format!("must have {range} entries")));
    limits
        .extend(bounds(schema.min_properties, schema.max_properties).map(|range| format!("must have {range} entries")));
    if let Some(keys) = schema.x_kubernetes_list_map_keys.as_ref().filter(|keys| !keys.is_empty()) {
        limits.push(format!("must have each {} once", quoted(keys)));
    }
    limits
}

fn bounds<T: fmt::Display + PartialEq>(least: Option<T>, most: Option<T>) -> Option<String> {
    match (least, most) {
        (Some(least), Some(most)) if least == most => Some(format!("exactly {least}")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

/// The sentences of the rules, each with the field it speaks of.
fn rules(schema: &JSONSchemaProps) -> impl Iterator<Item = String> + '_ {
    schema.x_kubernetes_validations.iter().flatten().map(|rule: &ValidationRule| {
        let message = rule.message.clone().unwrap_or_else(|| rule.rule.clone());
        match rule.field_path.as_deref().map(|path| format!("`{}`", path.trim_start_matches('.'))) {
            Some(field) if !message.starts_with(&field) => format!("{field} {message}"),
            _ => message,
        }
    })
}

fn quoted<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    texts.into_iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

/// A text that is safe in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
