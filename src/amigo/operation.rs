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

    /// Method and path of the call, with a name in braces for what varies.
    #[must_use]
    pub const fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::SignIn => ("POST", "/v1/{organization}/user/signin_with_api_key"),
            Self::ListTools => ("GET", "/v1/{organization}/tool/"),
            Self::CreateTool => ("POST", "/v1/{organization}/tool/"),
            Self::ModifyTool => ("POST", "/v1/{organization}/tool/{id}"),
            Self::DeprecateTool => ("DELETE", "/v1/{organization}/tool/{id}"),
            Self::ModifyVariables => ("POST", "/v1/{organization}/tool/{id}/envvar"),
            Self::ListVersions => ("GET", "/v1/{organization}/tool/{id}/version"),
            Self::PublishVersion => ("POST", "/v1/{organization}/tool/{id}/version"),
            Self::DeprecateVersions => ("DELETE", "/v1/{organization}/tool/{id}/version/{versions}"),
            Self::ListApiKeys => ("GET", "/v1/{organization}/organization/api_key/"),
        }
    }

    /// The operation that a request calls.
    #[must_use]
    pub fn called(method: &str, path: &str) -> Option<Self> {
        let matches = |route: &str| {
            let fits = |(part, name): (&str, &str)| part == name || (name.starts_with('{') && !part.is_empty());
            path.split('/').count() == route.split('/').count() && path.split('/').zip(route.split('/')).all(fits)
        };
        Self::ALL.into_iter().find(|operation| {
            let (of, route) = operation.route();
            of == method && matches(route)
        })
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

    #[test]
    fn a_request_is_told_by_its_route_and_nothing_else_is() {
        for operation in Operation::ALL {
            let (method, route) = operation.route();
            let path = route.replace("{organization}", "acme").replace("{id}", "688000039c20f35710eb35ef");
            assert_eq!(Operation::called(method, &path.replace("{versions}", "%3C1.4")), Some(operation));
        }
        for (method, path) in [
            ("GET", "/v1/acme/tool"),
            ("PUT", "/v1/acme/tool/"),
            ("GET", "/v1//tool/"),
            ("GET", "/v1/acme/tool/1/version/2"),
            ("GET", "/"),
        ] {
            assert_eq!(Operation::called(method, path), None, "{method} {path}");
        }
    }
}
