//! Small files that are whole at any moment, whatever is killed when.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Puts a file with these contents in the place of `path`, in one step that survives a power cut.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let written = File::create(&fresh).and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()));
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        // It may be what fills the disk, and nobody else would find it.
        drop(fs::remove_file(&fresh));
        return Err(error);
    }
    // The name too.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
