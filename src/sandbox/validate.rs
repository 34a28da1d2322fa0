//! Validation of what is sent, as strict as the service: trimmed, matched to patterns, and refused with a 422 that
//! repeats the submitted input. Decides on form only; what it means for the state is decided by the calls.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::settings::{Revision, Settings};
use crate::amigo::types::{Branch, BumpType, CreateTool, ModifyTool, PublishVersion, Tags};

const MOST_TAGS: usize = 20;

/// What is wrong with a request, in the order it was found.
#[derive(Debug, Default)]
pub(super) struct Issues(Vec<Value>);

impl Issues {
    /// Notes that `input`, found at `location`, is wrong.
    pub(super) fn add(&mut self, kind: &str, location: &[&str], message: &str, input: &Value) {
        self.0.push(json!({ "type": kind, "loc": location, "msg": message, "input": input }));
    }

    /// The 422 when anything is wrong.
    pub(super) fn none(&self) -> Result<(), Answer> {
        if self.0.is_empty() { Ok(()) } else { Err(self.refusal()) }
    }

    /// The 422.
    pub(super) fn refusal(&self) -> Answer {
        Answer::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": self.0 }))
    }
}

/// A rule for a text.
#[derive(Clone, Copy)]
struct Rule {
    /// Shown when the text breaks the rule.
    pattern: &'static str,
    holds: fn(&str) -> bool,
}

const FILLED: Rule = Rule { pattern: ".+", holds: |_| true };
const TOOL_NAME: Rule =
    Rule { pattern: "^[a-z0-9_]+$", holds: |text| text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) };
const TAG: Rule = Rule {
    pattern: r"^[\w\s]+$",
    holds: |text| text.chars().all(|c| c.is_alphanumeric() || c == '_' || c.is_whitespace()),
};
const VARIABLE_NAME: Rule =
    Rule { pattern: "[A-Z_]+", holds: |text| text.chars().any(|c| c.is_ascii_uppercase() || c == '_') };
const PROJECT_PATH: Rule = Rule {
    pattern: r"^[-\w\d_/]+$",
    holds: |text| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '/')),
};

/// Whether `text` is an id: 24 lower-case hex digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The JSON document of a body.
pub(super) fn document(headers: &HeaderMap, body: &Bytes) -> Result<Value, Answer> {
    let mut issues = Issues::default();
    if body.is_empty() {
        issues.add("missing", &["body"], "Field required", &Value::Null);
        return Err(issues.refusal());
    }
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !json.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let text = String::from_utf8_lossy(body).into_owned().into();
        issues.add("model_attributes_type", &["body"], "Input should be a valid dictionary", &text);
        return Err(issues.refusal());
    }
    serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body).into_owned().into();
        issues.add("json_invalid", &["body"], &format!("JSON decode error: {error}"), &text);
        issues.refusal()
    })
}

/// The fields of an object under validation.
struct Fields<'i, 'a> {
    issues: &'i mut Issues,
    location: Vec<&'a str>,
    whole: &'a Value,
    object: Option<&'a Map<String, Value>>,
}

impl<'i, 'a> Fields<'i, 'a> {
    fn new(issues: &'i mut Issues, location: Vec<&'a str>, whole: &'a Value) -> Self {
        let object = whole.as_object();
        if object.is_none() {
            issues.add("model_attributes_type", &location, "Input should be a valid dictionary", whole);
        }
        Self { issues, location, whole, object }
    }

    fn issue(&mut self, name: &str, kind: &str, message: &str, input: &Value) {
        let mut location = self.location.clone();
        location.push(name);
        self.issues.add(kind, &location, message, input);
    }

