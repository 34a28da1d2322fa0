//! The example repositories of `deploy/argocd` and `deploy/flux`: each file is what its tool knows, our objects are accepted by the
//! API server, and in any order they all become Ready.

use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;
use serde_json::{Map, Value, json};

use crate::application::Application;
use crate::support::dice::{dice, seed};
use crate::support::manifests::{all, credentials, secret};
use crate::support::{Setup, World};
use crate::{files, kstatus};

const ARGO_CD: &str = "deploy/argocd/example";
const FLUX: &str = "deploy/flux/example";

/// Our objects in the examples.
const TOOLS: [&str; 2] = ["deploy/argocd/example/tools", "deploy/flux/example/tools"];

/// Sync options that Argo CD knows, of those that make sense here.
const SYNC_OPTIONS: [&str; 5] = [
    "CreateNamespace=true",
    "ServerSideApply=true",
    "SkipDryRunOnMissingResource=true",
    "Prune=confirm",
    "Delete=confirm",
];

fn is_ours(object: &Value) -> bool {
    object["apiVersion"] == "amigo.ai/v1alpha1"
}

/// Everything in a folder, with the file that it is from.
fn everything(folder: &str) -> Vec<(String, Value)> {
    let documents = |file: String| files::documents(&file).into_iter().map(move |object| (file.clone(), object));
    files::manifests(folder).into_iter().flat_map(documents).collect()
}

#[test]
fn the_example_of_argo_cd_is_what_argo_cd_knows() {
    let mut kinds = BTreeSet::new();
    for (file, object) in everything(ARGO_CD) {
        let annotation = object["metadata"]["annotations"]["argocd.argoproj.io/sync-options"].as_str();
        let mut options: Vec<String> = annotation.into_iter().flat_map(|it| it.split(',')).map(str::to_owned).collect();
        if !is_ours(&object) {
            let application: Application =
                serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(
                (application.api_version.as_str(), application.kind.as_str()),
                ("argoproj.io/v1alpha1", "Application")
            );
            options.extend(application.spec.sync_policy.sync_options);
        }
        assert!(options.iter().all(|option| SYNC_OPTIONS.contains(&option.as_str())), "{file}: {options:?}");
        // What deprecates for good is confirmed by a person.
        assert!(
            object["spec"]["deletionPolicy"] != "Deprecate" || annotation == Some("Prune=confirm,Delete=confirm"),
            "{file}"
        );
        kinds.insert(object["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.len(), 5, "an Application and one of each kind of ours: {kinds:?}");
}

/// By Flux' own Go types; its ConfigMaps of generators are in no file here.
#[test]
fn what_is_for_flux_fits_the_types_of_flux() {
    let mut objects = everything("deploy/flux");
    let mut wrong = objects.iter().find(|(_, object)| object["kind"] == "HelmRelease").unwrap().clone();
    wrong.1["spec"]["chart"]["spec"]["reconcileStrategie"] = json!("Revision");
    objects.push(wrong);
    let questions: Vec<Value> = objects.iter().map(|(_, object)| json!({"object": object})).collect();
    let mut answers = kstatus::ask(&questions);
    assert!(answers.pop().unwrap().refused.contains("reconcileStrategie"), "a field that is not there is refused");
    let known = ["Kustomization", "HelmRelease", "GitRepository", "Namespace"];
    for ((file, object), answer) in objects.iter().zip(answers) {
        assert_eq!(answer.refused, "", "{file}");
        assert!(is_ours(object) || known.contains(&object["kind"].as_str().unwrap()), "{file}: {}", object["kind"]);
        let kept = object["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled";
        assert!(object["spec"]["deletionPolicy"] != "Deprecate" || kept, "{file}");
        assert!(
            object["kind"] != "Namespace" || kept,
            "{file}: it takes along what is in it, the protected objects too"
        );
    }
}

/// A Kustomization that names an object which its folder does not have would wait for it in vain.
#[test]
fn health_checks_of_flux_name_objects_of_the_example() {
    let named = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&object["apiVersion"]), text(&object["kind"]), text(&object["metadata"]["name"]))
    };
    let mut checked = 0;
    for kustomization in files::documents(&format!("{FLUX}/clusters/production/amigo.yaml")) {
        let Some(path) = kustomization["spec"]["path"].as_str() else { continue };
        let there: BTreeSet<_> =
            everything(&format!("{FLUX}/{}", path.trim_start_matches("./"))).iter().map(|(_, it)| named(it)).collect();
        for check in kustomization["spec"]["healthChecks"].as_array().unwrap() {
            let object =
                json!({"apiVersion": check["apiVersion"], "kind": check["kind"], "metadata": {"name": check["name"]}});
            assert!(there.contains(&named(&object)), "{check} is not in {path}");
            checked += 1;
        }
    }
    assert_eq!(checked, 4);
}

#[test]
fn the_api_server_accepts_our_objects_of_the_examples() {
    let world = World::without_operator("strict", Setup::default());
    let dry_run = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-"];
    for folder in TOOLS.iter().chain(&["deploy/kustomize/samples"]) {
        // The list of a Kustomize base is no object.
        for (file, object) in everything(folder).into_iter().filter(|(_, object)| object["kind"] != "Kustomization") {
            world.kubectl_with(&dry_run, &object.to_string()).unwrap_or_else(|error| panic!("{file}: {error}"));
            if is_ours(&object) {
                let mut wrong = object;
                wrong["spec"]["suspended"] = json!(true);
                let error = world.kubectl_with(&dry_run, &wrong.to_string()).unwrap_err();
                assert!(error.contains("suspended"), "{file}: {error}");
            }
        }
    }
    world.finish();
}

#[test]
fn in_any_order_the_objects_of_an_example_become_ready() {
    let mut dice = dice(seed());
    for folder in TOOLS {
        let mut objects: Vec<Value> = everything(folder).into_iter().map(|(_, object)| object).collect();
        objects.reverse();
        become_ready(&objects);
        objects.shuffle(&mut dice);
        become_ready(&objects);
    }
}

/// Applies the objects one after the other, the Secrets last, and waits until all are Ready.
fn become_ready(objects: &[Value]) {
    let world = World::new("anyorder");
    let here = |object: &Value| {
        let mut object = object.clone();
        if object["kind"] == "Organization" {
            object["spec"]["endpoint"] = json!(world.endpoint());
        }
        // The tools' own annotations mean nothing here.
        object["metadata"]["annotations"] = Value::Object(Map::new());
        object.to_string()
    };
    world.apply(&all(objects.iter().map(here)));
    world.apply(&all([secret("weather-credentials", &format!("token: {}", world.canary())), credentials(&world)]));
    for object in objects {
        world.ready(object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    }
    assert_eq!(world.versions("weather"), ["1.0.0"]);
    assert!(world.tool("weather").variables["API_KEY"].is_secret);
    world.finish();
}
