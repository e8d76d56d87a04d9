//! CPUs of this machine.

use std::sync::OnceLock;

/// Returns the number of values that a per-CPU map has for each key: all CPUs that may ever exist, such as `0-3`.
pub(crate) fn possible_cpus() -> usize {
    // Each account needs it, and it does not change until the next boot.
    static POSSIBLE: OnceLock<usize> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        let here = || std::thread::available_parallelism().map_or(1, usize::from);
        parse_cpus(&list).unwrap_or_else(here)
    })
}

pub(crate) fn parse_cpus(list: &str) -> Option<usize> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<usize>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_cpus_are_counted_to_the_last() {
        assert_eq!(parse_cpus("0-3\n"), Some(4));
        assert_eq!(parse_cpus("0"), Some(1));
        assert_eq!(parse_cpus("0-1,4-7"), Some(8));
        assert_eq!(parse_cpus(""), None);
    }
}
