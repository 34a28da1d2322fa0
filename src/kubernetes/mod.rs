//! Kubernetes: clients, watches, the status writer, finalizers, events, the leader lease and Secrets. Knows the custom
//! resources as objects; decides nothing about the remote API.

pub mod client;
pub mod conditions;
pub mod events;
pub mod lease;
pub mod measured;
pub mod namespaces;
pub mod object;
pub mod pressure;
pub mod queue;
pub mod secrets;
pub mod watch;
