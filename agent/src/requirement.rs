//! Which of a tracer's needs are there, and how to get the others.

use crate::{
    Kernel,
    bpf::{self, Trial},
    capability::Held,
};
use std::{fs, io};
use tracers::{Capability, Erased, Feature, Need, Needs, Requirement};

/// A need of a tracer on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The need.
    pub need: Need,
    /// Whether the tracer does not work without it; otherwise its rows lack what the need is for.
    pub required: bool,
    /// How to get it, where it is not there.
    pub missing: Option<String>,
}

impl Kernel {
    /// The needs of a tracer, and which are missing here.
    pub fn needs(&self, tracer: &dyn Erased) -> Vec<Checked> {
        let needs = Needs::of(tracer);
        let checked = needs.all().map(|(need, required)| Checked {
            need,
            required,
            missing: self.missing(need.what),
        });
        checked.collect()
    }

    /// How to get a requirement; `None` where it is there.
    fn missing(&self, requirement: Requirement) -> Option<String> {
        match requirement {
            Requirement::Capability(capability) => {
                (!capability.suffices()).then(|| grant(capability))
            }
            Requirement::Feature(Feature::Trampolines) => {
                self.tries_trampolines().is_err().then(|| {
                    "a kernel with BPF trampolines: x86-64 from Linux 5.5, arm64 from 6.0"
                        .to_owned()
                })
            }
            Requirement::Feature(Feature::PerfEvents) => {
                let closed = perf_event_paranoid().is_some_and(|level| level >= 3);
                (closed && !Capability::SysAdmin.have()).then(|| PERF_EVENTS.to_owned())
            }
        }
    }

    /// A required capability that this thread lacks, beside those without which no program can be loaded at all.
    pub(crate) fn lacks(&self, tracer: &dyn Erased) -> Option<(Need, String)> {
        let needs = Needs::of(tracer).required.into_iter();
        let mut needs = needs.filter_map(|need| match need.what {
            Requirement::Capability(Capability::Bpf | Capability::Perfmon) => None,
            // Which hooks a kernel has is found out by trying them.
            Requirement::Feature(_) => None,
            Requirement::Capability(capability) if capability.suffices() => None,
            Requirement::Capability(capability) => Some((need, grant(capability))),
        });
        needs.next()
    }

    /// Whether programs can be attached to kernel functions; otherwise why not.
    pub(crate) fn tries_trampolines(&self) -> Result<(), Untried> {
        let id = { self.btf.function("vfs_open") }.ok_or(Untried::NoFunction)?;
        bpf::try_load(Trial::FEntry(id)).map_err(Untried::Refused)
    }
}

/// Why no program can be attached to a kernel function.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untried {
    /// The function of the trial.
    #[error("the kernel has no function vfs_open")]
    NoFunction,
    /// The kernel.
    #[error("this kernel refuses it: {}", .0.kind())]
    Refused(io::Error),
}

/// What opens perf_event_open(2).
pub(crate) const PERF_EVENTS: &str = "sysctl kernel.perf_event_paranoid=2";

/// `kernel.perf_event_paranoid`, where the kernel has it.
pub(crate) fn perf_event_paranoid() -> Option<i32> {
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    level.trim().parse().ok()
}

/// How to get a capability.
fn grant(capability: Capability) -> String {
    let word = capability.name().to_lowercase();
    format!(
        "run it with sudo, or `sudo setcap cap_bpf,cap_perfmon{}+ep $(command -v tracejob)`; an agent gets {capability} from its unit or container",
        match capability {
            Capability::Bpf | Capability::Perfmon => String::new(),
            _ => format!(",{word}"),
        }
    )
}
