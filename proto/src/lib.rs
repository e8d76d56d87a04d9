//! Wire formats, generated without protoc: `cargo xtask codegen` writes `src/gen`, which is committed.
#![forbid(unsafe_code)]

/// pprof's profile.
#[rustfmt::skip]
#[path = "gen/pprof.rs"]
pub mod pprof;

/// The APIs of an agent and of the gateway: `proto/tracejob/v1/agent.proto` and `jobs.proto`, whose comments are these docs.
#[rustfmt::skip]
#[allow(missing_docs, clippy::allow_attributes_without_reason, reason = "generated: what is said is what the .proto file says")]
#[path = "gen/tracejob.v1.rs"]
pub mod v1;

/// The agent's descriptors, for reflection.
pub const AGENT_DESCRIPTORS: &[u8] = include_bytes!("gen/agent.binpb");

/// The gateway's.
pub const JOBS_DESCRIPTORS: &[u8] = include_bytes!("gen/jobs.binpb");
