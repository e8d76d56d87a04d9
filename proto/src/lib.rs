//! Wire formats, generated without protoc: `cargo xtask codegen` writes `src/gen`, which is committed.
#![forbid(unsafe_code)]

/// pprof's profile.
#[rustfmt::skip]
#[path = "gen/pprof.rs"]
pub mod pprof;
