//! Parsers of foreign bytes, for fuzz targets only (`fuzz/`).

pub use crate::worker::fuzzing::{elf, kallsyms, perf_map, program, unwind};

use crate::{
    maps,
    wire::{Reply, Request},
};

/// The texts of /proc/PID: maps, stat, status.
pub fn process_texts(data: &[u8]) {
    for mapping in maps::mappings(data) {
        assert!(mapping.start < mapping.end);
    }
    maps::start_time(data);
    maps::status(data);
}

/// The messages between the worker and its parent: what is understood is said again alike.
pub fn messages(data: &[u8]) {
    if let Some(request) = Request::decode(data) {
        assert_eq!(&request.encode()[4..], data);
    }
    if let Some(reply) = Reply::decode(data) {
        let again = Reply::decode(&reply.encode()[4..]);
        assert!(again.is_some(), "what we say we understand: {reply:?}");
    }
}
