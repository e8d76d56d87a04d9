//! The pinned Rust and the tools that are built with it.
//!
//! One compiler for user space and kernel programs, whatever the machine's own is.
//! Not by rust-toolchain.toml: with rustup's automatic installation off that makes every cargo command fail on a fresh machine.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    screen::{Step, say},
    workspace,
};

/// What aya 0.16 needs; bpf-linker uses this compiler's own LLVM (22), newer ones carry one that it cannot read.
pub(crate) const RUST: &str = "1.98.0";
/// rust-src: `core` is built for the kernel's target.
const COMPONENTS: [&str; 3] = ["rust-src", "clippy", "rustfmt"];

/// A tool that cargo installs under `target/tools`.
pub(crate) struct Tool {
    /// Crate and program.
    pub(crate) name: &'static str,
    /// The one version that is used.
    pub(crate) version: &'static str,
    /// What it is for, shown while one waits for it.
    why: &'static str,
}

/// Links kernel programs; the last one that works with rustc's own LLVM and no system package.
pub(crate) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.4",
    why: "it links the kernel programs; 80 s, once",
};
/// Judges licences and sources of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "it judges the dependencies' licences; 3 min, once",
};

/// cargo of the pinned toolchain, with our tools first on PATH.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    pin(&mut command);
    command
}

/// Makes any program that calls cargo or rustc get the pinned ones.
pub(crate) fn pin(command: &mut Command) {
    // `cargo xtask` runs us with its own compiler's paths in these.
    for inherited in [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(inherited);
    }
    // Those that say which crate is being run are ours, not the child's.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    let old = env::var_os("PATH").unwrap_or_default();
    let ours = [
        BPF_LINKER.folder().join("bin"),
        CARGO_DENY.folder().join("bin"),
        workspace::tools_bin(),
    ];
    let path = env::join_paths(ours.into_iter().chain(env::split_paths(&old)));
    command
        .env("RUSTUP_TOOLCHAIN", RUST)
        .env("CARGO_TERM_COLOR", "never")
        .current_dir(workspace::root());
    if let Ok(path) = path {
        command.env("PATH", path);
    }
}

/// Installs the pinned Rust through rustup where it is missing.
pub(crate) fn ensure_rust() -> Result<()> {
    let name = format!("rust {RUST}");
    let Some(rustup) = workspace::find_program("rustup") else {
        bail!(
            "rustup is not here, and Rust {RUST} (with {}) comes through it: install it as https://rustup.rs says, then run this again",
            COMPONENTS.join(", ")
        );
    };
    if rust_is_complete(&rustup) {
        say(&name, "here");
        return Ok(());
    }
    let step = Step::start(
        &name,
        "installing through rustup: the compiler for both sides of the kernel",
    );
    let mut command = Command::new(&rustup);
    command.args([
        "toolchain",
        "install",
        RUST,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    for component in COMPONENTS {
        command.args(["--component", component]);
    }
    process::quietly(&step, "rustup", &mut command)?;
    let version = process::output(cargo().arg("--version"))?;
    if !version.contains(RUST) {
        bail!(
            "`cargo` on PATH is {:?} and not rustup's, which would be {RUST}: put ~/.cargo/bin before it on PATH",
            version.trim()
        );
    }
    step.done("installed");
    Ok(())
}

fn rust_is_complete(rustup: &PathBuf) -> bool {
    let installed = process::output(Command::new(rustup).args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        RUST,
    ]));
    installed.is_ok_and(|list| {
        COMPONENTS
            .iter()
            .all(|wanted| list.lines().any(|line| line.starts_with(wanted)))
    })
}

impl Tool {
    fn folder(&self) -> PathBuf {
        workspace::tools().join(format!("{}-{}", self.name, self.version))
    }

    /// Builds and installs it with the pinned Rust where it is missing.
    pub(crate) fn ensure(&self) -> Result<()> {
        let Self { name, version, why } = self;
        let step_name = format!("{name} {version}");
        let folder = self.folder();
        if folder.join("bin").join(name).is_file() {
            say(&step_name, "here");
            return Ok(());
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let step = Step::start(&step_name, &format!("building: {why}"));
        let mut command = cargo();
        command
            .args(["install", name, "--version", version, "--locked", "--root"])
            .arg(&folder);
        let build = folder.join("build");
        // Beside the workspace's own builds, so that neither waits for the other's lock.
        command.env("CARGO_TARGET_DIR", &build);
        process::quietly(&step, name, &mut command)?;
        // A gigabyte that nobody reads again; if it stays, it is only in the way.
        let _ = fs::remove_dir_all(&build);
        step.done("installed");
        Ok(())
    }
}
