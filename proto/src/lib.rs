//! Wire formats, generated without protoc: `cargo xtask codegen` writes `src/gen`, which is committed.
#![forbid(unsafe_code)]

/// pprof's profile.
#[rustfmt::skip]
#[path = "gen/pprof.rs"]
pub mod pprof;

/// The control API of an agent: `proto/tracejob/v1/agent.proto`, whose comments are these docs.
#[rustfmt::skip]
#[allow(missing_docs, clippy::allow_attributes_without_reason, reason = "generated: what is said is what the .proto file says")]
#[path = "gen/tracejob.v1.rs"]
pub mod v1;

/// The API's descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/agent.binpb");
