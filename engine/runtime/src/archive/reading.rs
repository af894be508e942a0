//! Reads a journal's file and verifies it on the way.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::PathBuf,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use orderlog_core::{
    header::{HEADER, Stored},
    machine::{Digest, chain},
};
use orderlog_eventlog::Record;

use super::{
    Archive, Entry, FORMAT_WITHOUT_GAPS, MANIFEST, Manifest, Tell, frames, hex, packed, title,
    writing::{Reached, checksum},
};
use crate::{
    envelope::{self, Findings},
    identity,
};

/// The number of records between two progress reports.
const TELL_EVERY: u64 = 10_000;

/// Why an export is invalid. It cannot be imported; use another one.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Not an export, or an incomplete one.
    #[error("{} is no whole export: it has no manifest.json", dir.display())]
    NoManifest { dir: PathBuf },
    /// The manifest cannot be parsed, or does not list what an export must contain.
    #[error("{} can't be used: {why}", file.display())]
    Manifest { file: PathBuf, why: String },
    /// The export has no such segment or time, or no segments.
    #[error("{} {why}", dir.display())]
    NoSegment { dir: PathBuf, why: String },
    /// A key was given, but there is no signature.
    #[error("{} is not signed: it has no manifest.json.sig. Take an export that was made with --sign-key", dir.display())]
    Unsigned { dir: PathBuf },
    /// The manifest was changed, or the signature belongs to another export or key.
    #[error(
        "{} is not the signature of manifest.json by this key: one of the two was changed, or another key signed it. Nothing in this \
         export can be trusted",
        file.display()
    )]
    Signature { file: PathBuf },
    #[error("{} can't be read: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// A record differs from what was exported, or is missing.
    #[error("{journal}@{offset}: {flaw} (in {})", file.display())]
    Record {
        journal: String,
        /// The first record that cannot be trusted. All records before it are intact.
        offset: u64,
        flaw: Flaw,
        file: PathBuf,
    },
}

/// A fault of a record, or of what is found in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The compressed bytes are invalid here.
    Damaged(String),
    /// The file is truncated.
    Cut,
    /// The file belongs to another journal, or is not a journal's file.
    Title,
    /// Its checksum does not match its bytes.
    Bytes,
    /// Its digest does not follow from the preceding ones.
    Chain,
    /// A record with another offset is found here.
    Offset(u64),
    /// It is not the genesis of the journal in the manifest.
    Genesis,
    /// Its key is not its header's, or it has two headers.
    Envelope(String),
    /// The journal ends here, but the manifest or the end marker disagrees.
    End(String),
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
            Self::Genesis => f.write_str("it does not begin the journal that the manifest names"),
            Self::Envelope(why) => f.write_str(why),
            Self::End(why) => write!(f, "the journal ends before it, but {why}"),
            Self::Behind => f.write_str("something follows the end of the journal"),
        }
    }
}

/// An export, or a segment of one.
#[derive(Debug)]
pub(super) struct Part {
    pub dir: PathBuf,
    pub manifest: Manifest,
}

impl Part {
    pub(super) fn entry(&self, journal: &str) -> &Entry {
        self.manifest.journals.iter().find(|entry| entry.journal == journal).expect("a manifest lists every journal")
    }

    pub(super) fn is_later(&self, time: DateTime<Utc>) -> bool {
        DateTime::parse_from_rfc3339(&self.manifest.time).is_ok_and(|sealed| sealed.to_utc() > time)
    }

    /// The end of a journal in this part, without its last record.
    pub(super) fn end_of(&self, journal: &str) -> Result<Reached, Broken> {
        let entry = self.entry(journal);
        let no_digest = || Broken::Manifest { file: self.dir.join(MANIFEST), why: format!("{journal} has no digest") };
        let digest = u128::from_str_radix(&entry.last_digest, 16).map_err(|_| no_digest())?.to_be_bytes();
        Ok(Reached { entry: entry.clone(), next: entry.last_offset.map_or(0, |last| last + 1), digest, last: None })
    }
}

/// Reads a journal's files, one for each segment. Every record that it returns is verified.
pub(super) struct JournalReader<'a> {
    file: PathBuf,
    input: zstd::Decoder<'static, BufReader<File>>,
    format: u32,
    entry: &'a Entry,
    /// The segments behind this file.
    rest: &'a [Part],
    /// One past the last record's offset.
    next: u64,
    n_records: u64,
    digest: Digest,
    /// Whether the genesis was read.
    has_begun: bool,
    /// Whether the last end marker was read.
    is_at_end: bool,
}

impl<'a> JournalReader<'a> {
    /// Begins with the first record of the first part, which follows `reached`.
    pub(super) fn open(parts: &'a [Part], reached: &Reached) -> Result<Self, Broken> {
        let (first, rest) = parts.split_first().expect("an export has a part");
        let entry = first.entry(&reached.entry.journal);
        let (file, input) = open_file(first, entry)?;
        let mut reader = Self {
            file,
            input,
            format: first.manifest.format,
            entry,
            rest,
            next: reached.next,
            n_records: reached.entry.n_records,
            digest: reached.digest,
            has_begun: reached.entry.log_id.is_some(),
            is_at_end: false,
        };
        reader.title().map(|()| reader)
    }

