//! Cargo's settings for kernel programs. `engine/build.rs` builds with them, and `xtask` lints with them.

use std::{path::Path, process::Command};

/// Sets the target, the target folder, and the compiler's flags for kernel programs of a machine with this architecture.
pub(crate) fn for_the_kernel(command: &mut Command, target_folder: &Path, arch: &str) {
    command
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(target_folder)
        // build-std and the target are unstable; the kernel builds its own Rust on a pinned stable this way.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            format!("-C link-arg=--btf -C debuginfo=2 -A linker_messages --cfg bpf_target_arch=\"{arch}\""),
        );
}
