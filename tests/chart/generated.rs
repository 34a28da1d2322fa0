//! The parts of the chart and of the bases that are made from something else. With `UPDATE_GENERATED=1` they are written anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use amigo_operator::resources::{crd_yaml, crds};
use serde_json::{Map, Value, json};

use crate::helm::Helm;
use crate::values::{self, Described};
use crate::{chart, objects, repository};

const HINT: &str = "run `UPDATE_GENERATED=1 cargo test --test chart generated` and commit the result";

/// What stands around the table of values in README.md.
const MARKS: [&str; 2] = ["<!-- Values, generated from values.yaml. -->", "<!-- End of the values. -->"];

#[test]
fn copies_of_the_definitions_are_up_to_date() {
    let names: BTreeSet<_> = crds::crds().iter().map(crds::file_name).collect();
    for folder in [chart("files/crds"), repository("deploy/kustomize/crd")] {
        for crd in crds::crds() {
            assert_file(&folder.join(crds::file_name(&crd)), &crd_yaml(&crd.spec.names.kind).unwrap());
        }
        let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let found: BTreeSet<_> = found.filter(|name| name != "kustomization.yaml").collect();
        assert_eq!(found, names, "{}", folder.display());
    }
}

/// Helm reads the definitions and writes them anew; nothing may change on the way.
#[test]
fn rendered_definitions_are_those_of_the_code() {
    for (helm, program) in Helm::both() {
        let rendered = program.objects("{}");
        for crd in crds::crds() {
            let mut wanted = objects(&crd_yaml(&crd.spec.names.kind).unwrap()).remove(0);
            let same_name = |object: &&Value| object["metadata"]["name"] == wanted["metadata"]["name"];
            let mut found =
                rendered.iter().filter(|object| object["kind"] == wanted["kind"]).find(same_name).unwrap().clone();
            found["metadata"] = json!({"name": found["metadata"]["name"]});
            [&mut found, &mut wanted].into_iter().for_each(as_floats);
            assert!(found == wanted, "{helm} changes {}", wanted["metadata"]["name"]);
        }
    }
}

/// Helm writes `1.0` as `1`, which is the same to JSON.
fn as_floats(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(values) => values.iter_mut().for_each(as_floats),
        Value::Object(map) => map.values_mut().for_each(as_floats),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn the_readme_has_all_values() {
    let path = chart("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let [begin, end] = MARKS.map(|mark| readme.find(mark).unwrap_or_else(|| panic!("README.md has no {mark}")));
    assert_file(&path, &format!("{}\n{}{}", &readme[..begin + MARKS[0].len()], table(), &readme[end..]));
}

/// One table a section.
fn table() -> String {
    let (defaults, mut text, mut section) = (values::defaults(), String::new(), String::new());
    for described in values::described().iter().filter(|described| !described.is_group) {
        if described.section != section {
            section.clone_from(&described.section);
            write!(text, "\n### {section}\n\n| Value | Default | Meaning |\n|---|---|---|\n").unwrap();
        }
        let default = values::at(&defaults, &described.path);
        let meaning = described.text.replace('|', "\\|");
        writeln!(text, "| `{}` | `{default}` | {meaning} |", described.name()).unwrap();
    }
    text + "\n"
}

/// The descriptions in the schema are the comments of values.yaml, so that editors show them.
#[test]
fn the_schema_describes_each_value() {
    let mut schema = values::schema();
    for described in values::described() {
        let property = property(&mut schema, &described);
        property.insert("description".to_owned(), described.text.clone().into());
    }
    let path = chart("values.schema.json");
    if is_update() {
        fs::write(&path, serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
    }
    assert!(schema == values::schema(), "descriptions in values.schema.json are not those of values.yaml; {HINT}");
}

fn property<'a>(schema: &'a mut Value, described: &Described) -> &'a mut Map<String, Value> {
    let pointer: String = described.path.iter().fold(String::new(), |path, key| format!("{path}/properties/{key}"));
    let property = schema.pointer_mut(&pointer).and_then(Value::as_object_mut);
    property.unwrap_or_else(|| panic!("values.schema.json does not know {}", described.name()))
}

/// Each value has a comment, and what the schema knows beyond values.yaml is listed here.
#[test]
fn values_comments_and_schema_know_the_same() {
    let described = values::described();
    let is_described = |path: &[String]| described.iter().any(|one| !one.is_group && path.starts_with(&one.path));
    let mut undescribed = Vec::new();
    leaves(&values::defaults(), &mut Vec::new(), &mut |path| {
        if !is_described(path) {
            undescribed.push(path.join("."));
        }
    });
    assert_eq!(undescribed, Vec::<String>::new(), "values without a comment");

    let (schema, defaults) = (values::schema(), values::defaults());
    let mut unknown = Vec::new();
    let groups: Vec<Vec<String>> = described.iter().map(|one| one.path[..one.path.len() - 1].to_vec()).collect();
    for group in groups.iter().collect::<BTreeSet<_>>() {
        let pointer: String = group.iter().fold(String::new(), |path, key| format!("{path}/properties/{key}"));
        let properties = schema.pointer(&format!("{pointer}/properties")).unwrap().as_object().unwrap();
        let known = values::at(&defaults, group).as_object().unwrap();
        let more = properties.keys().filter(|key| !known.contains_key(*key));
        unknown.extend(more.map(|key| [group.as_slice(), std::slice::from_ref(key)].concat().join(".")));
    }
    assert_eq!(unknown, ["enabled"], "only what a parent chart hands on is in the schema alone");
}

fn leaves(value: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String])) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, visit);
                path.pop();
            }
        }
        None => visit(path),
    }
}

