//! Kernel side of `open`. Columns and options: `tracers/src/open.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, Record, append_path, argument, book, book_unfinished, calls, current_task, file_of,
    file_path, forget, kernel_fields, selected, syscall,
};
use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_user, generated::bpf_ktime_get_boot_ns},
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};
use tracers::{
    Bool, Mode, OpenFlags, Outcome, Path, Syscall, Tail, Target, Time, open::Open, program,
};

#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static WRITE_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_LATENCY_NS: Global<u64> = Global::new(0);

kernel_fields! {
    HOW_FLAGS = open_how.flags: u64;
    HOW_MODE = open_how.mode: u64;
}

/// A call that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    since: u64,
    target: Target,
    _pad: u32,
    /// 0 of a call that was seen by the kernel's function.
    syscall: Syscall,
}

calls!(Begun);

/// The kernel sets it itself for every 64-bit call before `do_sys_openat2`: arch's include/uapi/asm/fcntl.h.
#[cfg(not(bpf_target_arch = "aarch64"))]
const O_LARGEFILE: u64 = 0o100_000;
#[cfg(bpf_target_arch = "aarch64")]
const O_LARGEFILE: u64 = 0o400_000;
/// O_CREAT and __O_TMPFILE: without either the mode means nothing, and the kernel forgets it.
const CREATES: u64 = 0o20_000_100;

/// What was asked for.
struct Asked {
    name: *const u8,
    flags: u64,
    mode: u64,
}

/// The number of a call that opens a file, by table.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Open,
    Creat,
    Openat,
    Openat2,
}

/// The system call tables: arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h.
#[inline(always)]
fn call(number: u32, compat: bool) -> Option<Call> {
    Some(match (compat, number) {
        (_, 437) => Call::Openat2,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        (false, 257) => Call::Openat,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        (false, 2) => Call::Open,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        (false, 85) => Call::Creat,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        (true, 295) => Call::Openat,
        #[cfg(bpf_target_arch = "aarch64")]
        (false, 56) => Call::Openat,
        #[cfg(bpf_target_arch = "aarch64")]
        (true, 322) => Call::Openat,
        (true, 5) => Call::Open,
        (true, 8) => Call::Creat,
        _ => return None,
    })
}

#[program(fentry = "do_sys_openat2")]
fn openat2_enter(_ctx: &FEntryContext) {
    if let Some(target) = selected() {
        book(begin(Syscall(0), target));
    }
}

#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    let number = ctx.arg::<u64>(1) as u32;
    // Which table it is of costs a read of kernel memory: first the cheap questions.
    if (call(number, false).is_some() || call(number, true).is_some())
        && let Some(target) = selected()
    {
        let syscall = syscall(number);
        book(match call(number, syscall.is_compat()) {
            Some(_) => begin(syscall, target),
            None => Ok(false),
        });
    }
}

#[inline(always)]
fn begin(syscall: Syscall, target: Target) -> Result<bool, Loss> {
    let begun = Begun {
        // SAFETY: the helper only returns a number.
        since: unsafe { bpf_ktime_get_boot_ns() },
        target,
        _pad: 0,
        syscall,
    };
    // The kernel leaves out programs at a function's end for calls that are under way when somebody attaches or detaches there
    // (bpf_tramp_image_put, kernel/bpf/trampoline.c).
    if let Some(old) = CALLS.begin(&begun)? {
        book_unfinished(old.since);
    }
    Ok(false)
}

#[program(fexit = "do_sys_openat2")]
fn openat2_exit(ctx: &FExitContext) {
    let begun = CALLS
        .end()
        .or_else(|| Some(unseen(Syscall(0), selected()?)));
    // In one place: the verifier goes through every copy of what follows.
    if let Some(begun) = begun {
        book(from_function(ctx, &begun));
    }
}

/// A call whose beginning was not seen, as that was before the trace. Its latency is 0.
#[inline(always)]
fn unseen(syscall: Syscall, target: Target) -> Begun {
    Begun {
        since: u64::MAX,
        target,
        _pad: 0,
        syscall,
    }
}

