//! The calls of the API: their names, limits and time-outs.

use std::time::Duration;

/// A call of the API, as budgets and metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `POST /user/signin_with_api_key`
    SignIn,
    /// `GET /tool/`
    ListTools,
    /// `POST /tool/`
    CreateTool,
    /// `POST /tool/{id}`
    ModifyTool,
    /// `DELETE /tool/{id}`
    DeprecateTool,
    /// `POST /tool/{id}/envvar`
    ModifyVariables,
    /// `GET /tool/{id}/version`
    ListVersions,
    /// `POST /tool/{id}/version`
    PublishVersion,
    /// `DELETE /tool/{id}/version/{versions}`
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

    /// The name in metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::ListTools => "list_tools",
            Self::CreateTool => "create_tool",
            Self::ModifyTool => "modify_tool",
            Self::DeprecateTool => "deprecate_tool",
            Self::ModifyVariables => "modify_variables",
            Self::ListVersions => "list_versions",
            Self::PublishVersion => "publish_version",
            Self::DeprecateVersions => "deprecate_versions",
            Self::ListApiKeys => "list_api_keys",
        }
    }

    /// How many calls the service allows an organization in a minute.
    #[must_use]
    pub const fn limit_per_minute(self) -> u32 {
        match self {
            Self::SignIn => 5,
            Self::ListTools | Self::ListVersions => 50,
            Self::PublishVersion | Self::ListApiKeys => 10,
            Self::CreateTool
            | Self::ModifyTool
            | Self::DeprecateTool
            | Self::ModifyVariables
            | Self::DeprecateVersions => 20,
        }
    }

    /// How long an answer is waited for. A publish takes 1 to 5 minutes, and its answer is worth waiting longer for.
    #[must_use]
    pub const fn timeout(self) -> Duration {
        match self {
            Self::SignIn | Self::ListTools | Self::ListVersions => Duration::from_secs(30),
            Self::PublishVersion => Duration::from_secs(660),
            // Nothing depends on it, and who asks is waited for.
            Self::ListApiKeys => Duration::from_secs(10),
            Self::CreateTool
            | Self::ModifyTool
            | Self::DeprecateTool
            | Self::ModifyVariables
            | Self::DeprecateVersions => Duration::from_secs(60),
        }
    }

    /// Whether the call changes something.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::SignIn | Self::ListTools | Self::ListVersions | Self::ListApiKeys)
    }
}

/// Who goes first when calls must wait, best first. Sign-in has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A person waits for it.
    Interactive,
    /// It finds out what became of a write.
    Recovery,
    /// It looks whether something changed.
    Resync,
    /// It sends again what cannot be read back.
    Rewrite,
}

impl Class {
    /// Every class, in the order of service.
    pub const ALL: [Self; 4] = [Self::Interactive, Self::Recovery, Self::Resync, Self::Rewrite];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Recovery => "recovery",
            Self::Resync => "resync",
            Self::Rewrite => "rewrite",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Budgets are kept by this order, and metrics by these names.
    #[test]
    fn operations_are_listed_in_order_under_names_of_their_own() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place, "{operation:?}");
        }
        let names: std::collections::BTreeSet<_> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
