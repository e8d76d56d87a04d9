//! Takes from the worker all that it does not need, before it reads anything.
//!
//! Some kernels and containers lack one of these means. What lacks is left out: the others hold, and so does the parent's clock.
//! What must not fail is only what guards the machine from a worker that uses too much.

use crate::limits::{ADDRESS_BYTES_MAX, DESCRIPTORS_MAX, HEAP_BYTES_MAX};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
    time::{ClockId, clock_gettime},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::{collections::BTreeMap, fs, io};

/// Descriptors that we were born with and cannot close without `unsafe`, so that they are made useless one by one. Usually none.
const STRANGE_DESCRIPTORS_MAX: usize = 16;

/// Why the worker does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    #[error("limiting {resource:?} failed: {source}")]
    Limit {
        resource: Resource,
        source: io::Error,
    },
    #[error("capabilities cannot be given up: {0}")]
    Capabilities(io::Error),
    #[error("listing open descriptors failed: {0}")]
    Descriptors(io::Error),
    #[error("{0} descriptors were open at the start")]
    TooManyDescriptors(usize),
    #[error("the filter of system calls cannot be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// Confines this process permanently, and returns how well file access is blocked.
pub(super) fn confine() -> Result<RulesetStatus, ConfineError> {
    // The parent's end is seen as the end of the socket, too.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // If memory runs out, this is what can be missed best.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // Other processes of its user could send replies for it, or read its descriptors.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limit_resources()?;
    let strange = strange_descriptors()?;
    give_up_capabilities()?;
    let _ = set_no_new_privs(true);
    let files = close_file_systems().unwrap_or(RulesetStatus::NotEnforced);
    let filter = filter(&strange)?;
    // A kernel without seccomp.
    let _ = seccompiler::apply_filter(&filter);
    Ok(files)
}

/// Ends this process by SIGXCPU after this many further seconds of CPU time, up to one second later.
/// This meets what computes without end; the parent's clock meets what waits.
pub(super) fn allow_cpu(seconds: u64) {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec as u64;
    let limit = Rlimit {
        current: Some(used + seconds + 1),
        maximum: None,
    };
    // If it fails, the parent's clock is left.
    let _ = setrlimit(Resource::Cpu, limit);
}

fn limit_resources() -> Result<(), ConfineError> {
    let limits = [
        (Resource::Core, 0),
        (Resource::As, ADDRESS_BYTES_MAX),
        (Resource::Data, HEAP_BYTES_MAX),
        (Resource::Nofile, DESCRIPTORS_MAX),
        (Resource::Nproc, 0),
    ];
    for (resource, most) in limits {
        // A lower limit that is there already stays: only those with capabilities may raise one.
        let old = rustix::process::getrlimit(resource);
        let most = [old.current, old.maximum]
            .into_iter()
            .flatten()
            .fold(most, u64::min);
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| ConfineError::Limit {
            resource,
            source: error.into(),
        })?;
    }
    Ok(())
}

/// Whatever is open but the standard three. std opens everything to be closed when another program starts, so these come from
/// whoever started our parent, a shell for example.
fn strange_descriptors() -> Result<Vec<u64>, ConfineError> {
    let listed = fs::read_dir("/proc/self/fd").map_err(ConfineError::Descriptors)?;
    let open: Vec<u64> = listed
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // The list itself was open while it was read, and is closed by now.
    let strange: Vec<u64> = open
        .into_iter()
        .filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
        .collect();
    if strange.len() > STRANGE_DESCRIPTORS_MAX {
        return Err(ConfineError::TooManyDescriptors(strange.len()));
    }
    Ok(strange)
}

fn give_up_capabilities() -> Result<(), ConfineError> {
    // Without CAP_SETPCAP the bounding set stays, which does not matter for a process that cannot execute programs.
    for bit in 0..64 {
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|error| ConfineError::Capabilities(error.into()))
}

