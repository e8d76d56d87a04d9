//! What of BPF there is in the kernel, by id: what `bpftool prog`, `map` and `link` list.

use crate::raw;
use serde_json::json;
use std::ffi::OsString;

/// One JSON object on stdout: the ids of all programs, maps and links.
pub(crate) fn print_ids() {
    // BPF_PROG_GET_NEXT_ID, BPF_MAP_GET_NEXT_ID, BPF_LINK_GET_NEXT_ID: include/uapi/linux/bpf.h.
    println!(
        "{}",
        json!({ "prog": ids(11), "map": ids(12), "link": ids(31) })
    );
}

/// A program at each of these tracepoints that does nothing, or reads the clock: what any program there costs at least, and what any
/// that measures a time does.
pub(crate) fn bare(tracepoints: &[OsString], reads_clock: bool) {
    for name in tracepoints {
        raw::attach_bare(&raw::c_string(name), reads_clock);
    }
}

/// One JSON list on stdout: of each program by id, its name, how many instructions it has, and through how many the verifier went, which is
/// 0 before Linux 5.16.
pub(crate) fn print_programs(ids: &[OsString]) {
    let programs = ids.iter().map(|id| {
        let info = raw::program_info(crate::number(id) as u32).unwrap();
        let word = |at: usize| u32::from_ne_bytes(*info[at..].first_chunk().unwrap());
        // `struct bpf_prog_info`, include/uapi/linux/bpf.h: xlated_prog_len, name, verified_insns.
        let name = info[64..80].split(|byte| *byte == 0).next().unwrap_or_default();
        json!({ "name": String::from_utf8_lossy(name), "size": word(20) / 8, "verified": word(216) })
    });
    println!("{}", json!(programs.collect::<Vec<_>>()));
}

fn ids(command: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        match raw::next_bpf_id(command, ids.last().copied().unwrap_or(0) as u32) {
            Ok(id) => ids.push(id),
            Err(libc::ENOENT) => return ids,
            Err(errno) => panic!("listing what is in the kernel: {errno}"),
        }
    }
}
