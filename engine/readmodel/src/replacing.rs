//! Atomic replacement of small files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Atomically and durably replaces the file at `path`.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let written = File::create(&fresh).and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()));
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        // Nothing else would delete this file, and it may be what fills the disk.
        drop(fs::remove_file(&fresh));
        return Err(error);
    }
    // Make the rename durable too.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