/// No file of any file system can be opened from here on, with whatever rights. Memory files are in none, so that blazesym can open ours.
/// Landlock is in kernels from 5.13 on, where it is not switched off.
fn close_file_systems() -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Lets through what reading files, answering and allocating take; everything else fails with EPERM.
fn filter(strange: &[u64]) -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in CALLS_WITHOUT_DESCRIPTOR {
        rules.insert(call, Vec::new());
    }
    for call in CALLS_WITH_DESCRIPTOR {
        let mut conditions = Vec::new();
        for number in strange {
            conditions.push(argument(0, SeccompCmpOp::Ne, *number)?);
        }
        // No condition is a rule without rules.
        let rule = (!conditions.is_empty())
            .then(|| SeccompRule::new(conditions))
            .transpose()?;
        rules.insert(call, rule.into_iter().collect());
    }
    // Only to read. Writing, creating and truncating all need one of these.
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
    rules.insert(
        libc::SYS_openat,
        vec![rule(2, SeccompCmpOp::MaskedEq(writing as u64), 0)?],
    );
    let commands = [libc::F_GETFD, libc::F_GETFL, libc::F_ADD_SEALS];
    let commands = commands.map(|command| rule(1, SeccompCmpOp::Eq, command as u64));
    rules.insert(
        libc::SYS_fcntl,
        commands.into_iter().collect::<Result<_, _>>()?,
    );
    // Our own limits, and signals to ourselves: abort() ends the process by one. Our parent is of the same user.
    rules.insert(libc::SYS_prlimit64, vec![rule(0, SeccompCmpOp::Eq, 0)?]);
    let ourselves = std::process::id().into();
    rules.insert(
        libc::SYS_tgkill,
        vec![rule(0, SeccompCmpOp::Eq, ourselves)?],
    );
    // No memory becomes code.
    let mut plain = vec![argument(
        2,
        SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
        0,
    )?];
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(plain.clone())?]);
    for number in strange {
        plain.push(argument(4, SeccompCmpOp::Ne, *number)?);
    }
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(plain)?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

fn argument(
    index: u8,
    is: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, value)
}

fn rule(index: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![argument(index, is, value)?])
}

const CALLS_WITHOUT_DESCRIPTOR: [i64; 18] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
];

const CALLS_WITH_DESCRIPTOR: [i64; 14] = [
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_statx,
    libc::SYS_write,
];

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::{Mode, OFlags, open},
        process::{Pid, kill_process},
    };
    use std::{
        env,
        fs::File,
        net::TcpListener,
        os::{fd::AsRawFd, unix::fs::FileExt},
        process::{Command, Stdio},
    };

    const INSIDE: &str = "TRACEJOB_TEST_CONFINED";

    /// Being confined is for good, so each of these runs again in a process of its own, and there `inside` runs after it is confined.
    fn check(test: &str, inside: impl FnOnce()) {
        if env::var_os(INSIDE).is_some() {
            if confine().unwrap() == RulesetStatus::NotEnforced && test.ends_with("landlock") {
                eprintln!("left out: it needs a kernel with Landlock switched on");
                return;
            }
            inside();
            return;
        }
        let output = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                &format!("{}::{test}", module_path!().split_once("::").unwrap().1),
            ])
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
    }

    #[test]
    fn no_file_can_be_opened_or_made() {
        check("no_file_can_be_opened_or_made", || {
            assert!(open("/tmp/x", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).is_err());
            assert!(open("/dev/null", OFlags::WRONLY, Mode::empty()).is_err());
            assert!(open("/tmp", OFlags::RDWR | OFlags::TMPFILE, Mode::empty()).is_err());
        });
    }

    #[test]
    fn no_file_can_be_read_where_the_kernel_has_landlock() {
        check("no_file_can_be_read_where_the_kernel_has_landlock", || {
            for path in [
                "/etc/passwd",
                "/proc/self/maps",
                "/proc/self/exe",
                "/dev/null",
                "/",
            ] {
                assert!(open(path, OFlags::RDONLY, Mode::empty()).is_err(), "{path}");
            }
        });
    }

    #[test]
    fn a_memory_file_can_be_opened_again() {
        check("a_memory_file_can_be_opened_again", || {
            let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let file = File::from(file);
            file.write_all_at(b"text", 0).unwrap();
            let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            let mut text = [0; 4];
            again.read_exact_at(&mut text, 0).unwrap();
            assert_eq!(&text, b"text");
        });
    }

    #[test]
    fn nothing_can_be_started_and_nobody_reached() {
        let parent = std::os::unix::process::parent_id();
        check("nothing_can_be_started_and_nobody_reached", || {
            assert!(Command::new("/bin/true").status().is_err());
            assert!(std::thread::Builder::new().spawn(|| ()).is_err());
            assert!(TcpListener::bind("127.0.0.1:0").is_err());
            let parent = Pid::from_raw(parent as i32).unwrap();
            assert!(kill_process(parent, Signal::CONT).is_err());
        });
    }
}
