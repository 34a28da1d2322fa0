//! What can be set about the service: how long things take, which revision it speaks, how it decides what the API
//! leaves open. Plain data; nothing here acts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operation::Operation;

/// The revision of the API that the sandbox speaks. It decides the body of a publish and one field of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revision {
    /// `branch` is required; versions carry `tool_branch_name`.
    #[default]
    #[serde(rename = "2025-07")]
    July2025,
    /// `repo` is required; versions carry `tool_repo`.
    #[serde(rename = "2025-09")]
    September2025,
    /// Neither is asked for and versions carry neither.
    #[serde(rename = "2026")]
    Year2026,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::July2025 => "2025-07",
            Self::September2025 => "2025-09",
            Self::Year2026 => "2026",
        })
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "2025-07" => Ok(Self::July2025),
            "2025-09" => Ok(Self::September2025),
            "2026" => Ok(Self::Year2026),
            _ => Err("expected 2025-07, 2025-09 or 2026".to_owned()),
        }
    }
}

/// How strictly calls are limited, over any 60 seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RateLimits {
    /// The limits of the service.
    #[default]
    Real,
    /// None, and no `X-RateLimit-` headers.
    Off,
    /// The limits of the service times a factor, at least one call.
    Scaled(f64),
}

impl fmt::Display for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => f.write_str("real"),
            Self::Off => f.write_str("off"),
            Self::Scaled(factor) => write!(f, "{factor}"),
        }
    }
}

impl FromStr for RateLimits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "real" => Ok(Self::Real),
            "off" => Ok(Self::Off),
            factor => match factor.parse::<f64>() {
                Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Scaled(factor)),
                _ => Err("expected real, off or a factor above 0".to_owned()),
            },
        }
    }
}

impl TryFrom<String> for RateLimits {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RateLimits> for String {
    fn from(limits: RateLimits) -> Self {
        limits.to_string()
    }
}

/// What an operation that takes time does when its client goes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDisconnect {
    /// It goes on and takes effect.
    #[default]
    GoesOn,
    /// It ends without effect.
    Aborts,
}

/// Which versions the next number follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numbering {
    /// The highest of all versions, deprecated ones included.
    #[default]
    All,
    /// The highest active version; a number that is taken is passed over.
    Active,
}

/// How several `tag` filters of a list combine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeveralTags {
    /// A tool matches when one of them does.
    #[default]
    Any,
    /// A tool matches when all of them do.
    All,
}

/// Everything that can be set about the service. All of it can be changed while it runs, except `seed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Ids, commits, tokens and the dice of faults follow from it.
    pub seed: u64,
    /// The revision of the API.
    pub revision: Revision,
    /// Whether a body with a field that the revision does not know is refused (422).
    pub refuse_extra_fields: bool,
    /// How strictly calls are limited.
    pub rate_limits: RateLimits,
    /// Limits per minute that replace those of the service, before any factor.
    pub limits: BTreeMap<Operation, u32>,
    /// How long a token lives.
    pub token_seconds: f64,
    /// How long a publish takes.
    pub publish_seconds: f64,
    /// How long the deprecation of a tool takes.
    pub deprecate_seconds: f64,
    /// What these two do when the client goes away.
    pub on_disconnect: OnDisconnect,
    /// How long the name of a deleted variable cannot be inserted again.
    pub blocked_name_seconds: f64,
    /// A publish is refused (400) when the tool has this many active versions.
    pub active_versions: Option<usize>,
    /// Longer names of tools are refused (400).
    pub longest_name: Option<usize>,
    /// Whether every project path exists; otherwise only those that were put.
    pub projects_exist: bool,
    /// Which versions the next number follows.
    pub numbering: Numbering,
    /// How several `tag` filters combine.
    pub several_tags: SeveralTags,
    /// Leaves out every field of an answer that a client must not rely on.
    pub sparse: bool,
    /// How many requests are remembered.
    pub log_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            revision: Revision::default(),
            refuse_extra_fields: false,
            rate_limits: RateLimits::default(),
            limits: BTreeMap::new(),
            token_seconds: 3600.0,
            publish_seconds: 2.0,
            deprecate_seconds: 0.0,
            on_disconnect: OnDisconnect::default(),
            blocked_name_seconds: 60.0,
            active_versions: None,
            longest_name: None,
            projects_exist: true,
            numbering: Numbering::default(),
            several_tags: SeveralTags::default(),
            sparse: false,
            log_size: 1000,
        }
    }
}

/// A duration from seconds; what cannot be one is zero.
#[must_use]
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_json() {
        let settings = Settings {
            rate_limits: RateLimits::Scaled(2.5),
            limits: BTreeMap::from([(Operation::SignIn, 7)]),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains(r#""rate_limits":"2.5""#), "{text}");
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn refuses_what_is_not_a_limit() {
        for text in ["", "0", "-1", "inf", "NaN", "fast"] {
            assert!(text.parse::<RateLimits>().is_err(), "{text}");
        }
    }
}
