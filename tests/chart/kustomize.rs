//! The Kustomize bases say what the chart says.

use std::fs;
use std::path::Path;

use controlplane::Assets;
use serde_json::Value;

use crate::helm::{Helm, profile};
use crate::{identity, objects, repository};

/// Labels and annotations that only Helm has a use for.
const OF_HELM: [&str; 4] =
    ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/resource-policy"];

#[test]
fn the_default_base_is_the_chart_without_values() {
    assert_eq!(built("default"), rendered("default"));
}

#[test]
fn the_namespaced_base_is_the_chart_for_two_namespaces() {
    assert_eq!(built("namespaced"), rendered("namespaced"));
}

/// Every base can be built alone; the default one consists of three of them.
#[test]
fn each_base_can_be_built_alone() {
    for (base, count) in [("crd", 4), ("rbac", 10), ("manager", 2), ("samples", 6), ("default", 16)] {
        assert_eq!(built(base).len(), count, "{base}");
    }
    let folders = fs::read_dir(repository("deploy/kustomize")).unwrap().map(|entry| entry.unwrap());
    assert_eq!(folders.filter(|entry| entry.file_type().unwrap().is_dir()).count(), 6, "one is not tested here");
}

/// The overlays of the how-to page, as a person writes them down: another namespace, and the image.
#[test]
fn the_overlays_of_the_page_do_what_it_says() {
    let page = fs::read_to_string(repository("docs/how-to/install-kustomize.md")).unwrap();
    let overlay: String = page.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    fs::create_dir_all(repository("target")).unwrap();
    let folder = tempfile::tempdir_in(repository("target")).unwrap();
    let overlay = overlay
        .replace("../amigo-operator/", "../../")
        .replace("REGISTRY/REPOSITORY", "a.example/b")
        .replace("TAG", "v2");
    fs::write(folder.path().join("kustomization.yaml"), overlay).unwrap();
    let image = "{namespaceOverride: tools, image: {registry: a.example, repository: b, tag: v2}}";
    assert_eq!(build(folder.path()), comparable(Helm::four().objects(image)));
}

fn built(base: &str) -> Vec<Value> {
    build(&repository("deploy/kustomize").join(base))
}

/// What `kubectl kustomize` makes of a folder. It asks no cluster.
fn build(folder: &Path) -> Vec<Value> {
    let kubectl = Assets::provide(&controlplane::print_progress).unwrap().kubectl;
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(kubectl)
        .args(["kustomize", folder.to_str().unwrap()])
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    comparable(objects(&String::from_utf8(output.stdout).unwrap()))
}

fn rendered(name: &str) -> Vec<Value> {
    comparable(Helm::four().objects(&profile(name)))
}

/// Objects without what is Helm's own, in an order of their own.
fn comparable(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        for pointer in ["/metadata", "/spec/template/metadata"] {
            for part in ["labels", "annotations"] {
                let Some(Value::Object(metadata)) = object.pointer_mut(pointer) else { continue };
                let Some(Value::Object(map)) = metadata.get_mut(part) else { continue };
                map.retain(|key, _| !OF_HELM.contains(&key.as_str()));
                if map.is_empty() {
                    metadata.remove(part);
                }
            }
        }
    }
    objects.sort_by_key(identity);
    objects
}
