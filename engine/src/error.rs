//! What can go wrong, each with a stable reason and a message that says what to do.

use std::{ffi::OsString, fs, io, path::PathBuf};
use tracers::Capability;

/// Error that keeps a trace from starting or continuing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process lacks capabilities.
    #[error("tracing requires {wanted}, and this process has {have}; run it with sudo, or set the capabilities of the program:\n       sudo setcap cap_bpf,cap_perfmon+ep $(command -v tracejob)", wanted = Capability::list(missing), have = if *.some { "only some of them" } else { "none of them" })]
    MissingCapability {
        /// Missing capabilities.
        missing: Vec<Capability>,
        /// Whether the process has some of the required capabilities.
        some: bool,
    },
    /// The kernel does not support the tracer.
    #[error("{tracer} does not work here: {reason}")]
    Unsupported {
        /// The tracer.
        tracer: &'static str,
        /// Missing feature and remedy.
        reason: String,
    },
    /// No target was given.
    #[error(
        "nothing selected: name a process (--pid), a container (--container), a cgroup (--cgroup), a command (-- CMD), or --host for everything"
    )]
    NothingSelected,
    /// The process does not exist.
    #[error("process {0} does not exist")]
    NoProcess(u32),
    /// Another process has reused the PID.
    #[error("process {0} has ended, and another process has reused its PID")]
    OtherProcess(u32),
    /// The number is that of a thread, not of a process.
    #[error("{thread} is a thread of process {process}; give the process")]
    Thread {
        /// Requested number.
        thread: u32,
        /// Process of the thread.
        process: u32,
    },
    /// PIDs of this process differ from those of the kernel.
    #[error(
        "--pid and -- COMMAND require the machine's own PID namespace, and this process is in another: that of a container, or of a node that is a container (kind, k3d); run it in the machine's (hostPID: true), or select by --container or --cgroup"
    )]
    PidNamespace,
    /// The cgroup does not exist.
    #[error("no cgroup at {}: {source}", path.display())]
    NoCgroup {
        /// Path of the cgroup.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// No cgroup hierarchy is mounted.
    #[error(
        "no cgroup hierarchy is mounted, so cgroups and containers cannot be selected: mount the host's /sys/fs/cgroup, or select by --pid"
    )]
    NoCgroups,
    /// The path configured as the host's /proc is not a procfs.
    #[error("proc: {} is not a procfs: mount the host's /proc there", .0.display())]
    NoProc(PathBuf),
    /// The container id is malformed.
    #[error("\"{}\" is not a container id: expected at least 4 letters, digits, '_', '.', '+' or '-'", .0.escape_debug())]
    BadContainerId(String),
    /// The pod uid is malformed.
    #[error("\"{}\" is not the uid of a pod: expected 36 letters, digits and '-', as in metadata.uid, or the 32 hexadecimal digits of a static pod's annotation kubernetes.io/config.hash", .0.escape_debug())]
    BadPodUid(String),
    /// The selection of this trace cannot be changed in this way.
    #[error("{0}")]
    Unchangeable(&'static str),
    /// No container has that id.
    #[error("no container here has an id that begins with {0}")]
    NoContainer(String),
    /// No visible container has that id.
    #[error(
        "no container below {} has an id that begins with {id}, and only this process's cgroup namespace was searched: mount the host's /sys/fs/cgroup to select containers elsewhere",
        root.display()
    )]
    NoContainerInNamespace {
        /// Requested id.
        id: String,
        /// Mount of the namespace's root.
        root: PathBuf,
    },
    /// The pod has no container of that id.
    #[error("pod {pod} has no container {} here", .id.escape_debug())]
    NotInPod {
        /// Requested id.
        id: String,
        /// Requested pod.
        pod: String,
    },
    /// The policy denies a target.
    #[error("{why} ({line} of its configuration)")]
    Denied {
        /// Line of the configuration.
        line: &'static str,
        /// Reason for the denial.
        why: String,
    },
    /// Several containers match.
    #[error(
        "{count} containers here have an id that begins with {id}: give more characters of the id"
    )]
    AmbiguousContainer {
        /// Requested id.
        id: String,
        /// Number of matches.
        count: usize,
    },
    /// Too many targets for the map in the kernel.
    #[error("more than {0} processes or cgroups are selected at once; select their common cgroup")]
    TooManyTargets(u32),
    /// The labels of the targets are too large.
    #[error(
        "the labels of this trace's current and past targets exceed {0} bytes; start a new trace, or a new generation of this one"
    )]
    TooManyLabels(usize),
    /// The trace exceeds its memory limit.
    #[error(
        "{tracer} needs {needed} bytes of memory for its maps, its ring buffer and its queues, and the limit is {allowed}; use a smaller ring buffer"
    )]
    Memory {
        /// The tracer.
        tracer: &'static str,
        /// Required bytes.
        needed: u64,
        /// Limit in bytes.
        allowed: u64,
    },
    /// The command cannot be run.
    #[error("cannot run {command:?}: {source}")]
    Command {
        /// Command to run.
        command: OsString,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The kernel's type information cannot be read.
    #[error(
        "the kernel's type information (/sys/kernel/btf/vmlinux) cannot be used: {0}; it requires a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    Btf(String),
    /// The kernel refused to load an object.
    #[error("the kernel refused {tracer}: {reason}")]
    Load {
        /// The tracer.
        tracer: &'static str,
        /// Error of the kernel, with the end of the verifier's log.
        reason: String,
    },
    /// The limit of locked memory does not allow the maps.
    #[error(
        "the kernel refused to create maps for {tracer}: locked memory is limited to {limit} bytes, and kernels before 5.11 count maps as locked memory; raise the limit (`ulimit -l unlimited`)"
    )]
    LockedMemory {
        /// The tracer.
        tracer: &'static str,
        /// Limit in bytes.
        limit: u64,
    },
    /// The kernel refused to attach.
    #[error("{hook} cannot be attached: {reason}")]
    Attach {
        /// Hook kind and target.
        hook: String,
        /// Error of the kernel.
        reason: String,
    },
    /// A bug in TraceJob.
    #[error("{0}: a bug; standard error has earlier messages")]
    Bug(&'static str),
    /// The kernel has no memory for maps.
    #[error(
        "the kernel has no memory for the maps of {tracer}; use a smaller ring buffer, or raise the memory limit of this process"
    )]
    NoMemory {
        /// The tracer.
        tracer: &'static str,
    },
    /// A resource of this process or of the host is exhausted.
    #[error("{what}: {source}; {}", remedy(source))]
    Exhausted {
        /// Failed operation.
        what: String,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Reading a map or a ring failed.
    #[error("reading {what} failed: {source}")]
    Read {
        /// Map or ring buffer.
        what: &'static str,
        /// Error of the kernel.
        source: io::Error,
    },
}

