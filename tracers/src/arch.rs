//! What differs between processors: registers, numbers of system calls, bits of flags and of page faults.
//!
//! Both modules have the same items, and both are compiled everywhere: the tests of one machine check them all.
//! Our tests run on x86-64. What is here for arm64 is checked by unit tests and by the compiler, and has not run.

pub mod aarch64;
pub mod x86_64;

/// The machine that the programs, or the agent that holds them, are built for.
#[cfg(any(bpf_target_arch = "aarch64", target_arch = "aarch64"))]
pub use aarch64 as machine;
/// The machine that the programs, or the agent that holds them, are built for.
#[cfg(not(any(bpf_target_arch = "aarch64", target_arch = "aarch64")))]
pub use x86_64 as machine;

/// A system call that opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// open(2).
    Open,
    /// creat(2).
    Creat,
    /// openat(2).
    Openat,
    /// openat2(2).
    Openat2,
}

/// A system call that executes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executes {
    /// Whether a directory is the first argument: execveat(2).
    pub at: bool,
    /// Whether the list of arguments holds pointers of 32 bits.
    pub narrow: bool,
}

/// What a system call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// What its first argument, a file descriptor, is of.
    File,
    /// A lock.
    Lock,
    /// A point in time.
    Timer,
    /// Work: events of several descriptors, or signals.
    Work,
    /// A disk.
    Disk,
    /// Another process: its end, or its message.
    Process,
    /// Something else.
    Other,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WaitsFor {
    /// A disk.
    Disk,
    /// Another machine, by a socket.
    Network,
    /// A lock of the kernel or of user space.
    Lock,
    /// A point in time.
    Timer,
    /// Another process: by a pipe, a local socket, a message, or its end.
    Process,
    /// A page of memory: a page fault, or reclaim.
    Memory,
    /// Work: poll(2), epoll(7), signals.
    Work,
    /// Something else.
    Other,
}

/// SIGSYS, the same number on both machines: include/uapi/asm-generic/signal.h.
pub const SIGSYS: u32 = 31;
/// ENOSYS, the same number on both machines: include/uapi/asm-generic/errno.h.
pub const ENOSYS: i64 = 38;

