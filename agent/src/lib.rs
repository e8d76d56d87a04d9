//! `tracejob-agent`, the daemon of a node: traces by request over gRPC, each bounded, none trusted.
//!
//! It loads no kernel program by itself: that is the crate `engine`. A library for the sake of its fuzz targets; its user is the program.
#![forbid(unsafe_code)]

mod arriving;
mod audit;
mod authorize;
mod caller;
mod capabilities;
mod config;
mod confine;
mod connection;
mod counters;
mod failures;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod loader;
mod log;
mod metrics;
mod parts;
mod policy;
mod program;
mod refuse;
mod reload;
mod role;
mod server;
mod socket;
mod text;
mod trace;
mod traces;
mod wire;

pub use program::main;
