//! Unwinding of real stacks, captured from stopped children: Debian's programs have no frame pointers.

use super::{frames, symbolizer, wait_for};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    process::{Child, Command, Stdio},
    time::Instant,
};
use symbols::{Registers, StackCopy, Symbolizer, UnwindEnd, Unwound, UserAddr};

/// A child that has written a line, killed at the end of the test.
struct Running(Child);

impl Running {
    fn new(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A captured stack.
struct Captured {
    registers: Registers,
    stack: Vec<u8>,
}

impl Captured {
    /// Stops a thread by ptrace(2), and copies its registers and its stack.
    fn of(pid: u32, tid: u32) -> Self {
        let registers = ptrace::registers_of_stopped(tid);
        let mut stack = vec![0; symbols::STACK_COPY_BYTES];
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        // It ends at the end of the stack's mapping.
        let count = (0..)
            .map(|step| symbols::STACK_COPY_BYTES - step * 256)
            .find(|count| {
                memory
                    .read_exact_at(&mut stack[..*count], registers.sp)
                    .is_ok()
            })
            .unwrap();
        ptrace::release(tid);
        stack.truncate(count);
        Self { registers, stack }
    }

    fn copy(&self) -> StackCopy<'_> {
        StackCopy {
            registers: self.registers,
            address: self.registers.sp,
            bytes: &self.stack,
        }
    }
}

#[allow(unsafe_code, reason = "only ptrace(2) has all registers")]
mod ptrace {
    use symbols::Registers;

