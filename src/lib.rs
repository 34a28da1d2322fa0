//! The Amigo tool operator: Kubernetes resources on one side, the Amigo tool API on the other.
//!
//! Layers, from the bottom (a layer uses only those before it):
//! [`resources`] (the custom resources, no I/O) and [`amigo`] (the remote API, knows nothing of Kubernetes),
//! [`kubernetes`] (watches, status, events), [`controllers`] (observe, decide, act), [`operator`] (the process).
//! [`clock`], [`scope`] and [`text`] are for all of them. [`sandbox`] is the Amigo API in memory, for the demo and the tests; it knows the wire types of [`amigo`] only.

pub mod amigo;
pub mod clock;
pub mod controllers;
pub mod kubernetes;
pub mod operator;
pub mod resources;
pub mod sandbox;
pub mod scope;
pub mod text;
