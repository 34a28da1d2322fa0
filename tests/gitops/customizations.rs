//! The scripts in the layout of Argo CD's repository, tested as it tests them; and the same scripts as a patch of `argocd-cm`, for
//! those who need them today.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::argo::{self, Health};
use crate::files::{assert_holds, text, yaml};
use crate::states::{CUSTOMIZATIONS, KINDS, STATES, State};

/// The patch of Argo CD's own ConfigMap.
pub const CONFIG_MAP: &str = "deploy/argocd/argocd-cm-patch.yaml";

/// What can be asked for with a click.
const ACTIONS: [&str; 3] = ["reconcile", "suspend", "resume"];

/// The scripts of a kind, and where they are below its folder.
fn scripts() -> Vec<String> {
    let actions = ACTIONS.iter().map(|action| format!("actions/{action}/action.lua"));
    ["health.lua".to_owned(), "actions/discovery.lua".to_owned()].into_iter().chain(actions).collect()
}

fn script(kind: &str, path: &str) -> String {
    text(&format!("{CUSTOMIZATIONS}/{kind}/{path}"))
}

/// The object after an action, made here and not by the script.
fn after(action: &str, mut object: Value) -> Value {
    match action {
        "reconcile" => {
            object["metadata"]["annotations"]["amigo.ai/reconcile-requested-at"] = json!("2026-01-01T00:00:00Z");
        }
        "suspend" => object["spec"]["suspend"] = json!(true),
        "resume" => object["spec"]["suspend"] = json!(false),
        other => panic!("no action {other}"),
    }
    object
}

/// The state of the object that an action is tried on.
fn tried_on(action: &str) -> &'static State {
    State::named(if action == "resume" { "suspended" } else { "healthy" })
}

