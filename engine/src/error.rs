//! What can go wrong, each with a stable reason and a message that says what to do.

use std::{ffi::OsString, fs, io, path::PathBuf};
use tracers::Capability;

/// Why a trace could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not trace.
    #[error("tracing needs {wanted}, and this process has {have}; run it with sudo, or give it to the program:\n       sudo setcap cap_bpf,cap_perfmon+ep $(command -v tracejob)", wanted = Capability::list(missing), have = if *.some { "not all of that" } else { "nothing of that" })]
    MissingCapability {
        /// What is missing.
        missing: Vec<Capability>,
        /// Whether some of what is needed is there.
        some: bool,
    },
    /// This kernel lacks something.
    #[error("{tracer} does not work here: {reason}")]
    Unsupported {
        /// The tracer.
        tracer: &'static str,
        /// What is missing and the remedy.
        reason: String,
    },
    /// No target was named.
    #[error(
        "nothing selected: name a process (--pid), a container (--container), a cgroup (--cgroup), a command (-- CMD), or --host for everything"
    )]
    NothingSelected,
    /// The process is not there.
    #[error("process {0} does not exist")]
    NoProcess(u32),
    /// Another process has its number by now.
    #[error(
        "process {0} is not the one that was meant: that one has ended, and its number was given again"
    )]
    OtherProcess(u32),
    /// It is a thread, not a process.
    #[error("{thread} is a thread of process {process}; name the process")]
    Thread {
        /// What was asked for.
        thread: u32,
        /// Whose thread it is.
        process: u32,
    },
    /// Process numbers cannot be compared with the kernel's.
    #[error(
        "--pid and -- COMMAND need the machine's own pid namespace, and this process is in another: that of a container, or of a node that is a container (kind, k3d); run it in the machine's (hostPID: true), or select by --container or --cgroup"
    )]
    PidNamespace,
    /// The cgroup is not there.
    #[error("no cgroup at {}: {source}", path.display())]
    NoCgroup {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No cgroups are mounted.
    #[error(
        "no hierarchy of cgroups is mounted, so nothing can be selected by cgroup or container: mount the host's /sys/fs/cgroup, or select by --pid"
    )]
    NoCgroups,
    /// What is to be the host's /proc is none.
    #[error("proc: {} is no /proc: mount the host's there", .0.display())]
    NoProc(PathBuf),
    /// The container id is not one.
    #[error("\"{}\" is not a container id: it takes at least 4 letters, digits, '_', '.', '+' or '-'", .0.escape_debug())]
    BadContainerId(String),
    /// The pod uid is not one.
    #[error("\"{}\" is not the uid of a pod: it takes 36 letters, digits and '-', as in metadata.uid, or the 32 hexadecimal digits of a static pod's annotation kubernetes.io/config.hash", .0.escape_debug())]
    BadPodUid(String),
    /// The selection of this trace cannot be changed so.
    #[error("{0}")]
    Unchangeable(&'static str),
    /// No container has that id.
    #[error("no container here has an id that begins with {0}")]
    NoContainer(String),
    /// No container that can be seen has that id.
    #[error(
        "no container below {} has an id that begins with {id}, and that is only the root of this process's cgroup namespace: mount the host's /sys/fs/cgroup to select containers elsewhere",
        root.display()
    )]
    NoContainerInNamespace {
        /// What was asked for.
        id: String,
        /// Where the namespace's root is mounted.
        root: PathBuf,
    },
    /// The pod has no container of that id.
    #[error("pod {pod} has no container {} here", .id.escape_debug())]
    NotInPod {
        /// What was asked for.
        id: String,
        /// Whose it should be.
        pod: String,
    },
    /// A target turned out to be more than is allowed.
    #[error("{why} ({line} of its configuration)")]
    Denied {
        /// The line of the configuration.
        line: &'static str,
        /// What it is.
        why: String,
    },
    /// Several containers have it.
    #[error("{count} containers here have an id that begins with {id}: give more of it")]
    AmbiguousContainer {
        /// What was asked for.
        id: String,
        /// How many.
        count: usize,
    },
    /// Too many targets for the map in the kernel.
    #[error("more than {0} processes or cgroups are selected at once; select their common cgroup")]
    TooManyTargets(u32),
    /// Too much text of labels.
    #[error(
        "the labels of this trace's targets, past ones too, take more than {0} bytes; start a new trace, or a new generation of this one"
    )]
    TooManyLabels(usize),
    /// It would take more memory than it may.
    #[error(
        "{tracer} would take {needed} bytes of memory for its maps, its ring and its queues, and may take {allowed}; a smaller ring takes less"
    )]
    Memory {
        /// The tracer.
        tracer: &'static str,
        /// What it would take.
        needed: u64,
        /// What it may.
        allowed: u64,
    },
    /// The command cannot be run.
    #[error("cannot run {command:?}: {source}")]
    Command {
        /// What was to run.
        command: OsString,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's type information cannot be read.
    #[error(
        "the kernel's type information (/sys/kernel/btf/vmlinux) cannot be used: {0}; a kernel built with CONFIG_DEBUG_INFO_BTF has it"
    )]
    Btf(String),
    /// The kernel refused to load an object.
    #[error("the kernel refused {tracer}: {reason}")]
    Load {
        /// The tracer.
        tracer: &'static str,
        /// What the kernel said, the verifier's log cut to its end.
        reason: String,
    },
    /// Maps could not be made for want of locked memory.
    #[error(
        "the kernel refused to make maps for {tracer}: locked memory is limited to {limit} bytes, and kernels before 5.11 count maps by it; raise it (`ulimit -l unlimited`) for whoever starts this"
    )]
    LockedMemory {
        /// The tracer.
        tracer: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The kernel refused to attach.
    #[error("{hook} cannot be attached: {reason}")]
    Attach {
        /// Hook kind and target.
        hook: String,
        /// What the kernel said.
        reason: String,
    },
    /// A mistake of ours.
    #[error("{0}: a bug; what went before is on standard error")]
    Bug(&'static str),
    /// The kernel has no memory for maps.
    #[error(
        "the kernel has no memory for the maps of {tracer}; ask for a smaller ring, or give more memory to whoever runs this"
    )]
    NoMemory {
        /// The tracer.
        tracer: &'static str,
    },
    /// This process, or the host, has no more of something.
    #[error("{what}: {source}; {}", remedy(source))]
    Exhausted {
        /// What failed.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading a map or a ring failed.
    #[error("reading {what} failed: {source}")]
    Read {
        /// The map.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Reasons that a want of descriptors looks like.
const PROBED: [Reason; 2] = [Reason::TargetNotFound, Reason::Unsupported];

/// Whether the kernel says that there is no more of something: descriptors, memory, threads.
fn is_exhausted(error: &io::Error) -> bool {
    let all = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    error
        .raw_os_error()
        .is_some_and(|errno| all.contains(&errno))
}

/// What to do about that.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "this process has as many files open as it may: end other traces, or raise its limit (LimitNOFILE= of its unit, `ulimit -n`)"
        }
        Some(libc::ENFILE) => {
            "this host has as many files open as it may: end what holds them, or raise fs.file-max"
        }
        Some(libc::ENOMEM) => {
            "the kernel has no memory for it: end other traces, ask for a smaller ring, or give more memory to whoever runs this"
        }
        _ => {
            "this process has as many threads as it may: end other traces, or raise its limit (TasksMax= of its unit, `ulimit -u`)"
        }
    }
}

/// The word for an error that programs go by: the same in gRPC, in a condition and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Error::MissingCapability`]
    MissingCapability,
    /// [`Error::Unsupported`]
    Unsupported,
    /// A target that is wrong or not there.
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
                what: format!("cannot look at {}", path.display()),
                source,
            },
            Self::Command { command, source } if is_exhausted(&source) => Self::Exhausted {
                what: format!("cannot run {command:?}"),
                source,
            },
            error if PROBED.contains(&error.reason()) => match fs::File::open("/dev/null") {
                Err(source) if is_exhausted(&source) => Self::Exhausted {
                    what: format!("cannot look at this host ({error})"),
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
