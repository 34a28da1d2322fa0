//! From a manifest and the Secrets that it names to the variables that it wants. Pure; the values in here live for one
//! reconcile.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use crate::kubernetes::secrets::Found;
use crate::resources::tool_env_secret::{EnvFromSource, EnvVar, SyncedSecret, Visibility, is_variable_name};
use crate::resources::{Reason, ToolEnvSecretSpec};

/// The most variables of one ToolEnvSecret: with the longest names they still fit into an object.
const MOST_VARIABLES: usize = 2_000;

/// A variable that a manifest wants.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Plain or secret.
    pub visibility: Visibility,
    /// The value; never printed.
    pub value: SecretString,
}

/// Something that keeps a variable from being sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Why.
    pub reason: Reason,
    /// For a person; without any value.
    pub message: String,
}

impl Problem {
    /// A problem.
    #[must_use]
    pub fn new(reason: Reason, message: String) -> Self {
        Self { reason, message }
    }
}

/// What a manifest and its Secrets come to.
#[derive(Debug, Default, Clone)]
pub struct Resolved {
    /// What can be sent, by name.
    pub variables: BTreeMap<String, Variable>,
    /// Names whose value cannot be had now: what was there stays.
    pub held: BTreeSet<String>,
    /// A whole Secret cannot be had now: nothing that was there goes.
    pub hold_all: bool,
    /// Keys of `envFrom` Secrets that cannot be names, but for those that `env` names.
    pub skipped: BTreeSet<String>,
    /// What is in the way.
    pub problems: BTreeSet<Problem>,
    /// The state of the Secrets that were read.
    pub secrets: Vec<SyncedSecret>,
}

impl Resolved {
    /// Whether the manifest names the variable, sent or not.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.variables.contains_key(name) || self.held.contains(name)
    }

    fn problem(&mut self, reason: Reason, message: String) {
        self.problems.insert(Problem::new(reason, message));
    }

    fn wants(&mut self, name: &str, visibility: Visibility, value: String) {
        self.held.remove(name);
        self.variables.insert(name.to_owned(), Variable { visibility, value: SecretString::from(value) });
    }

    fn holds(&mut self, name: &str) {
        self.variables.remove(name);
        self.held.insert(name.to_owned());
    }
}

/// The Secrets of a reconcile by name.
pub type Secrets = BTreeMap<String, Found>;

/// Resolves a manifest: later `envFrom` wins over earlier, `env` over both.
#[must_use]
pub fn resolve(spec: &ToolEnvSecretSpec, secrets: &Secrets) -> Resolved {
    let mut resolved = Resolved { secrets: states(secrets), ..Resolved::default() };
    for source in &spec.env_from {
        whole(source, &spec.env, secrets, &mut resolved);
    }
    for entry in &spec.env {
        single(entry, secrets, &mut resolved);
    }
    bounded(resolved)
}

/// More variables than one status can hold: none is sent, and nothing that was there goes.
fn bounded(mut resolved: Resolved) -> Resolved {
    let count = resolved.variables.len() + resolved.held.len();
    if count > MOST_VARIABLES {
        (resolved.hold_all, resolved.variables, resolved.held) = (true, BTreeMap::new(), BTreeSet::new());
        let message = format!("{count} variables are more than the {MOST_VARIABLES} that one ToolEnvSecret can have");
        resolved.problem(Reason::InvalidSpec, format!("{message}; split it, or name keys in `env`"));
    }
    resolved
}

fn states(secrets: &Secrets) -> Vec<SyncedSecret> {
    let state = |(name, secret): (&String, &Found)| {
        let (uid, resource_version) = crate::kubernetes::secrets::state(secret.here()?);
        Some(SyncedSecret { name: name.clone(), uid, resource_version })
    };
    secrets.iter().filter_map(state).collect()
}

