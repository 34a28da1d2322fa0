//! The calls of the API, as names: what limits them and which permission they need. No behaviour.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A call of the API. The budget of an organization is kept per operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// `POST /user/signin_with_api_key`
    SignIn,
    /// `GET /tool/`
    ListTools,
    /// `POST /tool/`
    CreateTool,
    /// `POST /tool/{tool_id}`
    ModifyTool,
    /// `DELETE /tool/{tool_id}`
    DeprecateTool,
    /// `POST /tool/{tool_id}/envvar`
    ModifyVariables,
    /// `GET /tool/{tool_id}/version`
    ListVersions,
    /// `POST /tool/{tool_id}/version`
    PublishVersion,
    /// `DELETE /tool/{tool_id}/version/{versions}`
    DeprecateVersions,
    /// `GET /organization/api_key/`
    ListApiKeys,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 10] = [
        Self::SignIn,
        Self::ListTools,
        Self::CreateTool,
        Self::ModifyTool,
        Self::DeprecateTool,
        Self::ModifyVariables,
        Self::ListVersions,
        Self::PublishVersion,
        Self::DeprecateVersions,
        Self::ListApiKeys,
    ];

    /// The name that faults, counters and the log use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::ListTools => "list-tools",
            Self::CreateTool => "create-tool",
            Self::ModifyTool => "modify-tool",
            Self::DeprecateTool => "deprecate-tool",
            Self::ModifyVariables => "modify-variables",
            Self::ListVersions => "list-versions",
            Self::PublishVersion => "publish-version",
            Self::DeprecateVersions => "deprecate-versions",
            Self::ListApiKeys => "list-api-keys",
        }
    }

    /// Calls that the service takes from one organization within 60 seconds.
    #[must_use]
    pub const fn limit(self) -> u32 {
        match self {
            Self::SignIn => 5,
            Self::PublishVersion | Self::ListApiKeys => 10,
            Self::CreateTool
            | Self::ModifyTool
            | Self::DeprecateTool
            | Self::ModifyVariables
            | Self::DeprecateVersions => 20,
            Self::ListTools | Self::ListVersions => 50,
        }
    }

    /// The permission without which the service answers 403.
    #[must_use]
    pub const fn permission(self) -> Option<&'static str> {
        match self {
            Self::SignIn | Self::ListTools | Self::ListVersions => None,
            Self::CreateTool => Some("Tool:CreateTool"),
            Self::DeprecateTool => Some("Tool:DeleteTool"),
            Self::ModifyTool | Self::ModifyVariables | Self::PublishVersion | Self::DeprecateVersions => {
                Some("Tool:ModifyTool")
            }
            Self::ListApiKeys => Some("Organization:GetAPIKey"),
        }
    }

    /// Whether `pattern` names this operation: a name, `*`, or a name with one `*` at an end.
    #[must_use]
    pub fn matches(self, pattern: &str) -> bool {
        let name = self.name();
        match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(start), _) => name.starts_with(start),
            (None, Some(end)) => name.ends_with(end),
            (None, None) => name == pattern,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for operation in Operation::ALL {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.name());
        }
    }

    #[test]
    fn patterns_name_operations() {
        let named = |pattern: &str| Operation::ALL.into_iter().filter(|o| o.matches(pattern)).count();
        assert_eq!(named("*"), 10);
        assert_eq!(named("list-*"), 3);
        assert_eq!(named("*-tool"), 3);
        assert_eq!(named("publish-version"), 1);
        assert_eq!(named("publish"), 0);
    }
}
