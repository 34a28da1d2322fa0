//! Objects in every state, as the API server returns them, judged by every tool; and Argo CD's actions on live objects.
//!
//! The committed objects are these, without what changes from run to run. `UPDATE_GENERATED=1` writes them anew.

use amigo_operator::sandbox::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::customizations::{CONFIG_MAP, assert_has_scripts};
use crate::states::{CUSTOMIZATIONS, Sample, State, judge};
use crate::support::manifests::{acme, all, env, env_from, object, organization, secret, tool, variables, version};
use crate::support::{Setup, World, has_reason};
use crate::{argo, files};

/// One object of each kind.
const WEATHER: [(&str, &str); 4] =
    [("Organization", "acme"), ("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")];

/// The manifests of [`WEATHER`]. The order to deprecate makes the deletion wait for the Organization.
fn weather(world: &World) -> String {
    all([
        acme(world),
        tool("weather", "deletionPolicy: Deprecate"),
        variables("weather", &env(&[("UNITS", "metric")])),
        version("1.0.0", "deletionPolicy: Deprecate"),
    ])
}

fn read(world: &World, kind: &str, name: &str) -> Value {
    serde_json::from_str(&world.kubectl(&["get", kind, name, "--output=json"])).unwrap()
}

fn take(world: &World, album: &mut Vec<Sample>, state: &str, objects: &[(&str, &str)]) {
    for (kind, name) in objects {
        let object = read(world, kind, name);
        album.push(Sample { kind: (*kind).to_owned(), state: State::named(state), object });
    }
}

fn all_ready(world: &World) {
    for (kind, name) in WEATHER {
        world.ready(kind, name);
    }
}

fn suspend(world: &World, kind: &str, name: &str, suspend: bool) {
    world.edit(kind, name, &json!({"suspend": suspend}));
}

#[test]
fn every_state_is_read_back_from_the_server() {
    let service = Settings { publish_seconds: 5.0, ..Settings::default() };
    let mut world = World::without_operator("gitops", Setup { service, ..Setup::default() });
    let mut album = Vec::new();
    come_to_be(&mut world, &mut album);
    be_suspended(&world, &mut album);
    wait_and_fail(&world, &mut album);
    be_deleted(&world, &mut album);
    for Sample { kind, state, object } in &album {
        let text = serde_saphyr::to_string(&without_chance(&world, object)).unwrap();
        files::assert_holds(&state.path(kind), &text);
    }
    let expected = crate::states::samples().len();
    assert_eq!(album.len(), expected, "an object for each state of each kind");
    judge(&album);
    world.finish();
}

/// New, on their way, Ready, and changed behind the operator's back.
fn come_to_be(world: &mut World, album: &mut Vec<Sample>) {
    world.apply(&weather(world));
    take(world, album, "new", &WEATHER);
    world.start_operator();
    world.reason("ToolVersion", "weather-1.0.0", "Publishing");
    take(world, album, "progressing", &WEATHER[3..]);
    all_ready(world);
    // The numbers of its versions come a little later than Ready.
    world.wait_for("Tool", "weather", |tool| tool["status"]["activeVersions"] == 1, "counts its version");
    take(world, album, "healthy", &WEATHER);
    world.kill_operator();
    world.edit("Organization", "acme", &json!({"budgetPercent": 70}));
    world.edit("Tool", "weather", &json!({"description": "Weather and more."}));
    world.edit("ToolEnvSecret", "weather", &json!({"env": [{"name": "UNITS", "value": "imperial"}]}));
    world.edit("ToolVersion", "weather-1.0.0", &json!({"publishTimeoutSeconds": 600}));
    take(world, album, "changed", &WEATHER);
    world.start_operator();
    all_ready(world);
}

/// Suspended: by themselves, by their Organization, and from the start.
fn be_suspended(world: &World, album: &mut Vec<Sample>) {
    for (kind, name) in &WEATHER[1..] {
        suspend(world, kind, name, true);
        world.reason(kind, name, "Suspended");
        take(world, album, "suspended", &[(kind, name)]);
        suspend(world, kind, name, false);
        world.ready(kind, name);
    }
    suspend(world, "Organization", "acme", true);
    for (kind, name) in WEATHER {
        world.reason(kind, name, "Suspended");
    }
    take(world, album, "suspended", &WEATHER[..1]);
    take(world, album, "suspended-by-organization", &WEATHER[1..]);
    suspend(world, "Organization", "acme", false);
    for (kind, name) in WEATHER {
        world.wait_for(kind, name, |object| !has_reason(object, "Suspended"), "goes on");
    }
    all_ready(world);
    world.apply(&all([
        organization(world, "suspend: true").replace("name: acme}", "name: idle}"),
        tool("idle", "suspend: true"),
        variables("idle", &format!("suspend: true, {}", env(&[("IDLE", "yes")]))),
        version("1.1.0", "suspend: true"),
    ]));
    let idle =
        [("Organization", "idle"), ("Tool", "idle"), ("ToolEnvSecret", "idle"), ("ToolVersion", "weather-1.1.0")];
    for (kind, name) in idle {
        world.reason(kind, name, "Suspended");
    }
    take(world, album, "suspended-new", &idle);
    world.delete("ToolEnvSecret", "idle");
    world.gone("ToolEnvSecret", "idle");
}

