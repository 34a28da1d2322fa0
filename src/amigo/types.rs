//! The bodies of the API, as they travel. Unknown fields are ignored and absent ones tolerated on the way in; nothing
//! here decides anything. Used by the client and by the sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A tool, as the list of tools returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// 24 hex digits.
    #[serde(deserialize_with = "foreign::id")]
    pub id: String,
    /// The organization that owns the tool.
    #[serde(default)]
    pub org_id: String,
    /// Unique among the organization's tools that are not deprecated.
    pub name: String,
    /// What the model reads to decide when to call the tool.
    #[serde(default)]
    pub description: String,
    /// Final: nothing undoes it.
    pub deprecated: bool,
    /// Names of plain variables.
    #[serde(default)]
    pub envvars: Vec<String>,
    /// Names of encrypted variables.
    #[serde(default)]
    pub secret_envvars: Vec<String>,
    /// Returned as a list, sent as a map ([`Tags`]).
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl Tool {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let tags =
            self.tags.iter().map(|tag| size_of::<Tag>() + tag.key.len() + tag.value.as_ref().map_or(0, String::len));
        let names = size_of_all(&self.envvars) + size_of_all(&self.secret_envvars);
        size_of::<Self>() + self.name.len() + self.description.len() + names + tags.sum::<usize>()
    }

    /// The value of the tag `key`: outer `None` when there is no such tag, inner when the tag has no value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<Option<&str>> {
        self.tags.iter().find(|t| t.key == key).map(|t| t.value.as_deref())
    }
}

/// A tag, as it is returned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// At most 20 tags, `^[\w\s]+$`, trimmed.
    pub key: String,
    /// Same pattern as the key; null when the tag has no value.
    #[serde(default)]
    pub value: Option<String>,
}

/// Tags, as they are sent: key to value or null. A modify replaces the whole map.
pub type Tags = BTreeMap<String, Option<String>>;

/// Answer of `GET /tool/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolPage {
    /// At most `limit` tools.
    pub tools: Vec<Tool>,
    /// Whether another page follows.
    pub has_more: bool,
    /// Offset of the next page; untyped in answers, only set with `has_more`.
    #[serde(default, deserialize_with = "foreign::offset")]
    pub continuation_token: Option<u64>,
}

/// Body of `POST /tool/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTool {
    /// `^[a-z0-9_]+$`.
    pub name: String,
    /// Non-empty after trimming.
    pub description: String,
    /// Required by the service, may be empty.
    pub tags: Tags,
}

/// Answer of `POST /tool/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created {
    /// The new tool's id.
    #[serde(deserialize_with = "foreign::id")]
    pub id: String,
}

/// Body of `POST /tool/{id}`; absent leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyTool {
    /// Non-empty after trimming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Replaces the whole map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
}

/// The number of a published version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionNumber {
    /// Breaking changes.
    pub major: u64,
    /// Additions.
    pub minor: u64,
    /// Corrections.
    pub patch: u64,
}

