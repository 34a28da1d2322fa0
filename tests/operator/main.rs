//! The operator as a real process, on a real API server, against the service on a socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::manual_assert, clippy::unused_self, reason = "waiting reads as what is waited for")]
#![allow(clippy::needless_pass_by_value, reason = "manifests read better with json! in place")]

mod connection;
mod manifests;
mod oracle;
mod resilience;
mod tools;
mod variables;
mod versions;
mod world;
