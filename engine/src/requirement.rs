//! Which of a tracer's needs are there, and how to get the others.

use crate::{Kernel, capability::Held, point};
use tracers::{Capability, Erased, Feature, Need, Needs, Requirement, fentry, kprobe, uprobe};

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

/// How to get a capability.
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
