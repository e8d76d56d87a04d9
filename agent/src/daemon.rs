//! The node's agent: traces by request over gRPC, each bounded, none trusted.

pub(crate) mod config;
pub(crate) mod confine;
mod counters;
mod held;
mod jobs;
pub(crate) mod loader;
mod log;
mod metrics;
mod refuse;
mod server;
pub(crate) mod socket;
mod wire;

pub(crate) use server::serve;
