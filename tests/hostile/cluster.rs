//! Objects that the API server takes and nobody should make. Whatever they hold, the status can be written and says what is
//! the matter, and the objects beside them are served.

use std::collections::BTreeMap;

use controlplane::{ControlPlane, Options};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::support::manifests::{acme, all, env_from, organization, secret, tool, variables, version};
use super::support::{Setup, World, field, message};

/// The largest Secret that the API server takes, in bytes of its values.
const LARGEST: usize = 1024 * 1024;

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

fn secret_of(name: &str, data: BTreeMap<String, Vec<u8>>) -> String {
    let data: BTreeMap<_, _> = data.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}).to_string()
}

fn weather(world: &World) {
    world.apply(&all([acme(world), tool("weather", "")]));
    world.ready("Tool", "weather");
}

#[test]
fn a_secret_may_hold_any_keys_and_bytes() {
    let world = World::new("oddsecret");
    weather(&world);
    let good = world.canary();
    let mut data: BTreeMap<String, Vec<u8>> =
        (0..300).map(|n| (format!("{n}.not-a-name.{}", "x".repeat(200)), vec![b'v'])).collect();
    data.extend((0..300).map(|n| (format!("ODD_{n}_{}", "X".repeat(200)), vec![0xff, 0, 0x1b])));
    let size: usize = data.values().map(Vec::len).sum::<usize>() + good.len();
    data.insert("BIG".into(), vec![0xc3; LARGEST - size]);
    data.insert("GOOD".into(), good.clone().into_bytes());
    world.apply(&all([secret_of("odd", data), variables("odd", &env_from("odd"))]));
    let object = world.reason("ToolEnvSecret", "odd", "SecretValueInvalid");
    assert!(message(&object).chars().count() <= 1024, "{}", message(&object));
    assert!(!object["status"]["skippedKeys"].as_array().unwrap().is_empty());
    world.until("the good one is sent", || world.variable("weather", "GOOD").as_deref() == Some(good.as_str()));
    assert_eq!(world.variable("weather", "BIG"), None);

    // A megabyte of control characters, which JSON writes six times as long, is more than a server may want.
    world.apply(&secret_of("odd", [("GOOD".to_owned(), vec![1; LARGEST])].into()));
    world.reason("ToolEnvSecret", "odd", "InvalidRequest");
    world.apply(&secret_of("odd", [("GOOD".to_owned(), vec![b'x'; LARGEST])].into()));
    world.ready("ToolEnvSecret", "odd");
    assert_eq!(world.variable("weather", "GOOD").map(|value| value.len()), Some(LARGEST));
    world.finish();
}

#[test]
fn more_keys_than_a_status_can_hold_are_said_to_be_too_many() {
    let world = World::new("manykeys");
    weather(&world);
    let keys = |count: usize| (0..count).map(|n| (format!("KEY_{n}_{}", "X".repeat(40)), vec![b'v'])).collect();
    world.apply(&all([secret_of("keys", keys(1)), variables("keys", &env_from("keys"))]));
    world.ready("ToolEnvSecret", "keys");
    world.apply(&secret_of("keys", keys(9_000)));
    let object = world.reason("ToolEnvSecret", "keys", "InvalidSpec");
    assert!(message(&object).starts_with("9000 variables are more than"), "{}", message(&object));
    assert_eq!(world.tool("weather").variables.len(), 1, "what was there stays");
    world.apply(&secret_of("keys", keys(2_000)));
    world.ready("ToolEnvSecret", "keys");
    assert_eq!(world.tool("weather").variables.len(), 2_000);
    world.finish();
}

#[test]
fn credentials_may_hold_anything() {
    let world = World::new("oddkey");
    world.apply(&all([organization(&world, ""), tool("weather", "")]));
    world.reason("Organization", "acme", "SecretNotFound");
    let key = world.api_key().into_bytes();
    let entries = |key: &[u8], user: &[u8]| {
        let entry = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        secret_of(
            "acme-api-key",
            [entry("api-key", key), entry("api-key-id", b"demo-key-id"), entry("user-id", user)].into(),
        )
    };
    for (odd, user) in [
        (vec![b'k'; LARGEST - 100], b"demo-user".to_vec()),
        (b"\xff\xfe".to_vec(), b"demo-user".to_vec()),
        (b"a\r\nx-injected: 1".to_vec(), b"demo-user".to_vec()),
        (b"\0".to_vec(), b"demo-user".to_vec()),
        (b" \n ".to_vec(), b"demo-user".to_vec()),
        (key.clone(), vec![b'u'; 300]),
    ] {
        world.apply(&entries(&odd, &user));
        world.reason("Organization", "acme", "SecretValueInvalid");
        world.apply(&entries(&[key.as_slice(), b"\n"].concat(), b"demo-user"));
        world.ready("Organization", "acme");
    }
    world.ready("Tool", "weather");
    world.finish();
}

