//! Files that are read again when they change.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// What tells one state of a file from the next: a new one is put in place of the old one, so its number changes.
pub type Mark = Option<(u64, i64, i64, u64)>;

/// The state of a file now; none if it is not there.
pub fn mark(file: &Path) -> Mark {
    let it = fs::metadata(file).ok()?;
    Some((it.ino(), it.mtime(), it.mtime_nsec(), it.size()))
}
