//! Detects changes of files that are reloaded.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Identifies a state of a file. A file that is replaced by a new one gets another inode number.
pub type Mark = Option<(u64, i64, i64, u64)>;

/// Returns the current state of a file; `None` if it does not exist.
pub fn mark(file: &Path) -> Mark {
    let it = fs::metadata(file).ok()?;
    Some((it.ino(), it.mtime(), it.mtime_nsec(), it.size()))
}
