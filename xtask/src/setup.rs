//! `setup`: fetches the pinned files that builds and tests require, with a report.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Archive, Mirrors},
    process,
    screen::{Step, print_line},
    toolchain::{self, BPF_LINKER},
    workspace,
};

/// Older ones corrupt the guest: under 7.2 its flags are wrong after cmpxchg16b, and its kernel double-faults within minutes.
const OLDEST_QEMU: u32 = 10;

/// The pinned Rust and the linker of kernel programs.
pub(crate) fn build() -> Result<()> {
    toolchain::ensure_rust()?;
    BPF_LINKER.ensure()
}

/// A static busybox: the whole user space of a test kernel but our own programs.
pub(crate) fn busybox() -> Result<PathBuf> {
    debian_program(
        "busybox",
        "busybox-static",
        "the user space of the test kernels",
    )
}

/// Builds and runs the agent's image.
pub(crate) fn buildah() -> Result<PathBuf> {
    let name = "buildah";
    let program = debian_program(name, name, "it builds and runs the agent's image")?;
    // It starts a copy of itself, in memory and without its environment, which must find its libraries too.
    let done = workspace::tools().join(name).join("finds-libraries");
    let libraries = libraries(&workspace::tools().join(name));
    if fs::read_to_string(&done).ok().as_ref() != Some(&libraries) {
        debian_program(
            "patchelf",
            "patchelf",
            "it configures the libraries of buildah",
        )?;
        let mut command = Command::new(workspace::tools_bin().join("patchelf"));
        command.args(["--force-rpath", "--set-rpath", &libraries]);
        process::output(command.arg(&program))?;
        fs::write(&done, &libraries).with_context(|| format!("writing {}", done.display()))?;
    }
    Ok(workspace::tools_bin().join(name))
}

/// Copies images from archives to registries.
pub(crate) fn skopeo() -> Result<PathBuf> {
    debian_program("skopeo", "skopeo", "it copies images to registries")?;
    Ok(workspace::tools_bin().join("skopeo"))
}

/// It makes a node's disk: the machine's own, for it is a script that wants the machine's Perl.
pub(crate) fn mmdebstrap() -> Result<PathBuf> {
    let name = "mmdebstrap";
    if let Some(path) = workspace::find_program(name) {
        return Ok(path);
    }
    debian_program(name, name, "it makes the disk of the test cluster's nodes")
}

/// The path of a QEMU that is new enough.
pub(crate) fn qemu() -> Result<PathBuf> {
    let program = "qemu-system-x86_64";
    let ours = workspace::tools_bin().join(program);
    let found = [Some(ours.clone()), workspace::find_program(program)]
        .into_iter()
        .flatten()
        .find_map(|path| Some((qemu_version(&path)?, path)));
    if let Some((version, path)) = found {
        if version.0 >= OLDEST_QEMU {
            print_line(&format!("qemu {}", version.1), "here");
            return Ok(path);
        }
        print_line(
            "qemu",
            &format!(
                "{} is too old: before {OLDEST_QEMU} it corrupts guests; fetching a newer one beside it",
                version.1
            ),
        );
    }
    debian_program(program, "qemu-system-x86", "it runs the test kernels")?;
    match qemu_version(&ours) {
        Some((major, _)) if major >= OLDEST_QEMU => Ok(ours),
        Some((_, version)) => bail!(
            "QEMU {OLDEST_QEMU} or newer is needed and this machine's mirror has {version}: install a newer one and put it on PATH"
        ),
        None => bail!(
            "{0} does not start; `{0} --version` shows the reason",
            ours.display()
        ),
    }
}

fn qemu_version(path: &Path) -> Option<(u32, String)> {
    parse_qemu_version(&process::output(Command::new(path).arg("--version")).ok()?)
}

fn parse_qemu_version(text: &str) -> Option<(u32, String)> {
    let version = text.split_once("version ")?.1.split_whitespace().next()?;
    Some((version.split('.').next()?.parse().ok()?, version.to_owned()))
}

/// The program itself, out of a package of this machine's release; a script in `target/tools/bin` runs it with its own libraries.
fn debian_program(program: &str, package: &str, why: &str) -> Result<PathBuf> {
    /// Several threads may need the same program: the first fetches it.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = workspace::tools().join(package);
    // What is on PATH may be another build of it: busybox must be static, as the fetched one is.
    if let Some(path) = unpacked(program, &folder) {
        write_script(program, &folder, &path)?;
        print_line(package, "here");
        return Ok(path);
    }
    debian::require_apt(package)?;
    let step = Step::start(package, &format!("fetching: {why}"));
    let codename = Mirrors::of_this_machine()?.codename;
    let backports = format!("{codename}-backports");
    let suites = [
        codename.clone(),
        format!("{codename}-updates"),
        format!("{codename}-security"),
        backports.clone(),
    ];
    let archive = Archive::open(&step, &codename, &suites.each_ref().map(String::as_str))?;
    // Newer where there is a newer one, and the release's own where it has no backports.
    archive
        .unpack_with_dependencies(&step, package, Some(&backports), &folder)
        .or_else(|_| archive.unpack_with_dependencies(&step, package, None, &folder))?;
    let Some(path) = unpacked(program, &folder) else {
        bail!("Debian's package {package} holds no program {program}")
    };
    write_script(program, &folder, &path)?;
    step.done("fetched");
    Ok(path)
}

fn unpacked(program: &str, folder: &Path) -> Option<PathBuf> {
    ["usr/bin", "usr/sbin", "bin", "sbin"]
        .iter()
        .map(|dir| folder.join(dir).join(program))
        .find(|path| path.is_file())
}

fn write_script(program: &str, folder: &Path, found: &Path) -> Result<()> {
    let bin = workspace::tools_bin();
    fs::create_dir_all(&bin).with_context(|| format!("creating {}", bin.display()))?;
    let root = folder.display();
    let libraries = libraries(folder);
    // QEMU has its firmware's folders compiled in.
    let data = if program.starts_with("qemu-") {
        format!(" -L {root}/usr/share/qemu -L {root}/usr/share/seabios")
    } else {
        String::new()
    };
    let text = format!(
        "#!/bin/sh\n# Generated by cargo xtask setup: a Debian package that is unpacked, not installed.\n\
         LD_LIBRARY_PATH={libraries} exec {}{data} \"$@\"\n",
        found.display()
    );
    let script = bin.join(program);
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", script.display()))
}

/// Returns the library folders of an unpacked package and its dependencies.
fn libraries(root: &Path) -> String {
    let arch = std::env::consts::ARCH;
    let folders = ["usr/lib", "lib"].map(|folder| {
        let folder = root.join(folder).join(format!("{arch}-linux-gnu"));
        folder.display().to_string()
    });
    folders.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_version_is_read() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
        assert_eq!(parse_qemu_version(text), Some((10, "10.0.2".to_owned())));
        assert_eq!(parse_qemu_version("nothing"), None);
    }
}
