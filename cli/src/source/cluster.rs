//! A cluster as a source of rows: its jobs, and their rows from the gateway. The API server is the only peer, and its answers are not trusted.

pub(crate) mod access;
pub(crate) mod error;
mod frames;
pub(crate) mod job;
pub(crate) mod stream;
pub(crate) mod watch;

pub(crate) use access::Cluster;
pub(crate) use error::Error;