    fn title(&mut self) -> Result<(), Broken> {
        let title = title(self.format, &self.entry.journal);
        let mut found = vec![0; title.len()];
        self.fill(&mut found)?;
        if found == title.as_bytes() { Ok(()) } else { Err(self.broken(Flaw::Title)) }
    }

    /// Continues with the file of the next segment. Returns `false` if there is none.
    fn continues(&mut self) -> Result<bool, Broken> {
        let Some((part, rest)) = self.rest.split_first() else { return Ok(false) };
        self.entry = part.entry(&self.entry.journal);
        (self.file, self.input) = open_file(part, self.entry)?;
        (self.format, self.rest) = (part.manifest.format, rest);
        self.title().map(|()| true)
    }

    /// Returns one past the last record's offset.
    pub(super) fn offset(&self) -> u64 {
        self.next
    }

    /// Returns the digest of the chain over all records so far.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the next record; `None` after the last one, once it is verified that nothing is missing.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Broken> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut length = u32::from_be_bytes(self.array()?);
        while length == 0 {
            self.end()?;
            if !self.continues()? {
                self.is_at_end = true;
                return Ok(None);
            }
            length = u32::from_be_bytes(self.array()?);
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
        let is_next = record.offset == self.next || self.format > FORMAT_WITHOUT_GAPS && record.offset > self.next;
        if !is_next {
            return Err(self.broken(Flaw::Offset(record.offset)));
        }
        if chain(&self.digest, record.offset, packed(&record), &record.value) != digest {
            return Err(self.broken(Flaw::Chain));
        }
        if let Some(header) = record.header(HEADER).filter(|_| !self.has_begun) {
            let genesis = identity::genesis(&self.entry.journal, Stored::Header(header), &record.value).ok();
            let found = genesis.map(|genesis| (Some(genesis.log_id), Some(genesis.hash_key)));
            if found != Some((self.entry.log_id, self.entry.hash_key.clone())) {
                return Err(self.broken(Flaw::Genesis));
            }
            self.has_begun = true;
        }
        if let Some(why) = envelope::difference(&record) {
            return Err(self.broken(Flaw::Envelope(why)));
        }
        (self.digest, self.next, self.n_records) = (digest, record.offset + 1, self.n_records + 1);
        Ok(Some(record))
    }

    fn end(&mut self) -> Result<(), Broken> {
        let (n_records, digest) = (u64::from_be_bytes(self.array()?), self.array::<16>()?);
        if (n_records, digest) != (self.n_records, self.digest) {
            return Err(self.broken(Flaw::End(format!("the end of the file names {n_records} records"))));
        }
        let Entry { n_records: listed, last_digest, .. } = self.entry;
        let is_whole = *listed == self.n_records && self.entry.end() == self.next;
        if !is_whole || self.has_begun != self.entry.log_id.is_some() || *last_digest != hex(&self.digest) {
            return Err(self.broken(Flaw::End(format!("the manifest lists {listed} records up to {last_digest}"))));
        }
        // This also makes the decoder verify the checksum of the stream.
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

fn open_file(part: &Part, entry: &Entry) -> Result<(PathBuf, zstd::Decoder<'static, BufReader<File>>), Broken> {
    let file = part.dir.join(&entry.file);
    let failed = |source| Broken::File { file: file.clone(), source };
    let input = zstd::Decoder::with_buffer(BufReader::new(File::open(&file).map_err(failed)?)).map_err(failed)?;
    Ok((file, input))
}

/// Returns the end of a journal. Verifies the last segment that has records of it.
pub(super) fn reached(parts: &[Part], journal: &str) -> Result<Reached, Broken> {
    let end = parts.last().map_or(0, |part| part.entry(journal).n_records);
    let n_before = parts.partition_point(|part| part.entry(journal).n_records < end);
    let before = match n_before.checked_sub(1).map(|n| &parts[n]) {
        Some(part) => part.end_of(journal)?,
        None => Reached::beginning(journal),
    };
    let mut reader = JournalReader::open(&parts[n_before..], &before)?;
    let mut last = before.last;
    while let Some(record) = reader.next()? {
        last = Some(record);
    }
    Ok(Reached { entry: reader.entry.clone(), next: reader.next, digest: reader.digest, last })
}

/// Verifies a whole journal, and calls `at` with the digest after each record. Returns the records with foreign headers.
pub(super) fn check_journal(
    archive: &Archive,
    entry: &Entry,
    tell: Tell<'_>,
    mut at: impl FnMut(u64, Digest),
) -> Result<Findings, Broken> {
    let (mut reader, mut warnings) = (archive.reader(&entry.journal)?, Findings::default());
    while let Some(record) = reader.next()? {
        if let Some(what) = envelope::warning(&record) {
            warnings.push(record.offset, what);
        }
        at(reader.offset(), reader.digest());
        if reader.offset() % TELL_EVERY == 0 {
            tell(&entry.journal, reader.offset(), entry.end());
        }
    }
    tell(&entry.journal, entry.end(), entry.end());
    Ok(warnings)
}