    /// Refuses fields other than `known`.
    fn only(&mut self, known: &[&str]) {
        let unknown = self.object.into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()));
        for (name, value) in unknown {
            self.issue(name, "extra_forbidden", "Extra inputs are not permitted", value);
        }
    }

    fn optional(&self, name: &str) -> Option<&'a Value> {
        self.object.and_then(|object| object.get(name))
    }

    fn required(&mut self, name: &str) -> Option<&'a Value> {
        let value = self.optional(name);
        if value.is_none() && self.object.is_some() {
            // The input of a missing field is all that was sent.
            self.issue(name, "missing", "Field required", self.whole);
        }
        value
    }

    fn text(&mut self, name: &str, rule: Rule) -> Option<String> {
        let value = self.required(name)?;
        self.matched(name, value, rule)
    }

    fn matched(&mut self, name: &str, value: &Value, rule: Rule) -> Option<String> {
        let Some(text) = value.as_str() else {
            self.issue(name, "string_type", "Input should be a valid string", value);
            return None;
        };
        let text = text.trim();
        if text.is_empty() {
            self.issue(name, "string_too_short", "String should have at least 1 character", value);
            return None;
        }
        if !(rule.holds)(text) {
            let message = format!("String should match pattern '{}'", rule.pattern);
            self.issue(name, "string_pattern_mismatch", &message, value);
            return None;
        }
        Some(text.to_owned())
    }

    fn choice<T: serde::de::DeserializeOwned>(&mut self, name: &str, choices: &str) -> Option<T> {
        let value = self.required(name)?;
        let choice = serde_json::from_value(value.clone()).ok();
        if choice.is_none() {
            self.issue(name, "enum", &format!("Input should be {choices}"), value);
        }
        choice
    }

    fn tags(&mut self, value: &Value) -> Option<Tags> {
        let Some(object) = value.as_object() else {
            self.issue("tags", "dict_type", "Input should be a valid dictionary", value);
            return None;
        };
        if object.len() > MOST_TAGS {
            self.issue("tags", "too_long", "Dictionary should have at most 20 items after validation", value);
            return None;
        }
        let mut tags = Tags::new();
        let mut whole = true;
        for (key, value) in object {
            let key = self.matched("tags", &Value::from(key.as_str()), TAG);
            let value = if value.is_null() { Some(None) } else { self.matched("tags", value, TAG).map(Some) };
            match (key, value) {
                (Some(key), Some(value)) => drop(tags.insert(key, value)),
                _ => whole = false,
            }
        }
        whole.then_some(tags)
    }
}

/// The body of a create.
pub(super) fn create_tool(body: &Value, settings: &Settings) -> Result<CreateTool, Answer> {
    let mut issues = Issues::default();
    let mut fields = Fields::new(&mut issues, vec!["body"], body);
    let name = fields.text("name", TOOL_NAME);
    let description = fields.text("description", FILLED);
    let tags = fields.required("tags").and_then(|value| fields.tags(value));
    if settings.refuse_extra_fields {
        fields.only(&["name", "description", "tags"]);
    }
    issues.none()?;
    match (name, description, tags) {
        (Some(name), Some(description), Some(tags)) => Ok(CreateTool { name, description, tags }),
        _ => Err(issues.refusal()),
    }
}

/// The body of a modify; null counts as absent.
pub(super) fn modify_tool(body: &Value, settings: &Settings) -> Result<ModifyTool, Answer> {
    let mut issues = Issues::default();
    let mut fields = Fields::new(&mut issues, vec!["body"], body);
    let given = |fields: &Fields<'_, '_>, name| fields.optional(name).filter(|value| !value.is_null()).cloned();
    let description = given(&fields, "description").and_then(|value| fields.matched("description", &value, FILLED));
    let tags = given(&fields, "tags").and_then(|value| fields.tags(&value));
    if settings.refuse_extra_fields {
        fields.only(&["description", "tags"]);
    }
    issues.none()?;
    Ok(ModifyTool { description, tags })
}

