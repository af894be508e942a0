//! Keeps files private to the user: names and addresses are in the log, the read models, snapshots and exports.
//!
//! The process's umask does this for new files. Older files are made private when the log is opened.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{fs::Mode, process};

const NOT_OWNER: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
/// The folder of snapshots in a data folder.
const SNAPSHOTS: &str = "snapshots";
/// Files of a data folder, beside those of SQLite.
const FILES: [&str; 9] = [
    "hash.key",
    "hash.key.new",
    "keys.json",
    "keys.lock",
    "keys.new",
    "log.lock",
    "operator.key",
    "operator.key.new",
    "server.json",
];

/// Makes everything that this process writes from now on accessible to its user only: folders 0700, files 0600.
pub fn begin() {
    process::umask(Mode::from_raw_mode(NOT_OWNER));
}

/// Makes everything that this process writes from now on readable by everybody: for what contains nothing of the log.
pub fn make_files_public() {
    process::umask(Mode::from_raw_mode(OTHERS_WRITE));
}

/// Removes group and other access from our files in the data folder, and from the folder itself unless it also contains
/// files that are not ours. Files of other users are left alone.
///
/// A failure is only logged.
pub fn tighten(data: &Path) {
    match tighten_all(data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("other users of this machine may be able to read {}: {error}", data.display());
        }
        Ok(()) | Err(_) => {}
    }
}

fn tighten_all(data: &Path) -> io::Result<()> {
    let mut has_only_ours = true;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name == SNAPSHOTS && entry.file_type()?.is_dir() {
            for snapshot in fs::read_dir(&path)? {
                tighten_one(&snapshot?.path())?;
            }
            tighten_one(&path)?;
        } else if is_ours(&name) {
            tighten_one(&path)?;
        } else {
            has_only_ours = false;
        }
    }
    if has_only_ours { tighten_one(data) } else { Ok(()) }
}

/// Read models that were moved aside, and files being written, have a suffix after `.sqlite`.
fn is_ours(name: &str) -> bool {
    name.contains(".sqlite") || name.contains(".generation") || FILES.contains(&name)
}

fn tighten_one(path: &Path) -> io::Result<()> {
    let found: Metadata = fs::symlink_metadata(path)?;
    let mode = found.permissions().mode();
    let is_own = found.uid() == process::geteuid().as_raw();
    if found.is_symlink() || !is_own || mode & NOT_OWNER == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !NOT_OWNER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn put(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_from_before_become_private_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("snapshots")).unwrap();
        let ours = ["log.sqlite", "orders.1.sqlite-wal", "orders.1.sqlite.0f3c", "orders.generation", "server.json"];
        for name in ours.into_iter().chain(["snapshots/orders@7.sqlite", "snapshots/orders@7.json"]) {
            put(&data.join(name), 0o644);
        }
        for folder in [&data, &data.join("snapshots")] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        put(&dir.path().join("elsewhere"), 0o644);
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), data.join("keys.json")).unwrap();
        put(&data.join("notes.txt"), 0o644);
        tighten(&data);
        for name in ours.into_iter().chain(["snapshots/orders@7.sqlite", "snapshots/orders@7.json"]) {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&data.join("snapshots")), 0o700);
        assert_eq!([mode(&data.join("notes.txt")), mode(&dir.path().join("elsewhere"))], [0o644, 0o644]);
        assert_eq!(mode(&data), 0o755, "somebody else uses the folder too");
        fs::remove_file(data.join("notes.txt")).unwrap();
        tighten(&data);
        assert_eq!(mode(&data), 0o700);
        tighten(&data.join("not there"));
    }
}
