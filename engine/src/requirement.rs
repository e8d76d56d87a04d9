//! Available and missing requirements of a tracer, with remedies.

use crate::{Kernel, capability::Held, point};
use tracers::{Capability, Erased, Feature, Need, Needs, Requirement, fentry, kprobe, uprobe};

/// A requirement of a tracer on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The requirement.
    pub need: Need,
    /// Whether the tracer requires it; otherwise its rows have less information without it.
    pub required: bool,
    /// Remedy, if it is missing.
    pub missing: Option<String>,
}

impl Kernel {
    /// Returns the requirements of a tracer, with remedies for missing ones.
    pub fn needs(&self, tracer: &dyn Erased) -> Vec<Checked> {
        let needs = Needs::of(tracer);
        let checked = needs.all().map(|(need, required)| Checked {
            need,
            required,
            missing: self.missing(need.what),
        });
        checked.collect()
    }

    /// Returns the remedy for a requirement; `None` if it is fulfilled.
    fn missing(&self, requirement: Requirement) -> Option<String> {
        match requirement {
            Requirement::Capability(capability) => {
                (!capability.suffices()).then(|| grant(capability))
            }
            Requirement::Feature(Feature::Trampolines) => point::refuses(&fentry("vfs_open"), self)
                .map(|_| {
                    "a kernel with BPF trampolines: x86-64 from Linux 5.5, arm64 from 6.0"
                        .to_owned()
                }),
            Requirement::Feature(Feature::KernelProbes) => {
                point::refuses(&kprobe(&["vfs_open"], "opened"), self)
                    .map(|_| "a kernel from Linux 6.7, built with CONFIG_FPROBE".to_owned())
            }
            Requirement::Feature(Feature::UserProbes) => {
                point::refuses(&uprobe("libc", "getpid"), self)
                    .map(|_| "a kernel from Linux 6.6".to_owned())
            }
        }
    }
}

/// Returns the remedy for a missing capability.
pub(crate) fn grant(capability: Capability) -> String {
    let word = capability.name().to_lowercase();
    format!(
        "run it with sudo, or `sudo setcap cap_bpf,cap_perfmon{}+ep $(command -v tracejob)`; an agent gets {capability} from its unit or container",
        match capability {
            Capability::Bpf | Capability::Perfmon => String::new(),
            _ => format!(",{word}"),
        }
    )
}
