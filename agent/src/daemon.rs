//! The node's agent: traces by request over gRPC, each bounded, none trusted.

mod audit;
mod authorize;
pub(crate) mod config;
pub(crate) mod confine;
mod connection;
mod counters;
mod failures;
mod job;
mod jobs;
pub(crate) mod loader;
mod log;
mod metrics;
mod refuse;
mod reload;
mod server;
pub(crate) mod socket;
mod stamp;
mod tls;
mod wire;

pub(crate) use server::serve;
