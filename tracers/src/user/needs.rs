//! What a tracer needs of the kernel and of the process that loads it, derived from its hooks and its columns.

use crate::{At, Capability, Erased, Kind, Naming};
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
    /// One link for many kernel functions, which counts the runs that it skips: Linux 6.7 with CONFIG_FPROBE.
    KernelProbes,
    /// One link for many functions of a program or library: Linux 6.6.
    UserProbes,
}

impl Feature {
    /// A few words for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trampolines => "fentry",
            Self::KernelProbes => "kprobe.multi",
            Self::UserProbes => "uprobe.multi",
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
const KERNEL_PROBES: Need = Need::feature(Feature::KernelProbes, "hooks at many kernel functions");
const USER_PROBES: Need = Need::feature(Feature::UserProbes, "hooks at functions of programs");
const USER_FILES: Need = Need::capability(
    Capability::SysPtrace,
    "finding functions in programs of other users",
);
const CGROUPS: Need = Need::capability(Capability::NetAdmin, "hooks at the sockets of cgroups");
const USER_NAMES: Need = Need::capability(
    Capability::SysPtrace,
    "names of functions in programs of other users",
);
const KERNEL_NAMES: Need = Need::capability(Capability::Syslog, "names of kernel functions");

/// What a point of a kind needs beside [`OF_ALL`].
const fn of_point(at: &At) -> &'static [Need] {
    match at {
        At::RawTracepoint(_) | At::TypedTracepoint(_) | At::Iterator(_) => &[],
        At::FunctionEntry(_) | At::FunctionReturn(_) | At::FunctionVerdict(_) => &[TRAMPOLINES],
        At::KernelFunctions { .. } => &[KERNEL_PROBES],
        At::UserFunction { .. } => &[USER_PROBES, USER_FILES],
        At::CgroupPackets { .. } | At::CgroupAddress { .. } => &[CGROUPS],
    }
}

impl At {
    /// The capability without which a program cannot be at such a place, besides CAP_BPF and CAP_PERFMON.
    pub fn capability(&self) -> Option<Capability> {
        match self {
            Self::CgroupPackets { .. } | Self::CgroupAddress { .. } => Some(Capability::NetAdmin),
            Self::UserFunction { .. } => Some(Capability::SysPtrace),
            Self::RawTracepoint(_)
            | Self::TypedTracepoint(_)
            | Self::Iterator(_)
            | Self::FunctionEntry(_)
            | Self::FunctionReturn(_)
            | Self::FunctionVerdict(_)
            | Self::KernelFunctions { .. } => None,
        }
    }
}

/// What a column needs for values that can be read, by what names them.
const fn of_naming(naming: Naming) -> &'static [Need] {
    match naming {
        Naming::UserStack => &[USER_NAMES],
        Naming::KernelStack | Naming::KernelSymbol => &[KERNEL_NAMES],
        Naming::None | Naming::KernelEnum => &[],
    }
}

impl Needs {
    /// The needs of a tracer, by its hooks and its columns.
    pub fn of(tracer: &dyn Erased) -> Self {
        let sets = tracer.points().into_iter();
        let sets = sets.map(|set| set.into_iter().map(|point| point.at).collect());
        let datasets = tracer.datasets();
        let columns = datasets.iter().flat_map(|one| &one.columns);
        let kinds = columns.map(|column| column.kind);
        Self::derive(&sets.collect::<Vec<_>>(), kinds)
    }

    /// What every set of points needs is required, and what a column needs besides is helpful. What only some sets need is no need:
    /// another set works without it.
    fn derive(sets: &[Vec<At>], kinds: impl Iterator<Item = Kind>) -> Self {
        let needs_of =
            |set: &[At]| -> BTreeSet<Need> { set.iter().flat_map(of_point).copied().collect() };
        let always = { sets.iter() }
            .map(|set| needs_of(set))
            .reduce(|all, set| &all & &set)
            .unwrap_or_default();
        let mut needs = Self {
            required: OF_ALL.into_iter().chain(always).collect(),
            helpful: Vec::new(),
        };
        for need in kinds.flat_map(|kind| of_naming(kind.naming())) {
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
    fn a_need_of_every_set_of_points_is_required_and_one_of_some_sets_is_none() {
        let of = |sets: &[Vec<At>], kinds: &[Kind]| {
            Needs::derive(sets, kinds.iter().copied()).to_string()
        };
        let raw_tp = || At::RawTracepoint("sys_enter".into());
        let fentry = || At::FunctionEntry("vfs_open".into());
        assert_eq!(of(&[vec![raw_tp()]], &[]), "CAP_BPF, CAP_PERFMON");
        assert_eq!(of(&[vec![fentry()]], &[]), "CAP_BPF, CAP_PERFMON, fentry");
        assert_eq!(
            of(
                &[vec![fentry(), raw_tp()], vec![raw_tp()]],
                &[Kind::KernelStack]
            ),
            "CAP_BPF, CAP_PERFMON; CAP_SYSLOG for names of kernel functions"
        );
        let packets = || At::CgroupPackets {
            cgroup: "/".into(),
            direction: crate::Direction::Egress,
        };
        assert_eq!(
            of(&[vec![packets()], vec![packets(), raw_tp()]], &[]),
            "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"
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
            "unknown class; classes: observe, payload, memory, act"
        );
    }
}
