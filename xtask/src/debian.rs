//! Packages of any Debian suite, fetched from the machine's own mirror and unpacked under `target/`.
//!
//! Nothing is installed and the machine's apt sources stay as they are: apt runs on private state.
//! That is why it works without root, and why a kernel of another release can be had beside this one's.

mod index;
mod mirror;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

pub(crate) use index::{Package, newest};
pub(crate) use mirror::Mirrors;

use crate::{process, screen::Step, workspace};

/// apt with private state, knowing the suites that it was opened with.
pub(crate) struct Archive {
    dir: PathBuf,
    /// Held as long as this is: two that download into the same folder would remove each other's files.
    _lock: File,
}

/// Archives whose package lists this process has fetched.
static OPENED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

impl Archive {
    /// Fetches the package lists of those `suites` that the mirror has, once; an error if it has none of them.
    pub(crate) fn open(step: &Step, name: &str, suites: &[&str]) -> Result<Self> {
        let dir = workspace::fetched().join("apt").join(name);
        for part in ["lists/partial", "cache/archives/partial", "empty"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
        }
        let lock = dir.join("lock");
        let file = File::create(&lock).with_context(|| format!("creating {}", lock.display()))?;
        file.lock()
            .with_context(|| format!("locking {}", lock.display()))?;
        let archive = Self { dir, _lock: file };
        let opened = || OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if opened().contains(name) {
            return Ok(archive);
        }
        let mirrors = Mirrors::of_this_machine()?;
        let mut known = Vec::new();
        let mut last_error = None;
        for suite in suites {
            // One at a time: apt names a failed package only in prose.
            for line in mirrors.source_lines(suite) {
                archive.write_sources(std::slice::from_ref(&line))?;
                match process::quietly(
                    step,
                    &format!("apt-{name}"),
                    archive.apt("apt-get").args(["--quiet", "update"]),
                ) {
                    Ok(()) => {
                        known.push(line);
                        break;
                    }
                    Err(error) => last_error = Some(error),
                }
            }
        }
        if let (true, Some(error)) = (known.is_empty(), last_error) {
            return Err(error.context(format!(
                "no package list of {} could be fetched",
                suites.join(" or ")
            )));
        }
        archive.write_sources(&known)?;
        opened().insert(name.to_owned());
        Ok(archive)
    }

    /// Every package of these suites, in its newest version.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        // The machine's own installed packages are no answer to what the suites have.
        let text = process::output(self.apt("apt-cache").args([
            "-o",
            "Dir::State::status=/dev/null",
            "dumpavail",
        ]))?;
        Ok(index::parse(&text))
    }

    /// Downloads one package, without what it depends on, and unpacks it into `folder`.
    pub(crate) fn unpack_alone(&self, step: &Step, package: &Package, folder: &Path) -> Result<()> {
        self.forget_downloads()?;
        let what = format!("{}={}", package.name, package.version);
        let mut command = self.apt("apt-get");
        command
            .args(["--quiet", "download", &what])
            .current_dir(self.downloads());
        process::quietly(step, &format!("download-{}", package.name), &mut command)?;
        self.unpack_downloads(step, folder)
    }

    /// Downloads a package with all that it needs and this machine lacks, and unpacks it into `folder`.
    /// `release` is preferred where it is given, as `apt-get -t` does.
    pub(crate) fn unpack_with_dependencies(
        &self,
        step: &Step,
        package: &str,
        release: Option<&str>,
        folder: &Path,
    ) -> Result<()> {
        // Reinstalling fetches it even where an unusable one is installed.
        let mut options = vec!["--reinstall"];
        if let Some(release) = release {
            options.extend(["-t", release]);
        }
        self.unpack_install(step, &options, &[package.to_owned()], folder)
    }

    /// Downloads packages with all that they need on a machine that has nothing, the C library included, and unpacks them into `folder`.
    pub(crate) fn unpack_from_nothing(
        &self,
        step: &Step,
        packages: &[String],
        folder: &Path,
    ) -> Result<()> {
        self.unpack_install(
            step,
            &["-o", "Dir::State::status=/dev/null"],
            packages,
            folder,
        )
    }

    fn unpack_install(
        &self,
        step: &Step,
        options: &[&str],
        packages: &[String],
        folder: &Path,
    ) -> Result<()> {
        self.forget_downloads()?;
        let mut command = self.apt("apt-get");
        command.args([
            "--quiet",
            "--yes",
            "--download-only",
            "--no-install-recommends",
        ]);
        command.args(options).arg("install").args(packages);
        let name = packages.first().map_or("", String::as_str);
        process::quietly(step, &format!("download-{name}"), &mut command)?;
        self.unpack_downloads(step, folder)
    }

    fn downloads(&self) -> PathBuf {
        self.dir.join("cache/archives")
    }

    fn debs(&self) -> Result<Vec<PathBuf>> {
        let downloads = self.downloads();
        let entries =
            fs::read_dir(&downloads).with_context(|| format!("reading {}", downloads.display()))?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(files
            .filter(|file| file.extension().is_some_and(|extension| extension == "deb"))
            .collect())
    }

    fn forget_downloads(&self) -> Result<()> {
        for deb in self.debs()? {
            fs::remove_file(&deb).with_context(|| format!("removing {}", deb.display()))?;
        }
        Ok(())
    }

    /// Unpacks beside `folder` and renames, so that an interrupted unpacking is never taken for a whole one.
    fn unpack_downloads(&self, step: &Step, folder: &Path) -> Result<()> {
        let debs = self.debs()?;
        if debs.is_empty() {
            bail!(
                "apt-get downloaded nothing into {}",
                self.downloads().display()
            );
        }
        let partial = folder.with_extension("partial");
        for old in [partial.as_path(), folder] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
            }
        }
        fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        for deb in debs {
            process::quietly(
                step,
                &format!("unpack-{name}"),
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&deb)
                    .arg(&partial),
            )?;
        }
        fs::rename(&partial, folder)
            .with_context(|| format!("moving {} into place", folder.display()))?;
        self.forget_downloads()
    }

    fn write_sources(&self, lines: &[String]) -> Result<()> {
        let file = self.dir.join("sources.list");
        fs::write(&file, lines.join("\n") + "\n")
            .with_context(|| format!("writing {}", file.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "empty"),
            // A machine's pins are about what it wants installed.
            ("Dir::Etc::preferences", "/dev/null"),
            ("Dir::Etc::preferencesparts", "empty"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            let mut setting = OsString::from(format!("{option}="));
            setting.push(self.dir.join(value));
            command.arg("-o").arg(setting);
        }
        for setting in [
            // One suite's update must not throw away another's list.
            "APT::Get::List-Cleanup=false",
            // Without this root's apt downloads as _apt, who cannot write here.
            "APT::Sandbox::User=root",
            // The lock is the machine's; we change nothing that it guards.
            "Debug::NoLocking=true",
            // Descriptions for software centres, as large as the list itself.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "Acquire::Languages=none",
            // A snapshot of sid is past its date when it is mirrored late; it is signed all the same.
            "Acquire::Check-Valid-Until=false",
            "Acquire::Retries=3",
        ] {
            command.args(["-o", setting]);
        }
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        command
    }
}

/// The one message for a machine that has no apt.
pub(crate) fn require_apt(for_what: &str) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if workspace::find_program(program).is_none() {
            bail!(
                "{program} is not here, and it is how {for_what} is fetched: use a Debian or Ubuntu machine, or install apt and dpkg \
                 and name a Debian mirror in {}",
                mirror::MIRROR_VARIABLE
            );
        }
    }
    Ok(())
}