/// The body of a publish, in the revision that is set.
pub(super) fn publish_version(body: &Value, settings: &Settings) -> Result<PublishVersion, Answer> {
    let mut issues = Issues::default();
    let mut fields = Fields::new(&mut issues, vec!["body"], body);
    let (mut branch, mut repo) = (None, None);
    match settings.revision {
        Revision::July2025 => branch = fields.choice::<Branch>("branch", "'main' or 'team'"),
        Revision::September2025 => repo = fields.choice::<Branch>("repo", "'main' or 'team'"),
        Revision::Year2026 => {}
    }
    let project_path = fields.text("project_path", PROJECT_PATH);
    let bump_type = fields.choice::<BumpType>("bump_type", "'major', 'minor' or 'patch'");
    if settings.refuse_extra_fields {
        fields.only(match settings.revision {
            Revision::July2025 => &["branch", "project_path", "bump_type"],
            Revision::September2025 => &["repo", "project_path", "bump_type"],
            Revision::Year2026 => &["project_path", "bump_type"],
        });
    }
    issues.none()?;
    match (project_path, bump_type) {
        (Some(project_path), Some(bump_type)) => Ok(PublishVersion { branch, repo, project_path, bump_type }),
        _ => Err(issues.refusal()),
    }
}

/// A variable to insert.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Insert {
    pub name: String,
    pub value: String,
    pub is_secret: bool,
}

/// The body of a change of variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct VariableChanges {
    pub inserts: Vec<Insert>,
    pub updates: Vec<(String, String)>,
    pub deletes: Vec<String>,
}

/// The body of a change of variables. Lists default to empty; null is not a list.
pub(super) fn modify_variables(body: &Value, settings: &Settings) -> Result<VariableChanges, Answer> {
    let mut issues = Issues::default();
    let fields = Fields::new(&mut issues, vec!["body"], body);
    let lists = ["inserts", "updates", "deletes"].map(|list| (list, fields.optional(list)));
    let mut changes = VariableChanges::default();
    for (list, value) in lists {
        let Some(value) = value else { continue };
        let Some(entries) = value.as_array() else {
            issues.add("list_type", &["body", list], "Input should be a valid list", value);
            continue;
        };
        for (index, entry) in entries.iter().enumerate() {
            variable(&mut issues, (list, &index.to_string()), entry, settings, &mut changes);
        }
    }
    if settings.refuse_extra_fields {
        Fields::new(&mut issues, vec!["body"], body).only(&["inserts", "updates", "deletes"]);
    }
    issues.none()?;
    Ok(changes)
}

/// One entry of one of the three lists.
fn variable(
    issues: &mut Issues,
    (list, index): (&str, &str),
    entry: &Value,
    settings: &Settings,
    changes: &mut VariableChanges,
) {
    let mut fields = Fields::new(issues, vec!["body", list, index], entry);
    let name = fields.text("name", VARIABLE_NAME);
    let value = if list == "deletes" { None } else { plain_text(&mut fields, "value") };
    let is_secret = if list == "inserts" { flag(&mut fields, "is_secret") } else { None };
    if settings.refuse_extra_fields {
        fields.only(match list {
            "inserts" => &["name", "value", "is_secret"],
            "updates" => &["name", "value"],
            _ => &["name"],
        });
    }
    match (list, name, value, is_secret) {
        ("inserts", Some(name), Some(value), Some(is_secret)) => {
            changes.inserts.push(Insert { name, value, is_secret });
        }
        ("updates", Some(name), Some(value), _) => changes.updates.push((name, value)),
        ("deletes", Some(name), _, _) => changes.deletes.push(name),
        _ => {}
    }
}

/// A text that may be empty and is kept as it is: the value of a variable.
fn plain_text(fields: &mut Fields<'_, '_>, name: &str) -> Option<String> {
    let value = fields.required(name)?;
    if !value.is_string() {
        fields.issue(name, "string_type", "Input should be a valid string", value);
    }
    value.as_str().map(str::to_owned)
}