/// What waits for something, and what only a person can mend.
fn wait_and_fail(world: &World, album: &mut Vec<Sample>) {
    let with_secret = |name: &str| {
        let organization = organization(world, "").replace("acme-api-key", name);
        organization.replace("metadata: {name: acme}", &format!("metadata: {{name: {name}}}"))
    };
    world.apply(&all([
        version("7.0.0", ""),
        tool("copy", "name: weather"),
        secret("refused", "api-key: wrong, api-key-id: demo-key-id, user-id: demo-user"),
        with_secret("refused"),
    ]));
    world.reason("ToolVersion", "weather-7.0.0", "VersionUnreachable");
    world.reason("Tool", "copy", "NameTaken");
    world.reason("Organization", "refused", "CredentialsRefused");
    take(world, album, "degraded", &[("ToolVersion", "weather-7.0.0"), ("Tool", "copy"), ("Organization", "refused")]);
    // Versions wait for every ToolEnvSecret of their tool, so that this one comes last.
    world.apply(&variables("younger", &env(&[("UNITS", "kelvin")])));
    world.reason("ToolEnvSecret", "younger", "VariableConflict");
    take(world, album, "degraded", &[("ToolEnvSecret", "younger")]);
    world.apply(&all([
        with_secret("later"),
        object("Tool", "later", "organizationRef: {name: later}, description: A forecast."),
        variables("later", &env_from("later")),
    ]));
    world.reason("Organization", "later", "SecretNotFound");
    world.reason("Tool", "later", "OrganizationNotReady");
    world.reason("ToolEnvSecret", "later", "SecretNotFound");
    take(world, album, "progressing", &[("Organization", "later"), ("Tool", "later"), ("ToolEnvSecret", "later")]);
}

/// Deleted, and held up: by an Organization that is suspended, and that is still needed.
fn be_deleted(world: &World, album: &mut Vec<Sample>) {
    // `younger` goes first: a look at it that is under way takes over the variable of `weather` when that is deleted.
    for (kind, name) in [
        ("ToolEnvSecret", "younger"),
        ("Tool", "copy"),
        ("Tool", "idle"),
        ("ToolVersion", "weather-1.1.0"),
        ("ToolVersion", "weather-7.0.0"),
    ] {
        world.delete(kind, name);
        world.gone(kind, name);
    }
    // Clean-up may use any Organization that leads to the same place.
    for (kind, name) in
        [("Tool", "later"), ("Organization", "later"), ("Organization", "idle"), ("Organization", "refused")]
    {
        world.delete(kind, name);
        world.gone(kind, name);
    }
    suspend(world, "Organization", "acme", true);
    world.reason("Organization", "acme", "Suspended");
    for (kind, name) in [WEATHER[3], WEATHER[2], WEATHER[1]] {
        world.delete(kind, name);
        world.reason(kind, name, "DeletionBlocked");
    }
    world.delete("Organization", "acme");
    world.reason("Organization", "acme", "InUse");
    take(world, album, "terminating", &WEATHER);
}

/// The object without what is another in every run: ids, times, the namespace and where the service is.
fn without_chance(world: &World, object: &Value) -> Value {
    match object {
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
            let plain = fields.iter().map(|(key, value)| {
                let value = match key.as_str() {
                    "uid" => json!(uid(name)),
                    "resourceVersion" => json!("1000"),
                    _ => without_chance(world, value),
                };
                (key.clone(), value)
            });
            Value::Object(plain.collect())
        }
        Value::Array(entries) => entries.iter().map(|entry| without_chance(world, entry)).collect(),
        Value::String(text) => json!(plain_text(world, text)),
        other => other.clone(),
    }
}

fn plain_text(world: &World, text: &str) -> String {
    if text.parse::<Timestamp>().is_ok() {
        return "2026-01-01T00:00:00Z".to_owned();
    }
    let text = text.replace(world.endpoint(), "https://api.amigo.ai").replace(&world.namespace, "tools");
    // Ids of the service have 24 hexadecimal digits, commits 40.
    let is_id = |word: &str| matches!(word.len(), 24 | 40) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |id: &str| "0123456789abcdef".repeat(3)[..id.len()].to_owned();
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| {
            let (start, end) = part.split_at(part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
            if is_id(start) { plain(start) + end } else { part.to_owned() }
        })
        .collect()
}

