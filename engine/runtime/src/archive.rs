//! Exports all journals to compressed files with a digest chain, and imports them into an empty log: `orderlog log export` and
//! `import`.
//!
//! An export is a folder:
//!
//! - `<journal>.journal.zst`, one for each journal: a [zstd](https://datatracker.ietf.org/doc/html/rfc8878) stream. Inside, all
//!   numbers are big-endian. First comes the line `orderlog journal <format> <journal>\n`. Each record follows as its length (4 bytes), the
//!   record as encoded by [`frames`], the chained digest up to and including it (16 bytes, as in the table `records`: see
//!   [`chain`](orderlog_core::machine::chain)), and a checksum (the first 4 bytes of BLAKE3 over the record). The end is the
//!   length 0, the number of records (8 bytes) and the last digest again. Nothing may follow.
//! - `manifest.json`: the contents, see [`Manifest`]. Written last, so a folder without it is not an export.
//! - `manifest.json.sig`, if a key was given: see `signing.rs`. Without it, anyone who can write all files of an export can forge
//!   its contents; with it, only the holder of the private key can.
//!
//! An export that goes on is a folder of such folders: see `segments.rs`.
//!
//! An import gives every record its offset again, since ids and positions derive from offsets. On Kafka a journal can have offsets
//! without a record, where other programs' transactions ended. They are missing from the file, and an import fills each with a
//! record that is not part of the journal; see [`Stored::Gap`](orderlog_core::header::Stored). Format 1 had no such gaps.
//!
//! Public topics are not included: the relays publish them again from the journals, with the same ids. The time at
//! which the old log appended a record is in the file but not in the new log; a record's own time is in its header.
//!
//! The deployment's hash key is a secret and is not included. Without it the journals are useless, so back it up too.

mod cut;
mod exporting;
pub mod frames;
mod importing;
mod marker;
mod opening;
mod reading;
mod segments;
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
pub use importing::{ImportError, Imported, dry_run, import};
pub use marker::{TOPIC as IMPORTS, topic as imports, unfinished};
pub use opening::{Archive, UpTo};
pub use reading::{Broken, Flaw};
pub use segments::{Sealed, Segments, has_segments};
pub use signing::{KeyError, Signed, SigningKey, VerifyingKey};

/// The format of exports that this version writes: exactly the journals of its services, each once, so that a manifest
/// cannot omit one. A program with other journals needs another format, in which the set of journals follows from a record in the
/// log, because a manifest proves nothing about itself.
pub const FORMAT: u32 = 2;

/// The oldest format that this version reads: offsets have no gaps.
const FORMAT_WITHOUT_GAPS: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// Receives the progress: the journal, its records so far, and its total number of records.
pub type Tell<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

fn journals_of(services: &Services) -> impl Iterator<Item = &'static str> {
    services.iter().map(|(journal, _)| *journal)
}

/// The contents of an export: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Unique to this export.
    pub export_id: Uuid,
    /// The version of the program that wrote it.
    pub program: String,
    /// When the export started, RFC 3339.
    pub time: String,
    /// Whether all journals were captured at a single moment; see [`cut`].
    pub one_moment: bool,
    /// Which segment of an export that goes on this is: see `segments.rs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    pub journals: Vec<Entry>,
}

/// A journal in an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub journal: String,
    /// Its file, in the same folder.
    pub file: String,
    /// The number of records.
    pub n_records: u64,
    /// The first record's offset; `None` if the journal is empty.
    pub first_offset: Option<u64>,
    /// The last record's offset; `None` if the journal is empty.
    pub last_offset: Option<u64>,
    /// The digest of the chain over all records, in hexadecimal.
    pub last_digest: String,
    /// The journal's id, from its first record.
    pub log_id: Option<Uuid>,
    /// The fingerprint of the hash key that the journal was created with. Only a deployment with the same key can use it.
    pub hash_key: Option<String>,
}

impl Entry {
    /// Returns one past the last record's offset.
    fn end(&self) -> u64 {
        self.last_offset.map_or(0, |last| last + 1)
    }
}

impl Manifest {
    /// Returns the total number of records in all journals.
    pub fn n_records(&self) -> u64 {
        self.journals.iter().map(|entry| entry.n_records).sum()
    }
}

fn file_name(journal: &str) -> String {
    format!("{journal}.journal.zst")
}

/// The first line of a journal's file.
fn title(format: u32, journal: &str) -> String {
    format!("orderlog journal {format} {journal}\n")
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the packed header of a journal record; empty if it has none.
fn packed(record: &Record) -> &[u8] {
    record.header(HEADER).map_or(&[], AsRef::as_ref)
}

/// Makes a folder's entries durable.
fn sync_folder(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
