//! bpf(2).

use super::{Outcome, call, close};
use std::ffi::CStr;

/// Returns the next id of the kernel's list of programs (11), maps (12) or links (31): BPF_…_GET_NEXT_ID of include/uapi/linux/bpf.h.
pub(crate) fn next_bpf_id(command: usize, after: u32) -> Outcome {
    let mut attributes = [0u32; 16];
    attributes[0] = after;
    let at = attributes.as_mut_ptr() as usize;
    // SAFETY: `union bpf_attr`, of which this command uses start_id and next_id.
    let done = unsafe { call(libc::SYS_bpf, [command, at, size_of_val(&attributes), 0, 0]) };
    done.map(|_| u64::from(attributes[1]))
}

/// Returns the information of a program by id: BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD.
pub(crate) fn program_info(id: u32) -> Result<[u8; 256], i32> {
    let by_id = [u64::from(id), 0];
    let at = by_id.as_ptr() as usize;
    // SAFETY: `union bpf_attr`, of which this command uses prog_id and open_flags.
    let fd = unsafe { call(libc::SYS_bpf, [13, at, size_of_val(&by_id), 0, 0]) }?;
    let mut info = [0_u8; 256];
    let by_fd = [fd | (info.len() as u64) << 32, info.as_mut_ptr() as u64];
    let at = by_fd.as_ptr() as usize;
    // SAFETY: the member `info` of the same union, with room for the information.
    unsafe { call(libc::SYS_bpf, [15, at, size_of_val(&by_fd), 0, 0]) }?;
    close(fd as i32)?;
    Ok(info)
}

/// Attaches a program to a tracepoint until this process ends: `r0 = 0; exit`, as BPF_PROG_TYPE_RAW_TRACEPOINT. With `reads_clock` it
/// begins with `call bpf_ktime_get_boot_ns`.
pub(crate) fn attach_bare(tracepoint: &CStr, reads_clock: bool) {
    // Opcodes, helpers, commands and members: include/uapi/linux/bpf.h.
    let all = [125 << 32 | 0x85, 0xb7_u64, 0x95];
    let instructions = if reads_clock { &all[..] } else { &all[1..] };
    let load = [
        17 | (instructions.len() as u64) << 32,
        instructions.as_ptr() as u64,
        c"GPL".as_ptr() as u64,
        0,
        0,
        0,
    ];
    // SAFETY: `union bpf_attr` up to kern_version, with what it points to.
    let program = unsafe {
        call(
            libc::SYS_bpf,
            [5, load.as_ptr() as usize, size_of_val(&load), 0, 0],
        )
    };
    let open = [tracepoint.as_ptr() as u64, program.unwrap()];
    // SAFETY: the member `raw_tracepoint` of the same union.
    let link = unsafe {
        call(
            libc::SYS_bpf,
            [17, open.as_ptr() as usize, size_of_val(&open), 0, 0],
        )
    };
    link.unwrap();
}
