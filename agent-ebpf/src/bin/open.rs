//! Kernel side of `open`. Columns and options: `tracers/src/open.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, NO_EXIST, Record, append_path, argument, book, book_unfinished, current, current_task,
    file_of, file_path, is_compat, kernel_fields, selected,
};
use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_ktime_get_boot_ns},
    macros::map,
    maps::LruHashMap,
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};
use tracers::{Bool, Mode, OpenFlags, Outcome, Path, Tail, Target, Time, open::Open, program};

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

/// Since when a task is in the call, and its numbers. A task that dies in it leaves its entry behind, which the oldest-first eviction takes;
/// a call whose entry was evicted is reported with latency 0.
#[map]
static SINCE: LruHashMap<u64, (u64, u64)> = LruHashMap::with_max_entries(16384, 0);

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
    begin();
}

#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    let number = ctx.arg::<u64>(1) as u32;
    // Which table it is of costs a read of kernel memory: first the cheap question.
    if (call(number, false).is_some() || call(number, true).is_some())
        && call(number, is_compat()).is_some()
    {
        begin();
    }
}

#[inline(always)]
fn begin() {
    if selected().is_some() {
        // SAFETY: the helper only returns a number.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        let task = current() as u64;
        // An eviction map takes every entry but under memory pressure; then the latency is 0. One that is there already is of a call
        // whose end was not seen: the kernel leaves out programs at a function's end for calls that are under way when somebody attaches
        // or detaches there (bpf_tramp_image_put, kernel/bpf/trampoline.c).
        let begun = (now, bpf_get_current_pid_tgid());
        if SINCE.insert(&task, &begun, NO_EXIST).is_err() {
            // Where it is another's, that one has died in its call.
            // SAFETY: copied at once.
            if let Some(old) = unsafe { SINCE.get(&task) }.filter(|old| old.1 == begun.1) {
                book_unfinished(old.0);
            }
            let _ = SINCE.insert(&task, &begun, 0);
        }
    }
}

#[program(fexit = "do_sys_openat2")]
fn openat2_exit(ctx: &FExitContext) {
    if let Some(target) = selected() {
        book(from_function(ctx, target));
    }
}

/// `long do_sys_openat2(int dfd, const char __user *filename, struct open_how *how)`, fs/open.c since 5.6.
#[inline(always)]
fn from_function(ctx: &FExitContext, target: Target) -> Result<bool, Loss> {
    let how: *const u8 = ctx.arg(2);
    let asked = Asked {
        name: ctx.arg(1),
        flags: HOW_FLAGS.read(how)?,
        mode: HOW_MODE.read(how)?,
    };
    // An int since 7.0: the upper half of the register is then not the result's.
    end(&asked, i64::from(ctx.arg::<i32>(3)), target)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    let (regs, result): (*const u8, i64) = (ctx.arg(0), ctx.arg(1));
    let Ok(number) = agent_ebpf::syscall_number(regs) else {
        return;
    };
    if call(number, false).is_none() && call(number, true).is_none() {
        return;
    }
    let compat = is_compat();
    if let Some(call) = call(number, compat)
        && let Some(target) = selected()
    {
        book(from_registers(regs, call, compat, result, target));
    }
}

#[inline(always)]
fn from_registers(
    regs: *const u8,
    call: Call,
    compat: bool,
    result: i64,
    target: Target,
) -> Result<bool, Loss> {
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
    end(&asked, result, target)
}

#[inline(always)]
fn end(asked: &Asked, result: i64, target: Target) -> Result<bool, Loss> {
    // SAFETY: the helper only returns a number.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let task = current() as u64;
    // SAFETY: copied at once.
    let since = unsafe { SINCE.get(&task) }.map_or(now, |begun| begun.0);
    let _ = SINCE.remove(&task);
    let latency_ns = now - since;
    // Access mode, include/uapi/asm-generic/fcntl.h.
    let writes = asked.flags & 3 != 0;
    if (FAILED_ONLY.load() == 1 && result >= 0)
        || (WRITE_ONLY.load() == 1 && !writes)
        || latency_ns < MIN_LATENCY_NS.load()
    {
        return Ok(false);
    }
    let mut record = Record::<Open>::new()?;
    let (path, resolved) = path(&mut record, asked, result)?;
    let task = current_task(target);
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
    // Memory that cannot be read (EFAULT) is an event all the same.
    Ok((record.user_text(asked.name).unwrap_or(Tail::EMPTY), false))
}
