//! Objects of the cluster: Secrets, custom resources as watches read them, annotations; and the messages that come of them.

use std::collections::BTreeMap;

use amigo_operator::controllers::organization::credentials_of;
use amigo_operator::controllers::tool_env_secret::resolve::{Secrets, resolve};
use amigo_operator::kubernetes::conditions::{State, Verdict, conditions};
use amigo_operator::kubernetes::secrets::Found;
use amigo_operator::kubernetes::watch::{Feed, Watchable};
use amigo_operator::resources::annotations::is_abandoned;
use amigo_operator::resources::tool_env_secret::{Visibility, is_variable_name};
use amigo_operator::resources::{Organization, Reason, Resource, Tool, ToolEnvSecret, ToolEnvSecretSpec, ToolVersion};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::clean::{assert_clean, assert_line};

/// The longest message of a condition that the server takes, in bytes.
const LONGEST_MESSAGE: usize = 32 * 1024;

/// Entries are lines of the form `key=value`; the value is marked, to be found again.
fn entries(bytes: &[u8]) -> BTreeMap<String, ByteString> {
    let entry = |line: &[u8]| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let key = String::from_utf8_lossy(&line[..equals]).into_owned();
        Some((key, ByteString([b"v4lue-m4rk".as_slice(), &line[equals + 1..]].concat())))
    };
    bytes.split(|byte| *byte == b'\n').filter_map(entry).collect()
}

fn secret(bytes: &[u8]) {
    let data = entries(bytes);
    let taken = data.keys().next().cloned().unwrap_or_default();
    let of_key = json!({"name": "OF_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": taken}}});
    let spec: ToolEnvSecretSpec = serde_json::from_value(json!({
        "toolRef": {"name": "weather"},
        "envFrom": [{"secretRef": {"name": "a"}}, {"secretRef": {"name": "a"}, "prefix": "P_", "visibility": "Plain"}],
        "env": [of_key],
    }))
    .unwrap();
    let object = Secret { data: Some(data.clone()), ..Secret::default() };
    match credentials_of(&object, "a") {
        Ok(credentials) => {
            let given = &data["api-key"].0;
            assert_eq!(
                credentials.api_key.expose_secret().as_bytes(),
                std::str::from_utf8(given).unwrap().trim().as_bytes()
            );
        }
        Err(outcome) => assert_clean(&outcome.verdict().unwrap().message, 200),
    }
    let resolved = resolve(&spec, &Secrets::from([("a".to_owned(), Found::Here(Box::new(object)))]));
    assert_eq!(resolved.hold_all, data.is_empty(), "a Secret without keys says nothing");
    for (key, value) in &data {
        for (prefix, visibility) in [("", Visibility::Secret), ("P_", Visibility::Plain)] {
            let name = format!("{prefix}{key}");
            let sent = resolved.variables.get(&name).filter(|_| name != "OF_KEY");
            let (is_skipped, is_name) = (resolved.skipped.contains(&name), is_variable_name(&name));
            let is_taken = name == "OF_KEY" || (!is_name && *key == taken);
            assert!(sent.is_some() || resolved.held.contains(&name) || is_skipped || is_taken, "{name:?}");
            assert!(is_skipped != is_name || (is_taken && !is_skipped), "{name:?}");
            if let Some(sent) = sent {
                // With a prefix before it, a key may become the name that another key has.
                let others = data.get(&name).filter(|_| prefix.is_empty() || data.contains_key(&name));
                let ours = sent.value.expose_secret().as_bytes() == value.0;
                assert!((ours && sent.visibility == visibility) || others.is_some(), "{name:?}");
            }
        }
    }
    let message = resolved.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
    assert!(!message.contains("v4lue-m4rk"), "{message:?}");
    assert!(!format!("{resolved:?}").contains("v4lue-m4rk"));
}

target!(
    /// Each key becomes a variable with its value, or is held, taken under another name, or skipped; no value shows.
    any_secret, 5_000,
    &[
        b"API_KEY=1\ntls.crt=2\nlower=\xff",
        b"api-key=k\napi-key-id=i\nuser-id=u",
        b"P_A=1\nA=2",
        b"=\n\xff\xfe=x\nOF_KEY=\xc3",
        b"",
    ],
    secret
);

const OBJECTS: &[&[u8]] = &[
    br#"{"apiVersion": "amigo.ai/v1alpha1", "kind": "Tool", "metadata": {"name": "weather", "namespace": "travel", "generation": 2}, "spec": {"description": "x", "tags": [{"key": "a"}], "suspend": true, "deprecatedVersions": "<1"}, "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": "2025-01-01T00:00:00Z", "observedGeneration": 2}]}}"#,
    br#"{"apiVersion": "amigo.ai/v1alpha1", "kind": "ToolVersion", "metadata": {"name": "weather", "namespace": "travel"}, "spec": {"toolRef": {"name": "weather"}, "version": "1.0.0", "bumpType": "major", "projectPath": "x"}, "status": {"publish": {"attempt": -1, "startTime": "soon", "knownVersions": ["x"]}}}"#,
    br#"{"apiVersion": "amigo.ai/v9", "kind": "Organization", "metadata": {"name": "weather", "namespace": "travel"}, "spec": {"organization": "acme", "credentialsRef": {"name": "a"}, "budgetPercent": 900, "resync": {"toolsPeriodSeconds": -1}}}"#,
    br#"{"apiVersion": "amigo.ai/v1alpha1", "kind": "ToolEnvSecret", "metadata": {"name": "weather", "namespace": "travel"}, "spec": {"toolRef": {"name": "weather"}, "env": [{"name": "A", "value": 1}], "envFrom": {}}}"#,
    br#"{"metadata": {"name": "weather", "namespace": "travel"}, "spec": null}"#,
];

