//! The user space of a test kernel in one archive: busybox, the programs, and an init that runs the tests.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    programs::{Program, Programs},
    test::KERNEL_TESTS,
    verdict,
};

/// Template of init.
const INIT: &str = include_str!("init.sh");

/// Writes the archive.
pub(crate) fn write(
    file: &Path,
    busybox: &Path,
    programs: &Programs,
    args: &[String],
) -> Result<()> {
    let root = Root(file.with_extension("root"));
    root.fill(busybox, programs, args)
        .and_then(|()| root.pack(busybox, file))
        .with_context(|| format!("writing {}", file.display()))?;
    fs::remove_dir_all(&root.0).with_context(|| format!("removing {}", root.0.display()))
}

/// The test kernel's root, in a folder of this machine.
struct Root(PathBuf);

impl Root {
    fn fill(&self, busybox: &Path, programs: &Programs, args: &[String]) -> Result<()> {
        if self.0.exists() {
            fs::remove_dir_all(&self.0)?;
        }
        for folder in [
            "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var/tmp", "tests",
        ] {
            fs::create_dir_all(self.0.join(folder))?;
        }
        for folder in ["tmp", "var/tmp"] {
            fs::set_permissions(self.0.join(folder), fs::Permissions::from_mode(0o1777))?;
        }
        for (link, to) in [
            ("sbin", "bin"),
            ("usr/bin", "../bin"),
            ("usr/sbin", "../bin"),
        ] {
            symlink(to, self.0.join(link))?;
        }
        for (file, text) in [
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
            ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ] {
            fs::write(self.0.join(file), text)?;
        }
        fs::copy(busybox, self.place(Path::new("/bin/busybox"))?)?;
        for ours in ["tracejob", "tracejob-agent"] {
            self.program(programs.file(ours)?, &Path::new("/bin").join(ours))?;
        }
        let tests = tests(programs)?;
        // At the paths of this machine, which are compiled into the tests (CARGO_BIN_EXE_…, CARGO_MANIFEST_DIR).
        for program in tests.iter().copied().chain(programs.started_by_tests()) {
            self.program(&program.path, &program.path)?;
        }
        for program in &tests {
            fs::create_dir_all(self.place(&program.folder)?)?;
            symlink(&program.path, self.0.join("tests").join(&program.name))?;
        }
        let start = self.0.join("init");
        fs::write(&start, init(&tests, args))?;
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Returns the path on this machine for a path of the test kernel, and creates its folder.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let place = self.0.join(path.strip_prefix("/").unwrap_or(path));
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(place)
    }

    /// Without debug information, which is most of a program: a test kernel's memory holds it twice, packed and unpacked.
    /// Names of functions stay.
    fn program(&self, from: &Path, to: &Path) -> Result<()> {
        let mut strip = Command::new("strip");
        strip.arg("--strip-debug").arg("-o").arg(self.place(to)?);
        process::output(strip.arg(from))
            .map(drop)
            .context("install binutils")
    }

    /// Packs all of it, as root's.
    fn pack(&self, busybox: &Path, archive: &Path) -> Result<()> {
        let mut find = Command::new(busybox)
            .args(["find", "."])
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let Some(names) = find.stdout.take() else {
            bail!("find has no output");
        };
        let packed = Command::new(busybox)
            .args(["cpio", "-o", "-H", "newc", "-R", "0:0"])
            .current_dir(&self.0)
            .stdin(names)
            .stdout(File::create(archive)?)
            .stderr(Stdio::piped())
            .output()?;
        if !find.wait()?.success() || !packed.status.success() {
            bail!("{}", String::from_utf8_lossy(&packed.stderr));
        }
        Ok(())
    }
}

fn tests(programs: &Programs) -> Result<Vec<&Program>> {
    KERNEL_TESTS
        .iter()
        .map(|name| programs.test(name))
        .collect()
}

/// The init script with the tests that it runs.
fn init(tests: &[&Program], args: &[String]) -> String {
    let runs: Vec<String> = tests
        .iter()
        .map(|test| format!("run {}", quoted(&test.name)))
        .collect();
    let folder = tests
        .first()
        .map_or("/".into(), |test| test.folder.to_string_lossy());
    let args: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
    INIT.replace("@RUNS@", &runs.join("\n"))
        .replace("@ARGS@", &args.join(" "))
        .replace("@REPORT_TIME@", &verdict::REPORT_TIME.join(" "))
        .replace(
            "@UNSTABLE@",
            &format!("{}={}", verdict::UNSTABLE.0, verdict::UNSTABLE.1),
        )
        .replace("@FOLDER@", &quoted(&folder))
        .replace("@BEGIN@", verdict::BEGIN)
        .replace("@END@", verdict::END)
        .replace("@AGAIN@", verdict::AGAIN)
        .replace("@AGAIN_END@", verdict::AGAIN_END)
        .replace("@RETRIES@", &verdict::RETRIES.to_string())
        .replace("@FINISHED@", verdict::FINISHED)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_shell_as_it_is() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
