//! Writes a journal's file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use orderlog_core::{
    header::{HEADER, Stored},
    machine::{Digest, chain},
};
use orderlog_eventlog::Record;

use super::{Entry, ExportError, FORMAT, file_name, frames, hex, packed, title, with_suffix};
use crate::identity;

/// A good trade-off: higher levels cost more time than they save bytes.
const LEVEL: i32 = 3;

/// Returns the checksum of a record's bytes, which also covers what the chain does not.
pub(super) fn checksum(record: &[u8]) -> [u8; 4] {
    let mut sum = [0; 4];
    sum.copy_from_slice(&blake3::hash(record).as_bytes()[..4]);
    sum
}

/// A journal as far as it is exported.
#[derive(Clone)]
pub(super) struct Reached {
    pub entry: Entry,
    /// The offset of the next record.
    pub next: u64,
    pub digest: Digest,
    pub last: Option<Record>,
}

impl Reached {
    pub(super) fn beginning(journal: &str) -> Self {
        let digest = Digest::default();
        let entry = Entry {
            journal: journal.to_owned(),
            file: file_name(journal),
            n_records: 0,
            first_offset: None,
            last_offset: None,
            last_digest: hex(&digest),
            log_id: None,
            hash_key: None,
        };
        Self { entry, next: 0, digest, last: None }
    }
}

/// A journal's file being written, under a temporary name that is not mistaken for a complete one.
pub(super) struct JournalWriter {
    file: PathBuf,
    out: zstd::Encoder<'static, BufWriter<File>>,
    frame: BytesMut,
    reached: Reached,
}

impl JournalWriter {
    /// Begins the file of the records that follow.
    pub(super) fn create(dir: &Path, reached: Reached) -> Result<Self, ExportError> {
        let journal = &reached.entry.journal;
        let file = dir.join(file_name(journal));
        let begin = || -> io::Result<_> {
            let mut out = zstd::Encoder::new(BufWriter::new(File::create(with_suffix(&file, ".new"))?), LEVEL)?;
            // Without it a flipped bit could silently decode to other bytes.
            out.include_checksum(true)?;
            out.write_all(title(FORMAT, journal).as_bytes())?;
            Ok(out)
        };
        let out = begin().map_err(|source| ExportError::File { file: file.clone(), source })?;
        Ok(Self { file, out, frame: BytesMut::new(), reached })
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<(), ExportError> {
        let Reached { entry, next, digest, last } = &mut self.reached;
        let offset = record.offset;
        if let Some(header) = record.header(HEADER).filter(|_| entry.log_id.is_none()) {
            let genesis = identity::genesis(&entry.journal, Stored::Header(header), &record.value);
            let genesis = genesis.map_err(|_| ExportError::NoGenesis { journal: entry.journal.clone(), offset })?;
            entry.log_id = Some(genesis.log_id);
            entry.hash_key = Some(genesis.hash_key);
        }
        entry.first_offset.get_or_insert(offset);
        *digest = chain(digest, offset, packed(record), &record.value);
        *next = offset + 1;
        *last = Some(record.clone());
        entry.n_records += 1;
        entry.last_offset = Some(offset);
        self.frame.clear();
        frames::push(&mut self.frame, record);
        let sum = checksum(&self.frame[4..]);
        let written = self
            .out
            .write_all(&self.frame)
            .and_then(|()| self.out.write_all(&self.reached.digest))
            .and_then(|()| self.out.write_all(&sum));
        written.map_err(|source| ExportError::File { file: self.file.clone(), source })
    }

    /// Returns the offset of the next record.
    pub(super) fn next(&self) -> u64 {
        self.reached.next
    }

    /// Writes the end of the file and renames it to its final name.
    pub(super) fn finish(mut self) -> Result<Reached, ExportError> {
        let (file, mut reached) = (self.file, self.reached);
        let finish = || -> io::Result<()> {
            self.out.write_all(&0_u32.to_be_bytes())?;
            self.out.write_all(&reached.entry.n_records.to_be_bytes())?;
            self.out.write_all(&reached.digest)?;
            let written = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            written.sync_all()?;
            fs::rename(with_suffix(&file, ".new"), &file)
        };
        finish().map_err(|source| ExportError::File { file: file.clone(), source })?;
        reached.entry.last_digest = hex(&reached.digest);
        Ok(reached)
    }
}
