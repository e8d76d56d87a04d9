//! The unix socket: for its owner alone.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, DirBuilder, Permissions},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// A socket that is removed when it is dropped.
pub(crate) struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}

/// The folder of a socket, made where it is not there.
///
/// # Errors
/// Where it cannot be made.
pub(crate) fn folder(socket: &Path) -> Result<&Path> {
    let folder = socket.parent().context("a socket needs a folder")?;
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(folder)
}

/// Makes the socket with mode 0600 in a folder of mode 0700.
///
/// # Errors
/// Where others could reach it, or another agent listens there.
pub(crate) fn bind(path: &Path) -> Result<(UnixListener, Socket)> {
    let folder = folder(path)?;
    let meta =
        fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me || meta.mode() & 0o077 != 0 {
        bail!(
            "{} must belong to uid {me} and be closed to others (chmod 700): whoever reaches the socket may trace",
            folder.display()
        );
    }
    if let Ok(old) = fs::symlink_metadata(path) {
        if !old.file_type().is_socket() {
            bail!("{} is there and is no socket", path.display());
        }
        if UnixStream::connect(path).is_ok() {
            bail!("another agent listens on {}", path.display());
        }
        fs::remove_file(path)
            .with_context(|| format!("cannot remove the old {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Between the two lines the folder keeps others out.
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .with_context(|| format!("cannot close {} to others", path.display()))?;
    Ok((listener, Socket(path.to_owned())))
}
