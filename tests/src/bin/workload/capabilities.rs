//! Runs a program as the container of a hardened cluster would: uid 0, no new privileges, and these capabilities alone.

use crate::raw;
use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

/// Names and numbers: include/uapi/linux/capability.h.
const NAMES: [(&str, u32); 6] = [
    ("bpf", 39),
    ("perfmon", 38),
    ("syslog", 34),
    ("sys_resource", 24),
    ("sys_admin", 21),
    ("sys_ptrace", 19),
];

/// `LIST PROGRAM ARG…`: LIST is `bpf,perfmon` or the like.
pub(crate) fn exec_with(args: &[OsString]) {
    let mut bits = 0u64;
    for name in args[0]
        .to_str()
        .unwrap()
        .split(',')
        .filter(|name| !name.is_empty())
    {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        bits |= 1 << found.unwrap_or_else(|| panic!("no capability {name:?}")).1;
    }
    for number in 0..64 {
        if bits >> number & 1 == 0 {
            // EINVAL is beyond the kernel's last.
            let _ = raw::prctl(libc::PR_CAPBSET_DROP, number);
        }
    }
    raw::set_capabilities(bits);
    raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
    let error = Command::new(&args[1]).args(&args[2..]).exec();
    panic!("{:?}: {error}", args[1]);
}
