//! The tools that TraceJob is measured beside: Debian sid's, unpacked in a folder, run with its own C library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Their folder, which `cargo xtask bench` sets.
pub(crate) struct Peers {
    root: Option<PathBuf>,
}

impl Peers {
    pub(crate) fn find() -> Self {
        let root = std::env::var_os("BENCH_PEERS").map(PathBuf::from);
        Self {
            root: root.filter(|root| root.is_dir()),
        }
    }

    /// Their packages with versions.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        let text = self.root.as_ref().map(|root| root.join("versions"));
        let text = text.and_then(|file| fs::read_to_string(file).ok());
        let pair = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        };
        text.unwrap_or_default().lines().filter_map(pair).collect()
    }

    /// One of them with its arguments, in mounts of its own where tracefs is: not every machine has it mounted.
    ///
    /// # Errors
    /// Why it cannot be run here.
    pub(crate) fn command(&self, program: &str, args: &[String]) -> Result<Command, String> {
        let root = self.root.as_ref().ok_or("its package is not installed")?;
        let found = ["usr/bin", "usr/sbin"].map(|folder| root.join(folder).join(program));
        let found = found.iter().find(|path| path.is_file());
        let found = found.ok_or_else(|| format!("its package has no {program}"))?;
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        let linker = linker(root).ok_or("its C library has no dynamic linker")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg(
            "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; mount -t debugfs none /sys/kernel/debug 2>/dev/null; exec \"$@\"",
        );
        command.arg("sh").arg(linker).arg("--library-path");
        command.arg(root.join("usr/lib").join(triple));
        command.arg(found).args(args);
        Ok(command)
    }
}

fn linker(root: &Path) -> Option<PathBuf> {
    [
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/lib/ld-linux-aarch64.so.1",
    ]
    .map(|path| root.join(path))
    .into_iter()
    .find(|path| path.exists())
}
