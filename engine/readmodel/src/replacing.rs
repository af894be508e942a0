//! Atomic replacement of small files and links.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Atomically and durably replaces the file at `path`.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    put(path, |fresh| File::create(fresh).and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all())))
}

/// Atomically makes `path` a link to `target`, unless it is one already.
///
/// # Errors
/// Also if something other than a link is there. It may be somebody's copy, so it is kept.
pub(crate) fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    match fs::read_link(path) {
        Ok(found) if found == target => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no link; move it away"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    put(path, |fresh| {
        // Left by a crash. A link can't be made over it.
        drop(fs::remove_file(fresh));
        symlink(target, fresh)
    })
}

/// Makes a new file or link beside `path` with `make`, and renames it to `path`.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    if let Err(error) = make(&fresh).and_then(|()| fs::rename(&fresh, path)) {
        // Nothing else would delete this file, and it may be what fills the disk.
        drop(fs::remove_file(&fresh));
        return Err(error);
    }
    // Make the rename durable too.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
