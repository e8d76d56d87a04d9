//! Seccomp filters: a list of the system calls that the agent needs, and for each kind of thread the calls that it must not use.
//!
//! A refused call fails with EPERM. The worker that reads symbols inherits the first two lists, and has a shorter list of its own.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("the filter of system calls cannot be made: {0}")]
    Make(#[from] BackendError),
    #[error("the kernel does not take the filter of system calls: {0}")]
    Apply(#[from] seccompiler::Error),
}

/// The kind of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Talks to clients.
    Serving,
    /// Loads programs and inspects targets.
    Loading,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Applies the list of needed calls to this process.
pub(super) fn refuse_all_but_needed() -> Result<(), FilterError> {
    let (eperm, enosys) = (libc::EPERM as u32, libc::ENOSYS as u32);
    apply(needed()?, SeccompAction::Errno(eperm), SeccompAction::Allow)?;
    // Its flags are in memory, where filters cannot read them. Without clone3 the C library uses clone(2).
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    apply(clone3, SeccompAction::Allow, SeccompAction::Errno(enosys))
}

/// Applies the list of a kind to this thread and its future children.
pub(super) fn refuse(role: Role) -> Result<(), FilterError> {
    let rules = match role {
        Role::Serving => not_for_serving()?,
        Role::Loading => not_for_loading(),
    };
    let eperm = SeccompAction::Errno(libc::EPERM as u32);
    apply(rules, SeccompAction::Allow, eperm)
}

fn apply(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<(), FilterError> {
    let machine = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(rules, otherwise, listed, machine)?.try_into()?;
    Ok(seccompiler::apply_filter(&filter)?)
}

fn plain(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn needed() -> Result<Rules, BackendError> {
    let mut rules = plain(NEEDED);
    rules.extend(plain(NEEDED_OLD));
    let any_of = |argument: u8, values: &[i64]| -> Result<Vec<SeccompRule>, BackendError> {
        let rule = |value: &i64| rule(argument, SeccompCmpOp::Eq, *value as u64);
        values.iter().map(rule).collect()
    };
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(i64::from);
    rules.insert(libc::SYS_socket, any_of(0, &families)?);
    rules.insert(libc::SYS_socketpair, any_of(0, &families[..1])?);
    // isatty(3) of a terminal, and the blocking mode of sockets and pipes.
    let requests = [
        libc::TCGETS,
        libc::TIOCGWINSZ,
        libc::FIONBIO,
        libc::FIONREAD,
        libc::FIOCLEX,
    ];
    rules.insert(
        libc::SYS_ioctl,
        any_of(1, &requests.map(|request| request as i64))?,
    );
    let mut options = any_of(0, &OPTIONS.map(i64::from))?;
    // The worker becomes undumpable; nothing becomes dumpable again.
    options.push(SeccompRule::new(vec![
        condition(0, SeccompCmpOp::Eq, libc::PR_SET_DUMPABLE as u64)?,
        condition(1, SeccompCmpOp::Eq, 0)?,
    ])?);
    rules.insert(libc::SYS_prctl, options);
    // Limits and signals of this process. A worker is another process with the same filter.
    rules.insert(libc::SYS_prlimit64, any_of(0, &[0])?);
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let none = SeccompCmpOp::MaskedEq(namespaces as u64);
    rules.insert(libc::SYS_clone, vec![rule(0, none, 0)?]);
    Ok(rules)
}

fn not_for_serving() -> Result<Rules, BackendError> {
    let mut rules = plain(NOT_FOR_SERVING);
    #[cfg(target_arch = "x86_64")]
    rules.extend(plain(&[libc::SYS_fork, libc::SYS_vfork]));
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(
        libc::SYS_clone,
        vec![rule(0, SeccompCmpOp::MaskedEq(thread), 0)?],
    );
    // No memory becomes code.
    let exec = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(2, SeccompCmpOp::MaskedEq(exec), exec)?]);
    }
    Ok(rules)
}

fn not_for_loading() -> Rules {
    let mut rules = plain(NOT_FOR_LOADING);
    #[cfg(target_arch = "x86_64")]
    rules.extend(plain(&[
        libc::SYS_chmod,
        libc::SYS_mkdir,
        libc::SYS_rename,
        libc::SYS_unlink,
    ]));
    rules
}

/// The same list as the profile that container runtimes read, by which nothing before us can do more either. What depends on arguments
/// we narrow ourselves.
pub(crate) fn profile() -> serde_json::Value {
    let of_arguments = [
        libc::SYS_clone,
        libc::SYS_ioctl,
        libc::SYS_prctl,
        libc::SYS_prlimit64,
        libc::SYS_socket,
        libc::SYS_socketpair,
    ];
    let all = NEEDED.iter().chain(NEEDED_OLD).chain(&of_arguments);
    let names: BTreeSet<&str> = all
        .filter_map(|call| Some(syscalls::Sysno::new(*call as usize)?.name()))
        .collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS},
        ],
    })
}

fn rule(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, is, value)?])
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
}