#[test]
fn names_may_be_as_long_as_the_server_allows() {
    let world = World::new("longnames");
    world.apply(&acme(&world));
    let name = format!("{}.z", "a".repeat(LONGEST_NAME - 2));
    let refers = |manifest: String| manifest.replace("toolRef: {name: weather}", &format!("toolRef: {{name: {name}}}"));
    let renamed = |manifest: String, old: &str| {
        manifest.replace(&format!("metadata: {{name: {old}}}"), &format!("metadata: {{name: {name}}}"))
    };
    world.apply(&all([
        tool(&name, ""),
        secret(&name, "API_KEY: x"),
        refers(variables(&name, &env_from(&name))),
        renamed(refers(version("1.0.0", "")), "weather-1.0.0"),
    ]));
    for kind in ["Tool", "ToolEnvSecret", "ToolVersion"] {
        world.ready(kind, &name);
    }
    let published = |events: &[(String, String)]| events.iter().any(|(reason, _)| reason == "Succeeded");
    world.until("Events have names, too", || published(&world.events(&name)));
    world.finish();
}

#[test]
fn annotations_may_hold_anything() {
    let world = World::new("oddnotes");
    weather(&world);
    let before = world.sandbox.tools(super::support::ACME).len();
    let long = "\u{1f980}\u{202e}\u{1b}[31m\n".repeat(3_000);
    for value in [long.as_str(), "\u{0}", "", " ", "TRUE"] {
        for annotation in ["recreate", "abandon", "confirm-deprecations"] {
            world.annotate("Tool", "weather", annotation, value);
            world.annotate("Organization", "acme", annotation, value);
        }
        world.annotate("Tool", "weather", "reconcile-requested-at", value);
        let handled = |object: &Value| field(object, "lastHandledReconcileAt") == value;
        world.wait_for("Tool", "weather", handled, "has handled the request");
    }
    world.ready("Tool", "weather");
    world.ready("Organization", "acme");
    assert_eq!(world.sandbox.tools(super::support::ACME).len(), before);
    world.finish();
}

/// Objects as another version of the definition allows them: fields of other types, and fields that nobody knows.
#[test]
fn objects_of_another_definition_are_left_alone_and_hold_nobody_up() {
    let control_plane = ControlPlane::start(Options::default().crds(controlplane::project_crds())).unwrap();
    let mut world = World::on(&control_plane, "foreignkind", Setup::default());
    world.start_operator();
    world.apply(&all([acme(&world), tool("weather", "deletionPolicy: Deprecate")]));
    let id = field(&world.ready("Tool", "weather"), "toolId");

    let any = r#"[{"op": "remove", "path": "/spec/versions/0/selectableFields"}, {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;
    control_plane
        .kubectl(&["patch", "customresourcedefinition", "tools.amigo.ai", "--type=json", "--patch", any])
        .unwrap();
    let odd = json!({"description": ["of", "another", "type"], "organizationRef": "acme", "suspend": "perhaps"});
    let foreign = json!({
        "apiVersion": "amigo.ai/v1alpha1", "kind": "Tool", "metadata": {"name": "foreign"}, "spec": odd, "status": "none",
    });
    world.until("the server takes any object", || {
        let arguments = ["--namespace", &world.namespace, "create", "--filename", "-"];
        control_plane.kubectl_with_input(&arguments, &foreign.to_string()).is_ok()
    });
    world.edit("Tool", "weather", &json!({"description": {"of": "another type"}, "suspend": "perhaps"}));
    world.apply(&tool("meanwhile", "future: {field: 1}"));
    world.ready("Tool", "meanwhile");
    world.kill_operator();
    world.start_operator();
    world.apply(&tool("afterwards", ""));
    world.ready("Tool", "afterwards");
    assert!(!world.tool(&id).deprecated, "what cannot be read orders nothing");
    assert_eq!(world.get("Tool", "foreign").unwrap()["metadata"]["finalizers"], Value::Null);
    assert!(world.log().contains("an object cannot be read and is left alone"));

    let crds = controlplane::project_crds();
    control_plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", crds.to_str().unwrap()])
        .unwrap();
    world.delete("Tool", "foreign");
    world.edit(
        "Tool",
        "weather",
        &json!({
            "description": "Readable again.", "suspend": false,
        }),
    );
    let object = world.ready("Tool", "weather");
    assert_eq!(field(&object, "toolId"), id);
    assert_eq!(world.tool(&id).description, "Readable again.");
    world.finish();
}
