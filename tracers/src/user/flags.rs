//! The names of bits, as system call manuals write them.

use crate::{OpenFlags, arch::machine};
use std::string::{String, ToString};

/// open(2) flags: the access mode and every bit that is set, joined by `|`.
/// Values: include/uapi/asm-generic/fcntl.h; the same on all machines, but for four.
pub fn open_flags(bits: u64) -> String {
    if bits == OpenFlags::UNREAD.0 {
        return "unreadable".to_string();
    }
    let mode = match bits & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "3",
    };
    // O_SYNC contains O_DSYNC, and O_TMPFILE contains O_DIRECTORY: the longer comes first.
    const COMMON: [(u64, &str); 12] = [
        (0o20200000, "O_TMPFILE"),
        (0o4010000, "O_SYNC"),
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o400, "O_NOCTTY"),
        (0o1000, "O_TRUNC"),
        (0o2000, "O_APPEND"),
        (0o4000, "O_NONBLOCK"),
        (0o10000, "O_DSYNC"),
        (0o20000, "O_ASYNC"),
        (0o1000000, "O_NOATIME"),
        (0o2000000, "O_CLOEXEC"),
    ];
    const PATH: [(u64, &str); 1] = [(0o10000000, "O_PATH")];
    let names = COMMON.iter().chain(&machine::OPEN_FLAGS).chain(&PATH);
    joined(mode.to_string(), bits & !3, names)
}

/// The bits of [`crate::Access`].
pub fn access_flags(bits: u64) -> String {
    let first = if bits & 2 != 0 {
        "exec"
    } else if bits & 1 != 0 {
        "write"
    } else {
        "read"
    };
    let names = [(4, "user"), (8, "protection")];
    joined(first.to_string(), bits & !3, names.iter())
}

fn joined<'a>(
    mut out: String,
    mut bits: u64,
    names: impl Iterator<Item = &'a (u64, &'static str)>,
) -> String {
    for &(bit, name) in names {
        if bits & bit == bit {
            bits &= !bit;
            out.push('|');
            out.push_str(name);
        }
    }
    if bits != 0 {
        out.push_str(&std::format!("|{bits:#x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_longest_first_and_unknown_bits_are_kept() {
        assert_eq!(open_flags(0), "O_RDONLY");
        assert_eq!(open_flags(0o2000101), "O_WRONLY|O_CREAT|O_CLOEXEC");
        assert_eq!(open_flags(0o4010002), "O_RDWR|O_SYNC");
        assert_eq!(open_flags(1 << 40), "O_RDONLY|0x10000000000");
        assert_eq!(open_flags(machine::O_LARGEFILE), "O_RDONLY|O_LARGEFILE");
        assert_eq!(open_flags(OpenFlags::UNREAD.0), "unreadable");
        assert_eq!(access_flags(0b101), "write|user");
    }
}
