//! The symbolizer against real processes, real files, and worse.
//!
//! Runs as anybody; what needs root says so and is left out without.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../src/worker/build.rs"]
mod build;
#[path = "symbols/files.rs"]
mod files;
#[path = "symbols/find.rs"]
mod find;
#[path = "symbols/jit.rs"]
mod jit;
#[path = "symbols/kernel.rs"]
mod kernel;
#[path = "symbols/processes.rs"]
mod processes;
#[path = "symbols/target.rs"]
mod target;
#[path = "symbols/unwind.rs"]
mod unwind;
#[path = "symbols/worker.rs"]
mod worker;

use std::{
    thread,
    time::{Duration, Instant},
};
use symbols::{Frame, FrameId, Symbolizer, UserAddr};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn symbolizer() -> Symbolizer {
    Symbolizer::with_worker(env!("CARGO_BIN_EXE_symbolize"))
}

fn frames(symbolizer: &Symbolizer, ids: &[FrameId]) -> Vec<Frame> {
    ids.iter()
        .map(|id| symbolizer.frames().get(*id).clone())
        .collect()
}

/// The one frame of an address.
fn user(symbolizer: &mut Symbolizer, pid: u32, address: u64) -> Frame {
    let ids = symbolizer.user(pid, &[UserAddr::Ip(address)]);
    frames(symbolizer, &ids).pop().unwrap()
}

fn by_build_id(symbolizer: &mut Symbolizer, id: [u8; 20], offset: u64) -> Frame {
    let ids = symbolizer.user(1, &[UserAddr::BuildId { id, offset }]);
    frames(symbolizer, &ids).pop().unwrap()
}

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}
