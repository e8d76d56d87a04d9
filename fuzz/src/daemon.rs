//! Of the daemon, which is a program and no library, what reads foreign bytes. What of it is not used here is used there.
#![allow(dead_code, reason = "the daemon uses it")]

#[path = "../../agent/src/daemon/config.rs"]
pub(crate) mod config;
#[path = "../../agent/src/daemon/limits.rs"]
pub(crate) mod limits;
#[path = "../../agent/src/daemon/parts.rs"]
pub(crate) mod parts;
#[path = "../../agent/src/daemon/policy.rs"]
pub(crate) mod policy;
#[path = "../../agent/src/daemon/wire.rs"]
pub(crate) mod wire;
