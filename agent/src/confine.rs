//! Confinement of the agent before it listens. In Linux capabilities, Landlock and seccomp filters belong to threads, and a thread
//! inherits those of its creator, so there are two kinds:
//!
//! - *loading* threads load programs and inspect targets: they keep a few capabilities, and can neither listen nor connect;
//! - *serving* threads, which are all others, serve clients: they have no capability in any set, cannot call bpf(2), start no program,
//!   and can only access the configured files.
//!
//! docs/security.md describes the effect and its limits.

mod calls;
mod files;
mod profiles;

pub(crate) use calls::Role;
pub(crate) use files::Paths;
pub(crate) use profiles::write as write_profiles;

use anyhow::{Context, Result, bail};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use std::{fs, path::Path};
use tracers::Capability;

/// Returns the capabilities that loading threads keep for those of the enabled classes, as far as the process has them.
pub(crate) fn kept_for(wanted: &[Capability]) -> Vec<(CapabilitySet, &'static str)> {
    let kept = |capability: &Capability| {
        let set = match capability {
            Capability::Bpf => CapabilitySet::BPF,
            Capability::Perfmon => CapabilitySet::PERFMON,
            Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
            Capability::Syslog => CapabilitySet::SYSLOG,
            Capability::NetAdmin => CapabilitySet::NET_ADMIN,
            // Not required by any class.
            Capability::SysAdmin | Capability::SysResource => return vec![],
        };
        let mut kept = vec![(set, capability.name())];
        if *capability == Capability::SysPtrace {
            // Mappings of other users' processes, and what they run: files that their owners alone may read.
            kept.push((CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"));
        }
        kept
    };
    wanted.iter().flat_map(kept).collect()
}

/// Confines this process to what loading threads need for the capabilities of the enabled classes. To be called before there is a
/// second thread.
///
/// # Errors
/// If the process would keep a capability that is not in use.
pub(crate) fn process(capabilities: &[Capability]) -> Result<()> {
    if fs::read_dir("/proc/self/task").map_or(1, Iterator::count) != 1 {
        bail!("a bug: other threads exist already, and would not be confined");
    }
    if let Some(profile) = apparmor() {
        tracing::info!(%profile, "confined by an AppArmor profile");
    }
    close_memory()?;
    allow_locked_memory();
    allow_descriptors();
    set_no_new_privs(true).context("cannot set no_new_privs")?;
    let kept = keep_for_loading(capabilities)?;
    match calls::refuse_all_but_needed() {
        Ok(()) => {
            tracing::info!(capabilities = %kept.join(" "), "confined: no_new_privs, seccomp");
        }
        // What is left holds without it.
        Err(error) => {
            tracing::warn!(capabilities = %kept.join(" "), "confined: no_new_privs, but no seccomp: {error}");
        }
    }
    Ok(())
}

/// Warns of what is mounted for writing below the host's folders that the agent only reads, in a pod. `readOnly` of a volume is for its own
/// mount; what is mounted below takes a runtime that knows `recursiveReadOnly`.
pub(crate) fn look_for_writable(proc: &Path) {
    if proc == Path::new("/proc") {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for folder in [proc, Path::new("/sys/fs/cgroup")] {
        let writable = writable_below(&mounts, folder);
        if !writable.is_empty() {
            tracing::warn!(
                mounts = %writable.join(" "),
                "writable mounts below {}, which this agent only reads: use a container runtime that supports recursiveReadOnly",
                folder.display()
            );
        }
    }
}

/// Mount points at a folder and below it to which the mount and its file system let write: proc_pid_mountinfo(5), spaces as they are there.
fn writable_below<'a>(mounts: &'a str, folder: &Path) -> Vec<&'a str> {
    let point = |line: &'a str| {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let of_system = system.split(' ').nth(2)?;
        let writes = |options: &str| options.split(',').any(|option| option == "rw");
        (Path::new(point).starts_with(folder) && writes(options) && writes(of_system))
            .then_some(point)
    };
    mounts.lines().filter_map(point).collect()
}

