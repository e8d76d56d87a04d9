//! Kernel side of `exec`. Columns and options: `tracers/src/catalogue/exec.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, Record, TASK_MM, TASK_TGID, answer, append_path, argument, book, current_task, file_path,
    is_compat, kernel_fields, now, selected, signed, syscall_number,
};
use aya_ebpf::{Global, helpers::bpf_probe_read_user, programs::RawTracePointContext};
use tracers::{
    Args, Outcome, Path, Tail, Target, Time,
    arch::{Executes, machine},
    exec::Exec,
    program,
};

#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);

kernel_fields! {
    TASK_PARENT = task_struct.real_parent: *const u8;
    MM_ARG_START = mm_struct.arg_start: u64;
    MM_ARG_END = mm_struct.arg_end: u64;
    BPRM_FILE = linux_binprm.file: *const u8;
}

/// Most arguments of a program that failed to start.
const ARGS: usize = 64;
/// Most bytes of one of them.
const ARG_BYTES: usize = 1024;

#[program(raw_tp = "sched_process_exec")]
fn sched_process_exec(ctx: &RawTracePointContext) {
    if FAILED_ONLY.load() == 0
        && let Some(target) = selected()
    {
        book(started(ctx.arg(2), target));
    }
}

/// The program is in place: its arguments lie in its own memory, where nobody has run yet.
#[inline(always)]
fn started(bprm: *const u8, target: Target) -> Result<bool, Loss> {
    let mut record = Record::<Exec>::new()?;
    let filename = append_path(&mut record, file_path(BPRM_FILE.read(bprm)?))?;
    let mm = TASK_MM.of_current_task()?;
    let (start, end) = (MM_ARG_START.read(mm)?, MM_ARG_END.read(mm)?);
    let args = record
        .user_bytes(start as *const u8, end.saturating_sub(start) as usize)
        .unwrap_or(Tail::LOST);
    send(record, filename, args, 0, target)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    let (regs, result): (*const u8, i64) = (ctx.arg(0), ctx.arg(1));
    // 0 where the program is in place; any other number where seccomp took the call back.
    if result != 0
        && let Some(target) = selected()
    {
        book(not_started(regs, result, target));
    }
}

/// The call returns an error: name and arguments are where the caller left them.
#[inline(always)]
fn not_started(regs: *const u8, result: i64, target: Target) -> Result<bool, Loss> {
    let number = syscall_number(regs)?;
    // Which table it is of costs a read of kernel memory.
    if machine::executes(false, number).is_none() && machine::executes(true, number).is_none() {
        return Ok(false);
    }
    let compat = is_compat();
    let Some(Executes { at, narrow }) = machine::executes(compat, number) else {
        return Ok(false);
    };
    let result = signed(answer(regs, result)?, compat);
    if result >= 0 {
        return Ok(false);
    }
    let (name, argv) = match at {
        false => (argument::<0>(regs, compat)?, argument::<1>(regs, compat)?),
        true => (argument::<1>(regs, compat)?, argument::<2>(regs, compat)?),
    };
    let mut record = Record::<Exec>::new()?;
    // Memory that cannot be read (EFAULT, or not in memory) is a failure like another.
    let filename = record.user_text(name as *const u8).unwrap_or(Tail::LOST);
    let args = record.user_texts::<ARGS, ARG_BYTES>(|i| item(argv, i, narrow));
    send(record, filename, args, result, target)
}

/// Entry `i` of an argv.
#[inline(always)]
fn item(argv: u64, i: usize, narrow: bool) -> Result<*const u8, i32> {
    // No list is an empty one: execve(2), NOTES.
    if argv == 0 {
        return Ok(core::ptr::null());
    }
    // SAFETY: a bad address is an error.
    unsafe {
        Ok(match narrow {
            true => bpf_probe_read_user((argv as *const u32).wrapping_add(i))? as u64 as *const u8,
            false => bpf_probe_read_user((argv as *const u64).wrapping_add(i))? as *const u8,
        })
    }
}

#[inline(always)]
fn send(
    record: Record<Exec>,
    filename: Tail,
    args: Tail,
    result: i64,
    target: Target,
) -> Result<bool, Loss> {
    let task = current_task(target);
    record.send(
        task.cgroup,
        &Exec {
            time: Time(now()),
            task,
            ppid: TASK_TGID.read(TASK_PARENT.of_current_task()?)?,
            _pad: 0,
            result: Outcome(result),
            filename: Path(filename),
            args: Args(args),
        },
    )
}
