//! Programs of others, built once by Go from modules of a pinned version, into a folder under `target/tools` that is named by it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    process,
    screen::{Step, print_line},
};

/// The first Go that fetches the version that a module asks for.
const OLDEST: u32 = 21;

/// What to build.
pub(crate) struct Build<'a> {
    /// With its version.
    pub(crate) name: String,
    /// Where it goes, below `bin`.
    pub(crate) folder: PathBuf,
    /// For the one who waits.
    pub(crate) about: &'a str,
    /// Where Go runs.
    pub(crate) from: PathBuf,
    /// Flags of `go install`.
    pub(crate) flags: &'a [&'a str],
    /// The package of the program.
    pub(crate) package: &'a str,
}

impl Build<'_> {
    /// The folder of the program, or why this machine cannot build it.
    pub(crate) fn ensure(&self) -> Result<Result<PathBuf, String>> {
        let bin = self.folder.join("bin");
        // Written last.
        let done = self.folder.join("done");
        if done.is_file() {
            print_line(&self.name, "here");
            return Ok(Ok(bin));
        }
        let version = process::output(Command::new("go").args(["env", "GOVERSION"]));
        let version = version.unwrap_or_default();
        if minor(&version).is_none_or(|minor| minor < OLDEST) {
            let have = match version.trim() {
                "" => "there is none".to_owned(),
                version => format!("this is {version}"),
            };
            return Ok(Err(format!(
                "{} takes Go 1.{OLDEST} or newer on PATH, and {have}",
                self.name
            )));
        }
        let step = Step::start(&self.name, self.about);
        // What an interrupted build left.
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir_all(&bin).with_context(|| format!("creating {}", bin.display()))?;
        let cache = self.folder.join("cache");
        let flags = std::env::var("GOFLAGS").unwrap_or_default();
        // It takes minutes, and what it makes is needed late: everything else goes first.
        let mut command = Command::new("nice");
        command
            .args(["-n", "19", "go"])
            .arg("install")
            .args(self.flags)
            .arg(self.package)
            .env("GOBIN", &bin)
            .env("GOPATH", cache.join("path"))
            .env("GOCACHE", cache.join("build"))
            .env("CGO_ENABLED", "0")
            // The compiler's own garbage is worth its memory: a few hundred megabytes at a time.
            .env("GOGC", "400")
            // What Go keeps read-only could not be removed below.
            .env("GOFLAGS", format!("{flags} -modcacherw"))
            .current_dir(&self.from);
        let log = self.name.split(' ').next().unwrap_or("go");
        process::quietly(&step, log, &mut command)?;
        // Gigabytes that are not read again. A failed removal does no harm.
        let _ = fs::remove_dir_all(&cache);
        fs::write(&done, &version).with_context(|| format!("writing {}", done.display()))?;
        step.done("built");
        Ok(Ok(bin))
    }
}

/// `go1.26.8`: 26.
fn minor(version: &str) -> Option<u32> {
    let rest = version.trim().strip_prefix("go1.")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_version_is_read() {
        assert_eq!(minor("go1.26.8\n"), Some(26));
        assert_eq!(minor("go1.21rc2"), Some(21));
        assert_eq!(minor("devel"), None);
        assert_eq!(minor(""), None);
    }
}