/// Makes this thread and its future children serving threads.
///
/// # Errors
/// If the thread would keep a capability.
pub(crate) fn serve(paths: &Paths) -> Result<()> {
    drop_to(CapabilitySet::empty())?;
    let landlock = files::close_all_but(paths).unwrap_or_else(|error| error.to_string());
    match calls::refuse(Role::Serving) {
        Ok(()) => {
            tracing::info!("confined: serving threads have no capability; landlock: {landlock}");
        }
        Err(error) => {
            tracing::warn!(
                "confined: serving threads have no capability, but no seccomp: {error}; landlock: {landlock}"
            );
        }
    }
    Ok(())
}

/// Makes this thread and its future children loading threads.
///
/// # Errors
/// If seccomp is missing, which [`process`] has reported.
pub(crate) fn load() -> Result<(), calls::FilterError> {
    calls::refuse(Role::Loading)
}

/// Returns the AppArmor profile of this process: apparmor(7).
fn apparmor() -> Option<String> {
    let profile = fs::read_to_string("/proc/self/attr/apparmor/current").ok()?;
    let profile = profile.trim_end_matches(['\0', '\n']);
    (profile != "unconfined").then(|| profile.to_owned())
}

/// Threads share memory, and the kernel lets a process attach to a thread of the same user without capabilities. Such a process could use
/// the capabilities of the other threads. An undumpable process is closed to processes without CAP_SYS_PTRACE: ptrace(2).
fn close_memory() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot make this process undumpable")?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).context("cannot disable core files")
}

/// Kernels before 5.11 count maps by RLIMIT_MEMLOCK, and only CAP_SYS_RESOURCE raises that, which is not kept.
fn allow_locked_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // On failure the limit stays as it is, and the loader reports the consequence.
    let _ = setrlimit(Resource::Memlock, unlimited);
}

/// A trace takes some forty descriptors, and shells start programs with 1,024. What may be had without a right is enough.
fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // On failure the limit stays as it is, and a trace without descriptors reports it.
    let _ = setrlimit(Resource::Nofile, all);
}

/// Keeps the capabilities of loading threads, and returns their names.
fn keep_for_loading(allowed: &[Capability]) -> Result<Vec<&'static str>> {
    let loading = kept_for(allowed);
    let wanted = loading
        .iter()
        .fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !wanted.contains(one) {
            // Takes CAP_SETPCAP; without it no_new_privs still keeps programs that are started from gaining anything.
            let _ = remove_capability_from_bounding_set(one);
        }
    }
    drop_to(wanted)?;
    let have = capabilities(None)?.permitted;
    let kept = loading.into_iter().filter(|(one, _)| have.contains(*one));
    Ok(kept.map(|(_, name)| name).collect())
}

/// Reduces the capabilities of this thread to these, in the permitted and effective sets only.
fn drop_to(wanted: CapabilitySet) -> Result<()> {
    let _ = clear_ambient_capability_set();
    let have = capabilities(None).context("cannot read this process's capabilities")?;
    let kept = have.permitted & wanted;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("cannot drop capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::Class;

    #[test]
    fn a_class_that_is_not_enabled_leaves_none_of_its_capabilities() {
        let names = |classes: &[Class]| {
            let kept = kept_for(&Class::capabilities_of(classes)).into_iter();
            kept.map(|(_, name)| name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&Class::DEFAULT),
            [
                "CAP_BPF",
                "CAP_PERFMON",
                "CAP_SYS_PTRACE",
                "CAP_DAC_READ_SEARCH",
                "CAP_SYSLOG"
            ]
        );
        assert_eq!(
            names(&[Class::Act]),
            ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        );
    }

    #[test]
    fn what_is_mounted_for_writing_below_a_folder_is_found() {
        let mounts = "\
            501 480 0:4 / /host/proc ro,nosuid - proc proc rw\n\
            502 501 0:34 / /host/proc/sys/fs/binfmt_misc rw,relatime - binfmt_misc none rw\n\
            503 480 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n\
            504 503 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
            505 503 0:30 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup ro,pids\n\
            506 480 0:31 / /sys/fs/cgroups rw - tmpfs tmpfs rw\n\
            nonsense\n";
        let below = |folder: &str| writable_below(mounts, Path::new(folder));
        assert_eq!(below("/host/proc"), ["/host/proc/sys/fs/binfmt_misc"]);
        assert_eq!(below("/sys/fs/cgroup"), ["/sys/fs/cgroup/memory"]);
    }
}