/// All keys of a Secret. One without any key counts as missing: it is being rewritten, or was never filled.
fn whole(source: &EnvFromSource, env: &[EnvVar], secrets: &Secrets, resolved: &mut Resolved) {
    let name = &source.secret_ref.name;
    let found = secrets.get(name).unwrap_or(&Found::Absent);
    let Some(data) = found.here().map(|secret| secret.data.clone().unwrap_or_default()) else {
        resolved.hold_all = true;
        let (reason, message) = found.why_not(name);
        return resolved.problem(reason, message);
    };
    if data.is_empty() {
        resolved.hold_all = true;
        return resolved.problem(Reason::SecretNotFound, format!("Secret {name} has no keys; fill it"));
    }
    for (key, value) in data {
        let variable = format!("{}{key}", source.prefix.as_deref().unwrap_or_default());
        if !is_variable_name(&variable) {
            if !env.iter().any(|entry| takes(entry, name, &key)) {
                resolved.skipped.insert(variable);
            }
            continue;
        }
        match String::from_utf8(value.0) {
            Ok(value) => resolved.wants(&variable, source.visibility.unwrap_or(Visibility::Secret), value),
            Err(_) => not_text(&variable, &key, name, resolved),
        }
    }
}

/// Whether the entry takes this key, under a name of its own.
fn takes(entry: &EnvVar, secret: &str, key: &str) -> bool {
    let selector = entry.value_from.as_ref().map(|from| &from.secret_key_ref);
    selector.is_some_and(|selector| selector.name == secret && selector.key == key)
}

fn single(entry: &EnvVar, secrets: &Secrets, resolved: &mut Resolved) {
    if let Some(value) = &entry.value {
        return resolved.wants(&entry.name, Visibility::Plain, value.clone());
    }
    let Some(selector) = entry.value_from.as_ref().map(|from| &from.secret_key_ref) else { return };
    let found = secrets.get(&selector.name).unwrap_or(&Found::Absent);
    let Some(secret) = found.here() else {
        resolved.holds(&entry.name);
        let (reason, message) = found.why_not(&selector.name);
        return resolved.problem(reason, message);
    };
    let Some(value) = secret.data.as_ref().and_then(|data| data.get(&selector.key)) else {
        resolved.holds(&entry.name);
        let message = format!("Secret {} has no key {}; add it, or correct `key`", selector.name, selector.key);
        return resolved.problem(Reason::SecretKeyNotFound, message);
    };
    match String::from_utf8(value.0.clone()) {
        Ok(value) => resolved.wants(&entry.name, entry.visibility.unwrap_or(Visibility::Secret), value),
        Err(_) => not_text(&entry.name, &selector.key, &selector.name, resolved),
    }
}