/// `long do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)`, fs/open.c since 5.6.
#[inline(always)]
fn from_function(ctx: &FExitContext, begun: &Begun) -> Result<bool, Loss> {
    let how: *const u8 = ctx.arg(2);
    let asked = Asked {
        name: ctx.arg(1),
        flags: HOW_FLAGS.read(how)?,
        mode: HOW_MODE.read(how)?,
    };
    // An int since 7.0: the upper half of the register is then not the result's.
    end(&asked, i64::from(ctx.arg::<i32>(3)), begun)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    let (regs, result): (*const u8, i64) = (ctx.arg(0), ctx.arg(1));
    if let Some(begun) = CALLS.end().or_else(|| not_begun(regs)) {
        book(from_registers(regs, result, &begun));
    }
}

/// It may be of a call that began before the trace.
#[inline(always)]
fn not_begun(regs: *const u8) -> Option<Begun> {
    let target = selected()?;
    let syscall = syscall(agent_ebpf::syscall_number(regs).ok()?);
    Some(unseen(syscall, target))
}

#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_ctx: &RawTracePointContext) {
    // Every call comes back before its thread ends: the end of this one was left out by the kernel, as above.
    if let Some(begun) = CALLS.leave() {
        book_unfinished(begun.since);
    }
}

#[inline(always)]
fn from_registers(regs: *const u8, result: i64, begun: &Begun) -> Result<bool, Loss> {
    let compat = begun.syscall.is_compat();
    let Some(call) = call(begun.syscall.number(), compat) else {
        return Ok(false);
    };
    let first = argument::<0>(regs, compat)?;
    let second = argument::<1>(regs, compat)?;
    let third = argument::<2>(regs, compat)?;
    let asked = match call {
        Call::Open => Asked {
            name: first as *const u8,
            flags: second,
            mode: third,
        },
        // creat(2): O_CREAT|O_WRONLY|O_TRUNC.
        Call::Creat => Asked {
            name: first as *const u8,
            flags: 0o1101,
            mode: second,
        },
        Call::Openat => Asked {
            name: second as *const u8,
            flags: third,
            mode: argument::<3>(regs, compat)?,
        },
        Call::Openat2 => {
            let how = third as *const u64;
            // SAFETY: a bad address is an error; `struct open_how` begins with flags and mode, include/uapi/linux/openat2.h.
            let [flags, mode] =
                unsafe { bpf_probe_read_user::<[u64; 2]>(how.cast()) }.unwrap_or([0; 2]);
            Asked {
                name: second as *const u8,
                flags,
                mode,
            }
        }
    };
    end(&asked, result, begun)
}

#[inline(always)]
fn end(asked: &Asked, result: i64, begun: &Begun) -> Result<bool, Loss> {
    // Whichever call it is.
    let asked = Asked {
        name: forget(asked.name as u64) as *const u8,
        flags: forget(asked.flags),
        mode: forget(asked.mode),
    };
    // SAFETY: the helper only returns a number.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let latency_ns = now.saturating_sub(forget(begun.since));
    // Access mode, include/uapi/asm-generic/fcntl.h.
    let writes = asked.flags & 3 != 0;
    if (FAILED_ONLY.load() == 1 && result >= 0)
        || (WRITE_ONLY.load() == 1 && !writes)
        || latency_ns < MIN_LATENCY_NS.load()
    {
        return Ok(false);
    }
    let mut record = Record::<Open>::new()?;
    // Before the path, whose every end the verifier would follow through it.
    let task = current_task(begun.target);
    let (path, resolved) = path(&mut record, &asked, result)?;
    record.send(
        task.cgroup,
        &Open {
            time: Time(now),
            latency_ns,
            task,
            flags: OpenFlags(asked.flags & 0xffff_ffff & !O_LARGEFILE),
            result: Outcome(result),
            mode: match asked.flags & CREATES {
                0 => Mode(0),
                _ => Mode(asked.mode as u32 & 0o7777),
            },
            resolved: Bool(resolved.into()),
            _pad: [0; 3],
            path: Path(path),
        },
    )
}

/// The path of what was opened, or what the caller passed; and whether it is the former.
#[inline(always)]
fn path(record: &mut Record<Open>, asked: &Asked, result: i64) -> Result<(Tail, bool), Loss> {
    if result >= 0 {
        // Another thread may have closed the descriptor already: then the caller's text has to do.
        if let Ok(file) = file_of(result as u64)
            && let Ok(path) = append_path(record, file_path(file))
        {
            return Ok((path, true));
        }
    }
    // Memory that cannot be read (EFAULT, or not in memory yet) is an event all the same.
    Ok((record.user_text(asked.name).unwrap_or(Tail::LOST), false))
}
