//! Query parameters: filters, sorting and paging of the two lists. Form only; knows no tools.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::{Value, json};
use url::form_urlencoded;
use uv_pep440::{Version, VersionSpecifiers};

use super::answer::Answer;
use super::validate::{Issues, is_id};
use crate::amigo::types::VersionNumber;

/// A field to sort by, and whether it rises.
pub(super) type SortKey = (String, bool);

/// The parameters of the list of tools.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToolQuery {
    pub ids: Vec<String>,
    pub deprecated: Option<bool>,
    pub tags: Vec<TagFilter>,
    pub sort_by: Vec<SortKey>,
    pub page: Page,
}

/// The parameters of the list of versions.
#[derive(Debug)]
pub(super) struct VersionQuery {
    pub deprecated: Option<bool>,
    pub versions: Option<VersionSpecifiers>,
    pub sort_by: Vec<SortKey>,
    /// Organization and user.
    pub creators: Vec<(String, String)>,
    pub page: Page,
}

/// One `tag` parameter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagFilter {
    pub key: String,
    pub value: TagValue,
}

/// What the value of a tag has to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TagValue {
    Any,
    Null,
    Exactly(String),
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub limit: usize,
    pub offset: usize,
}

impl Page {
    /// The wanted part, whether more follows, and the token of what follows.
    pub(super) fn of<T>(self, all: Vec<T>) -> (Vec<T>, bool, Option<Value>) {
        let end = self.offset.saturating_add(self.limit);
        let has_more = end < all.len();
        let part = all.into_iter().skip(self.offset).take(self.limit).collect();
        (part, has_more, has_more.then(|| json!(end)))
    }
}

struct Parameters {
    pairs: Vec<(String, String)>,
    issues: Issues,
}

impl Parameters {
    fn new(query: &str) -> Self {
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(), issues: Issues::default() }
    }

    fn issue(&mut self, name: &str, kind: &str, message: &str, input: &str) {
        self.issues.add(kind, &["query", name], message, &Value::from(input));
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Every value of `name`, each parsed; those that do not parse are issues.
    fn each<T>(&mut self, name: &str, message: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut parsed = Vec::new();
        for value in self.all(name) {
            match parse(&value) {
                Some(value) => parsed.push(value),
                None => self.issue(name, "value_error", message, &value),
            }
        }
        parsed
    }

    /// The last value of `name`.
    fn one<T>(&mut self, name: &str, message: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.all(name).pop()?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.issue(name, "value_error", message, &value);
        }
        parsed
    }

    fn deprecated(&mut self) -> Option<bool> {
        self.one("deprecated", "Input should be a valid boolean", boolean)
    }

    fn sort_by(&mut self, fields: &[&str]) -> Vec<SortKey> {
        self.each("sort_by", "Input should be + or - and a supported field", |value| {
            let (rises, field) = match value.split_at_checked(1)? {
                ("+", field) => (true, field),
                ("-", field) => (false, field),
                _ => return None,
            };
            fields.contains(&field).then(|| (field.to_owned(), rises))
        })
    }

    fn page(&mut self, limits: std::ops::RangeInclusive<usize>, default: usize) -> Page {
        let message = format!("Input should be an integer from {} to {}", limits.start(), limits.end());
        let within = |value: &str| value.parse().ok().filter(|limit| limits.contains(limit));
        let limit = self.one("limit", &message, within).unwrap_or(default);
        let offset =
            self.one("continuation_token", "Input should be a valid integer", |value| value.parse().ok()).unwrap_or(0);
        Page { limit, offset }
    }
}

/// The parameters of the list of tools.
pub(super) fn tools(query: &str) -> Result<ToolQuery, Answer> {
    let mut parameters = Parameters::new(query);
    let parsed = ToolQuery {
        ids: parameters
            .each("id", "String should match pattern '^[a-f0-9]{24}$'", |id| is_id(id).then(|| id.to_owned())),
        deprecated: parameters.deprecated(),
        tags: parameters.each("tag", "Input should be key:value", tag_filter),
        sort_by: parameters.sort_by(&["name", "deprecated"]),
        page: parameters.page(1..=20, 10),
    };
    parameters.issues.none()?;
    Ok(parsed)
}

