//! Builds the kernel programs and embeds them: one object per tracer.
//!
//! They are built by the same toolchain as everything else, into a folder of their own that all profiles share.

#[path = "build/flags.rs"]
mod flags;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// As `xtask` installs it: kept by version under `target/tools`.
const LINKER: &str = "bpf-linker-0.10.4";

fn main() {
    if let Err(message) = build() {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("..");
    for watched in [
        "agent-ebpf",
        "tracers/src",
        "tracers-macros/src",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let out = PathBuf::from(var("OUT_DIR")?);
    let target = target_root(&out).join("bpf");
    let path = path_with_linker(&root)?;
    let arch = var("CARGO_CFG_TARGET_ARCH")?;
    let mut command = Command::new(var("CARGO")?);
    command
        .current_dir(&root)
        .args([
            "build",
            "--package",
            "agent-ebpf",
            "--bins",
            "--release",
            "--locked",
        ])
        // Cargo's variables for this build script describe the machine's target.
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("PATH", path);
    flags::for_the_kernel(&mut command, &target, &arch);
    let status = command
        .status()
        .map_err(|error| format!("cannot run cargo for the kernel programs: {error}"))?;
    if !status.success() {
        return Err(
            "the kernel programs did not build; `cargo xtask setup` installs what that takes"
                .into(),
        );
    }
    embed(&root, &target.join("bpfel-unknown-none/release"), &out)
}

/// Writes the list of objects that `objects.rs` includes.
fn embed(root: &Path, built: &Path, out: &Path) -> Result<(), String> {
    let sources = root.join("agent-ebpf/src/bin");
    let mut names: Vec<String> = fs::read_dir(&sources)
        .map_err(|error| format!("cannot list {}: {error}", sources.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    let list: String = names
        .iter()
        .map(|name| {
            let object = built.join(name);
            format!(
                "({name:?}, aya::include_bytes_aligned!({:?})),\n",
                object.display().to_string()
            )
        })
        .collect();
    let write = |name: &str, text: String| {
        fs::write(out.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
    };
    write("objects.rs", format!("&[\n{list}]\n"))?;
    // Objects of tests, which are no tracers.
    for name in ["selftest", "selftest_rows"] {
        let object = built.join(name).display().to_string();
        write(
            &format!("{name}.rs"),
            format!("aya::include_bytes_aligned!({object:?})\n"),
        )?;
    }
    Ok(())
}

/// The folder that cargo marks as its target folder, whatever profile and target this is built for.
fn target_root(out: &Path) -> PathBuf {
    out.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .unwrap_or(out)
        .to_owned()
}

fn path_with_linker(root: &Path) -> Result<String, String> {
    let path = var("PATH")?;
    let ours = root.join("target/tools").join(LINKER).join("bin");
    let found = env::split_paths(&path)
        .chain([ours.clone()])
        .any(|dir| dir.join("bpf-linker").is_file());
    match found {
        true => Ok(format!("{}:{path}", ours.display())),
        false => Err(format!(
            "{LINKER} is not installed; `cargo xtask setup` does that"
        )),
    }
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("${name}: {error}"))
}
