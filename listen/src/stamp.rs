//! Detection of files that were written or replaced.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Inode, length and modification time (seconds, nanoseconds) of each file; `None` for a missing file.
pub type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// Returns the current stamp of these files. Links are followed, because a mounted Secret is replaced by a new link.
pub fn stamp<'a>(files: impl IntoIterator<Item = &'a Path>) -> Stamp {
    let one = |file: &Path| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    files.into_iter().map(one).collect()
}
