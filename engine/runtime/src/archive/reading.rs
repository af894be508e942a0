//! Reading a journal's file, and proving it on the way.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use orderlog_core::machine::{Digest, chain};
use orderlog_eventlog::Record;

use super::{Entry, Tell, frames, hex, packed, title, writing::checksum};
use crate::{
    envelope::{self, Findings},
    identity,
};

/// So many records lie between two reports.
const TELL_EVERY: u64 = 10_000;

/// What is wrong with an export. It can't be imported; take another one.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// No export, or one that did not come to its end.
    #[error("{} is no whole export: it has no manifest.json", dir.display())]
    NoManifest { dir: PathBuf },
    /// The manifest can't be understood, or does not list what an export must have.
    #[error("{} can't be used: {why}", file.display())]
    Manifest { file: PathBuf, why: String },
    /// There is a key, and no signature.
    #[error("{} is not signed: it has no manifest.json.sig. Take an export that was made with --sign-key", dir.display())]
    Unsigned { dir: PathBuf },
    /// The manifest was changed, the signature is another export's, or another key's.
    #[error(
        "{} is not the signature of manifest.json by this key: one of the two was changed, or another key signed it. Nothing in this \
         export can be trusted",
        file.display()
    )]
    Signature { file: PathBuf },
    /// A file can't be opened.
    #[error("{} can't be read: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// A record is not as it was when it was exported, or not there.
    #[error("{journal}@{offset}: {flaw} (in {})", file.display())]
    Record {
        journal: String,
        /// The first record that can't be trusted; all before it are whole.
        offset: u64,
        /// What is wrong with it.
        flaw: Flaw,
        file: PathBuf,
    },
}

/// What is wrong with a record, or with what must stand in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The compressed bytes make no sense here.
    Damaged(String),
    /// The file ends, though there must be more.
    Cut,
    /// The file is another journal's, or none.
    Title,
    /// Its bytes are others than were written.
    Bytes,
    /// Its digest does not follow from those before it.
    Chain,
    /// Another offset stands here.
    Offset(u64),
    /// It does not begin the journal that the manifest tells of.
    Genesis,
    /// Its key is not its header's, or it has two headers.
    Envelope(String),
    /// The journal ends here, but the manifest or the end itself tells of other records.
    End(String),
    /// Something follows the end.
    Behind,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "the file is damaged at this record or right behind it: {why}"),
            Self::Cut => f.write_str("the file is cut off before it"),
            Self::Title => f.write_str("the file is not one of this journal"),
            Self::Bytes => f.write_str("its bytes were changed since it was exported"),
            Self::Chain => f.write_str("its digest does not follow from the records before it: the chain is broken"),
            Self::Offset(found) => write!(f, "the record at offset {found} stands in its place"),
            Self::Genesis => f.write_str("it does not begin the journal that the manifest tells of"),
            Self::Envelope(why) => f.write_str(why),
            Self::End(why) => write!(f, "the journal ends before it, but {why}"),
            Self::Behind => f.write_str("something follows the end of the journal"),
        }
    }
}

/// A journal's file. Each record that it gives was proven.
pub(super) struct JournalReader {
    file: PathBuf,
    input: zstd::Decoder<'static, BufReader<File>>,
    entry: Entry,
    next: u64,
    digest: Digest,
    /// The end was read.
    is_at_end: bool,
}

impl JournalReader {
    pub(super) fn open(dir: &Path, entry: &Entry) -> Result<Self, Broken> {
        let file = dir.join(&entry.file);
        let failed = |source| Broken::File { file: file.clone(), source };
        let input = zstd::Decoder::with_buffer(BufReader::new(File::open(&file).map_err(failed)?)).map_err(failed)?;
        let mut reader =
            Self { file, input, entry: entry.clone(), next: 0, digest: Digest::default(), is_at_end: false };
        let mut found = vec![0; title(&entry.journal).len()];
        reader.fill(&mut found)?;
        if found == title(&entry.journal).as_bytes() { Ok(reader) } else { Err(reader.broken(Flaw::Title)) }
    }

    /// The offset of the record that comes next.
    pub(super) fn offset(&self) -> u64 {
        self.next
    }

    /// The chain over all records so far.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The next record; none behind the last one, once it is sure that nothing is missing.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Broken> {
        if self.is_at_end {
            return Ok(None);
        }
        let length = u32::from_be_bytes(self.array()?);
        if length == 0 {
            self.is_at_end = true;
            return self.end().map(|()| None);
        }
        if length > frames::MAX_BYTES {
            return Err(self.broken(Flaw::Bytes));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        let (digest, sum): (Digest, [u8; 4]) = (self.array()?, self.array()?);
        if checksum(&bytes) != sum {
            return Err(self.broken(Flaw::Bytes));
        }
        let record = frames::parse(Bytes::from(bytes)).ok_or_else(|| self.broken(Flaw::Bytes))?;
        if record.offset != self.next {
            return Err(self.broken(Flaw::Offset(record.offset)));
        }
        if chain(&self.digest, record.offset, packed(&record), &record.value) != digest {
            return Err(self.broken(Flaw::Chain));
        }
        if record.offset == 0 {
            let genesis = identity::genesis(&self.entry.journal, &record).ok();
            let found = genesis.map(|genesis| (Some(genesis.log_id), Some(genesis.hash_key)));
            if found != Some((self.entry.log_id, self.entry.hash_key.clone())) {
                return Err(self.broken(Flaw::Genesis));
            }
        }
        if let Some(why) = envelope::difference(&record) {
            return Err(self.broken(Flaw::Envelope(why)));
        }
        (self.digest, self.next) = (digest, self.next + 1);
        Ok(Some(record))
    }

    fn end(&mut self) -> Result<(), Broken> {
        let (n_records, digest) = (u64::from_be_bytes(self.array()?), self.array::<16>()?);
        if (n_records, digest) != (self.next, self.digest) {
            return Err(self.broken(Flaw::End(format!("the file's end tells of {n_records} records"))));
        }
        let Entry { n_records: told, last_digest, .. } = &self.entry;
        if *told != self.next || *last_digest != hex(&self.digest) {
            return Err(self.broken(Flaw::End(format!("the manifest tells of {told} records up to {last_digest}"))));
        }
        // This also has the decoder compare the checksum of everything.
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.broken(Flaw::Behind)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut bytes = [0; N];
        self.fill(&mut bytes).map(|()| bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        self.input.read_exact(bytes).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Broken {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.broken(Flaw::Cut),
            _ => self.broken(Flaw::Damaged(error.to_string())),
        }
    }

    fn broken(&self, flaw: Flaw) -> Broken {
        Broken::Record { journal: self.entry.journal.clone(), offset: self.next, flaw, file: self.file.clone() }
    }
}

/// Prove a whole journal's file; `at` is given the digest after each record. Returns the records with foreign headers.
pub(super) fn check_journal(
    dir: &Path,
    entry: &Entry,
    tell: Tell<'_>,
    mut at: impl FnMut(u64, Digest),
) -> Result<Findings, Broken> {
    let (mut reader, mut warnings) = (JournalReader::open(dir, entry)?, Findings::default());
    while let Some(record) = reader.next()? {
        if let Some(what) = envelope::warning(&record) {
            warnings.push(record.offset, what);
        }
        at(reader.offset(), reader.digest());
        if reader.offset() % TELL_EVERY == 0 {
            tell(&entry.journal, reader.offset(), entry.n_records);
        }
    }
    tell(&entry.journal, entry.n_records, entry.n_records);
    Ok(warnings)
}