impl VersionNumber {
    /// A number from its three parts.
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }

    /// The number that follows this one.
    #[must_use]
    pub const fn bumped(self, bump: BumpType) -> Self {
        match bump {
            BumpType::Major => Self::new(self.major.saturating_add(1), 0, 0),
            BumpType::Minor => Self::new(self.major, self.minor.saturating_add(1), 0),
            BumpType::Patch => Self::new(self.major, self.minor, self.patch.saturating_add(1)),
        }
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A text that is not `X.Y.Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of the form X.Y.Z")]
pub struct InvalidVersion(pub String);

impl FromStr for VersionNumber {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidVersion(text.chars().take(64).collect());
        let mut parts = text.split('.').map(|part| {
            let canonical = part == "0" || !part.starts_with('0');
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            (canonical && digits).then(|| part.parse::<u64>().ok()).flatten()
        });
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(major), Some(minor), Some(patch), None) => Ok(Self::new(major, minor, patch)),
            _ => Err(invalid()),
        }
    }
}

/// Which part of the number a publish raises. The first version of a tool uses `major`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BumpType {
    /// X.0.0
    Major,
    /// x.Y.0
    Minor,
    /// x.y.Z
    Patch,
}

/// Which branch a version is built from, for revisions of the API that ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// The tools repository's main branch.
    #[default]
    Main,
    /// The release branch of the organization's team.
    Team,
}

/// The user who published a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creator {
    /// The user.
    pub user_id: String,
    /// The user's organization.
    #[serde(default)]
    pub user_org_id: String,
}

/// A version, as the list of versions returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolVersion {
    /// 24 hex digits.
    #[serde(deserialize_with = "foreign::id")]
    pub id: String,
    /// The tool's id.
    #[serde(default)]
    pub tool_id: String,
    /// The number.
    pub version: VersionNumber,
    /// Plain variables without which the version does not run.
    #[serde(default)]
    pub required_envvars: Vec<String>,
    /// Secret variables without which the version does not run.
    #[serde(default)]
    pub required_secret_envvars: Vec<String>,
    /// The commit that was built.
    #[serde(default)]
    pub tool_commit_hash: Option<String>,
    /// The `project_path` of the publish.
    #[serde(default)]
    pub project_directory: Option<String>,
    /// Who published it.
    #[serde(default)]
    pub creator: Option<Creator>,
    /// When it was made; not in every revision of the API.
    #[serde(default, deserialize_with = "time::optional")]
    pub created_at: Option<Timestamp>,
    /// Final: nothing undoes it.
    pub deprecated: bool,
}

impl ToolVersion {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let texts = [&self.tool_commit_hash, &self.project_directory].into_iter().flatten();
        let creator = self.creator.iter().flat_map(|creator| [&creator.user_id, &creator.user_org_id]);
        let names = size_of_all(&self.required_envvars) + size_of_all(&self.required_secret_envvars);
        size_of::<Self>() + texts.chain(creator).map(String::len).sum::<usize>() + names
    }
}

#[cfg(test)]
impl Tool {
    /// A tool without variables and tags, to vary.
    pub(crate) fn for_tests() -> Self {
        Self {
            id: "a".repeat(24),
            org_id: "acme".into(),
            name: "weather".into(),
            description: "Weather for a city.".into(),
            deprecated: false,
            envvars: vec![],
            secret_envvars: vec![],
            tags: vec![],
        }
    }
}

#[cfg(test)]
impl ToolVersion {
    /// A version of which the service tells no more than it must, to vary.
    pub(crate) fn for_tests(version: VersionNumber) -> Self {
        Self {
            id: format!("id-{version}"),
            tool_id: "a".repeat(24),
            version,
            required_envvars: vec![],
            required_secret_envvars: vec![],
            tool_commit_hash: None,
            project_directory: None,
            creator: None,
            created_at: None,
            deprecated: false,
        }
    }
}

/// A text on the heap takes some more than its bytes.
fn size_of_all(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len() + 16).sum()
}

/// Answer of `GET /tool/{id}/version`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionPage {
    /// At most `limit` versions.
    pub tool_versions: Vec<ToolVersion>,
    /// Whether another page follows.
    pub has_more: bool,
    /// Offset of the next page; untyped in answers, only set with `has_more`.
    #[serde(default, deserialize_with = "foreign::offset")]
    pub continuation_token: Option<u64>,
}

/// Body of `POST /tool/{id}/version`. Which of `branch` and `repo` is set depends on the revision of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishVersion {
    /// Required in revision 2025-07.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// Required in revision 2025-09.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<Branch>,
    /// `^[-\w\d_/]+$`.
    pub project_path: String,
    /// Which part of the number rises.
    pub bump_type: BumpType,
}

/// Answer of `POST /tool/{id}/version`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// The number that came out.
    pub new_version: String,
}

/// Answer of the sign-in.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignedIn {
    /// A JWT: never printed.
    pub id_token: String,
    /// When the token ends.
    #[serde(deserialize_with = "time::required")]
    pub expires_at: Timestamp,
}

/// `^[a-f0-9]{24}$`
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Fields that are read no further than they make sense.
mod foreign {
    use std::fmt;

    use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer};

    /// Ids become parts of paths and of statuses: what is none makes the whole answer unreadable.
    pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let text = String::deserialize(deserializer)?;
        if super::is_id(&text) { Ok(text) } else { Err(D::Error::custom("an id that is none")) }
    }

    /// A number, or one as text. Anything else tells nothing, and is not kept however large it is.
    pub(super) fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(Offset)
    }

    struct Offset;

    impl<'de> Visitor<'de> for Offset {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_u64<E>(self, number: u64) -> Result<Option<u64>, E> {
            Ok(Some(number))
        }

        fn visit_str<E>(self, text: &str) -> Result<Option<u64>, E> {
            Ok(text.parse().ok())
        }

        fn visit_i64<E>(self, _: i64) -> Result<Option<u64>, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Option<u64>, E> {
            Ok(None)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Option<u64>, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Option<u64>, A::Error> {
            while entries.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<u64>, A::Error> {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }

    #[cfg(test)]
    mod tests {
        use crate::amigo::types::ToolPage;

        #[test]
        fn an_offset_is_a_number_or_nothing() {
            for (token, offset) in [
                ("20", Some(20)),
                ("\"40\"", Some(40)),
                ("18446744073709551616", None),
                ("-1", None),
                ("1.5", None),
                ("true", None),
                ("null", None),
                ("\"x\"", None),
                ("[[1], {}]", None),
                ("{\"a\": [1]}", None),
            ] {
                let page = format!(r#"{{"tools": [], "has_more": true, "continuation_token": {token}}}"#);
                assert_eq!(serde_json::from_str::<ToolPage>(&page).unwrap().continuation_token, offset, "{token}");
            }
        }
    }
}

/// The answer to a list of API keys.
#[derive(Debug, Clone, Deserialize)]
pub struct ApiKeys {
    /// The keys that the user may see: not all, perhaps none.
    pub api_keys: Vec<ApiKey>,
}

/// An API key, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApiKey {
    /// What is sent as `x-api-key-id`.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The id of the entry, under which a new key is told.
    #[serde(default, rename = "_id")]
    pub id: Option<String>,
    /// When it is taken no more.
    #[serde(default, deserialize_with = "time::optional")]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    #[serde(default, deserialize_with = "time::optional")]
    pub created_at: Option<Timestamp>,
}

/// Times as services write them: RFC 3339, and without an offset in UTC.
mod time {
    use jiff::Timestamp;
    use jiff::civil::DateTime;
    use jiff::tz::TimeZone;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom("a time that cannot be read"))
    }

    /// One that cannot be read is as good as none: nothing is decided by it alone.
    pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.as_deref().and_then(parse))
    }

    fn parse(text: &str) -> Option<Timestamp> {
        let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        text.parse().ok().or_else(civil)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn times_are_read_with_and_without_an_offset() {
            let expected = parse("2025-07-26T05:36:03Z");
            assert!(expected.is_some());
            for text in
                ["2025-07-26T05:36:03+00:00", "2025-07-26T05:36:03", "2025-07-26 05:36:03", "2025-07-26T07:36:03+02:00"]
            {
                assert_eq!(parse(text), expected, "{text}");
            }
            assert_eq!(parse("yesterday"), None);
        }
    }
}
