//! What a thread waits for, by its state, its system call and the file behind the descriptor.

use crate::{
    TASK_FLAGS, argument, file_of_task, kernel_bits, kernel_fields, syscall_number, thread_state,
};
use aya_ebpf::{Global, helpers::generated::bpf_task_pt_regs};
use tracers::{
    ThreadState,
    arch::{Waits, WaitsFor, machine},
};

/// 1 where programs may ask for a task's registers: bpf_task_pt_regs, since 5.15.
#[unsafe(no_mangle)]
pub static REGISTERS_HELPER: Global<u32> = Global::new(0);

kernel_fields! {
    TASK_STACK = task_struct.stack: *const u8;
    FILE_INODE = file.f_inode: *const u8;
    FILE_PRIVATE = file.private_data: *const u8;
    INODE_MODE = inode.i_mode: u16;
    SOCKET_SOCK = socket.sk: *const u8;
    SOCK_FAMILY = sock.__sk_common.skc_family: u16;
}

kernel_bits! {
    TASK_IN_IOWAIT = task_struct.in_iowait;
}

/// A thread that frees memory: PF_MEMALLOC, include/linux/sched.h.
const RECLAIMS: u32 = 0x800;
/// A thread of the kernel: PF_KTHREAD.
const KERNEL_THREAD: u32 = 0x20_0000;

/// Types of files: include/uapi/linux/stat.h.
const TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
const PIPE: u16 = 0o010_000;
const REGULAR: u16 = 0o100_000;
const BLOCK: u16 = 0o060_000;
const DIRECTORY: u16 = 0o040_000;
/// AF_UNIX, include/linux/socket.h.
const UNIX: u16 = 1;

/// The registers with which a task entered the kernel from user mode: `task_pt_regs`.
#[inline(always)]
fn registers(task: *const u8) -> Result<*const u8, i32> {
    match REGISTERS_HELPER.load() {
        // Before that helper no kernel has space above them: TOP_OF_KERNEL_STACK_PADDING, arch/x86/include/asm/thread_info.h.
        0 => Ok(TASK_STACK
            .read(task)?
            .wrapping_add(machine::STACK_BYTES - machine::REGISTERS_BYTES)),
        // SAFETY: the helper only returns a pointer; the task is one that the verifier knows.
        _ => Ok(unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8),
    }
}

/// Returns what a thread waits for that is off the CPU, or about to leave it. A thread that could run waits for nothing.
///
/// `task` is the current task, or the task of an iterator: the verifier must know its type.
///
/// # Errors
/// Where the kernel's structures cannot be read.
#[inline(always)]
pub fn waits_for(task: *const u8) -> Result<WaitsFor, i32> {
    let state = thread_state(task)?;
    let flags = TASK_FLAGS.read(task)?;
    if flags & RECLAIMS != 0 {
        return Ok(WaitsFor::Memory);
    }
    match state {
        ThreadState::IDLE => return Ok(WaitsFor::Work),
        ThreadState::SLEEPING | ThreadState::DISK_SLEEP => {}
        _ => return Ok(WaitsFor::Other),
    }
    let no_signal = state == ThreadState::DISK_SLEEP;
    if flags & KERNEL_THREAD != 0 {
        return Ok(match no_signal && TASK_IN_IOWAIT.read(task)? {
            true => WaitsFor::Disk,
            false => WaitsFor::Work,
        });
    }
    let registers = registers(task)?;
    let number = syscall_number(registers)?;
    // An exception: `idtentry_body` of arch/x86/entry/entry_64.S, `el0_da` of arch/arm64.
    if number == u32::MAX {
        return Ok(WaitsFor::Memory);
    }
    let by_call = machine::waits(false, number);
    if no_signal {
        return Ok(match by_call {
            _ if TASK_IN_IOWAIT.read(task)? => WaitsFor::Disk,
            Waits::Disk => WaitsFor::Disk,
            Waits::File => match file_type(task, registers) {
                Ok((REGULAR | BLOCK | DIRECTORY, _)) => WaitsFor::Disk,
                Ok((SOCKET, false)) => WaitsFor::Network,
                Ok(_) | Err(_) => WaitsFor::Lock,
            },
            Waits::Timer => WaitsFor::Timer,
            Waits::Lock | Waits::Work | Waits::Process | Waits::Other => WaitsFor::Lock,
        });
    }
    Ok(match by_call {
        Waits::Lock => WaitsFor::Lock,
        Waits::Timer => WaitsFor::Timer,
        Waits::Work => WaitsFor::Work,
        Waits::Disk => WaitsFor::Disk,
        Waits::Process => WaitsFor::Process,
        Waits::Other => WaitsFor::Other,
        Waits::File => match file_type(task, registers)? {
            (SOCKET, false) => WaitsFor::Network,
            (SOCKET | PIPE, _) => WaitsFor::Process,
            (REGULAR | BLOCK | DIRECTORY, _) => WaitsFor::Disk,
            // An eventfd, a timerfd, a terminal.
            _ => WaitsFor::Work,
        },
    })
}

/// The type of the file behind the first argument of the task's call, and whether it is a socket of this machine alone.
#[inline(always)]
fn file_type(task: *const u8, registers: *const u8) -> Result<(u16, bool), i32> {
    let file = file_of_task(task, argument::<0>(registers, false)?)?;
    let kind = INODE_MODE.read(FILE_INODE.read(file)?)? & TYPE;
    if kind != SOCKET {
        return Ok((kind, true));
    }
    let sock = SOCKET_SOCK.read(FILE_PRIVATE.read(file)?)?;
    Ok((kind, SOCK_FAMILY.read(sock)? == UNIX))
}