/// Nothing is accepted that nobody reads, but in objects of Kubernetes that the chart hands on as they are.
#[test]
fn the_schema_is_strict() {
    let mut lax = Vec::new();
    find_lax(&values::schema(), "", &mut lax);
    let handed_on = [
        "/properties/affinity/nodeAffinity",
        "/properties/affinity/podAffinity",
        "/properties/affinity/podAntiAffinity",
        "/properties/extraEnv/valueFrom",
        "/properties/extraVolumes",
        "/properties/global",
        "/properties/networkPolicy/extraEgress/ports",
        "/properties/networkPolicy/extraEgress/to/ipBlock",
        "/properties/networkPolicy/extraEgress/to/namespaceSelector",
        "/properties/networkPolicy/extraEgress/to/podSelector",
        "/properties/networkPolicy/ingressFrom/ipBlock",
        "/properties/networkPolicy/ingressFrom/namespaceSelector",
        "/properties/networkPolicy/ingressFrom/podSelector",
        "/properties/podSecurityContext/appArmorProfile",
        "/properties/securityContext/appArmorProfile",
        "/properties/topologySpreadConstraints/labelSelector",
        "/definitions/organizationSpec/allowedNamespaces/selector",
    ];
    let wanted: BTreeSet<_> = handed_on.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(lax.into_iter().collect::<BTreeSet<_>>(), wanted);
}

/// Paths of objects that may have any keys.
fn find_lax(schema: &Value, path: &str, lax: &mut Vec<String>) {
    let is_object =
        schema["type"] == "object" || schema["type"].as_array().is_some_and(|all| all.contains(&json!("object")));
    // Extra objects are whole manifests.
    let takes_any = schema["additionalProperties"].is_null() || schema["additionalProperties"] == true;
    if is_object && takes_any && path != "/properties/extraObjects" {
        lax.push(path.to_owned());
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() { format!("/properties/{key}") } else { format!("{path}/{key}") };
        find_lax(property, &below, lax);
    }
    if !schema["items"].is_null() {
        find_lax(&schema["items"], path, lax);
    }
    for (key, definition) in schema["definitions"].as_object().into_iter().flatten() {
        find_lax(definition, &format!("/definitions/{key}"), lax);
    }
}

/// The chart knows the fields of an Organization as the definition does.
#[test]
fn the_spec_of_the_default_organization_is_that_of_the_definition() {
    let organization = objects(&crd_yaml("Organization").unwrap()).remove(0);
    let spec = organization.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    let schema = values::schema();
    let own = schema.pointer("/definitions/organizationSpec").unwrap();
    let keys = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(own), keys(spec));
    for field in ["resync", "allowedNamespaces", "credentialsRef"] {
        assert_eq!(keys(&own["properties"][field]), keys(&spec["properties"][field]), "{field}");
    }
    for (field, constraint) in [
        ("apiRevision", "enum"),
        ("deprecation", "enum"),
        ("budgetPercent", "maximum"),
        ("maxDeprecationsPerHour", "maximum"),
    ] {
        let [mut own, mut spec] = [own, spec].map(|schema| schema["properties"][field][constraint].clone());
        [&mut own, &mut spec].into_iter().for_each(as_floats);
        assert_eq!(own, spec, "{field}");
    }
}

/// The chart's version of the operator is that of the code.
#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_saphyr::from_str(&fs::read_to_string(chart("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let manager = fs::read_to_string(repository("deploy/kustomize/manager/deployment.yaml")).unwrap();
    assert!(manager.contains(concat!("image: amigo-operator:", env!("CARGO_PKG_VERSION"), "\n")), "{manager}");
    let listed: Value = serde_saphyr::from_str(chart["annotations"]["artifacthub.io/crds"].as_str().unwrap()).unwrap();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|crd| crd["name"].as_str().unwrap()).collect();
    assert_eq!(listed, amigo_operator::resources::crd_names());
}

fn is_update() -> bool {
    env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1")
}

fn assert_file(path: &Path, wanted: &str) {
    if is_update() {
        fs::write(path, wanted).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
    assert!(found == wanted, "{} differs at line {}; {HINT}", path.display(), line + 1);
}