/// The parameters of the list of versions.
pub(super) fn versions(query: &str) -> Result<VersionQuery, Answer> {
    let fields = ["created_at", "version.major", "version.minor", "version.patch", "deprecated"];
    let mut parameters = Parameters::new(query);
    let parsed = VersionQuery {
        deprecated: parameters.deprecated(),
        versions: parameters.one("versions", "Invalid specifier", |text| VersionSpecifiers::from_str(text).ok()),
        sort_by: parameters.sort_by(&fields),
        creators: parameters.each("creator", "Input should be org_id,user_id", |value| {
            let (organization, user) = value.split_once(',')?;
            Some((organization.to_owned(), user.to_owned()))
        }),
        page: parameters.page(0..=50, 50),
    };
    parameters.issues.none()?;
    Ok(parsed)
}

/// The specifier in the path of a deprecation.
pub(super) fn specifier(text: &str) -> Result<VersionSpecifiers, Answer> {
    VersionSpecifiers::from_str(text).map_err(|_| {
        let mut issues = Issues::default();
        issues.add("value_error", &["path", "versions"], "Invalid specifier", &Value::from(text));
        issues.refusal()
    })
}

/// Whether `number` is within the specifier.
pub(super) fn contains(specifiers: &VersionSpecifiers, number: VersionNumber) -> bool {
    specifiers.contains(&Version::new([number.major, number.minor, number.patch]))
}

/// Sorts by `keys`, ties broken by the order the entries have. `compare` tells how a field of two entries compares.
pub(super) fn sort<T>(entries: &mut [&T], keys: &[SortKey], compare: impl Fn(&str, &T, &T) -> Ordering) {
    entries.sort_by(|a, b| {
        keys.iter().fold(Ordering::Equal, |order, (field, rises)| {
            order.then_with(|| if *rises { compare(field, a, b) } else { compare(field, b, a) })
        })
    });
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn tag_filter(text: &str) -> Option<TagFilter> {
    let (key, value) = text.split_once(':')?;
    let value = match value {
        "*" => TagValue::Any,
        "" => TagValue::Null,
        value => TagValue::Exactly(value.to_owned()),
    };
    (!key.is_empty()).then(|| TagFilter { key: key.to_owned(), value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn reads_the_filters_of_tools() {
        let query = tools("id=0123456789abcdef01234567&deprecated=False&tag=a:b%20c&tag=d:*&tag=e:&sort_by=%2Bname&limit=20&continuation_token=40").unwrap();
        assert_eq!(query.ids, ["0123456789abcdef01234567"]);
        assert_eq!(query.deprecated, Some(false));
        assert_eq!(query.tags[0].value, TagValue::Exactly("b c".to_owned()));
        assert_eq!((&query.tags[1].value, &query.tags[2].value), (&TagValue::Any, &TagValue::Null));
        assert_eq!(query.sort_by, [("name".to_owned(), true)]);
        assert_eq!(query.page, Page { limit: 20, offset: 40 });
        assert_eq!(tools("").unwrap().page, Page { limit: 10, offset: 0 });
    }

    #[test]
    fn refuses_what_is_out_of_form() {
        for query in [
            "limit=0",
            "limit=21",
            "id=x",
            "deprecated=maybe",
            "deprecated=",
            "tag=a",
            "sort_by=name",
            "sort_by=+name",
            "sort_by=-created_at",
            "continuation_token=-1",
        ] {
            assert!(tools(query).is_err(), "{query}");
        }
        for query in ["limit=51", "versions=latest", "sort_by=-name", "creator=acme"] {
            assert!(versions(query).is_err(), "{query}");
        }
        assert!(versions("limit=0&versions=%3E%3D1.2%2C%3C2&sort_by=-version.major&creator=acme,u1").is_ok());
    }

    #[test]
    fn pages_by_offset() {
        let page = |limit, offset| Page { limit, offset }.of((0..5).collect::<Vec<_>>());
        assert_eq!(page(2, 0), (vec![0, 1], true, Some(json!(2))));
        assert_eq!(page(2, 4), (vec![4], false, None));
        assert_eq!(page(5, 0), (vec![0, 1, 2, 3, 4], false, None));
        assert_eq!(page(2, 9), (vec![], false, None));
        assert_eq!(page(0, 0), (vec![], true, Some(json!(0))), "a limit of 0 pages for ever");
    }

    #[test]
    fn specifiers_are_those_of_python() {
        let number = VersionNumber::new(1, 2, 3);
        for (text, within) in [("==1.2.3", true), ("<1.4", true), ("~=1.2", true), ("==1.*", true), ("!=1.2.3", false)]
        {
            assert_eq!(contains(&specifier(text).unwrap(), number), within, "{text}");
        }
        assert!(specifier("1.2.3").is_err());
    }
}
