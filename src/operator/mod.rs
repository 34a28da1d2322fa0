//! The process: settings, the leader lease, watches, health and metrics, and its orderly end.

pub mod certificate;
pub mod docs;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod replica;
pub mod secure;
pub mod settings;
pub mod traces;

pub use process::run;
