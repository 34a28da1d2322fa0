//! What a real operator on a real control plane logs as JSON: every key is documented, every value is what the page says, and
//! each reconcile has one line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use amigo_operator::controllers::ending::End;
use amigo_operator::operator::logs::FIELDS;
use amigo_operator::resources::Reason;
use jiff::Timestamp;
use serde_json::{Map, Value};

use support::manifests::{acme, all, env_from, secret, tool, variables, version};
use support::{Setup, World};

type Line = Map<String, Value>;

fn lines(world: &World) -> Vec<Line> {
    let log = world.log();
    // The last one may not be whole.
    let whole = log.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn text<'a>(line: &'a Line, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_own(line: &Line) -> bool {
    text(line, "logger").starts_with("amigo_operator")
}

/// What is wrong with a line.
fn complaint(line: &Line) -> Option<String> {
    let unknown = line.keys().find(|key| is_own(line) && !FIELDS.iter().any(|(known, _)| known == key));
    let is_reason = |reason: &str| Reason::ALL.iter().any(|known| known.as_str() == reason);
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wrong = line.iter().find(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        let fits = match key.as_str() {
            "ts" => text.parse::<Timestamp>().is_ok(),
            "level" => matches!(text, "error" | "warn" | "info" | "debug" | "trace"),
            "controller" => matches!(text, "organization" | "tool" | "toolversion" | "toolenvsecret"),
            "kind" => matches!(text, "Organization" | "Tool" | "ToolVersion" | "ToolEnvSecret"),
            "reason" => is_reason(text),
            "reconcileID" => text.split_once('-').is_some_and(|(process, _)| is_hex(process, 16)),
            "traceID" => is_hex(text, 32),
            "spanID" => is_hex(text, 16),
            "againSeconds" | "attempt" | "inserted" | "updated" | "deleted" | "publishes" | "graceSeconds" => {
                value.is_u64()
            }
            _ => !text.is_empty(),
        };
        is_own(line) && !fits
    });
    let missing = ["ts", "level", "logger", "msg"].into_iter().find(|key| text(line, key).is_empty());
    match (unknown, wrong, missing) {
        (None, None, None) => None,
        found => Some(format!("{found:?} in {line:?}")),
    }
}

#[test]
fn every_line_is_as_the_page_says_and_every_reconcile_has_one() {
    let mut world = World::with("logs", Setup { log_format: "json", ..Setup::default() });
    let value = world.canary();
    let objects = [
        acme(&world),
        secret("values", &format!("A: {value}")),
        tool("weather", ""),
        variables("weather", &env_from("values")),
        version("1.0.0", ""),
    ];
    world.apply(&all(objects));
    for (kind, name) in [("Tool", "weather"), ("ToolEnvSecret", "weather"), ("ToolVersion", "weather-1.0.0")] {
        world.ready(kind, name);
    }
    // Ready shows a moment before the reconcile ends.
    let ended = |line: &Line| text(line, "kind") == "ToolVersion" && text(line, "reason") == "Succeeded";
    world.until("the last reconcile ends", || lines(&world).iter().any(ended));
    world.apply(&tool("other", "name: weather"));
    world.reason("Tool", "other", "NameTaken");
    world.delete("ToolVersion", "weather-1.0.0");
    world.gone("ToolVersion", "weather-1.0.0");
    let told = |line: &Line| text(line, "outcome") == "cleaned-up" || text(line, "reason") == "NameTaken";
    world.until("both are told", || lines(&world).iter().filter(|line| told(line)).count() >= 2);
    world.stop_operator();
    let lines = lines(&world);
    let complaints: Vec<String> = lines.iter().filter_map(complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    let ends: Vec<&Line> = lines.iter().filter(|line| is_own(line) && line.contains_key("controller")).collect();
    let ends: Vec<&Line> = ends.into_iter().filter(|line| text(line, "msg").starts_with("reconciled")).collect();
    let mut of_reconcile: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &ends {
        *of_reconcile.entry(text(line, "reconcileID")).or_default() += 1;
        let end = End::ALL.into_iter().find(|end| end.as_str() == text(line, "outcome")).unwrap();
        assert_eq!(end.level().as_str().to_lowercase(), text(line, "level"), "{line:?}");
    }
    assert!(of_reconcile.len() > 4 && of_reconcile.values().all(|count| *count == 1), "{of_reconcile:?}");

    let told = |kind: &str, name: &str, level: &str| -> BTreeSet<(String, String)> {
        let of =
            |line: &&&Line| text(line, "kind") == kind && text(line, "name") == name && text(line, "level") == level;
        ends.iter().filter(of).map(|line| (text(line, "outcome").into(), text(line, "reason").into())).collect()
    };
    for (kind, name, level, outcome, reason) in [
        ("Organization", "acme", "info", "changed", "Succeeded"),
        ("Tool", "weather", "info", "changed", "Succeeded"),
        ("ToolEnvSecret", "weather", "info", "changed", "Succeeded"),
        ("ToolVersion", "weather-1.0.0", "info", "changed", "Succeeded"),
        ("ToolVersion", "weather-1.0.0", "info", "cleaned-up", ""),
        ("Tool", "other", "warn", "stalled", "NameTaken"),
    ] {
        let told = told(kind, name, level);
        assert!(told.contains(&(outcome.into(), reason.into())), "{kind} {name}: {told:?}");
    }
    let of_calls = |line: &&Line| text(line, "msg") == "called" && text(line, "operation") == "create_tool";
    assert_eq!(lines.iter().find(of_calls).map(|line| text(line, "name")), Some("weather"));
    assert!(lines.iter().all(|line| !line.contains_key("traceID")), "nothing is traced");
    world.finish();
}
