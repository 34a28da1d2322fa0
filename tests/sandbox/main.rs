//! The sandbox from outside: each call, each limit, each fault; in process on a paused clock, and over sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod calls;
mod client;
mod control;
mod faults;
mod publish;
mod sockets;
