//! Bad company: a service that does what no service should, and objects of the cluster that nobody should make. Memory and
//! time stay bounded, nothing is shown that must not be, and one object's trouble stays its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod cluster;
mod echoes;
mod server;
mod service;
