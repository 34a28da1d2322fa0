//! A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager as plain processes.
//!
//! This crate finds or builds the programs, starts and stops them, and hands out credentials. It knows nothing of the
//! operator; what runs on the control plane is its user's business.
//!
//! - [`ControlPlane`] owns the servers: start, stop, kill and restart them.
//! - [`Cluster`] is the way in, also from another process: kubeconfigs, kubectl, the audit log.
//! - [`shared`] is what tests use: the control plane that `cargo xtask test` has started, or one of their own.
//! - [`Supervised`] is one process that cannot outlive the one that started it.
//! - [`Assets`] are the four programs of a control plane, found or built; [`Program`] also knows Helm.
//!
//! No server outlives the process that started it, not even when that process is killed: see [`ControlPlane`].

mod assets;
mod certificates;
mod cluster;
mod control_plane;
mod error;
mod flags;
mod go_build;
mod ports;
mod probe;
mod progress;
mod shared;
mod supervised;
mod workdir;

pub use assets::{Assets, Program};
pub use certificates::SERVICE_ADDRESS;
pub use cluster::Cluster;
pub use control_plane::{ControlPlane, Options};
pub use error::Error;
pub use progress::{Progress, print_progress};
pub use shared::{DIRECTORY_VARIABLE, KUBECONFIG_VARIABLE, project_crds, shared};
pub use supervised::Supervised;
