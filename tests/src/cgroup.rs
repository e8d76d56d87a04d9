//! Cgroups for one test each.

use crate::until;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A cgroup directory with what the test made below it; processes in it are killed and it is removed when it is dropped.
pub struct Cgroup {
    path: PathBuf,
}

/// Where cgroup v2 is mounted.
pub(crate) fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    line.expect("cgroup v2 is mounted")
        .split(' ')
        .nth(4)
        .unwrap()
        .into()
}

fn new(root: &Path, name: &str) -> Cgroup {
    let path = root.join(name);
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Cgroup { path }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("tracejob-test-{}-{n}", std::process::id())
}

impl Cgroup {
    /// A new one.
    pub fn new() -> Self {
        new(&root(), &unique())
    }

    /// A new one of a name.
    pub fn named(name: &str) -> Self {
        new(&root(), name)
    }

    /// Creates a cgroup with a limit of memory in bytes, without swap, in the hierarchy that has the memory controller.
    pub fn with_memory(bytes: u64) -> Self {
        let group = Self::new();
        match group.limit_memory(bytes) {
            // It has the controller, and the other is of no use.
            Some(first_version) => first_version,
            None => group,
        }
    }

    /// Limits the memory of what is in it. Where version 1 has the memory controller, that limit is another cgroup's, which is returned:
    /// a process has to be in both.
    #[must_use]
    pub fn limit_memory(&self, bytes: u64) -> Option<Self> {
        let first_version = Path::new("/sys/fs/cgroup/memory");
        if first_version.join("memory.limit_in_bytes").exists() {
            let group = new(first_version, &unique());
            group.write("memory.limit_in_bytes", &bytes.to_string());
            return Some(group);
        }
        self.write("memory.max", &bytes.to_string());
        // There is no such file where the kernel has no swap.
        let _ = fs::write(self.path.join("memory.swap.max"), "0");
        None
    }

    /// Creates a cgroup with a CPU quota in µs per period, in the hierarchy that has the cpu controller.
    pub fn with_cpu_quota(quota: u64, period: u64) -> Self {
        // The controller may be off below the root until a cgroup asks for it.
        let _ = fs::write(root().join("cgroup.subtree_control"), "+cpu");
        let group = Self::new();
        match group.limit_cpu(quota, period) {
            Some(first_version) => first_version,
            None => group,
        }
    }

    /// Limits the CPU time of what is in it, in µs per period. As with [`Self::limit_memory`], the limit may be another cgroup's.
    #[must_use]
    pub fn limit_cpu(&self, quota: u64, period: u64) -> Option<Self> {
        let first_version = Path::new("/sys/fs/cgroup/cpu");
        if first_version.join("cpu.cfs_quota_us").exists()
            || first_version.join("cpu.shares").exists()
        {
            let group = new(first_version, &unique());
            group.write("cpu.cfs_period_us", &period.to_string());
            group.write("cpu.cfs_quota_us", &quota.to_string());
            return Some(group);
        }
        self.write("cpu.max", &format!("{quota} {period}"));
        None
    }

    /// Returns a field of its cpu.stat.
    pub fn cpu_stat(&self, field: &str) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let value = line.unwrap_or_else(|| panic!("no {field}: {text}"));
        value.trim().parse().unwrap()
    }

    /// Returns the time in which it was throttled, ns. Version 2 has it in µs.
    pub fn throttled_ns(&self) -> u64 {
        match self.path.join("cpu.cfs_quota_us").exists() {
            true => self.cpu_stat("throttled_time"),
            false => self.cpu_stat("throttled_usec") * 1000,
        }
    }

    /// A new one of a name, of cgroup v1; none where that is not mounted.
    pub fn of_version_1(name: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/memory");
        let mounted = root.join("memory.limit_in_bytes").exists();
        mounted.then(|| new(root, name))
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path.join(file);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        fs::metadata(&self.path).unwrap().ino()
    }

    /// A cgroup in it, removed with it if it is dropped first.
    pub fn below(&self, name: &str) -> Self {
        new(&self.path, name)
    }

    /// So many cgroups in it, each in the one before, the deepest first: that is the order in which they are removed.
    pub fn nested(&self, name: &str, levels: usize) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for _ in 0..levels {
            let below = all.last().unwrap_or(self).below(name);
            all.push(below);
        }
        all.reverse();
        all
    }

    /// Whether a process can be in both at once: one is of cgroup v1 and one of v2.
    pub fn is_of_another_hierarchy(&self, other: &Self) -> bool {
        self.path.starts_with(root()) != other.path.starts_with(root())
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let procs = self.path.join("cgroup.procs");
        for pid in fs::read_to_string(procs)
            .unwrap_or_default()
            .split_whitespace()
        {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if std::thread::panicking() {
            let _ = fs::remove_dir(&self.path);
            return;
        }
        // Busy until the last process is gone for good.
        until("the cgroup to be empty", || fs::remove_dir(&self.path).ok());
    }
}
