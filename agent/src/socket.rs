//! The unix socket, which only its owner can access.

use anyhow::{Context, Result, bail};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Component, Path, PathBuf},
};
use tokio::net::UnixListener;

/// Links that a path may lead through: `MAXSYMLINKS` of include/linux/namei.h.
const LINKS: usize = 40;

/// A socket that is removed when it is dropped.
pub(crate) struct Socket {
    path: PathBuf,
    /// Device and inode, because another agent may have created another socket at this path. The inode is not reused while the socket is open.
    file: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == self.file) {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the folder of a socket, and creates it if it does not exist.
///
/// # Errors
/// If it cannot be created, or other users could replace the socket.
pub(crate) fn folder(socket: &Path) -> Result<&Path> {
    let folder = socket.parent().context("the socket's path has no folder")?;
    let me = rustix::process::geteuid().as_raw();
    make(folder, me).with_context(|| format!("the folder of {}", socket.display()))?;
    Ok(folder)
}

/// Resolves a path as the kernel does, and creates missing folders. Only root and this user may be able to change the path.
fn make(folder: &Path, me: u32) -> Result<()> {
    let mut ahead: VecDeque<OsString> = parts(folder);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => here = "/".into(),
            Some(Component::ParentDir) => {
                here.pop();
                continue;
            }
            _ => here.push(part),
        }
        let cannot = || format!("cannot read {}", here.display());
        let meta = match fs::symlink_metadata(&here) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .mode(0o700)
                    .create(&here)
                    .with_context(|| format!("cannot create {}", here.display()))?;
                continue;
            }
            meta => meta.with_context(cannot)?,
        };
        if meta.uid() != 0 && meta.uid() != me {
            bail!(
                "{} belongs to uid {}, which could replace it: folders and links must belong to root or uid {me}",
                here.display(),
                meta.uid()
            );
        }
        if meta.is_symlink() {
            links += 1;
            if links > LINKS {
                bail!("{} leads through too many links", folder.display());
            }
            let to = fs::read_link(&here).with_context(cannot)?;
            here.pop();
            for part in parts(&to).into_iter().rev() {
                ahead.push_front(part);
            }
        } else if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
            bail!(
                "{} is writable by others, which could replace folders in it (chmod go-w)",
                here.display()
            );
        }
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    { path.components() }
        .map(|part| part.as_os_str().to_owned())
        .filter(|part| part != ".")
        .collect()
}

/// Makes the socket with mode 0600 in a folder of mode 0700.
///
/// # Errors
/// If other users could access it, or another agent listens there.
pub(crate) fn bind(path: &Path) -> Result<(UnixListener, Socket)> {
    let folder = folder(path)?;
    let meta = fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me || meta.mode() & 0o077 != 0 {
        bail!(
            "{} must belong to uid {me} and be closed to others (chmod 700): access to the socket is the right to trace",
            folder.display()
        );
    }
    if let Ok(old) = fs::symlink_metadata(path) {
        if !old.file_type().is_socket() {
            bail!("{} exists and is not a socket", path.display());
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
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    let made =
        fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let socket = Socket {
        path: path.to_owned(),
        file: (made.dev(), made.ino()),
    };
    Ok((listener, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    /// A folder of a test's own, which is removed when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir();
            let folder = folder.join(format!("tracejob-test-{}-{name}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn error(socket: &Path) -> String {
        let refused = folder(socket).map(drop).unwrap_err();
        format!("{refused:#}")
    }

    #[test]
    fn a_socket_is_not_put_where_others_can_change_the_way() {
        let test = Folder::new("socket-way");
        let own = test.0.join("own/deep");
        assert_eq!(folder(&own.join("a.sock")).unwrap(), own);
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        // A link of the same user is followed.
        let link = test.0.join("link");
        symlink("own/../own", &link).unwrap();
        folder(&link.join("deep/a.sock")).unwrap();
        // A folder that others may write, and a missing folder in it.
        let open = test.0.join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        for socket in [open.join("a.sock"), open.join("run/a.sock")] {
            assert!(error(&socket).contains("is writable by others"));
        }
        assert!(!open.join("run").exists(), "nothing was made there");
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        folder(&open.join("run/a.sock")).unwrap();
        symlink(&link, test.0.join("round")).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("round", &link).unwrap();
        assert!(error(&link.join("a.sock")).contains("too many links"));
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: folders of others take root");
            return;
        }
        // A parent folder of another user, and a link of another user in a folder that everyone may write.
        let foreign = test.0.join("foreign");
        fs::create_dir_all(foreign.join("run")).unwrap();
        chown(&foreign, Some(65534), None).unwrap();
        assert!(error(&foreign.join("run/a.sock")).contains("belongs to uid 65534"));
        let trap = open.join("trap");
        symlink(&own, &trap).unwrap();
        std::os::unix::fs::lchown(&trap, Some(65534), None).unwrap();
        assert!(error(&trap.join("a.sock")).contains("belongs to uid 65534"));
    }

    #[tokio::test]
    async fn an_agent_that_ends_leaves_the_socket_of_its_successor() {
        let test = Folder::new("socket-successor");
        let path = test.0.join("run/a.sock");
        let (_old, first) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (_listener, second) = bind(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
