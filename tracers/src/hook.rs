//! Where a kernel program attaches, and what must be true for it to.

/// One program and the place in the kernel where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// How it attaches.
    pub kind: HookKind,
    /// The tracepoint or function.
    pub target: &'static str,
    /// Of a function of user space: the program or library, `libc`, `program` or a library's file name.
    pub object: &'static str,
    /// The program in the tracer's object.
    pub program: &'static str,
    /// How many arguments the tracepoint must have in this kernel, where that has changed between versions.
    pub arguments: Option<u8>,
}

/// How a program attaches. The first three need bpf() alone; the others need perf_event_open,
/// which Debian's and Ubuntu's kernels reserve for CAP_SYS_ADMIN while `kernel.perf_event_paranoid` is 3 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A tracepoint, with the arguments of its prototype.
    RawTp,
    /// The entry of a kernel function.
    FEntry,
    /// The return of a kernel function, with its arguments and its result.
    FExit,
    /// A kernel function's entry by breakpoint.
    KProbe,
    /// A kernel function's return by breakpoint.
    KRetProbe,
    /// The entry of a function of user space.
    UProbe,
    /// The return of a function of user space.
    URetProbe,
}

impl HookKind {
    /// The kernel's own word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::RawTp => "raw_tp",
            Self::FEntry => "fentry",
            Self::FExit => "fexit",
            Self::KProbe => "kprobe",
            Self::KRetProbe => "kretprobe",
            Self::UProbe => "uprobe.multi",
            Self::URetProbe => "uretprobe.multi",
        }
    }

    /// Whether attaching goes through perf_event_open.
    pub const fn needs_perf_event_open(self) -> bool {
        matches!(self, Self::KProbe | Self::KRetProbe)
    }
}

impl Hook {
    /// A hook whose program has the target's own name.
    pub const fn new(kind: HookKind, target: &'static str) -> Self {
        Self {
            kind,
            target,
            object: "",
            program: target,
            arguments: None,
        }
    }

    /// Whether it is at the entry or the return of a kernel function, by the kernel's own types.
    pub const fn is_of_a_function(&self) -> bool {
        matches!(self.kind, HookKind::FEntry | HookKind::FExit)
    }

    /// Whether it is at the entry or the return of a function of user space.
    pub const fn is_of_user_space(&self) -> bool {
        matches!(self.kind, HookKind::UProbe | HookKind::URetProbe)
    }

    /// The same hook, run by the program of another name: where two hooks have one target.
    pub const fn by(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    /// The same hook, only where the tracepoint has this many arguments.
    pub const fn with_arguments(mut self, arguments: u8) -> Self {
        self.arguments = Some(arguments);
        self
    }
}

/// A tracepoint, attached by bpf() alone.
pub const fn raw_tp(target: &'static str) -> Hook {
    Hook::new(HookKind::RawTp, target)
}

/// A kernel function's entry, attached by bpf() alone.
pub const fn fentry(target: &'static str) -> Hook {
    Hook::new(HookKind::FEntry, target)
}

/// A kernel function's return, attached by bpf() alone.
pub const fn fexit(target: &'static str) -> Hook {
    Hook::new(HookKind::FExit, target)
}

/// A function of user space, at its entry.
pub const fn uprobe(object: &'static str, symbol: &'static str) -> Hook {
    Hook {
        object,
        ..Hook::new(HookKind::UProbe, symbol)
    }
}

/// A function of user space, at its return.
pub const fn uretprobe(object: &'static str, symbol: &'static str) -> Hook {
    Hook {
        object,
        ..Hook::new(HookKind::URetProbe, symbol)
    }
}
