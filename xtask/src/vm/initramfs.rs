//! The whole user space of a test kernel in one archive: busybox, our programs, and an init that runs the tests.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    process,
    programs::{Program, Programs},
    test::KERNEL_TESTS,
    verdict, workspace,
};

use super::CAPABILITIES;

/// What init is made from.
const INIT: &str = include_str!("init.sh");

/// Writes the archive.
pub(crate) fn write(
    file: &Path,
    busybox: &Path,
    programs: &Programs,
    args: &[String],
) -> Result<()> {
    let out = File::create(file).with_context(|| format!("creating {}", file.display()))?;
    let mut archive = Newc {
        out: BufWriter::new(out),
        inode: 0,
        folders: BTreeSet::new(),
    };
    fill(&mut archive, busybox, programs, args)
        .with_context(|| format!("writing {}", file.display()))
}

fn fill(
    archive: &mut Newc<impl Write>,
    busybox: &Path,
    programs: &Programs,
    args: &[String],
) -> Result<()> {
    for folder in [
        "/bin", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var/tmp",
        "/tests",
    ] {
        archive.folder(Path::new(folder))?;
    }
    for (link, to) in [
        ("/sbin", "bin"),
        ("/usr/bin", "../bin"),
        ("/usr/sbin", "../bin"),
    ] {
        archive.entry(Path::new(link), 0o120_777, to.as_bytes())?;
    }
    archive.entry(
        Path::new("/etc/passwd"),
        0o100_644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    archive.entry(
        Path::new("/etc/group"),
        0o100_644,
        b"root:x:0:\nnogroup:x:65534:\n",
    )?;
    archive.entry(
        Path::new("/etc/hosts"),
        0o100_644,
        b"127.0.0.1 localhost\n::1 localhost\n",
    )?;
    archive.copy(busybox, Path::new("/bin/busybox"))?;
    for ours in ["tracejob", "tracejob-agent"] {
        archive.copy_stripped(programs.file(ours)?, &Path::new("/bin").join(ours))?;
    }
    let tests = tests(programs)?;
    // At the paths of this machine, which are compiled into the tests (CARGO_BIN_EXE_…, CARGO_MANIFEST_DIR).
    for program in tests.iter().copied().chain(programs.started_by_tests()) {
        archive.copy_stripped(&program.path, &program.path)?;
    }
    for program in &tests {
        archive.folder(&program.folder)?;
        archive.entry(
            &Path::new("/tests").join(&program.name),
            0o120_777,
            program.path.as_os_str().as_encoded_bytes(),
        )?;
    }
    archive.entry(Path::new("/init"), 0o100_755, init(&tests, args).as_bytes())?;
    archive.end()
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
        .replace("@CAPABILITIES@", CAPABILITIES)
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

/// The archive format that the kernel unpacks: Documentation/driver-api/early-userspace/buffer-format.rst, Linux 6.12.
struct Newc<W> {
    out: W,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Newc<W> {
    /// A folder and those above it, once.
    fn folder(&mut self, path: &Path) -> Result<()> {
        let mut whole = String::new();
        for part in path.components() {
            let Component::Normal(part) = part else {
                continue;
            };
            whole += "/";
            whole += &part.to_string_lossy();
            if self.folders.insert(whole.clone()) {
                let mode = if whole == "/tmp" || whole == "/var/tmp" {
                    0o041_777
                } else {
                    0o040_755
                };
                self.header(&whole, mode, 0)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let mode = fs::metadata(from)
            .map(|data| data.permissions().mode())
            .unwrap_or(0o100_755);
        self.entry(to, mode, &bytes)
    }

    /// Without debug information, which is most of a program: a test kernel's memory holds it twice, packed and unpacked.
    /// Names of functions stay.
    fn copy_stripped(&mut self, from: &Path, to: &Path) -> Result<()> {
        let stripped = workspace::target().join("vm/stripped");
        let mut strip = Command::new("strip");
        strip
            .arg("--strip-debug")
            .arg("-o")
            .arg(&stripped)
            .arg(from);
        process::output(&mut strip).context("install binutils")?;
        self.copy(&stripped, to)
    }

    fn entry(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        if let Some(above) = path.parent() {
            self.folder(above)?;
        }
        self.header(&path.to_string_lossy(), mode, bytes.len())?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())?;
        Ok(())
    }

    fn header(&mut self, path: &str, mode: u32, size: usize) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size =
            u32::try_from(size).with_context(|| format!("{path} is too large for an initramfs"))?;
        self.inode += 1;
        let name_size = name.len() + 1;
        let (inode, links) = (self.inode, 1);
        // Inode, mode, uid, gid, links, mtime, size, device, its own device, name's size, checksum.
        write!(
            self.out,
            "070701{inode:08X}{mode:08X}{0:08X}{0:08X}{links:08X}{0:08X}{size:08X}{0:08X}{0:08X}{0:08X}{0:08X}{name_size:08X}{0:08X}",
            0
        )?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        // The header is 110 bytes long; header and name together end on a multiple of four.
        self.pad(110 + name_size)?;
        Ok(())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out
            .write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }

    fn end(&mut self) -> Result<()> {
        self.header("TRAILER!!!", 0, 0)?;
        self.out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_the_kernel_unpacks() {
        let mut archive = Newc {
            out: Vec::new(),
            inode: 0,
            folders: BTreeSet::new(),
        };
        archive
            .entry(Path::new("/a/b"), 0o100_644, b"12345")
            .unwrap();
        archive.end().unwrap();
        let bytes = &archive.out;
        assert_eq!(bytes.len() % 4, 0);
        // The folder above comes first, and is one header with the name "a" padded to 112 bytes.
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..118], b"070701");
        assert_eq!(&bytes[112 + 110..112 + 114], b"a/b\0");
        let content = 112 + (110usize + 4).next_multiple_of(4);
        assert_eq!(&bytes[content..content + 8], b"12345\0\0\0");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }

    #[test]
    fn a_word_reaches_the_shell_as_it_is() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