/// Reasons that exhausted descriptors may be reported as.
const PROBED: [Reason; 2] = [Reason::TargetNotFound, Reason::Unsupported];

/// Returns whether the kernel reports an exhausted resource: descriptors, memory, threads.
fn is_exhausted(error: &io::Error) -> bool {
    let all = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    error
        .raw_os_error()
        .is_some_and(|errno| all.contains(&errno))
}

/// Returns the remedy for an exhausted resource.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "this process has reached its limit of open files: end other traces, or raise the limit (LimitNOFILE= of its unit, `ulimit -n`)"
        }
        Some(libc::ENFILE) => {
            "this host has reached its limit of open files: close files, or raise fs.file-max"
        }
        Some(libc::ENOMEM) => {
            "the kernel has no memory for this: end other traces, use a smaller ring buffer, or raise the memory limit of this process"
        }
        _ => {
            "this process has reached its limit of threads: end other traces, or raise the limit (TasksMax= of its unit, `ulimit -u`)"
        }
    }
}

/// Reason word of an error, for programs: the same in gRPC, in conditions and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Error::MissingCapability`]
    MissingCapability,
    /// [`Error::Unsupported`]
    Unsupported,
    /// A target that is malformed or does not exist.
    TargetNotFound,
    /// A request that can never work.
    InvalidRequest,
    /// The kernel refused for want of something.
    ResourceExhausted,
    /// Anything else that the kernel refused.
    KernelRefused,
    /// The node's policy is against it.
    PolicyDenied,
    /// Who asks may not.
    NotAllowed,
    /// A newer generation of the trace is known.
    OldGeneration,
    /// A newer version of the trace's targets is applied, or this one.
    OldVersion,
    /// This generation of the trace was started with another spec.
    OtherSpec,
    /// No trace has that uid.
    UnknownTrace,
    /// A bug.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::MissingCapability,
        Self::Unsupported,
        Self::TargetNotFound,
        Self::InvalidRequest,
        Self::ResourceExhausted,
        Self::KernelRefused,
        Self::PolicyDenied,
        Self::NotAllowed,
        Self::OldGeneration,
        Self::OldVersion,
        Self::OtherSpec,
        Self::UnknownTrace,
        Self::Internal,
    ];

    /// The word itself.
    pub const fn word(self) -> &'static str {
        match self {
            Self::MissingCapability => "MissingCapability",
            Self::Unsupported => "Unsupported",
            Self::TargetNotFound => "TargetNotFound",
            Self::InvalidRequest => "InvalidRequest",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::KernelRefused => "KernelRefused",
            Self::PolicyDenied => "PolicyDenied",
            Self::NotAllowed => "NotAllowed",
            Self::OldGeneration => "OldGeneration",
            Self::OldVersion => "OldVersion",
            Self::OtherSpec => "OtherSpec",
            Self::UnknownTrace => "UnknownTrace",
            Self::Internal => "Internal",
        }
    }
}

