//! A small disk that can be full.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// A disk of 16 MiB in memory; gone when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// # Panics
    /// If it can't be mounted.
    pub fn mount(at: &Path) -> Self {
        fs::create_dir(at).expect("a place for the disk");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "orderlog-test"]).arg(at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "only root can mount a disk");
        Self(at.to_owned())
    }

    pub fn at(&self) -> &Path {
        &self.0
    }

    /// Fills it with a file, and returns that.
    ///
    /// # Panics
    /// If it can't be written before it is full.
    pub fn fill(&self) -> PathBuf {
        let filling = self.0.join("filling");
        let mut file = File::create(&filling).expect("a new file");
        let full = (0..).find_map(|_| file.write_all(&[7; 4096]).err()).expect("no disk is infinite");
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        filling
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
