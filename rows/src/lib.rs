//! Rows as programs read them: JSON lines and comma-separated values, whose forms are documented in docs/output.md and do not change.
//! What of it may be printed on a terminal is here too.
//!
//! It looks at columns' kinds and knows no tracer, and not where rows come from.
#![forbid(unsafe_code)]

mod csv;
pub mod escape;
mod json;
mod wall;

pub use csv::Csv;
pub use json::Json;
pub use wall::Wall;

use std::net::{IpAddr, Ipv6Addr};

/// An address; IPv4 is stored mapped into IPv6.
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|bytes| Ipv6Addr::from(bytes).to_canonical())
}
