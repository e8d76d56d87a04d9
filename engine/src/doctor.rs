//! What of this host tracing depends on, checked one by one.

use crate::{
    Kernel,
    capability::Held,
    point,
    select::{
        hierarchies,
        process::{has_the_kernels_numbers, in_host_pid_namespace},
    },
};
use std::{borrow::Cow, fs, path::Path};
use tracers::{
    Capability, Point, fentry, fexit, fmod_ret, iter, kprobe, kretprobe, raw_tp, tp_btf, uprobe,
    uretprobe,
};

/// Result of a check of a host or a cluster, as `tracejob doctor` shows it.
#[derive(Clone, Debug)]
pub struct Check {
    /// Checked subject: `kernel`.
    pub name: Cow<'static, str>,
    /// Verdict.
    pub verdict: Verdict,
    /// Findings, for people.
    pub detail: String,
    /// Remedy, if there is one.
    pub remedy: Option<String>,
}

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is missing.
    Ok,
    /// Some functions do not work, or work less well.
    Limited,
    /// Nothing works.
    Missing,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Limited, Self::Missing];

    /// Returns the word of the verdict in messages, JSON and tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

impl Kernel {
    /// Checks this host.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = vec![
            self.kernel_check(),
            self.capability_check(),
            self.points_check(),
            cgroup_check(),
            process_check(&self.proc),
            symbols_check(),
        ];
        if self.version() < (5, 11) {
            checks.push(locked_memory_check());
        }
        checks
    }

    fn kernel_check(&self) -> Check {
        let old = self.version() < (5, 10);
        Check {
            name: "kernel".into(),
            verdict: if old { Verdict::Missing } else { Verdict::Ok },
            detail: format!("{} with type information", self.release()),
            remedy: old.then(|| "use Linux 5.10 or newer".to_owned()),
        }
    }

    fn capability_check(&self) -> Check {
        match self.refusal() {
            None => Check {
                name: "capabilities".into(),
                verdict: Verdict::Ok,
                detail: match Capability::SysAdmin.have() {
                    true => "CAP_SYS_ADMIN, which is more than is needed".to_owned(),
                    false => "CAP_BPF and CAP_PERFMON".to_owned(),
                },
                remedy: None,
            },
            Some(error) => Check {
                name: "capabilities".into(),
                verdict: Verdict::Missing,
                detail: error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                remedy: Some(
                    "sudo setcap cap_bpf,cap_perfmon+ep $(command -v tracejob)".to_owned(),
                ),
            },
        }
    }

    /// One point of each kind that needs no more than every program does.
    fn points_check(&self) -> Check {
        const POINTS: [Point; 10] = [
            raw_tp("sched_switch"),
            tp_btf("sched_switch"),
            fentry("vfs_open"),
            fexit("vfs_open"),
            fmod_ret("security_file_open"),
            kprobe(&["vfs_open"], "opened"),
            kretprobe(&["vfs_open"], "opened"),
            iter("task"),
            uprobe("libc", "getpid"),
            uretprobe("libc", "getpid"),
        ];
        let mut works = Vec::new();
        let mut refused = Vec::new();
        for point in POINTS {
            match point::refuses(&point, self) {
                None => works.push(point.at.word()),
                Some(reason) => refused.push(format!("not {}: {reason}", point.at.word())),
            }
        }
        let detail = [vec![works.join(", ")], refused.clone()]
            .concat()
            .join("; ");
        Check {
            name: "points".into(),
            verdict: match (works.is_empty(), refused.is_empty()) {
                (true, _) => Verdict::Missing,
                (false, false) => Verdict::Limited,
                (false, true) => Verdict::Ok,
            },
            detail,
            remedy: None,
        }
    }
}

fn cgroup_check() -> Check {
    let first = hierarchies().map(|mut all| all.swap_remove(0));
    let limited = |detail: String, remedy: &str| Check {
        name: "cgroups".into(),
        verdict: Verdict::Limited,
        detail,
        remedy: Some(remedy.to_owned()),
    };
    match first {
        Ok(first) => {
            let version = if first.number == 0 { 2 } else { 1 };
            let found = format!("version {version} at {}", first.root.display());
            match first.namespace {
                None => Check {
                    name: "cgroups".into(),
                    verdict: Verdict::Ok,
                    detail: found,
                    remedy: None,
                },
                Some(_) => limited(
                    format!(
                        "{found}, from the root of a cgroup namespace: containers and cgroups outside of it cannot be selected"
                    ),
                    "on a node that is a container (kind, k3d) this is the whole node; in any other container, mount the host's /sys/fs/cgroup",
                ),
            }
        }
        Err(_) => limited(
            "none are mounted: --cgroup and --container do not work".to_owned(),
            "mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
    }
}

fn process_check(proc: &Path) -> Check {
    let ours = in_host_pid_namespace().is_ok();
    let (verdict, detail) = match (ours, has_the_kernels_numbers(proc)) {
        (true, _) => (Verdict::Ok, "numbered as in this pid namespace".to_owned()),
        (false, true) => (
            Verdict::Limited,
            format!(
                "PIDs are those of {}; this process is in another PID namespace, so --pid and -- COMMAND do not work",
                proc.display()
            ),
        ),
        (false, false) => (
            Verdict::Limited,
            "numbered as in the machine's own pid namespace, which cannot be seen from here: --pid and -- COMMAND do not work, and stacks have names by build id alone".to_owned(),
        ),
    };
    Check {
        name: "processes".into(),
        verdict,
        detail,
        remedy: (!ours).then(|| {
            "run it in the machine's pid namespace (hostPID: true), which no pod on a node that is a container can"
                .to_owned()
        }),
    }
}

fn symbols_check() -> Check {
    // Without the right to see them, all addresses read as zero.
    let hidden = fs::read_to_string("/proc/kallsyms")
        .ok()
        .and_then(|symbols| {
            symbols
                .lines()
                .next()
                .map(|line| line.starts_with("0000000000000000"))
        })
        .unwrap_or(true);
    Check {
        name: "kernel symbols".into(),
        verdict: if hidden {
            Verdict::Limited
        } else {
            Verdict::Ok
        },
        detail: match hidden {
            true => "hidden: kernel stacks show addresses".to_owned(),
            false => "readable".to_owned(),
        },
        remedy: hidden.then(|| {
            "give the program CAP_SYSLOG, and `sysctl kernel.kptr_restrict=1` or less".to_owned()
        }),
    }
}

fn locked_memory_check() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    // What the largest tracer takes.
    let short = limit.is_some_and(|bytes| bytes < 64 << 20);
    Check {
        name: "locked memory".into(),
        verdict: if short && !Capability::SysResource.have() {
            Verdict::Missing
        } else {
            Verdict::Ok
        },
        detail: match limit {
            Some(bytes) => {
                format!("limited to {bytes} bytes, and this kernel counts maps as locked memory")
            }
            None => "not limited".to_owned(),
        },
        remedy: short
            .then(|| "ulimit -l unlimited, or LimitMEMLOCK=infinity in a systemd unit".to_owned()),
    }
}
