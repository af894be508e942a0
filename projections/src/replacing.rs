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
    let mut file = File::create(&fresh)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name too.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
