//! Facts about the running kernel: what can be traced here, and if not, why not and what to do.

use crate::{
    Capability, Error,
    bpf::{self, Trial},
    btf::Btf,
    objects::object,
    point::uprobe_multi,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tracers::{Erased, Hook, HookKind};

/// The running kernel.
pub struct Kernel {
    release: String,
    pub(crate) btf: Btf,
    /// What the kernel says to the simplest tracing program.
    tracing: Result<(), io::Error>,
    /// Where it shows processes.
    pub(crate) proc: PathBuf,
    /// How far CLOCK_BOOTTIME is ahead here, in our time namespace, of what kernel programs read.
    pub(crate) boottime_ahead_ns: i64,
}

/// `boottime SECONDS NANOSECONDS` of /proc/self/timens_offsets, time_namespaces(7). Kernels before 5.6 have no such file.
fn boottime_ahead(text: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix("boottime"));
    let mut numbers = line
        .into_iter()
        .flat_map(str::split_whitespace)
        .flat_map(str::parse::<i64>);
    let mut next = || numbers.next().unwrap_or(0);
    let (seconds, nanoseconds) = (next(), next());
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// Whether a tracer works here.
#[derive(Clone, Debug)]
pub enum Support {
    /// It does.
    Yes {
        /// The first set of hooks that this kernel and these capabilities allow.
        hooks: &'static [Hook],
    },
    /// It does not.
    No {
        /// What is missing, by name.
        reason: String,
        /// What to do about it, where anything can be done.
        remedy: Option<String>,
    },
}

impl Kernel {
    /// Reads what there is to know.
    ///
    /// # Errors
    /// Where the kernel has no type information.
    pub fn read() -> Result<Self, Error> {
        Ok(Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            btf: Btf::of_kernel()?,
            tracing: bpf::try_load(Trial::RawTracepoint),
            proc: "/proc".into(),
            boottime_ahead_ns: boottime_ahead(
                &fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default(),
            ),
        })
    }

    /// Looks for processes there: the host's /proc, for who is not in the host's namespace of processes.
    ///
    /// # Errors
    /// Where it is none.
    pub fn with_proc(mut self, proc: &Path) -> Result<Self, Error> {
        // `self` leads nowhere there; this is there for everybody.
        if !proc.join("kallsyms").exists() {
            return Err(Error::NoProc(proc.to_owned()));
        }
        proc.clone_into(&mut self.proc);
        Ok(self)
    }

    /// Its version, as uname(2) says it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Its version as two numbers: 6.18.
    pub(crate) fn version(&self) -> (u32, u32) {
        let mut numbers = self
            .release
            .split(|c: char| !c.is_ascii_digit())
            .map(|n| n.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether another task may get the CPU while a program at a tracepoint is at work, which the kernel then does not run for that task:
    /// `__bpf_trace_run`, kernel/trace/bpf_trace.c, since 7.0.
    pub(crate) fn preempts_at_tracepoints(&self) -> bool {
        self.version() >= (7, 0)
    }

    /// Whether tracing programs may ask for a cgroup's ancestors by a helper.
    pub(crate) fn has_ancestor_helper(&self) -> bool {
        bpf::try_load(Trial::AncestorHelper).is_ok()
    }

    /// Whether tracing programs may look into the current task without a helper.
    pub(crate) fn has_task_helper(&self) -> bool {
        bpf::try_load(Trial::TaskHelper).is_ok()
    }

    /// Why no program at all can be loaded.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.tracing.as_ref().err()?;
        let needed = [Capability::Bpf, Capability::Perfmon];
        let missing: Vec<Capability> = needed.into_iter().filter(|c| !c.have()).collect();
        if Capability::SysAdmin.have() || missing.is_empty() {
            return None;
        }
        let some = missing.len() < needed.len();
        Some(Error::MissingCapability { missing, some })
    }

    /// Whether a tracer works here, and by which hooks.
    pub fn support(&self, tracer: &'static dyn Erased) -> Support {
        if let Some(refused) = self.refusal() {
            let Error::MissingCapability { missing, .. } = refused else {
                unreachable!("refusal gives nothing else");
            };
            return Support::No {
                reason: format!("needs {}", Capability::list(&missing)),
                remedy: Some("run it with sudo, or `sudo setcap cap_bpf,cap_perfmon+ep $(command -v tracejob)`".to_owned()),
            };
        }
        if let Some(missing) = self.missing_field(tracer) {
            return Support::No {
                reason: format!("this kernel has no {missing}"),
                remedy: None,
            };
        }
        let mut reasons: Vec<String> = Vec::new();
        for hooks in tracer.hooks() {
            match hooks.iter().find_map(|hook| self.refuses(hook)) {
                None => return Support::Yes { hooks },
                Some(reason) => reasons.push(reason),
            }
        }
        Support::No {
            reason: reasons.join("; "),
            remedy: None,
        }
    }

    /// Why a hook cannot be used here; `None` where it can.
    fn refuses(&self, hook: &Hook) -> Option<String> {
        match hook.kind {
            HookKind::RawTp => match (self.btf.tracepoint_arguments(hook.target), hook.arguments) {
                (None, _) => Some(format!("this kernel has no tracepoint {}", hook.target)),
                (Some(have), Some(wanted)) if have != wanted => Some(format!(
                    "the tracepoint {} has {have} arguments in this kernel, and {wanted} are needed",
                    hook.target
                )),
                _ => None,
            },
            HookKind::FEntry | HookKind::FExit => match self.btf.function(hook.target) {
                None => Some(format!(
                    "this kernel has no function {} to hook",
                    hook.target
                )),
                // Not every function that is there can be hooked, so each is tried.
                Some(id) => bpf::try_load(Trial::of(hook.kind, id)).err().map(|error| {
                    format!(
                        "this kernel does not let {} {} be hooked ({error})",
                        hook.kind.word(),
                        hook.target
                    )
                }),
            },
            HookKind::UProbe | HookKind::URetProbe => uprobe_multi::possible().err(),
            HookKind::KProbe | HookKind::KRetProbe => {
                let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
                    .unwrap_or_default();
                match paranoid.trim().parse::<i32>() {
                    Ok(level) if level >= 3 && !Capability::SysAdmin.have() => Some(format!(
                        "perf_event_open needs CAP_SYS_ADMIN while kernel.perf_event_paranoid is {level}; `sysctl kernel.perf_event_paranoid=2` allows it"
                    )),
                    _ => None,
                }
            }
        }
    }

    /// A kernel field or constant that the tracer's programs read and this kernel lacks.
    fn missing_field(&self, tracer: &'static dyn Erased) -> Option<String> {
        let object = object(tracer.name())?;
        wanted(object)
            .into_iter()
            .find_map(|wanted| match wanted.find(&self.btf) {
                None if !wanted.optional => Some(wanted.name),
                _ => None,
            })
    }
}

/// A global that asks for a fact about the kernel's types, by its name: see `agent-ebpf/src/field.rs`.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The global.
    pub(crate) symbol: String,
    /// What it asks for, as C writes it.
    pub(crate) name: String,
    optional: bool,
    is_constant: bool,
}

impl Wanted {
    fn parse(symbol: &str) -> Option<Self> {
        let (optional, is_constant, rest) = if let Some(rest) = symbol.strip_prefix("KOFF_") {
            (false, false, rest)
        } else if let Some(rest) = symbol.strip_prefix("KOPT_") {
            (true, false, rest)
        } else {
            (false, true, symbol.strip_prefix("KENUM_")?)
        };
        Some(Self {
            symbol: symbol.to_owned(),
            name: rest.replace("_DOT_", "."),
            optional,
            is_constant,
        })
    }

    /// The value for the global.
    pub(crate) fn find(&self, btf: &Btf) -> Option<u32> {
        if self.is_constant {
            return btf.constant(&self.name);
        }
        let mut parts = self.name.split('.');
        let of = parts.next()?;
        btf.offset(of, &parts.collect::<Vec<_>>())
    }
}

/// Every fact that an object asks for.
pub(crate) fn wanted(object: &[u8]) -> Vec<Wanted> {
    use object::{Object, ObjectSymbol};
    let Ok(file) = object::File::parse(object) else {
        return Vec::new();
    };
    file.symbols()
        .filter_map(|symbol| Wanted::parse(symbol.name().ok()?))
        .collect()
}