/// Values of prctl(2): names of threads, and the confinement of the worker.
const OPTIONS: [libc::c_int; 9] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_PDEATHSIG,
    libc::PR_CAPBSET_READ,
    libc::PR_CAPBSET_DROP,
    libc::PR_CAP_AMBIENT,
    // The C library names its mappings, if the kernel supports it.
    libc::PR_SET_VMA,
];

/// The kernel, programs, other processes, capabilities.
const NOT_FOR_SERVING: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_execve,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_memfd_create,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_prlimit64,
    libc::SYS_seccomp,
    libc::SYS_setpgid,
];

/// The network, and folders: these threads make no file, and a folder made among cgroups is a cgroup. Pairs of sockets are made otherwise.
/// Opening for writing is not on the list: openat2(2), by which targets' files are opened, has its flags in memory, where no filter sees
/// them. What closes files to these threads is how they are mounted.
const NOT_FOR_LOADING: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_listen,
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_socket,
    libc::SYS_unlinkat,
];

/// Calls of the agent, its libraries and its worker, on every machine.
const NEEDED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads and processes of our own.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setpgid,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // The kernel.
    libc::SYS_bpf,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Time and waiting.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Files.
    libc::SYS_chdir,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Changes of configured files.
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    // Sockets.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Their older forms, which only x86_64 has.
#[cfg(target_arch = "x86_64")]
const NEEDED_OLD: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_fork,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const NEEDED_OLD: &[libc::c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::{Mode, OFlags, open},
        io::Errno,
        mount::{MountFlags, mount},
        net::{AddressFamily, SocketType, socket},
    };
    use std::{
        env,
        process::{Command, Stdio},
        thread,
    };

    const INSIDE: &str = "TRACEJOB_TEST_FILTERED";

    /// A filter cannot be removed, so each test runs again in its own process, where `inside` runs under the filter.
    fn check(test: &str, role: Option<Role>, inside: impl FnOnce() + Send + 'static) {
        if env::var_os(INSIDE).is_some() {
            refuse_all_but_needed().unwrap();
            role.map_or(Ok(()), refuse).unwrap();
            inside();
            return;
        }
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &name])
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

    /// Root could do each of these without the filter.
    #[test]
    fn the_process_cannot_mount_make_namespaces_load_modules_see_packets_or_be_dumpable() {
        let name =
            "the_process_cannot_mount_make_namespaces_load_modules_see_packets_or_be_dumpable";
        check(name, None, || {
            let packets = socket(AddressFamily::PACKET, SocketType::RAW, None);
            assert_eq!(packets.unwrap_err(), Errno::PERM);
            let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None);
            assert_eq!(netlink.unwrap_err(), Errno::PERM);
            let mounted = mount(
                "none",
                "/no/such/folder",
                "tmpfs",
                MountFlags::empty(),
                None,
            );
            assert_eq!(mounted, Err(Errno::PERM), "not even looked at");
            assert_eq!(rustix::process::chroot("/no/such/folder"), Err(Errno::PERM));
            let undumpable = rustix::process::DumpableBehavior::NotDumpable;
            let dumpable = rustix::process::DumpableBehavior::Dumpable;
            rustix::process::set_dumpable_behavior(undumpable).unwrap();
            let again = rustix::process::set_dumpable_behavior(dumpable);
            assert_eq!(again, Err(Errno::PERM));
            let file = open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
            let module = rustix::system::finit_module(&file, c"", 0);
            assert_eq!(module, Err(Errno::PERM));
        });
    }

    #[test]
    fn what_traces_other_processes_or_changes_the_system_is_on_no_list() {
        let rules = needed().unwrap();
        for call in [
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_open_by_handle_at,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_move_mount,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_perf_event_open,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_mknodat,
            libc::SYS_setuid,
            libc::SYS_execveat,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn a_serving_thread_starts_threads_but_no_program_and_sends_no_signal() {
        let name = "a_serving_thread_starts_threads_but_no_program_and_sends_no_signal";
        check(name, Some(Role::Serving), || {
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            assert!(Command::new("/bin/true").status().is_err());
            let parent = rustix::process::getppid().unwrap();
            let signal = rustix::process::Signal::CONT;
            assert_eq!(
                rustix::process::kill_process(parent, signal),
                Err(Errno::PERM)
            );
            assert!(socket(AddressFamily::INET, SocketType::STREAM, None).is_ok());
            assert!(refuse(Role::Serving).is_err(), "no second filter either");
        });
    }

    #[test]
    fn a_thread_that_loads_has_no_network_and_makes_no_folder() {
        check(
            "a_thread_that_loads_has_no_network_and_makes_no_folder",
            Some(Role::Loading),
            || {
                for family in [
                    AddressFamily::INET,
                    AddressFamily::INET6,
                    AddressFamily::UNIX,
                ] {
                    let socket = socket(family, SocketType::STREAM, None);
                    assert_eq!(socket.unwrap_err(), Errno::PERM);
                }
                let folder = env::temp_dir().join("tracejob-no-such-folder");
                let made = std::fs::create_dir(&folder).unwrap_err();
                assert_eq!(made.kind(), std::io::ErrorKind::PermissionDenied);
                // Its worker is a program, and a pair of sockets leads there.
                assert!(Command::new("/bin/true").status().is_ok());
                std::os::unix::net::UnixStream::pair().unwrap();
            },
        );
    }
}