fn not_text(variable: &str, key: &str, secret: &str, resolved: &mut Resolved) {
    resolved.holds(variable);
    resolved
        .problem(Reason::SecretValueInvalid, format!("key {key} of Secret {secret} is not UTF-8 text and is not sent"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use secrecy::ExposeSecret;
    use serde_json::json;

    fn secret(name: &str, data: &[(&str, &[u8])]) -> (String, Found) {
        let mut secret = Secret::default();
        secret.metadata.uid = Some(format!("uid-{name}"));
        secret.metadata.resource_version = Some("7".into());
        secret.data = Some(data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.to_vec()))).collect());
        (name.to_owned(), Found::Here(Box::new(secret)))
    }

    fn spec(spec: serde_json::Value) -> ToolEnvSecretSpec {
        let mut with_tool = spec;
        with_tool["toolRef"] = json!({"name": "weather"});
        serde_json::from_value(with_tool).unwrap()
    }

    fn shown(resolved: &Resolved) -> Vec<(String, Visibility, String)> {
        resolved.variables.iter().map(|(n, v)| (n.clone(), v.visibility, v.value.expose_secret().to_owned())).collect()
    }

    fn reasons(resolved: &Resolved) -> Vec<Reason> {
        resolved.problems.iter().map(|p| p.reason).collect()
    }

    #[test]
    fn later_sources_win_and_env_wins_over_all() {
        let spec = spec(json!({
            "envFrom": [{"secretRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
            "env": [{"name": "C", "value": "env"}]
        }));
        let secrets =
            Secrets::from([secret("a", &[("A", b"a"), ("B", b"a"), ("C", b"a")]), secret("b", &[("B", b"b")])]);
        let resolved = resolve(&spec, &secrets);
        assert_eq!(
            shown(&resolved),
            [
                ("A".into(), Visibility::Secret, "a".into()),
                ("B".into(), Visibility::Secret, "b".into()),
                ("C".into(), Visibility::Plain, "env".into()),
            ]
        );
        assert!(resolved.problems.is_empty() && !resolved.hold_all);
        assert_eq!(resolved.secrets.len(), 2);
    }

    #[test]
    fn what_cannot_be_had_is_held_and_named() {
        let one = json!({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}]});
        let from = json!({"envFrom": [{"secretRef": {"name": "a"}}]});
        let absent = Secrets::from([("a".into(), Found::Absent)]);
        let unlabelled = Secrets::from([("a".into(), Found::Unlabelled)]);
        let denied = Found::Denied { namespace: "travel".into(), said: "no".into() };
        let denied = Secrets::from([("a".into(), denied)]);
        let table: [(serde_json::Value, Secrets, Reason, bool); 10] = [
            (one.clone(), denied.clone(), Reason::SecretAccessDenied, false),
            (from.clone(), denied, Reason::SecretAccessDenied, true),
            (one.clone(), unlabelled.clone(), Reason::SecretNotLabelled, false),
            (from.clone(), unlabelled, Reason::SecretNotLabelled, true),
            (one.clone(), absent.clone(), Reason::SecretNotFound, false),
            (one.clone(), Secrets::from([secret("a", &[("x", b"")])]), Reason::SecretKeyNotFound, false),
            (one, Secrets::from([secret("a", &[("k", b"\xff")])]), Reason::SecretValueInvalid, false),
            (from.clone(), absent.clone(), Reason::SecretNotFound, true),
            (from.clone(), Secrets::from([secret("a", &[])]), Reason::SecretNotFound, true),
            (from, Secrets::from([secret("a", &[("KEY", b"\xff")])]), Reason::SecretValueInvalid, false),
        ];
        for (manifest, secrets, reason, hold_all) in table {
            let resolved = resolve(&spec(manifest.clone()), &secrets);
            assert_eq!(reasons(&resolved), [reason], "{manifest}");
            assert_eq!(resolved.hold_all, hold_all, "{manifest}");
            assert!(hold_all || resolved.held.contains("KEY"), "{manifest}");
            assert!(resolved.variables.is_empty());
        }
    }

    #[test]
    fn keys_that_are_no_names_are_skipped() {
        let spec =
            spec(json!({"envFrom": [{"secretRef": {"name": "a"}, "prefix": "P_"}, {"secretRef": {"name": "b"}}]}));
        let secrets =
            Secrets::from([secret("a", &[("key", b"1")]), secret("b", &[("tls.crt", b"1"), ("lower", b"1")])]);
        let resolved = resolve(&spec, &secrets);
        assert_eq!(shown(&resolved).len(), 1);
        assert_eq!(shown(&resolved)[0].0, "P_key");
        assert_eq!(resolved.skipped, BTreeSet::from(["lower".into(), "tls.crt".into()]));
    }

    #[test]
    fn a_key_that_env_names_is_not_skipped() {
        let skipped = |secret_name: &str, key: &str| {
            let from = json!([{"secretRef": {"name": "a"}}]);
            let env = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret_name, "key": key}}}]);
            let secrets = Secrets::from([secret("a", &[("token", b"1")]), secret("b", &[("token", b"1")])]);
            resolve(&spec(json!({"envFrom": from, "env": env})), &secrets).skipped.len()
        };
        assert_eq!([skipped("a", "token"), skipped("a", "other"), skipped("b", "token")], [0, 1, 1]);
    }

    #[test]
    fn too_many_variables_are_none() {
        let manifest = spec(json!({"envFrom": [{"secretRef": {"name": "a"}}]}));
        for (count, sent) in [(MOST_VARIABLES, MOST_VARIABLES), (MOST_VARIABLES + 1, 0)] {
            let keys: Vec<String> = (0..count).map(|n| format!("KEY_{n}")).collect();
            let data: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), b"x".as_slice())).collect();
            let resolved = resolve(&manifest, &Secrets::from([secret("a", &data)]));
            assert_eq!((resolved.variables.len(), resolved.hold_all), (sent, sent == 0));
            assert_eq!(reasons(&resolved).is_empty(), sent > 0);
        }
    }

    #[test]
    fn no_value_is_printed() {
        let spec = spec(json!({"env": [{"name": "A", "value": "canary"}]}));
        assert!(!format!("{:?}", resolve(&spec, &Secrets::new())).contains("canary"));
    }
}
