//! The custom resources of the group `amigo.ai`: their fields, rules, references and the reasons in their conditions.
//! No I/O. `crds/` is generated from here.

#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns of one type repeat `type_`, which the lint takes for a slip"
)]

pub mod annotations;
pub mod common;
pub mod crds;
pub mod docs;
pub mod organization;
pub mod reason;
mod rules;
mod schema;
pub mod tool;
pub mod tool_env_secret;
pub mod tool_version;

pub use common::{CommonStatus, Resource};
pub use crds::{crd_names, crd_yaml, crds, crds_yaml};
pub use organization::{Organization, OrganizationSpec, OrganizationStatus};
pub use reason::Reason;
pub use tool::{Tool, ToolSpec, ToolStatus};
pub use tool_env_secret::{ToolEnvSecret, ToolEnvSecretSpec, ToolEnvSecretStatus};
pub use tool_version::{ToolVersion, ToolVersionSpec, ToolVersionStatus};

/// The API group of every kind.
pub const GROUP: &str = "amigo.ai";