    fn call(request: libc::c_uint, tid: u32, data: usize) {
        // SAFETY: these requests take no pointers, and the child is ours.
        let done = unsafe { libc::ptrace(request, tid as i32, 0_usize, data) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// Stops a thread and returns its registers.
    pub(super) fn registers_of_stopped(tid: u32) -> Registers {
        call(libc::PTRACE_SEIZE, tid, 0);
        call(libc::PTRACE_INTERRUPT, tid, 0);
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let waited = unsafe { libc::waitpid(tid as i32, &raw mut status, libc::__WALL) };
        assert!(waited == tid as i32 && libc::WIFSTOPPED(status));
        // SAFETY: all values of the structure are numbers.
        let mut raw: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let mut vector = libc::iovec {
            iov_base: (&raw mut raw).cast(),
            iov_len: size_of_val(&raw),
        };
        // SAFETY: the vector describes a local variable, 1 is NT_PRSTATUS.
        let done =
            unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid as i32, 1_usize, &raw mut vector) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        registers(&raw)
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(raw: &libc::user_regs_struct) -> Registers {
        Registers {
            ip: raw.rip,
            sp: raw.rsp,
            fp: raw.rbp,
            lr: 0,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn registers(raw: &libc::user_regs_struct) -> Registers {
        Registers {
            ip: raw.pc,
            sp: raw.sp,
            fp: raw.regs[29],
            lr: raw.regs[30],
        }
    }

    pub(super) fn release(tid: u32) {
        call(libc::PTRACE_DETACH, tid, 0);
    }
}

fn unwind(symbolizer: &mut Symbolizer, pid: u32, captured: &Captured) -> Unwound {
    symbolizer.unwind(pid, &[captured.copy()]).pop().unwrap()
}

fn names(symbolizer: &mut Symbolizer, pid: u32, stack: &[UserAddr]) -> Vec<String> {
    let ids = symbolizer.user(pid, stack);
    let frames = frames(symbolizer, &ids);
    frames.iter().map(|frame| frame.name.to_string()).collect()
}

/// The innermost thread of a process with several.
fn last_thread(pid: u32) -> u32 {
    wait_for("the thread starts", || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let tids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        let last = tids.map(|tid| tid.parse().unwrap()).max()?;
        (last != pid).then_some(last)
    })
}

const BUSY: &str = "import sys\n\
    def a(n):\n    return sum(map(b, range(n)))\n\
    def b(n):\n    return sorted(range(100), key=lambda x: -x)[0]\n\
    print('up', flush=True)\n\
    while True: a(100)\n";

#[test]
fn stacks_of_a_busy_interpreter_reach_the_start_of_the_program() {
    let target = Running::new("/usr/bin/python3", &["-c", BUSY]);
    let mut symbolizer = symbolizer();
    for _ in 0..20 {
        let captured = Captured::of(target.pid(), target.pid());
        let unwound = unwind(&mut symbolizer, target.pid(), &captured);
        let names = names(&mut symbolizer, target.pid(), &unwound.frames);
        assert_eq!(unwound.end, UnwindEnd::Complete, "{names:?}");
        assert!(unwound.frames.len() > 5, "{names:?}");
        let outer = &names[names.len().saturating_sub(4)..];
        assert!(
            outer.iter().any(|name| name.starts_with("__libc_start")),
            "{names:?}"
        );
    }
    assert_eq!(symbolizer.counts().failures, 0);
}

#[test]
fn stacks_of_waiting_programs_reach_the_start_of_the_program() {
    for (program, arguments) in [
        ("/bin/bash", &["-c", "echo up; read x"][..]),
        ("/usr/bin/perl", &["-e", "$|=1; print \"up\\n\"; <STDIN>"]),
        ("/bin/sh", &["-c", "echo up; read x"]),
    ] {
        let target = Running::new(program, arguments);
        let mut symbolizer = symbolizer();
        let captured = Captured::of(target.pid(), target.pid());
        let unwound = unwind(&mut symbolizer, target.pid(), &captured);
        let names = names(&mut symbolizer, target.pid(), &unwound.frames);
        assert_eq!(unwound.end, UnwindEnd::Complete, "{program}: {names:?}");
        assert!(
            names.iter().any(|name| name.starts_with("__libc_start")),
            "{program}: {names:?}"
        );
    }
}

#[test]
fn a_stack_of_another_thread_reaches_its_start() {
    let code = "import threading, time\n\
        t = threading.Thread(target=time.sleep, args=(1000,)); t.start()\n\
        print('up', flush=True)\n\
        t.join()";
    let target = Running::new("/usr/bin/python3", &["-c", code]);
    let tid = last_thread(target.pid());
    let captured = Captured::of(target.pid(), tid);
    let mut symbolizer = symbolizer();
    let unwound = unwind(&mut symbolizer, target.pid(), &captured);
    let ids = symbolizer.user(target.pid(), &unwound.frames);
    let frames = frames(&symbolizer, &ids);
    assert_eq!(unwound.end, UnwindEnd::Complete, "{frames:?}");
    let last = frames.last().unwrap();
    assert!(
        last.module.contains("/libc") && frames.len() > 5,
        "{frames:?}"
    );
}

#[test]
fn a_stack_in_a_signal_handler_goes_on_where_the_signal_came() {
    // The handler is a function of the C library, and waits.
    let code = "import ctypes, os, signal\n\
        libc = ctypes.CDLL(None)\n\
        libc.signal(signal.SIGUSR1, libc.pause)\n\
        print('up', flush=True)\n\
        os.kill(os.getpid(), signal.SIGUSR1)";
    let target = Running::new("/usr/bin/python3", &["-c", code]);
    let mut symbolizer = symbolizer();
    let names = wait_for("the handler runs", || {
        let captured = Captured::of(target.pid(), target.pid());
        let unwound = unwind(&mut symbolizer, target.pid(), &captured);
        let names = names(&mut symbolizer, target.pid(), &unwound.frames);
        let is_inside = names.iter().any(|name| name.contains("pause"));
        is_inside.then(|| {
            assert_eq!(unwound.end, UnwindEnd::Complete, "{names:?}");
            names
        })
    });
    let place = |wanted: &str| names.iter().position(|name| name.contains(wanted));
    let (pause, kill) = (place("pause"), place("kill"));
    assert!(pause.is_some() && pause < kill, "{names:?}");
    assert!(place("__libc_start") > kill, "{names:?}");
}

#[test]
fn a_short_copy_gives_the_innermost_frames_of_the_whole_stack() {
    let target = Running::new("/usr/bin/python3", &["-c", BUSY]);
    let captured = Captured::of(target.pid(), target.pid());
    let mut symbolizer = symbolizer();
    let whole = unwind(&mut symbolizer, target.pid(), &captured);
    assert_eq!(whole.end, UnwindEnd::Complete);
    for bytes in [0, 8, 100, 256, 512, 1024] {
        let short = Captured {
            registers: captured.registers,
            stack: captured.stack[..bytes].to_vec(),
        };
        let unwound = unwind(&mut symbolizer, target.pid(), &short);
        assert_eq!(unwound.end, UnwindEnd::StackEnd, "{bytes}");
        assert!(whole.frames.starts_with(&unwound.frames), "{bytes}");
        assert!(unwound.frames.len() < whole.frames.len());
    }
}

#[test]
fn random_stacks_of_a_real_process_end_and_harm_no_worker() {
    let target = Running::new("/usr/bin/python3", &["-c", BUSY]);
    let captured = Captured::of(target.pid(), target.pid());
    let mut symbolizer = symbolizer();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Xorshift: the same stacks every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..200 {
        let mut changed = Captured {
            registers: captured.registers,
            stack: captured.stack.clone(),
        };
        for _ in 0..1 + next() % 64 {
            let at = next() as usize % (changed.stack.len() / 8) * 8;
            // Any number, a code address, or an address in the stack.
            let value = match next() % 3 {
                0 => next(),
                1 => captured.registers.ip.wrapping_add(next() % (1 << 20)),
                _ => captured.registers.sp + next() % (1 << 13) / 8 * 8,
            };
            changed.stack[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        if round % 4 == 0 {
            changed.registers.fp = next();
            changed.registers.sp = next();
        }
        let unwound = unwind(&mut symbolizer, target.pid(), &changed);
        assert_ne!(unwound.end, UnwindEnd::Failed);
    }
    assert_eq!(symbolizer.counts().failures, 0);
}

#[test]
fn a_process_that_has_ended_has_one_frame_and_its_reason() {
    let target = Running::new("/bin/sh", &["-c", "echo up; read x"]);
    let (pid, captured) = (target.pid(), Captured::of(target.pid(), target.pid()));
    drop(target);
    let unwound = unwind(&mut symbolizer(), pid, &captured);
    assert_eq!(unwound.frames, [UserAddr::Ip(captured.registers.ip)]);
    assert_eq!(unwound.end, UnwindEnd::Failed);
}

/// Prints the cost of warm stacks, for people.
#[test]
fn warm_stacks_are_cheap() {
    let target = Running::new("/usr/bin/python3", &["-c", BUSY]);
    let captured = Captured::of(target.pid(), target.pid());
    let mut symbolizer = symbolizer();
    let first = Instant::now();
    let frames = unwind(&mut symbolizer, target.pid(), &captured)
        .frames
        .len();
    let first = first.elapsed();
    let copy = StackCopy {
        bytes: &captured.stack[..captured.stack.len().min(16 << 10)],
        ..captured.copy()
    };
    for count in [1, 16, 64] {
        let copies = vec![copy; count];
        let started = Instant::now();
        for _ in 0..640 / count {
            assert_eq!(symbolizer.unwind(target.pid(), &copies).len(), count);
        }
        let each = started.elapsed() / 640;
        println!("{frames} frames, first {first:?}, then {count} at once: {each:?} each");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", symbolizer.worker().unwrap()));
    for line in status.unwrap().lines() {
        if line.starts_with("RssAnon") || line.starts_with("VmData") {
            println!("worker: {line}");
        }
    }
}
