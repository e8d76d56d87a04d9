//! Stamps of files, which show that a file was written or replaced.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Identity, size and time of the last write of each file. Links are followed, because their targets may be replaced.
pub(super) type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// Returns the current stamp of these files.
pub(super) fn stamp<'a>(files: impl IntoIterator<Item = &'a Path>) -> Stamp {
    let one = |file: &Path| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    files.into_iter().map(one).collect()
}
