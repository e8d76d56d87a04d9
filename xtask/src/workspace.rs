//! Paths of the workspace, and of the files under `target/`.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the workspace that `cargo xtask` was called in.
pub(crate) fn root() -> PathBuf {
    // Cargo sets this variable, which is right after the folder was moved. The compiled-in path is for `target/debug/xtask` by hand.
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// Returns cargo's target folder: `target/`, or CARGO_TARGET_DIR.
pub(crate) fn target() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Returns the folder of downloads, independent of cargo's target folder: engine/build.rs looks for the linker here.
pub(crate) fn fetched() -> PathBuf {
    root().join("target")
}

/// Returns the folder of tools that `setup` fetched. A pinned tool's folder has its version in its name, so versions do not mix.
pub(crate) fn tools() -> PathBuf {
    fetched().join("tools")
}

/// Programs out of `tools`, under the names that they are called by.
pub(crate) fn tools_bin() -> PathBuf {
    tools().join("bin")
}

/// Returns the folder with the output of commands.
pub(crate) fn logs() -> PathBuf {
    target().join("xtask")
}

/// The path as a reader in the workspace would type it.
pub(crate) fn short(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The program `name` on PATH or among our tools.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // sbin is not on an ordinary user's PATH, but Debian puts mke2fs there.
    let more = [tools_bin(), "/usr/sbin".into(), "/sbin".into()];
    env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
