//! GitOps: what Argo CD and Flux make of the operator's objects, and what `deploy/argocd` and `deploy/flux` tell them, and what their
//! ways to replace and to prune objects do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/kstatus.rs"]
mod kstatus;

mod application;
mod argo;
mod customizations;
mod examples;
mod files;
mod flux;
mod live;
mod pruning;
mod states;
