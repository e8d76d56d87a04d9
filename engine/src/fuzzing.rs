//! Parsers of foreign text, for fuzz targets only (`fuzz/`).

use crate::{cpus, select};

/// Parses lines of /proc/self/mountinfo, names of cgroups, /proc/PID/stat, lists of CPUs.
pub fn system_texts(text: &str) {
    for line in text.lines() {
        if let Some(point) = select::hierarchy::cgroup2_mount(line) {
            assert!(line.contains(" - cgroup2 "), "{point:?}");
        }
        if let Some(id) = select::names::container_id(line) {
            assert!(id.len() >= 32 && line.contains(id));
        }
        select::names::pod_named(line);
        select::names::pod_beside(line);
        // Checked before any search.
        let pod = select::names::pod_uid(line);
        assert!(pod.is_err() || line.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }
    select::process::life_in(text);
    select::process::began_in(text);
    cpus::parse_cpus(text);
}
