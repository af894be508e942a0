//! All journals as compressed files with a digest chain, and back into an empty log: `orderlog log export` and `import`.
//!
//! An export is a folder:
//!
//! - `<journal>.journal.zst`, one for each journal: a [zstd](https://datatracker.ietf.org/doc/html/rfc8878) stream. Inside, all
//!   numbers big-endian: the line `orderlog journal 1 <journal>\n`; then for each record its length (4 bytes), the record as
//!   [`frames`] has it, the chained digest up to and with it (16 bytes, those of the rows' table `records`: see
//!   [`chain`](orderlog_core::machine::chain)), and a checksum (the first 4 bytes of BLAKE3 over the record); then, as the end, the
//!   length 0, the number of records (8 bytes) and the last digest once more. Nothing may follow.
//! - `manifest.json`: what is in it, see [`Manifest`]. Written last, so a folder without it is no export.
//! - `manifest.json.sig`, if a key was given: see `signing.rs`. Without it, a program that can write all files of an export can
//!   make it say anything; with it, only one that has the private key.
//!
//! An export holds every offset from 0 on, since ids and positions derive from offsets; where a journal has gaps, neither an
//! export nor an import is possible. Public topics are not in it: the relays publish them again out of the journals, with the
//! same ids. The time at which the old log took a record is kept in the file but not in the new log; a record's own time is in
//! its header.
//!
//! Not in it either is the deployment's hash key, a secret. Without it the journals are of no use: it has to be backed up too.

mod cut;
mod exporting;
pub mod frames;
mod importing;
mod marker;
mod opening;
mod reading;
mod signing;
mod writing;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use orderlog_core::{header::HEADER, machine::Digest, public::Services};
use orderlog_eventlog::Record;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use cut::{Cut, Journals, OfLog, Records, cut, records};
pub use exporting::{ExportError, export};
pub use importing::{ImportError, Imported, Mode, import};
pub use marker::{TOPIC as IMPORTS, unfinished};
pub use opening::Archive;
pub use reading::{Broken, Flaw};
pub use signing::{KeyError, Signed, SigningKey, VerifyingKey};

/// The format of exports that this program writes and reads: exactly the journals of its services, each once, so that a manifest
/// can't leave one out. A program with other journals needs another format, in which the set of journals follows from a record in
/// the log: a manifest proves nothing about itself.
pub const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// Told how far it has come: the journal, its records so far, and how many there are.
pub type Tell<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// The journals of these services.
fn journals_of(services: &Services) -> impl Iterator<Item = &'static str> {
    services.iter().map(|(journal, _)| *journal)
}

/// What is in an export: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Minted for this export.
    pub export_id: Uuid,
    /// The program's version that wrote it.
    pub program: String,
    /// When it was begun, RFC 3339.
    pub time: String,
    /// Whether all journals were taken as they were at one moment; see [`cut`].
    pub one_moment: bool,
    /// One for each journal.
    pub journals: Vec<Entry>,
}

/// A journal in an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub journal: String,
    /// Its file, in the same folder.
    pub file: String,
    /// How many records it has.
    pub n_records: u64,
    /// The first record's offset; none of an empty journal.
    pub first_offset: Option<u64>,
    /// The last record's offset.
    pub last_offset: Option<u64>,
    /// The chain over all of them, as hexadecimal digits.
    pub last_digest: String,
    /// Who the journal is, by its first record.
    pub log_id: Option<Uuid>,
    /// The fingerprint of the hash key that it was begun with: only a deployment with the same key can use it.
    pub hash_key: Option<String>,
}

impl Manifest {
    /// How many records there are in all journals.
    pub fn n_records(&self) -> u64 {
        self.journals.iter().map(|entry| entry.n_records).sum()
    }
}

/// The name of a journal's file.
fn file_name(journal: &str) -> String {
    format!("{journal}.journal.zst")
}

/// What a file begins with.
fn title(journal: &str) -> String {
    format!("orderlog journal {FORMAT} {journal}\n")
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The packed header of a journal record; nothing if it has none.
fn packed(record: &Record) -> &[u8] {
    record.header(HEADER).map_or(&[], AsRef::as_ref)
}

/// Has a folder's entries survive a power cut.
fn sync_folder(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
