//! The programs of `agent-ebpf/src/select.rs`, which select processes and pods in the kernel.

use tracers::{Point, raw_tp};

/// Selects the children of selected processes.
pub(crate) const SELECT_FORK: Point = raw_tp("sched_process_fork").by("select_fork");
/// Selects a command from its first program on.
pub(crate) const SELECT_EXEC: Point = raw_tp("sched_process_exec").by("select_exec");
/// Removes processes that have ended.
pub(crate) const SELECT_EXIT: Point = raw_tp("sched_process_exit").by("select_exit");
/// Selects the cgroup of a pod when it is created.
pub(crate) const SELECT_POD: Point = raw_tp("cgroup_mkdir").by("select_pod");
/// All selecting programs.
pub(crate) static ALL: [Point; 4] = [SELECT_FORK, SELECT_EXEC, SELECT_EXIT, SELECT_POD];