/// The bits of [`crate::Access`].
#[inline(always)]
const fn bits(write: bool, instruction: bool, user: bool, present: bool) -> u32 {
    write as u32 | (instruction as u32) << 1 | (user as u32) << 2 | (present as u32) << 3
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use syscalls::{
        aarch64::Sysno as Arm64, arm::Sysno as Arm, x86::Sysno as I386, x86_64::Sysno as X86,
    };

    #[test]
    fn calls_that_wait_have_the_numbers_of_their_table() {
        for (waits, x86, arm) in [
            (Waits::File, X86::read, Arm64::read),
            (Waits::File, X86::preadv2, Arm64::preadv2),
            (Waits::File, X86::pwritev2, Arm64::pwritev2),
            (Waits::File, X86::sendfile, Arm64::sendfile),
            (Waits::File, X86::splice, Arm64::splice),
            (Waits::File, X86::accept4, Arm64::accept4),
            (Waits::File, X86::connect, Arm64::connect),
            (Waits::File, X86::recvmmsg, Arm64::recvmmsg),
            (Waits::File, X86::sendmmsg, Arm64::sendmmsg),
            (Waits::File, X86::recvmsg, Arm64::recvmsg),
            (Waits::Lock, X86::futex, Arm64::futex),
            (Waits::Lock, X86::futex_waitv, Arm64::futex_waitv),
            (Waits::Lock, X86::flock, Arm64::flock),
            (Waits::Lock, X86::fcntl, Arm64::fcntl),
            (Waits::Timer, X86::nanosleep, Arm64::nanosleep),
            (Waits::Timer, X86::clock_nanosleep, Arm64::clock_nanosleep),
            (Waits::Work, X86::ppoll, Arm64::ppoll),
            (Waits::Work, X86::pselect6, Arm64::pselect6),
            (Waits::Work, X86::epoll_pwait, Arm64::epoll_pwait),
            (Waits::Work, X86::epoll_pwait2, Arm64::epoll_pwait2),
            (Waits::Work, X86::io_uring_enter, Arm64::io_uring_enter),
            (Waits::Work, X86::rt_sigtimedwait, Arm64::rt_sigtimedwait),
            (Waits::Work, X86::rt_sigsuspend, Arm64::rt_sigsuspend),
            (Waits::Disk, X86::fsync, Arm64::fsync),
            (Waits::Disk, X86::syncfs, Arm64::syncfs),
            (Waits::Disk, X86::io_getevents, Arm64::io_getevents),
            (Waits::Disk, X86::msync, Arm64::msync),
            (Waits::Process, X86::wait4, Arm64::wait4),
            (Waits::Process, X86::waitid, Arm64::waitid),
            (Waits::Process, X86::semtimedop, Arm64::semtimedop),
            (Waits::Process, X86::msgrcv, Arm64::msgrcv),
            (Waits::Process, X86::mq_timedreceive, Arm64::mq_timedreceive),
            (Waits::Other, X86::openat, Arm64::openat),
            (Waits::Other, X86::ioctl, Arm64::ioctl),
        ] {
            assert_eq!(x86_64::waits(false, x86 as u32), waits, "{x86}");
            assert_eq!(aarch64::waits(false, arm as u32), waits, "{arm}");
        }
        for (waits, x86) in [
            (Waits::Work, X86::poll),
            (Waits::Work, X86::select),
            (Waits::Work, X86::epoll_wait),
            (Waits::Work, X86::pause),
        ] {
            assert_eq!(x86_64::waits(false, x86 as u32), waits, "{x86}");
        }
    }

    #[test]
    fn calls_that_open_have_the_numbers_of_their_table() {
        for (call, wide, narrow) in [
            (Opens::Open, X86::open, I386::open),
            (Opens::Creat, X86::creat, I386::creat),
            (Opens::Openat, X86::openat, I386::openat),
            (Opens::Openat2, X86::openat2, I386::openat2),
        ] {
            assert_eq!(x86_64::opens(false, wide as u32), Some(call));
            assert_eq!(x86_64::opens(false, 0x4000_0000 | wide as u32), Some(call));
            assert_eq!(x86_64::opens(true, narrow as u32), Some(call));
        }
        for (call, narrow) in [
            (Opens::Open, Arm::open),
            (Opens::Creat, Arm::creat),
            (Opens::Openat, Arm::openat),
            (Opens::Openat2, Arm::openat2),
        ] {
            assert_eq!(aarch64::opens(true, narrow as u32), Some(call));
        }
        assert_eq!(
            aarch64::opens(false, Arm64::openat as u32),
            Some(Opens::Openat)
        );
        assert_eq!(
            aarch64::opens(false, Arm64::openat2 as u32),
            Some(Opens::Openat2)
        );
        // arch/arm/tools/syscall.tbl.
        assert_eq!(aarch64::opens(true, 322), Some(Opens::Openat));
        let all = |opens: fn(bool, u32) -> Option<Opens>, compat| {
            (0..2000).filter(|&n| opens(compat, n).is_some()).count()
        };
        assert_eq!(
            [all(x86_64::opens, false), all(x86_64::opens, true)],
            [4, 4]
        );
        assert_eq!(
            [all(aarch64::opens, false), all(aarch64::opens, true)],
            [2, 4]
        );
    }

    #[test]
    fn calls_that_execute_have_the_numbers_of_their_table() {
        let of = |at, narrow| Some(Executes { at, narrow });
        assert_eq!(
            x86_64::executes(false, X86::execve as u32),
            of(false, false)
        );
        assert_eq!(
            x86_64::executes(false, X86::execveat as u32),
            of(true, false)
        );
        assert_eq!(x86_64::executes(true, I386::execve as u32), of(false, true));
        assert_eq!(
            x86_64::executes(true, I386::execveat as u32),
            of(true, true)
        );
        assert_eq!(x86_64::executes(false, 0x4000_0000 | 520), of(false, true));
        assert_eq!(x86_64::executes(false, 0x4000_0000 | 545), of(true, true));
        assert_eq!(
            aarch64::executes(false, Arm64::execve as u32),
            of(false, false)
        );
        assert_eq!(
            aarch64::executes(false, Arm64::execveat as u32),
            of(true, false)
        );
        assert_eq!(aarch64::executes(true, Arm::execve as u32), of(false, true));
        assert_eq!(
            aarch64::executes(true, Arm::execveat as u32),
            of(true, true)
        );
        // arch/arm/tools/syscall.tbl.
        assert_eq!(aarch64::executes(true, 11), of(false, true));
    }

    #[test]
    fn calls_that_make_tasks_have_the_numbers_of_their_table() {
        let wide = [X86::clone, X86::fork, X86::vfork, X86::clone3];
        assert!(
            wide.iter()
                .all(|&call| x86_64::makes_tasks(false, call as u32))
        );
        let narrow = [I386::clone, I386::fork, I386::vfork, I386::clone3];
        assert!(
            narrow
                .iter()
                .all(|&call| x86_64::makes_tasks(true, call as u32))
        );
        let wide = [Arm64::clone, Arm64::clone3];
        assert!(
            wide.iter()
                .all(|&call| aarch64::makes_tasks(false, call as u32))
        );
        let narrow = [Arm::clone, Arm::fork, Arm::vfork, Arm::clone3];
        assert!(
            narrow
                .iter()
                .all(|&call| aarch64::makes_tasks(true, call as u32))
        );
        assert!(!x86_64::makes_tasks(false, X86::exit as u32));
        assert!(!aarch64::makes_tasks(false, Arm64::exit as u32));
    }

    #[test]
    fn calls_of_32_bit_tables_have_the_names_of_their_own() {
        // arch/x86/entry/syscalls/syscall_32.tbl, arch/arm/tools/syscall.tbl.
        assert_eq!(x86_64::compat_name(295), Some("openat"));
        assert_eq!(aarch64::compat_name(322), Some("openat"));
        assert_eq!(aarch64::compat_name(387), Some("execveat"));
        assert_eq!(aarch64::compat_name(11), Some("execve"));
        assert_eq!(aarch64::compat_name(99_999), None);
    }

    #[test]
    fn a_fault_is_a_read_a_write_or_an_execution_of_memory_that_is_there_or_not() {
        // arch/x86/include/asm/trap_pf.h: present 1, write 2, user 4, instruction 16.
        assert_eq!(x86_64::access(4), bits(false, false, true, false));
        assert_eq!(x86_64::access(7), bits(true, false, true, true));
        assert_eq!(x86_64::access(20), bits(false, true, true, false));
        assert_eq!(x86_64::access(2), bits(true, false, false, false));
        // Syndromes as arm64 kernels print them: a user's read and write of nothing, a write of a page that is for reading,
        // an instruction, and a write of the kernel.
        assert_eq!(
            aarch64::access(0x9200_0006),
            bits(false, false, true, false)
        );
        assert_eq!(aarch64::access(0x9200_0046), bits(true, false, true, false));
        assert_eq!(aarch64::access(0x9200_004f), bits(true, false, true, true));
        assert_eq!(aarch64::access(0x8200_0006), bits(false, true, true, false));
        assert_eq!(
            aarch64::access(0x9600_0046),
            bits(true, false, false, false)
        );
        // Cache maintenance is no write.
        assert_eq!(
            aarch64::access(0x9200_0146),
            bits(false, false, true, false)
        );
    }
}
