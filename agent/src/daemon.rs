//! The node's agent: traces by request over gRPC, each bounded, none trusted.

pub(crate) mod config;
mod jobs;
mod log;
mod refuse;
mod server;
mod socket;
mod wire;

pub(crate) use server::serve;
