//! The mark: how a remote tool says which Tool it belongs to. It is sent in the create itself, so that a lost answer can be
//! resolved, and hashes owner, namespace and name, so that a rebuilt cluster with the same owner id finds its tools again.

use sha2::{Digest, Sha256};

use crate::amigo::types::{Tag, Tags, Tool};

/// Tag with the mark.
pub const OWNER_TAG: &str = "kubernetes_owner";

/// Tag with a hint for people, never parsed.
pub const RESOURCE_TAG: &str = "kubernetes_resource";

/// Longest hint, in characters: the service's limit on tags is not published.
const HINT_LIMIT: usize = 128;

/// The first 32 hex digits of SHA-256 over `OWNER/NAMESPACE/NAME`.
#[must_use]
pub fn mark(owner_id: &str, namespace: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{owner_id}/{namespace}/{name}"));
    digest.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A hint for people in the characters that tags allow.
#[must_use]
pub fn hint(namespace: &str, name: &str) -> String {
    let tag_safe = |c: char| if c.is_alphanumeric() || c == ' ' { c } else { '_' };
    format!("{namespace} {name}").chars().map(tag_safe).take(HINT_LIMIT).collect()
}

/// Whose a remote tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It carries this object's mark.
    Ours,
    /// It carries nobody's mark.
    Unmarked,
    /// It carries another mark.
    Foreign,
}

/// Whose `tool` is, seen from the object with this mark.
#[must_use]
pub fn of(tool: &Tool, mark: &str) -> Ownership {
    match tool.tag(OWNER_TAG) {
        None => Ownership::Unmarked,
        Some(Some(value)) if value.trim() == mark => Ownership::Ours,
        Some(_) => Ownership::Foreign,
    }
}

/// The operator's two tags.
#[must_use]
pub fn tags(mark: &str, hint: &str) -> Tags {
    [(OWNER_TAG, mark), (RESOURCE_TAG, hint)].into_iter().map(|(k, v)| (k.to_owned(), Some(v.to_owned()))).collect()
}

/// Returned tags in the form in which they are sent, trimmed as the service trims them.
#[must_use]
pub fn as_sent(tags: &[Tag]) -> Tags {
    tags.iter().map(|tag| (tag.key.trim().to_owned(), tag.value.as_deref().map(|v| v.trim().to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_the_documented_hash() {
        assert_eq!(mark("cluster-a", "travel", "weather"), "571cb6c669e3db880a4eec135d447b31");
        assert_ne!(mark("cluster-a", "travel", "weather"), mark("cluster-b", "travel", "weather"));
        assert_ne!(mark("cluster-a", "travel", "weather"), mark("cluster-a", "travel", "traffic"));
    }

    #[test]
    fn the_hint_has_only_characters_that_tags_allow() {
        assert_eq!(hint("travel-eu", "weather.v2"), "travel_eu weather_v2");
        assert_eq!(hint("travel", &"ü".repeat(500)).chars().count(), HINT_LIMIT);
    }

    /// A tag's key and value.
    type Pair<'a> = (&'a str, Option<&'a str>);

    fn tool(tags: &[Pair<'_>]) -> Tool {
        let tag = |(key, value): &Pair<'_>| Tag { key: (*key).into(), value: value.map(str::to_owned) };
        Tool { tags: tags.iter().map(tag).collect(), ..Tool::for_tests() }
    }

    #[test]
    fn the_mark_alone_tells_whose_a_tool_is() {
        let table: &[(&[Pair<'_>], Ownership)] = &[
            (&[], Ownership::Unmarked),
            (&[("team", Some("mark"))], Ownership::Unmarked),
            (&[(RESOURCE_TAG, Some("mark"))], Ownership::Unmarked),
            (&[(OWNER_TAG, Some("mark"))], Ownership::Ours),
            (&[("team", None), (OWNER_TAG, Some(" mark "))], Ownership::Ours),
            (&[(OWNER_TAG, Some("other"))], Ownership::Foreign),
            (&[(OWNER_TAG, Some("marks"))], Ownership::Foreign),
            (&[(OWNER_TAG, None)], Ownership::Foreign),
        ];
        for (tags, expected) in table {
            assert_eq!(of(&tool(tags), "mark"), *expected, "{tags:?}");
        }
    }

    #[test]
    fn tags_are_sent_as_the_service_keeps_them() {
        let sent = as_sent(&tool(&[(" team ", Some(" travel ")), ("bare", None)]).tags);
        assert_eq!(sent, Tags::from([("team".into(), Some("travel".into())), ("bare".into(), None)]));
        let own = tags("mark", "travel weather");
        let expected = [(OWNER_TAG, "mark"), (RESOURCE_TAG, "travel weather")];
        assert_eq!(own, expected.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).into());
    }
}
