//! Argo CD's Lua, with no more than Argo CD gives to a script of a user: Lua 5.1, its basic functions, `table`, `package`, and an
//! `os` that only tells the time and that a script has to require. Every script runs twice: in Lua itself, and in the interpreter
//! that Argo CD links.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mlua::debug::Debug;
use mlua::serde::{DeserializeOptions, SerializeOptions};
use mlua::{HookTriggers, Lua, LuaOptions, LuaSerdeExt as _, StdLib, Table, VmState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::kstatus;

/// When scripts run: 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// More instructions than any script needs. Argo CD ends a script after a second.
const INSTRUCTIONS: u32 = 100_000;

/// How healthy Argo CD takes an object for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub status: String,
    #[serde(default)]
    pub message: String,
}

/// Runs a health script.
pub fn health(script: &str, object: &Value) -> Health {
    let health: Health = serde_json::from_value(run(script, object)).expect("a status and a message");
    let known = ["Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown"];
    assert!(known.contains(&health.status.as_str()), "{health:?}");
    health
}

/// Runs a discovery script: the actions, and whether each is disabled.
pub fn discover(script: &str, object: &Value) -> BTreeMap<String, bool> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Action {
        disabled: bool,
    }
    let actions: BTreeMap<String, Action> = serde_json::from_value(run(script, object)).expect("a table of actions");
    actions.into_iter().map(|(name, action)| (name, action.disabled)).collect()
}

/// Runs an action: the object as it should become.
pub fn act(script: &str, object: &Value) -> Value {
    let mut changed = run(script, object);
    clean(&mut changed, object);
    changed
}

/// What Argo CD sends to the server for an action: a merge patch from one object to the other.
pub fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let differs = |key: &String, value: &Value| before.get(key) != Some(value);
    let changed = after.iter().filter(|(key, value)| differs(key, value));
    let changed =
        changed.map(|(key, value)| (key.clone(), merge_patch(before.get(key).unwrap_or(&Value::Null), value)));
    Value::Object(gone.chain(changed).collect())
}

fn run(script: &str, object: &Value) -> Value {
    let returned = evaluate(script, object).unwrap_or_else(|error| panic!("{error}\nin\n{script}"));
    let answers = kstatus::ask(&[json!({"object": object, "script": script})]);
    assert_eq!(answers[0].lua, returned, "in gopher-lua, and in Lua, of {object}:\n{script}");
    returned
}

fn evaluate(script: &str, object: &Value) -> mlua::Result<Value> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::PACKAGE, LuaOptions::default())?;
    let os = lua.create_table()?;
    os.set("date", lua.create_function(|_, format: String| Ok(date(&format)))?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("os", lua.create_function(move |_, ()| Ok(os.clone()))?)?;
    let plain = SerializeOptions::new().set_array_metatable(false);
    let absent = plain.serialize_none_to_null(false).serialize_unit_to_null(false);
    lua.globals().set("obj", lua.to_value_with(object, absent)?)?;
    lua.globals().set("actionParams", lua.create_table()?)?;
    let endless = |_: &Lua, _: &Debug<'_>| -> mlua::Result<VmState> { Err(mlua::Error::external("endless")) };
    lua.set_hook(HookTriggers::new().every_nth_instruction(INSTRUCTIONS), endless)?;
    let returned: mlua::Value = lua.load(script).eval()?;
    lua.from_value_with(returned, DeserializeOptions::new().encode_empty_tables_as_array(true))
}

/// `os.date` of Argo CD: a few letters, of which all scripts here want Greenwich's.
fn date(format: &str) -> String {
    let format = format.strip_prefix('!').expect("a script asks for UTC");
    let letters = format.split('%').skip(1).filter_map(|part| part.chars().next());
    assert!(letters.into_iter().all(|letter| "YmdHMS".contains(letter)), "Argo CD knows no such date: {format}");
    Timestamp::from_second(NOW).unwrap().strftime(format).to_string()
}

/// In Lua an empty object and an empty list are the same. What was an empty object before is one again, as Argo CD does it.
fn clean(changed: &mut Value, before: &Value) {
    match (changed, before) {
        (Value::Object(changed), Value::Object(before)) => {
            for (key, value) in changed {
                clean(value, before.get(key).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(changed), Value::Array(before)) => changed.iter_mut().zip(before).for_each(|(c, b)| clean(c, b)),
        (changed @ Value::Array(_), Value::Object(before)) if before.is_empty() => *changed = Value::Object(Map::new()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_only_what_argo_cd_gives_them() {
        let missing =
            "return {status = 'Healthy', message = tostring(string or math or io or debug or os or obj.none)}";
        assert_eq!(health(missing, &json!({"none": null})).message, "nil");
        assert!(evaluate("goto done ::done:: return {}", &Value::Null).is_err(), "Lua 5.1 has no goto");
        assert!(evaluate("while true do end", &Value::Null).is_err(), "an endless script is ended");
        assert!(evaluate("return obj.status.conditions", &json!({})).is_err(), "an index of nothing is an error");
    }

    #[test]
    fn an_action_changes_what_it_says_and_nothing_else() {
        let object = json!({"a": {}, "b": [], "c": [{"d": {}}], "e": 3, "f": {"g": 1, "h": "x"}});
        assert_eq!(act("return obj", &object), object);
        let changed = act("obj.f.g = 2; obj.e = nil; return obj", &object);
        assert_eq!(merge_patch(&object, &changed), json!({"e": null, "f": {"g": 2}}));
    }
}