#[test]
fn the_kinds_share_their_scripts() {
    for path in scripts() {
        for kind in KINDS {
            assert_holds(&format!("{CUSTOMIZATIONS}/{kind}/{path}"), &script("Tool", &path));
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HealthTests {
    tests: Vec<HealthTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HealthTest {
    input_path: String,
    health_status: Health,
}

#[test]
fn health_tests_hold() {
    for kind in KINDS {
        let path = format!("{CUSTOMIZATIONS}/{kind}/health_test.yaml");
        assert_holds(&path, &health_tests(kind));
        let tests: HealthTests = serde_json::from_value(yaml(&path)).unwrap();
        for test in tests.tests {
            let object = yaml(&format!("{CUSTOMIZATIONS}/{kind}/{}", test.input_path));
            assert_eq!(argo::health(&script(kind, "health.lua"), &object), test.health_status, "{}", test.input_path);
        }
    }
}

/// What stands in `health_test.yaml`.
fn health_tests(kind: &str) -> String {
    let mut tests = "tests:\n".to_owned();
    for state in STATES.iter().filter(|state| state.exists_of(kind)) {
        let Health { status, message } = state.health(&yaml(&state.path(kind)));
        let (name, message) = (state.name, json!(message));
        writeln!(
            tests,
            "- inputPath: testdata/{name}.yaml\n  healthStatus:\n    status: {status}\n    message: {message}"
        )
        .unwrap();
    }
    tests
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ActionTests {
    discovery_tests: Vec<DiscoveryTest>,
    action_tests: Vec<ActionTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DiscoveryTest {
    input_path: String,
    result: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    name: String,
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ActionTest {
    action: String,
    input_path: String,
    expected_output_path: String,
}

#[test]
fn action_tests_hold() {
    for kind in KINDS {
        let folder = format!("{CUSTOMIZATIONS}/{kind}/actions");
        write_action_tests(kind, &folder);
        let tests: ActionTests = serde_json::from_value(yaml(&format!("{folder}/action_test.yaml"))).unwrap();
        for test in tests.discovery_tests {
            let expected: BTreeMap<_, _> = test.result.into_iter().map(|it| (it.name, it.disabled)).collect();
            let object = yaml(&format!("{folder}/{}", test.input_path));
            assert_eq!(argo::discover(&script(kind, "actions/discovery.lua"), &object), expected, "{object}");
        }
        for test in tests.action_tests {
            let object = yaml(&format!("{folder}/{}", test.input_path));
            let changed = argo::act(&script(kind, &format!("actions/{}/action.lua", test.action)), &object);
            assert_eq!(changed, yaml(&format!("{folder}/{}", test.expected_output_path)), "{kind}, {}", test.action);
        }
    }
}

/// `action_test.yaml` and the objects that it expects.
fn write_action_tests(kind: &str, folder: &str) {
    let mut tests = "discoveryTests:\n".to_owned();
    for state in STATES.iter().filter(|state| state.exists_of(kind)) {
        let suspended = yaml(&state.path(kind))["spec"]["suspend"] == true;
        writeln!(tests, "- inputPath: ../testdata/{}.yaml\n  result:", state.name).unwrap();
        for action in ACTIONS {
            let disabled = suspended != (action == "resume");
            writeln!(tests, "  - name: {action}\n    disabled: {disabled}").unwrap();
        }
    }
    tests += "actionTests:\n";
    for action in ACTIONS {
        let state = tried_on(action).name;
        writeln!(tests, "- action: {action}\n  inputPath: ../testdata/{state}.yaml").unwrap();
        writeln!(tests, "  expectedOutputPath: testdata/{action}.yaml").unwrap();
        let expected = after(action, yaml(&tried_on(action).path(kind)));
        assert_holds(&format!("{folder}/testdata/{action}.yaml"), &serde_saphyr::to_string(&expected).unwrap());
    }
    assert_holds(&format!("{folder}/action_test.yaml"), &tests);
}

/// The ConfigMap, made of the scripts.
fn config_map() -> String {
    let mut map = "\
# How Argo CD shows and handles the kinds of amigo.ai. Generated from resource_customizations; do not edit.
#
# kubectl patch configmap argocd-cm --namespace argocd --type merge --patch-file deploy/argocd/argocd-cm-patch.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
data:
"
    .to_owned();
    for kind in KINDS {
        writeln!(map, "  resource.customizations.health.amigo.ai_{kind}: |").unwrap();
        map += &indented(4, &script(kind, "health.lua"));
        writeln!(map, "  resource.customizations.actions.amigo.ai_{kind}: |\n    discovery.lua: |").unwrap();
        map += &indented(6, &script(kind, "actions/discovery.lua"));
        map += "    definitions:\n";
        for action in ACTIONS {
            writeln!(map, "    - name: {action}\n      action.lua: |").unwrap();
            map += &indented(8, &script(kind, &format!("actions/{action}/action.lua")));
        }
    }
    map
}

fn indented(by: usize, text: &str) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:by$}{line}\n", "") };
    text.lines().map(line).collect()
}

/// Checks that a ConfigMap holds the scripts of every kind, as Argo CD reads them out of it.
pub fn assert_has_scripts(map: &Value) {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Actions {
        #[serde(rename = "discovery.lua")]
        discovery: String,
        definitions: Vec<Definition>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Definition {
        name: String,
        #[serde(rename = "action.lua")]
        script: String,
    }
    for kind in KINDS {
        let of = |what: &str| map["data"][format!("resource.customizations.{what}.amigo.ai_{kind}")].as_str().unwrap();
        assert_eq!(of("health"), script(kind, "health.lua"));
        let actions: Actions = serde_saphyr::from_str(of("actions")).unwrap();
        assert_eq!(actions.discovery, script(kind, "actions/discovery.lua"));
        let names: Vec<&str> = actions.definitions.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ACTIONS);
        for definition in &actions.definitions {
            assert_eq!(definition.script, script(kind, &format!("actions/{}/action.lua", definition.name)));
        }
    }
}

#[test]
fn the_config_map_has_the_scripts() {
    assert_holds(CONFIG_MAP, &config_map());
    assert_has_scripts(&yaml(CONFIG_MAP));
}

/// The scripts must not trip over objects that no operator has written a status to, nor over a status of another shape.
#[test]
fn the_scripts_index_nothing_that_may_be_absent() {
    let objects = [json!({}), json!({"metadata": {}}), json!({"metadata": {}, "spec": {}, "status": {}})];
    let half =
        json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "Ready"}]}});
    for object in objects.iter().chain([&half]) {
        assert_eq!(argo::health(&script("Tool", "health.lua"), object).status, "Progressing", "{object}");
        assert!(argo::discover(&script("Tool", "actions/discovery.lua"), object)["resume"]);
    }
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"suspend": true}});
    let pending = Health { status: "Progressing".to_owned(), message: "Pending deletion".to_owned() };
    assert_eq!(argo::health(&script("Tool", "health.lua"), &deleted), pending);
    for action in ACTIONS {
        argo::act(&script("Tool", &format!("actions/{action}/action.lua")), &objects[1]);
    }
}