/// An object as a watch gives it, over one that is known.
fn watched<K: Watchable + Resource>(bytes: &[u8], known: Value) {
    let known: DeserializeGuard<K> = serde_json::from_value(known).unwrap();
    // What has no readable metadata ends the watch, which begins anew; the server stores no such thing.
    let Ok(guard) = serde_json::from_slice::<DeserializeGuard<K>>(bytes) else { return };
    let metadata = guard.0.as_ref().map_or_else(|invalid| &invalid.metadata, |object| object.meta());
    // The server stores none without a name and a namespace, and kube counts on it.
    if [&metadata.name, &metadata.namespace].iter().any(|part| part.as_ref().is_none_or(String::is_empty)) {
        return;
    }
    let is_readable = guard.0.is_ok();
    let mut feed = Feed::<K>::new(1, |object| vec![object.describe()]);
    let cache = feed.cache();
    for event in [Event::Init, Event::InitApply(known), Event::InitDone] {
        feed.take(0, event);
    }
    assert_eq!(cache.len(), 1);
    let changes = feed.take(0, Event::Apply(guard));
    assert!(changes.iter().all(|change| change.new.is_some()), "it counts as deleted");
    assert!(cache.get("travel", "weather").is_some(), "the known one is gone");
    assert!(is_readable || cache.len() == 1);
    for object in cache.all() {
        let _ = (object.is_ready(), object.is_stalled(), object.suspended(), is_abandoned(&*object));
        let again: K = serde_json::from_value(serde_json::to_value(&*object).unwrap()).unwrap();
        assert_eq!(again.status(), object.status(), "a status is read as it is written");
    }
    // A list that does not have it any more is evidence; one that has it in a form that cannot be read is none.
    feed.take(0, Event::Init);
    if let Ok(guard) = serde_json::from_slice::<DeserializeGuard<K>>(bytes) {
        let same = match &guard.0 {
            Ok(object) => (object.meta().namespace.clone(), object.meta().name.clone()),
            Err(invalid) => (invalid.metadata.namespace.clone(), invalid.metadata.name.clone()),
        } == (Some("travel".into()), Some("weather".into()));
        feed.take(0, Event::InitApply(guard));
        feed.take(0, Event::InitDone);
        assert_eq!(cache.get("travel", "weather").is_some(), same);
    }
}

fn object(bytes: &[u8]) {
    let known = |spec: Value| json!({"metadata": {"name": "weather", "namespace": "travel"}, "spec": spec});
    watched::<Organization>(bytes, known(json!({"organization": "acme", "credentialsRef": {"name": "a"}})));
    watched::<Tool>(bytes, known(json!({})));
    watched::<ToolVersion>(bytes, known(json!({"toolRef": {"name": "weather"}, "projectPath": "x"})));
    watched::<ToolEnvSecret>(bytes, known(json!({"toolRef": {"name": "weather"}})));
    if let Ok(version) = serde_json::from_slice::<ToolVersion>(bytes)
        && let Err(error) = version.wanted()
    {
        assert_line(&error.to_string(), 200);
    }
    if let Ok(tool) = serde_json::from_slice::<Tool>(bytes) {
        assert!(!tool.remote_name().contains(['-', '.']) || tool.spec.name.is_some());
    }
}

target!(
    /// An object that cannot be read does not count as deleted, and what can be read is read as it is written.
    any_object, 1_500, OBJECTS, object
);

fn message(bytes: &[u8]) {
    let message = String::from_utf8_lossy(bytes).into_owned();
    for state in [State::Ready, State::Reconciling, State::Stalled, State::Suspended { edits: 1 }] {
        let verdict = Verdict { state, reason: Reason::InvalidSpec, message: message.clone() };
        for condition in conditions(&[], &verdict, Some(1), Timestamp::UNIX_EPOCH) {
            assert!(condition.message.len() <= LONGEST_MESSAGE);
            assert_line(&condition.message, 1024);
        }
    }
}

target!(
    /// Whatever a message is made of, a condition with it can be written and read.
    any_message, 3_000,
    &[b"text", "\u{202e}\u{1b}[31m\n\0".as_bytes(), &[b'a'; 3000], "🦀".as_bytes(), b"\xff\xff"],
    message
);

fn annotation(bytes: &[u8]) {
    let value = String::from_utf8_lossy(bytes).into_owned();
    let mut tool = Tool::new("weather", amigo_operator::resources::ToolSpec::default());
    tool.metadata.annotations = Some([("amigo.ai/abandon".to_owned(), value.clone())].into());
    assert_eq!(is_abandoned(&tool), value == "true", "an object is let go by one word only");
    let again: Tool = serde_json::from_value(serde_json::to_value(&tool).unwrap()).unwrap();
    assert_eq!(again.metadata.annotations, tool.metadata.annotations);
}

target!(
    /// An object is let go by one word only.
    any_annotation, 2_000, &[b"true", b"True", b" true", b"true\0", b"1", b"\xff"], annotation
);