fn flag(fields: &mut Fields<'_, '_>, name: &str) -> Option<bool> {
    let value = fields.required(name)?;
    if !value.is_boolean() {
        fields.issue(name, "bool_type", "Input should be a valid boolean", value);
    }
    value.as_bool()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn status<T>(result: Result<T, Answer>) -> u16 {
        result.err().map_or(200, |answer| answer.status.as_u16())
    }

    #[test]
    fn create_is_trimmed_and_matched() {
        let settings = Settings::default();
        let body = json!({"name": " weather ", "description": " Now. ", "tags": {" team ": " häuser 1 ", "x": null}});
        let tool = create_tool(&body, &settings).unwrap();
        assert_eq!((tool.name.as_str(), tool.description.as_str()), ("weather", "Now."));
        let expected = [("team".to_owned(), Some("häuser 1".to_owned())), ("x".to_owned(), None)];
        assert_eq!(tool.tags, Tags::from(expected));

        let many: Map<String, Value> = (0..21).map(|n| (format!("t{n}"), Value::Null)).collect();
        for (field, value) in [
            ("name", json!("Weather")),
            ("name", json!("we-ather")),
            ("name", json!(" ")),
            ("name", json!(7)),
            ("description", json!("  ")),
            ("description", Value::Null),
            ("tags", Value::Null),
            ("tags", json!([])),
            ("tags", json!({"a-b": "c"})),
            ("tags", json!({"a": "b/c"})),
            ("tags", json!({"a": ""})),
            ("tags", json!({" ": "a"})),
            ("tags", json!({"a": 1})),
            ("tags", Value::Object(many)),
        ] {
            let mut body = json!({"name": "weather", "description": "Now.", "tags": {}});
            body[field] = value.clone();
            assert_eq!(status(create_tool(&body, &settings)), 422, "{field} {value}");
            body.as_object_mut().unwrap().remove(field);
            assert_eq!(status(create_tool(&body, &settings)), 422, "without {field}");
        }
        assert_eq!(status(create_tool(&json!([]), &settings)), 422);
    }

    #[test]
    fn null_leaves_what_a_modify_does_not_name() {
        let settings = Settings::default();
        let nothing = modify_tool(&json!({"description": null, "tags": null}), &settings).unwrap();
        assert_eq!(nothing, ModifyTool::default());
        assert_eq!(modify_tool(&json!({"tags": {}}), &settings).unwrap().tags, Some(Tags::new()));
        assert_eq!(status(modify_tool(&json!({"description": " "}), &settings)), 422);
    }

    #[test]
    fn each_revision_asks_for_its_own_publish() {
        let all = json!({"branch": "main", "repo": "team", "project_path": "tools/weather-1", "bump_type": "minor"});
        for (revision, needs) in
            [(Revision::July2025, Some("branch")), (Revision::September2025, Some("repo")), (Revision::Year2026, None)]
        {
            let mut settings = Settings { revision, ..Settings::default() };
            assert_eq!(status(publish_version(&all, &settings)), 200, "{revision}");
            for field in ["branch", "repo", "project_path", "bump_type"] {
                let mut body = all.clone();
                body.as_object_mut().unwrap().remove(field);
                let required = needs == Some(field) || field == "project_path" || field == "bump_type";
                assert_eq!(status(publish_version(&body, &settings)) == 422, required, "{revision} without {field}");
            }
            settings.refuse_extra_fields = true;
            assert_eq!(status(publish_version(&all, &settings)), 422, "{revision}");
        }
    }

    #[test]
    fn variables_are_lists_of_matched_names() {
        let settings = Settings::default();
        let body = json!({
            "inserts": [{"name": " apiKEY ", "value": " kept ", "is_secret": true}],
            "updates": [{"name": "UNITS", "value": ""}],
        });
        let changes = modify_variables(&body, &settings).unwrap();
        let insert = Insert { name: "apiKEY".to_owned(), value: " kept ".to_owned(), is_secret: true };
        assert_eq!(changes.inserts, [insert]);
        assert_eq!(changes.updates, [("UNITS".to_owned(), String::new())]);
        for body in [
            json!({"inserts": null}),
            json!({"inserts": [{"name": "A", "value": "b"}]}),
            json!({"inserts": [{"name": "lower", "value": "b", "is_secret": false}]}),
            json!({"updates": [{"name": "A", "value": 1}]}),
            json!({"deletes": ["A"]}),
        ] {
            assert_eq!(status(modify_variables(&body, &settings)), 422, "{body}");
        }
    }

    #[test]
    fn refusals_repeat_what_was_sent() {
        let body = json!({"inserts": [{"name": "lower", "value": "hunter2"}]});
        let answer = modify_variables(&body, &Settings::default()).unwrap_err();
        assert!(answer.body.unwrap().to_string().contains("hunter2"));
    }
}
