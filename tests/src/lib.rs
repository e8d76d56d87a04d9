//! The harness: starts `tracejob` and workloads, waits for what must happen, and checks rows against the truth.
//!
//! Environment variables define the paths, and the capabilities of `tracejob`:
//! TRACEJOB_BIN (its path), TRACEJOB_TEST_CAPS (`bpf,perfmon`: with these alone), TRACEJOB_TEST_VM (this machine is a test kernel's
//! own, so that everything on it may be traced).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panics"
)]

mod account;
mod cgroup;
mod clock;
mod closed;
mod cluster;
mod daemon;
mod described;
mod elf32;
mod flood;
mod held;
mod output;
mod row;
mod steps;
mod support;
mod trace;
mod wait;
mod workload;

pub use account::{Account, Lost};
pub use cgroup::Cgroup;
pub use clock::JumpedClock;
pub use closed::{must_be_closed, take_over};
pub use cluster::{
    Certificate, Containerd, ControlPlane, KERNELS, Kubectl, Net, Nodes, Pki, SYSTEM,
    cluster_program, enter_net,
};
pub use daemon::Agent;
pub use described::{amount, amount_of, columns_of, columns_where, described};
pub use elf32::program32;
pub use flood::{Attack, beside, hold_silent_connections, send_again_and_again};
pub use held::{descriptors, held_by, in_kernel, most_resident, resident, sleeps, threads};
pub use row::{Wanted, bytes, check, expect, sum};
pub use steps::Steps;
pub use support::{
    all_tracers, in_vm, mptcp_here, mptcp_socket, names_here, runs_here, skips_runs, tracers,
};
pub use trace::{Listener, Outcome, Trace, Tracing, agent, tracejob, tracejob_path};
pub use wait::{deadline, join, until, until_within};
pub use workload::{Report, Workload, cgroup_of, copy_of_workload, executable, folder, program};
