//! A stopped server's data, and what somebody or something does to a copy of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    deployment::{Embedded, Said, orderlog},
    story::{self, Shop},
};

/// A data folder after a story, with a snapshot of its orders, and a copy of it for each fault.
pub struct Planting {
    /// The server, which has stopped.
    pub deployment: Embedded,
    copies: tempfile::TempDir,
}

impl Planting {
    /// One, in which verification finds nothing.
    ///
    /// # Panics
    /// If it does.
    pub async fn new() -> Self {
        let mut deployment = Embedded::start().await;
        story::play(&Shop::from(&deployment), "a").await;
        orderlog(&["projection", "snapshot", "orders"], &deployment.rows()).await.ended_with(0);
        story::play(&Shop::from(&deployment), "b").await;
        assert!(deployment.stop().await);
        orderlog(&["projection", "verify", "all"], &deployment.rows()).await.ended_with(0);
        Self { deployment, copies: tempfile::tempdir().expect("a folder") }
    }

    /// A copy for this fault.
    pub fn copy(&self, fault: &str) -> PathBuf {
        let to = self.copies.path().join(fault.replace(' ', "-"));
        copy_folder(&self.deployment.rows(), &to);
        to
    }

    /// What SQL changes in the rows of orders, or in the log, is told with these words.
    pub async fn found(&self, fault: &str, file: &str, sql: &str, told: &[&str]) {
        self.found_in("orders", fault, (file, sql), told).await;
    }

    /// The same, when the rows and topics of this service are verified.
    pub async fn found_in(&self, service: &str, fault: &str, (file, sql): (&str, &str), told: &[&str]) {
        let data = self.copy(fault);
        execute(&data.join(file), sql);
        is_told(fault, &orderlog(&["projection", "verify", service], &data).await, told);
    }
}

/// Verification has found it: exit code 3, with these words.
///
/// # Panics
/// If it has not.
pub fn is_told(fault: &str, said: &Said, told: &[&str]) {
    assert_eq!(said.code, 3, "{fault}: {said:?}");
    for words in told {
        assert!(said.stdout.contains(words) || said.stderr.contains(words), "{fault}: `{words}` in {said:?}");
    }
}

/// Copies a folder with all that is in it.
///
/// # Panics
/// If it can't be copied.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

const PYTHON: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.create_function('flip', 1, lambda b: bytes([b[0] ^ 1]) + b[1:] if isinstance(b, bytes) else chr(ord(b[0]) ^ 1) + b[1:])
c.create_function('flip_at', 2, lambda b, at: b[:at] + bytes([b[at] ^ 1]) + b[at+1:])
c.create_function('flip_middle', 1, lambda b: b[:len(b)//2] + bytes([b[len(b)//2] ^ 1]) + b[len(b)//2+1:])
c.executescript(sys.argv[2]) if ';' in sys.argv[2] else c.execute(sys.argv[2])
c.commit()
print(c.total_changes)
";

/// Runs one SQL statement, or several that end in semicolons, on a file that nobody uses.
///
/// # Panics
/// If they change nothing.
pub fn execute(file: &Path, sql: &str) {
    let output = Command::new("python3").args(["-c", PYTHON]).arg(file).arg(sql).output().expect("python3");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{sql} changes nothing");
}

/// The table of a topic in the log.
///
/// # Panics
/// If there is none.
pub fn table(data: &Path, topic: &str) -> String {
    let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(\
                  'select id from topics where name = ?', [sys.argv[2]]).fetchone()[0])";
    let output =
        Command::new("python3").args(["-c", script]).arg(data.join("log.sqlite")).arg(topic).output().expect("python3");
    format!("topic_{}", String::from_utf8_lossy(&output.stdout).trim())
}
