//! The node's agent: traces by request over gRPC, each bounded, none trusted.

mod arriving;
mod audit;
mod authorize;
mod caller;
mod capabilities;
pub(crate) mod config;
pub(crate) mod confine;
mod connection;
mod counters;
mod failures;
mod job;
mod jobs;
mod limits;
pub(crate) mod loader;
mod log;
mod metrics;
mod parts;
pub(crate) mod policy;
mod refuse;
mod reload;
mod server;
pub(crate) mod socket;
mod stamp;
pub(crate) mod text;
mod tls;
mod wire;

pub(crate) use server::serve;