impl Error {
    /// The same as a want of descriptors, memory or threads, where it comes of that: a file that cannot be opened for want of
    /// descriptors looks like one that is not there.
    pub(crate) fn or_exhausted(self) -> Self {
        match self {
            Self::Read { what, source } if is_exhausted(&source) => Self::Exhausted {
                what: format!("reading {what} failed"),
                source,
            },
            Self::NoCgroup { path, source } if is_exhausted(&source) => Self::Exhausted {
                what: format!("cannot read {}", path.display()),
                source,
            },
            Self::Command { command, source } if is_exhausted(&source) => Self::Exhausted {
                what: format!("cannot run {command:?}"),
                source,
            },
            error if PROBED.contains(&error.reason()) => match fs::File::open("/dev/null") {
                Err(source) if is_exhausted(&source) => Self::Exhausted {
                    what: format!("cannot inspect this host ({error})"),
                    source,
                },
                _ => error,
            },
            error => error,
        }
    }

    /// The same of somebody else's error, where one of its causes is such a want.
    pub(crate) fn exhausted(what: &str, error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        let cause = causes.find_map(|cause| cause.downcast_ref::<io::Error>())?;
        is_exhausted(cause).then(|| Self::Exhausted {
            what: what.to_owned(),
            source: io::Error::from_raw_os_error(cause.raw_os_error().unwrap_or_default()),
        })
    }

    /// Whether it concerns one target: others of the same trace may be selected all the same.
    pub(crate) fn is_of_one_target(&self) -> bool {
        matches!(
            self,
            Self::NoProcess(_)
                | Self::OtherProcess(_)
                | Self::Thread { .. }
                | Self::NoCgroup { .. }
                | Self::NoContainer(_)
                | Self::NotInPod { .. }
                | Self::AmbiguousContainer { .. }
                | Self::BadContainerId(_)
                | Self::BadPodUid(_)
                | Self::Unchangeable(_)
                | Self::TooManyTargets(_)
                | Self::TooManyLabels(_)
                | Self::Denied { .. }
        )
    }

    /// Its stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::MissingCapability { .. } => Reason::MissingCapability,
            Self::Unsupported { .. } | Self::Btf(_) => Reason::Unsupported,
            Self::NothingSelected
            | Self::BadContainerId(_)
            | Self::BadPodUid(_)
            | Self::Unchangeable(_)
            | Self::PidNamespace => Reason::InvalidRequest,
            Self::NoProcess(_)
            | Self::OtherProcess(_)
            | Self::Thread { .. }
            | Self::NoCgroup { .. }
            | Self::NoCgroups
            | Self::NoProc(_)
            | Self::NoContainer(_)
            | Self::NoContainerInNamespace { .. }
            | Self::NotInPod { .. }
            | Self::AmbiguousContainer { .. }
            | Self::Command { .. } => Reason::TargetNotFound,
            Self::TooManyTargets(_)
            | Self::TooManyLabels(_)
            | Self::LockedMemory { .. }
            | Self::Memory { .. }
            | Self::Exhausted { .. }
            | Self::NoMemory { .. } => Reason::ResourceExhausted,
            Self::Denied { .. } => Reason::PolicyDenied,
            Self::Bug(_) => Reason::Internal,
            Self::Read { source, .. } if is_exhausted(source) => Reason::ResourceExhausted,
            Self::Load { .. } | Self::Attach { .. } | Self::Read { .. } => Reason::KernelRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_descriptors_is_no_missing_cgroup_and_says_what_to_do() {
        let error = |errno| Error::NoCgroup {
            path: "/sys/fs/cgroup/a".into(),
            source: io::Error::from_raw_os_error(errno),
        };
        let exhausted = error(libc::EMFILE).or_exhausted();
        assert_eq!(exhausted.reason(), Reason::ResourceExhausted);
        assert!(exhausted.to_string().contains("LimitNOFILE"), "{exhausted}");
        let missing = error(libc::ENOENT).or_exhausted();
        assert_eq!(missing.reason(), Reason::TargetNotFound);
    }
}
