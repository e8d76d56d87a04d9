//! The disk of a node: Debian with systemd and two kernels, made once. What a node of a cluster has besides is on a disk of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Mirrors},
    process,
    screen::{Step, print_line},
    setup,
    vm::{self, Release},
    workspace,
};

/// Changes with all that is written below, and with the list of packages.
const VERSION: &str = "5";
/// The release that the nodes run, whichever kernel they have.
const RELEASE: &str = "trixie";
/// The series of the nodes' kernels; `tests/src/cluster/nodes.rs` boots them.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
const PACKAGES: [&str; 15] = [
    "apparmor",
    "conntrack",
    // The release has 1.7, and kubelets of Kubernetes 1.36 need 2.0.
    "containerd/sid",
    "containernetworking-plugins",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "runc",
    "systemd",
    "systemd-sysv",
    "udev",
    "zstd",
];
/// Apparent size of the disk; its holes take no room.
const DISK: &str = "4G";
/// What a node does when it has booted: everything is on its second disk.
const UNIT: &str = "[Unit]
Description=What makes this machine a node
After=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'mkdir -p /payload && mount -o ro /dev/vdb /payload && exec /payload/start'
[Install]
WantedBy=multi-user.target
";

/// Units that a node does not need, and that take half of the time of an emulated boot: profiles of AppArmor for Debian's programs,
/// drivers for devices that this machine has not, consoles.
const MASKED: [&str; 12] = [
    "apparmor.service",
    "getty@tty1.service",
    "ldconfig.service",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "serial-getty@ttyS0.service",
    "sys-fs-fuse-connections.mount",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-udev-trigger.service",
];

/// Makes the disk where it is not there; the folder of `disk.img`, of its `containerd` and `ctr`, and, for each kernel, of
/// `SERIES/vmlinuz` and `SERIES/initrd`.
pub(crate) fn ensure() -> Result<PathBuf> {
    let name = format!("node-{VERSION}-{RELEASE}-");
    if let Some(folder) = here(&name) {
        print_line("node", "its disk is here");
        return Ok(folder);
    }
    debian::require_apt("a node")?;
    let mmdebstrap = setup::mmdebstrap()?;
    let kernels = vm::releases(&KERNELS)?;
    let versions: Vec<&str> = kernels
        .iter()
        .map(|kernel| kernel.version.as_str())
        .collect();
    let folder = workspace::tools().join(name + &versions.join("-"));
    let step = Step::start(
        "node",
        &format!("making a disk of Debian {RELEASE} with its kernels; 2 min, once"),
    );
    let partial = PathBuf::from(format!("{}.partial", folder.display()));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    let root = partial.join("root");
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    bootstrap(&step, &mmdebstrap, &kernels, &root)?;
    configure(&root)?;
    for kernel in &kernels {
        let to = partial.join(kernel.series);
        fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        for (from, to) in [
            (
                format!("boot/vmlinuz-{}", kernel.release),
                to.join("vmlinuz"),
            ),
            (
                format!("boot/initrd.img-{}", kernel.release),
                to.join("initrd"),
            ),
        ] {
            let from = root.join(from);
            fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))?;
        }
    }
    // The tests unpack the images with them: natively in seconds, emulated in a minute for each boot.
    for name in ["containerd", "ctr"] {
        let from = root.join("usr/bin").join(name);
        fs::copy(&from, partial.join(name))
            .with_context(|| format!("copying {}", from.display()))?;
    }
    let disk = partial.join("disk.img");
    let mut command = Command::new(program("mke2fs")?);
    command
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&root)
        .arg(&disk)
        .arg(DISK);
    process::quietly(&step, "node-disk", &mut command)?;
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    fs::rename(&partial, &folder)
        .with_context(|| format!("moving {} into place", folder.display()))?;
    step.done("made");
    Ok(folder)
}

/// A disk that was made before, with whichever kernels were new then.
fn here(name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(workspace::tools()).ok()?.flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(name) && !file.ends_with(".partial") && path.is_dir()
    });
    folders.next()
}

fn bootstrap(step: &Step, mmdebstrap: &Path, kernels: &[Release], root: &Path) -> Result<()> {
    let mirrors = Mirrors::of_this_machine()?;
    let mut suites = vec![
        RELEASE.to_owned(),
        format!("{RELEASE}-security"),
        "sid".to_owned(),
    ];
    suites.extend(
        kernels
            .iter()
            .flat_map(|kernel| kernel.suites.iter().map(|&suite| suite.to_owned())),
    );
    suites.dedup();
    // The first place of each: a mirror that has moved a release to its archive has none of the nodes' any more.
    let mut lines = Vec::new();
    for suite in &suites {
        let line = mirrors.source_lines(suite).into_iter().next();
        let line = line.with_context(|| format!("no mirror of {suite}"))?;
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut packages = PACKAGES.map(str::to_owned).to_vec();
    packages.extend(
        kernels
            .iter()
            .map(|kernel| format!("linux-image-{}", kernel.release)),
    );
    let mut command = Command::new(mmdebstrap);
    command.args(["--mode=root", "--variant=minbase", "--quiet"]);
    // A snapshot of sid is past its date when it is mirrored late; it is signed all the same.
    command.arg(r#"--aptopt=Acquire::Check-Valid-Until "false""#);
    // From sid only the packages that name it.
    command.arg(r#"--setup-hook=printf 'Package: *\nPin: release n=sid\nPin-Priority: 100\n' >"$1/etc/apt/preferences.d/sid""#);
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(RELEASE).arg(root).args(&lines);
    process::quietly(step, "node-root", &mut command)
}

/// What is the same on all nodes.
fn configure(root: &Path) -> Result<()> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write("etc/systemd/system/tracejob-node.service", UNIT)?;
    // Each machine makes its own.
    write("etc/machine-id", "")?;
    for unit in MASKED {
        let link = root.join("etc/systemd/system").join(unit);
        std::os::unix::fs::symlink("/dev/null", &link)
            .with_context(|| format!("masking {unit}"))?;
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).with_context(|| format!("creating {}", wants.display()))?;
    // The second disk has its unit, and its settings.
    let debians = wants.join("containerd.service");
    fs::remove_file(&debians).with_context(|| format!("removing {}", debians.display()))?;
    let link = wants.join("tracejob-node.service");
    std::os::unix::fs::symlink("../tracejob-node.service", &link)
        .with_context(|| format!("linking {}", link.display()))
}

fn program(name: &str) -> Result<PathBuf> {
    match workspace::find_program(name) {
        Some(path) => Ok(path),
        None => bail!("no {name} is here, and it makes the nodes' disk: install e2fsprogs"),
    }
}
