//! What a tracer needs of the kernel and of the process that loads it, derived from its hooks and its columns.

use crate::{Capability, Erased, HookKind, Kind};
use core::fmt;
use std::{collections::BTreeSet, format, string::String, vec::Vec};

/// What a tracer needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Without one of these the tracer does not work.
    pub required: Vec<Need>,
    /// Without one of these the tracer works, and its rows lack what the reason names.
    pub helpful: Vec<Need>,
}

/// One thing that a tracer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The capability or the feature.
    pub what: Requirement,
    /// What it is for, after "for".
    pub reason: &'static str,
}

/// A capability of the process, or a feature of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// A capability.
    Capability(Capability),
    /// A feature of the kernel.
    Feature(Feature),
}

/// A feature of the kernel that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Programs at the entry and the return of kernel functions: Linux 5.5 on x86-64, 6.0 on arm64.
    Trampolines,
    /// perf_event_open(2) without CAP_SYS_ADMIN.
    PerfEvents,
}

impl Feature {
    /// A few words for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trampolines => "fentry",
            Self::PerfEvents => "perf_event_open",
        }
    }
}

impl Requirement {
    /// One word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capability(capability) => capability.name(),
            Self::Feature(feature) => feature.name(),
        }
    }
}

impl Need {
    const fn capability(capability: Capability, reason: &'static str) -> Self {
        Self {
            what: Requirement::Capability(capability),
            reason,
        }
    }

    const fn feature(feature: Feature, reason: &'static str) -> Self {
        Self {
            what: Requirement::Feature(feature),
            reason,
        }
    }
}

/// What every tracer needs.
const OF_ALL: [Need; 2] = [
    Need::capability(Capability::Bpf, "loading programs and making maps"),
    Need::capability(Capability::Perfmon, "reading kernel memory"),
];
const TRAMPOLINES: Need = Need::feature(Feature::Trampolines, "hooks at kernel functions");
const PERF_EVENTS: Need = Need::feature(Feature::PerfEvents, "hooks by breakpoint");
const USER_NAMES: Need = Need::capability(
    Capability::SysPtrace,
    "names of functions in programs of other users",
);
const KERNEL_NAMES: Need = Need::capability(Capability::Syslog, "names of kernel functions");

/// What a hook of a kind needs beside [`OF_ALL`]. Nothing else here looks at kinds of hooks.
const fn of_hook(kind: HookKind) -> &'static [Need] {
    match kind {
        HookKind::RawTp => &[],
        HookKind::FEntry | HookKind::FExit => &[TRAMPOLINES],
        HookKind::KProbe | HookKind::KRetProbe => &[PERF_EVENTS],
    }
}

/// What a column of a kind needs for values that can be read. Nothing else here looks at kinds of columns.
const fn of_column(kind: Kind) -> &'static [Need] {
    match kind {
        Kind::UserStack => &[USER_NAMES],
        Kind::KernelStack => &[KERNEL_NAMES],
        Kind::Unsigned
        | Kind::Signed
        | Kind::Bool
        | Kind::Time
        | Kind::Text
        | Kind::Path
        | Kind::Args
        | Kind::Ip
        | Kind::Syscall
        | Kind::Outcome
        | Kind::Octal
        | Kind::Flags(_)
        | Kind::Log2 { .. }
        | Kind::Errors => &[],
    }
}

impl Needs {
    /// The needs of a tracer, by its hooks and its columns.
    pub fn of(tracer: &dyn Erased) -> Self {
        let sets = tracer.hooks().iter();
        let sets = sets.map(|set| set.iter().map(|hook| hook.kind).collect());
        let columns = tracer.columns();
        let kinds = columns.iter().map(|column| column.kind);
        Self::derive(&sets.collect::<Vec<_>>(), kinds)
    }