/// A uid that depends on nothing but a name.
fn uid(name: &str) -> String {
    let digest = format!("{:032x}", u128::from_be_bytes(Sha256::digest(name)[..16].try_into().unwrap()));
    format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..])
}

/// An action as Argo CD does it: the script makes another object of the live one, and the difference is sent as a merge patch.
fn click(world: &World, kind: &str, name: &str, action: &str) {
    let object = read(world, kind, name);
    let script = |path: &str| files::text(&format!("{CUSTOMIZATIONS}/{kind}/actions/{path}"));
    assert_eq!(argo::discover(&script("discovery.lua"), &object).get(action), Some(&false), "{action} can be clicked");
    let changed = argo::act(&script(&format!("{action}/action.lua")), &object);
    world.patch(kind, name, &argo::merge_patch(&object, &changed));
}

fn health(world: &World, kind: &str, name: &str) -> String {
    let script = files::text(&format!("{CUSTOMIZATIONS}/{kind}/health.lua"));
    argo::health(&script, &read(world, kind, name)).status
}

#[test]
fn actions_do_what_their_names_say() {
    let world = World::new("actions");
    let manifests = weather(&world);
    world.apply(&manifests);
    all_ready(&world);
    for (kind, name) in WEATHER {
        let generation = read(&world, kind, name)["metadata"]["generation"].clone();
        click(&world, kind, name, "reconcile");
        let echoes = |object: &Value| object["status"]["lastHandledReconcileAt"] == "2026-01-01T00:00:00Z";
        world.wait_for(kind, name, echoes, "echoes the request");
        assert_eq!(world.ready(kind, name)["metadata"]["generation"], generation, "{kind}: a request is no change");
        click(&world, kind, name, "suspend");
        world.reason(kind, name, "Suspended");
        assert_eq!(health(&world, kind, name), "Suspended");
        // What Git does not say, a sync leaves alone.
        world.apply(&manifests);
        assert_eq!(read(&world, kind, name)["spec"]["suspend"], true);
        click(&world, kind, name, "resume");
        world.wait_for(kind, name, |object| !has_reason(object, "Suspended"), "goes on");
        all_ready(&world);
        assert_eq!(health(&world, kind, name), "Healthy");
    }
    world.finish();
}

/// The lines with `kubectl` in the documentation, as they can be run in the namespace of a test.
fn commands(world: &World, page: &str) -> Vec<String> {
    let page = files::text(page).replace("\\\n", " ");
    let commands = page.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| line.starts_with("kubectl "));
    let here = |line: &str| {
        let (before, rest) = line.split_once("--namespace ").expect("a command names its namespace");
        let (_, rest) = rest.split_once(' ').unwrap();
        format!("{before}--namespace {} {rest}", world.namespace)
    };
    commands.map(here).collect()
}

#[test]
fn the_config_map_is_patched_as_documented_and_keeps_what_it_had() {
    let world = World::without_operator("argocdcm", Setup::default());
    world.kubectl(&["create", "configmap", "argocd-cm", "--from-literal=url=https://argocd.example.com"]);
    let commands = commands(&world, "docs/how-to/argocd.md");
    let [patch] = &commands[..] else { panic!("{commands:?}") };
    world.shell(patch);
    let map = read(&world, "configmap", "argocd-cm");
    assert_eq!(map["data"]["url"], "https://argocd.example.com");
    assert_has_scripts(&map);
    assert!(world.shell(patch).contains("no change"), "a second time changes nothing");
    let shown = patch.replace(&world.namespace, "argocd");
    assert!(files::text(CONFIG_MAP).contains(&shown), "the file says {shown}");
    world.finish();
}

#[test]
fn what_is_documented_for_flux_users_is_done() {
    let world = World::new("byhand");
    world.apply(&weather(&world));
    all_ready(&world);
    let commands = commands(&world, "docs/how-to/flux.md");
    let [request, suspend] = &commands[..] else { panic!("{commands:?}") };
    world.shell(request);
    let echoes = |object: &Value| {
        let asked = &object["metadata"]["annotations"]["amigo.ai/reconcile-requested-at"];
        asked.is_string() && object["status"]["lastHandledReconcileAt"] == *asked
    };
    world.wait_for("Tool", "weather", echoes, "echoes the request");
    world.shell(suspend);
    let object = world.reason("Tool", "weather", "Suspended");
    // Flux takes back what was written under a name that begins so.
    let managers: Vec<&str> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert!(managers.iter().all(|manager| !manager.starts_with("kubectl")), "{managers:?}");
    assert!(managers.contains(&"flux-client-side-apply"), "{managers:?}");
    world.finish();
}
