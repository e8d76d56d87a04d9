//! The commands: their descriptions on the command line, and their implementations.

pub(crate) mod args;
pub(crate) mod cluster;
pub(crate) mod codegen;
mod condition;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod job;
pub(crate) mod list;
mod manual;
pub(crate) mod run;
pub(crate) mod signals;
pub(crate) mod version;
