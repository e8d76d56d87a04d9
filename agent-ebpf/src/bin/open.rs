//! Kernel side of `open`. Columns and options: `tracers/src/catalogue/open.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, Record, answer, append_path, argument, book, calls, current_task, file_of, file_path,
    forget, now, selected, signed, syscall, syscall_number,
};
use aya_ebpf::{Global, helpers::bpf_probe_read_user, programs::RawTracePointContext};
use tracers::{
    Bool, Mode, OpenFlags, Outcome, Path, Syscall, Tail, Target, Time,
    arch::{Opens, machine},
    open::Open,
    program,
};

#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static WRITE_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_LATENCY_NS: Global<u64> = Global::new(0);

/// A call that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    since: u64,
    target: Target,
    _pad: u32,
    syscall: Syscall,
}

calls!(Begun);

/// O_CREAT and __O_TMPFILE: without either the mode means nothing, and the kernel forgets it.
const CREATES: u64 = 0o20_000_100;
/// The bits that flags have.
const LOW: u64 = 0xffff_ffff;

/// What was asked for.
struct Asked {
    name: *const u8,
    flags: u64,
    mode: u64,
}

/// Whether the number is that of a call that opens a file, in either table: which one it is of costs a read of kernel memory.
#[inline(always)]
fn may_open(number: u32) -> bool {
    machine::opens(false, number).is_some() || machine::opens(true, number).is_some()
}

#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    let number = ctx.arg::<u64>(1) as u32;
    // Most calls are none of these: the cheapest question comes first.
    if may_open(number)
        && let Some(target) = selected()
    {
        book(begin(syscall(number), target));
    }
}

#[inline(always)]
fn begin(syscall: Syscall, target: Target) -> Result<bool, Loss> {
    if machine::opens(syscall.is_compat(), syscall.number()).is_none() {
        return Ok(false);
    }
    let begun = Begun {
        since: now(),
        target,
        _pad: 0,
        syscall,
    };
    CALLS.begin(&begun).map(|()| false)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        book(returned(ctx.arg(0), ctx.arg(1), target));
    }
}

#[inline(always)]
fn returned(regs: *const u8, result: i64, target: Target) -> Result<bool, Loss> {
    let (begun, result) = match CALLS.end() {
        Some(begun) => (begun, result),
        None => {
            let number = syscall_number(regs)?;
            if !may_open(number) {
                return Ok(false);
            }
            let begun = Begun {
                since: u64::MAX,
                target,
                _pad: 0,
                syscall: syscall(number),
            };
            (begun, answer(regs, result)?)
        }
    };
    from_registers(regs, forget(result as u64) as i64, &begun)
}

#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_ctx: &RawTracePointContext) {
    // Every call comes back before its thread ends.
    CALLS.leave();
}

#[inline(always)]
fn from_registers(regs: *const u8, result: i64, begun: &Begun) -> Result<bool, Loss> {
    let compat = begun.syscall.is_compat();
    let Some(call) = machine::opens(compat, begun.syscall.number()) else {
        return Ok(false);
    };
    let first = argument::<0>(regs, compat)?;
    let second = argument::<1>(regs, compat)?;
    let third = argument::<2>(regs, compat)?;
    let asked = match call {
        Opens::Open => Asked {
            name: first as *const u8,
            flags: second & LOW,
            mode: third,
        },
        // creat(2): O_CREAT|O_WRONLY|O_TRUNC.
        Opens::Creat => Asked {
            name: first as *const u8,
            flags: 0o1101,
            mode: second,
        },
        Opens::Openat => Asked {
            name: second as *const u8,
            flags: third & LOW,
            mode: argument::<3>(regs, compat)?,
        },
        Opens::Openat2 => {
            let how = third as *const u64;
            // SAFETY: a bad address is an error; `struct open_how` begins with flags and mode, include/uapi/linux/openat2.h.
            let [flags, mode] = unsafe { bpf_probe_read_user::<[u64; 2]>(how.cast()) }
                .map_or([OpenFlags::UNREAD.0, 0], |[flags, mode]| {
                    [flags & LOW, mode]
                });
            Asked {
                name: second as *const u8,
                flags,
                mode,
            }
        }
    };
    end(&asked, signed(result, compat), begun)
}

#[inline(always)]
fn end(asked: &Asked, result: i64, begun: &Begun) -> Result<bool, Loss> {
    // Whichever call it is.
    let asked = Asked {
        name: forget(asked.name as u64) as *const u8,
        flags: forget(asked.flags),
        mode: forget(asked.mode),
    };
    let now = now();
    let latency_ns = now.saturating_sub(forget(begun.since));
    // Access mode, include/uapi/asm-generic/fcntl.h. One that is not known may be any.
    let writes = asked.flags & (3 | OpenFlags::UNREAD.0) != 0;
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
            flags: OpenFlags(asked.flags & !machine::O_LARGEFILE),
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
