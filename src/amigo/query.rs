//! The parameters of the two lists.

use url::form_urlencoded::Serializer;

/// Parameters of `GET /tool/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListTools {
    /// Only these ids.
    pub ids: Vec<String>,
    /// Only deprecated ones, or only those that are not; none: both.
    pub deprecated: Option<bool>,
    /// `key:value`, `key:*`, or `key:` for a tag without value.
    pub tags: Vec<String>,
    /// `+name`, `-name`, `+deprecated`, `-deprecated`.
    pub sort_by: Vec<String>,
    /// 1 to 20; 0 leaves it to the service.
    pub limit: u32,
    /// Offset of the page.
    pub continuation_token: u64,
}

/// Parameters of `GET /tool/{id}/version`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListVersions {
    /// Only deprecated ones, or only those that are not; none: both.
    pub deprecated: Option<bool>,
    /// PEP 440 specifier.
    pub versions: Option<String>,
    /// `created_at`, `version.major`, `version.minor`, `version.patch`, `deprecated`, each with `+` or `-`.
    pub sort_by: Vec<String>,
    /// `org_id,user_id`.
    pub creators: Vec<String>,
    /// 1 to 50; 0 leaves it to the service, which would page for ever otherwise.
    pub limit: u32,
    /// Offset of the page.
    pub continuation_token: u64,
}

/// The query string with its `?`, or nothing. Form encoding makes a `+` a `%2B`, as the service needs it.
fn encode(pairs: Vec<(&str, String)>) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    format!("?{}", Serializer::new(String::new()).extend_pairs(pairs).finish())
}

impl ListTools {
    pub(super) fn encode(&self) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.ids.iter().map(|id| ("id", id.clone())));
        pairs.extend(self.deprecated.map(|deprecated| ("deprecated", deprecated.to_string())));
        pairs.extend(self.tags.iter().map(|tag| ("tag", tag.clone())));
        pairs.extend(self.sort_by.iter().map(|field| ("sort_by", field.clone())));
        pairs.extend((self.limit > 0).then(|| ("limit", self.limit.min(20).to_string())));
        pairs
            .extend((self.continuation_token > 0).then(|| ("continuation_token", self.continuation_token.to_string())));
        encode(pairs)
    }
}

impl ListVersions {
    pub(super) fn encode(&self) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.deprecated.map(|deprecated| ("deprecated", deprecated.to_string())));
        pairs.extend(self.versions.iter().map(|versions| ("versions", versions.clone())));
        pairs.extend(self.sort_by.iter().map(|field| ("sort_by", field.clone())));
        pairs.extend(self.creators.iter().map(|creator| ("creator", creator.clone())));
        pairs.extend((self.limit > 0).then(|| ("limit", self.limit.min(50).to_string())));
        pairs
            .extend((self.continuation_token > 0).then(|| ("continuation_token", self.continuation_token.to_string())));
        encode(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_sent_encoded() {
        let tools = ListTools {
            ids: vec!["a".into(), "b".into()],
            deprecated: Some(false),
            tags: vec!["team:travel".into()],
            sort_by: vec!["+name".into()],
            limit: 99,
            continuation_token: 20,
        };
        assert_eq!(
            tools.encode(),
            "?id=a&id=b&deprecated=false&tag=team%3Atravel&sort_by=%2Bname&limit=20&continuation_token=20"
        );
        let versions = ListVersions {
            versions: Some("==1.2.*".into()),
            creators: vec!["acme,me".into()],
            sort_by: vec!["-created_at".into()],
            ..ListVersions::default()
        };
        assert_eq!(versions.encode(), "?versions=%3D%3D1.2.*&sort_by=-created_at&creator=acme%2Cme");
        assert_eq!(ListTools::default().encode(), "");
    }
}
