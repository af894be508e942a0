//! Writes a journal's file.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use orderlog_core::machine::{Digest, chain};
use orderlog_eventlog::Record;

use super::{Entry, ExportError, file_name, frames, hex, packed, title, with_suffix};
use crate::identity;

/// A good trade-off: higher levels cost more time than they save bytes.
const LEVEL: i32 = 3;

/// Returns the checksum of a record's bytes, which also covers what the chain does not.
pub(super) fn checksum(record: &[u8]) -> [u8; 4] {
    let mut sum = [0; 4];
    sum.copy_from_slice(&blake3::hash(record).as_bytes()[..4]);
    sum
}

/// A journal's file being written, under a temporary name that is not mistaken for a complete one.
pub(super) struct JournalWriter {
    file: PathBuf,
    out: zstd::Encoder<'static, BufWriter<File>>,
    frame: BytesMut,
    digest: Digest,
    entry: Entry,
}

impl JournalWriter {
    pub(super) fn create(dir: &Path, journal: &str) -> Result<Self, ExportError> {
        let file = dir.join(file_name(journal));
        let begin = || -> io::Result<_> {
            let mut out = zstd::Encoder::new(BufWriter::new(File::create(with_suffix(&file, ".new"))?), LEVEL)?;
            // Without it a flipped bit could silently decode to other bytes.
            out.include_checksum(true)?;
            out.write_all(title(journal).as_bytes())?;
            Ok(out)
        };
        let out = begin().map_err(|source| ExportError::File { file: file.clone(), source })?;
        let entry = Entry {
            journal: journal.to_owned(),
            file: file_name(journal),
            n_records: 0,
            first_offset: None,
            last_offset: None,
            last_digest: hex(&Digest::default()),
            log_id: None,
            hash_key: None,
        };
        Ok(Self { file, out, frame: BytesMut::new(), digest: Digest::default(), entry })
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<(), ExportError> {
        let (wanted, offset) = (self.entry.n_records, record.offset);
        if offset != wanted {
            return Err(ExportError::Gap { journal: self.entry.journal.clone(), wanted, found: offset });
        }
        if offset == 0 {
            let genesis = identity::genesis(&self.entry.journal, record);
            let genesis = genesis.map_err(|_| ExportError::NoGenesis { journal: self.entry.journal.clone() })?;
            self.entry.first_offset = Some(offset);
            self.entry.log_id = Some(genesis.log_id);
            self.entry.hash_key = Some(genesis.hash_key);
        }
        self.digest = chain(&self.digest, offset, packed(record), &record.value);
        self.entry.n_records += 1;
        self.entry.last_offset = Some(offset);
        self.frame.clear();
        frames::push(&mut self.frame, record);
        let sum = checksum(&self.frame[4..]);
        let written = self
            .out
            .write_all(&self.frame)
            .and_then(|()| self.out.write_all(&self.digest))
            .and_then(|()| self.out.write_all(&sum));
        written.map_err(|source| ExportError::File { file: self.file.clone(), source })
    }

    /// Returns the number of records written.
    pub(super) fn n_records(&self) -> u64 {
        self.entry.n_records
    }

    /// Writes the end of the file and renames it to its final name.
    pub(super) fn finish(mut self) -> Result<Entry, ExportError> {
        let file = self.file;
        let finish = || -> io::Result<()> {
            self.out.write_all(&0_u32.to_be_bytes())?;
            self.out.write_all(&self.entry.n_records.to_be_bytes())?;
            self.out.write_all(&self.digest)?;
            let written = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            written.sync_all()?;
            fs::rename(with_suffix(&file, ".new"), &file)
        };
        finish().map_err(|source| ExportError::File { file: file.clone(), source })?;
        self.entry.last_digest = hex(&self.digest);
        Ok(self.entry)
    }
}
