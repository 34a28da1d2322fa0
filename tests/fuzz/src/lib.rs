//! Foreign bytes: every parser of them as a fuzz target. With `cargo test` each runs for a moment, on inputs that are the
//! same every time; with `cargo bolero` the same targets are guided by coverage (docs/fuzzing.md).

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg_attr(fuzzing, allow(dead_code, reason = "the seeds are for the plain tests: libFuzzer makes its own inputs"))]

#[macro_use]
mod target;

mod answers;
mod clean;
mod errors;
mod objects;
mod texts;
