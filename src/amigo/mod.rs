//! The Amigo tool API: wire types, transport, sessions, budgets and typed errors. Knows nothing of Kubernetes.

pub mod transport;
pub mod types;
