//! What tells that a file was written or replaced.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Of each file: which one it is, how long, and when it was last written. Links are followed: what they lead to may be another.
pub(super) type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// How these files are now.
pub(super) fn stamp<'a>(files: impl IntoIterator<Item = &'a Path>) -> Stamp {
    let one = |file: &Path| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    files.into_iter().map(one).collect()
}