    /// What every set of hooks needs is required, and what a column needs besides is helpful. What only some sets need is no need:
    /// another set works without it.
    fn derive(sets: &[Vec<HookKind>], kinds: impl Iterator<Item = Kind>) -> Self {
        let needs_of = |set: &[HookKind]| -> BTreeSet<Need> {
            set.iter()
                .flat_map(|kind| of_hook(*kind))
                .copied()
                .collect()
        };
        let always = { sets.iter() }
            .map(|set| needs_of(set))
            .reduce(|all, set| &all & &set)
            .unwrap_or_default();
        let mut needs = Self {
            required: OF_ALL.into_iter().chain(always).collect(),
            helpful: Vec::new(),
        };
        for need in kinds.flat_map(of_column) {
            if !needs.helpful.contains(need) && !needs.required.contains(need) {
                needs.helpful.push(*need);
            }
        }
        needs
    }

    /// All of them, and whether each is required.
    pub fn all(&self) -> impl Iterator<Item = (Need, bool)> {
        let required = self.required.iter().map(|need| (*need, true));
        required.chain(self.helpful.iter().map(|need| (*need, false)))
    }

    /// The capabilities among them.
    pub fn capabilities(&self) -> impl Iterator<Item = Capability> {
        self.all().filter_map(|(need, _)| match need.what {
            Requirement::Capability(capability) => Some(capability),
            Requirement::Feature(_) => None,
        })
    }
}

/// `CAP_BPF, CAP_PERFMON; CAP_SYSLOG for names of kernel functions`
impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = self.required.iter().map(|need| need.what.name());
        f.write_str(&required.collect::<Vec<_>>().join(", "))?;
        let helpful = self.helpful.iter();
        let helpful = helpful.map(|need| format!("{} for {}", need.what.name(), need.reason));
        let helpful: Vec<String> = helpful.collect();
        match helpful.is_empty() {
            true => Ok(()),
            false => write!(f, "; {}", helpful.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALL, Class};
    use std::{string::ToString, vec};

    #[test]
    fn a_need_of_every_set_of_hooks_is_required_and_one_of_some_sets_is_none() {
        use HookKind::{FEntry, KProbe, RawTp};
        let of = |sets: &[Vec<HookKind>], kinds: &[Kind]| {
            Needs::derive(sets, kinds.iter().copied()).to_string()
        };
        assert_eq!(of(&[vec![RawTp]], &[]), "CAP_BPF, CAP_PERFMON");
        assert_eq!(of(&[vec![FEntry]], &[]), "CAP_BPF, CAP_PERFMON, fentry");
        assert_eq!(
            of(&[vec![FEntry, RawTp], vec![RawTp]], &[Kind::KernelStack]),
            "CAP_BPF, CAP_PERFMON; CAP_SYSLOG for names of kernel functions"
        );
        assert_eq!(
            of(&[vec![KProbe], vec![KProbe, RawTp]], &[]),
            "CAP_BPF, CAP_PERFMON, perf_event_open"
        );
    }

    #[test]
    fn every_tracer_needs_no_capability_that_its_class_does_not_bring() {
        for tracer in ALL {
            let class = tracer.class();
            for capability in Needs::of(*tracer).capabilities() {
                assert!(
                    class.capabilities().contains(&capability),
                    "{} needs {capability}, which an agent does not keep for the class {}",
                    tracer.name(),
                    class.word()
                );
            }
        }
    }

    #[test]
    fn the_default_classes_bring_no_right_over_the_network_and_act_does() {
        let of = Class::capabilities_of;
        assert!(!of(&Class::DEFAULT).contains(&Capability::NetAdmin));
        assert!(of(&[Class::Act]).contains(&Capability::NetAdmin));
        assert_eq!(
            of(&[Class::Observe, Class::Act]),
            [
                Capability::Bpf,
                Capability::Perfmon,
                Capability::SysPtrace,
                Capability::Syslog,
                Capability::NetAdmin
            ]
        );
    }

    #[test]
    fn each_class_is_found_by_its_word() {
        for class in Class::ALL {
            assert_eq!(class.word().parse(), Ok(class));
        }
        let error = "Observe".parse::<Class>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the classes of tracers are observe, payload, memory, act"
        );
    }
}
