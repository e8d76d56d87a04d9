//! Numbers of the kernel by name: system calls and errors.

use crate::{Syscall, arch::machine};
use std::{borrow::Cow, format};
use syscalls::{Errno, Sysno};

/// A system call by name, in the tables of this machine. One of the 32-bit table is marked: the same name may take other arguments there.
pub fn syscall(number: u64) -> Cow<'static, str> {
    let compat = number & Syscall::COMPAT != 0;
    let index = (number & !Syscall::COMPAT) as usize;
    match compat {
        false => match Sysno::new(index) {
            Some(known) => known.name().into(),
            None => format!("syscall_{index}").into(),
        },
        true => match machine::compat_name(index) {
            Some(known) => format!("{}{known}", machine::COMPAT_PREFIX).into(),
            None => format!("{}syscall_{index}", machine::COMPAT_PREFIX).into(),
        },
    }
}

/// An error by name.
pub fn errno(number: u64) -> Cow<'static, str> {
    let known = i32::try_from(number)
        .ok()
        .and_then(|number| Errno::new(number).name());
    match known {
        Some(name) => name.into(),
        None => format!("errno_{number}").into(),
    }
}

/// The error that a result stands for: results from -4095 to -1 do, include/linux/err.h (MAX_ERRNO).
pub fn error_of(result: i64) -> Option<u64> {
    (-4095..0).contains(&result).then(|| result.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_and_errors_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(syscall(Sysno::openat as u64), "openat");
        assert_eq!(syscall(100_000), "syscall_100000");
        let compat = |name| format!("{}{name}", machine::COMPAT_PREFIX);
        assert_eq!(syscall(5 | Syscall::COMPAT), compat("open"));
        assert_eq!(syscall(99_999 | Syscall::COMPAT), compat("syscall_99999"));
        // Whatever number a caller takes, it is none of the other table.
        assert_eq!(syscall(u64::from(u32::MAX)), "syscall_4294967295");
        assert_eq!(syscall(1 << 31 | 1), "syscall_2147483649");
        assert_eq!(errno(2), "ENOENT");
        assert_eq!(
            errno(512),
            "ERESTARTSYS",
            "seen at the exit of a system call that a signal broke"
        );
        assert_eq!(errno(4000), "errno_4000");
        assert_eq!(error_of(-13), Some(13));
        assert_eq!(error_of(-5000), None);
        assert_eq!(error_of(0), None);
    }
}
