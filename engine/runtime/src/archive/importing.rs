//! Imports files into an empty log.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use orderlog_core::{
    header::{FOREIGN, GAP, HEADER},
    key::HashKey,
    machine::{Digest, chain},
    public::Services,
};
use orderlog_eventlog::{AppendError, EventLog, NewRecord, Partition, ReadError, Record, TopicError, TopicKind};
use serde::Serialize;
use uuid::Uuid;

use super::{
    Archive, Broken, Entry, Manifest, Tell, cut::records, hex, marker, marker::Step, packed, reading::check_journal,
};
use crate::assembly;

/// The maximum number of records per append: one transaction on the embedded log.
const N_AT_A_TIME: usize = 4_000;
/// The maximum number of bytes per append.
const BYTES_AT_A_TIME: usize = 4 * 1024 * 1024;

/// Why an import failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The export is invalid. Nothing was written.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The log contains records. Nothing was written.
    #[error("the log is not empty: {topic} has {n_records} records. An export goes into an empty log only")]
    NotEmpty {
        /// The first topic with records.
        topic: String,
        n_records: u64,
    },
    /// The log contains an incomplete import of another export. Nothing was written.
    #[error("the log has half of another export, {export_id}: to resume, import that one")]
    OtherExport {
        /// The export whose import was started.
        export_id: Uuid,
    },
    /// A service would refuse to start on this journal. Nothing was written.
    #[error(
        "{journal} was begun with the hash key of fingerprint {wanted}, the one here is {found}: give the secret of the deployment \
         that was exported, by --hash-key, --hash-key-file, or as hash.key in the data folder"
    )]
    OtherHashKey {
        journal: String,
        /// The fingerprint in the export.
        wanted: String,
        /// The fingerprint of the configured key, or `none`.
        found: String,
    },
    /// The records of an earlier attempt are not the beginning of this export. Nothing was written.
    #[error("{journal} does not begin as in the export: its first {n_records} records are others")]
    OtherRecords {
        journal: String,
        /// The number of records in the log's journal.
        n_records: u64,
    },
    /// The log assigned another offset to a record: another process is writing to it.
    #[error("{journal}@{wanted} became {journal}@{found}: somebody else writes to this log. Stop every server on it")]
    Displaced {
        journal: String,
        wanted: u64,
        /// Its actual offset.
        found: u64,
    },
    /// The journal, read back from the log, differs from the export.
    #[error("read back from the log, {journal} is not what was exported: its digest is {found}, not {wanted}")]
    ReadBack { journal: String, wanted: String, found: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not accept the records. Repeat the import to resume.
    #[error(transparent)]
    Append(AppendError),
    /// The topics cannot be created.
    #[error(transparent)]
    Topics(#[from] TopicError),
}

impl ImportError {
    /// Whether repeating the import can resume from what this one left in the log. Otherwise it has to be undone.
    pub fn can_resume(&self) -> bool {
        match self {
            Self::OtherExport { .. }
            | Self::OtherRecords { .. }
            | Self::NotEmpty { .. }
            | Self::Displaced { .. }
            | Self::ReadBack { .. } => false,
            Self::Broken(_) | Self::OtherHashKey { .. } | Self::Read(_) | Self::Append(_) | Self::Topics(_) => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub manifest: Manifest,
    /// The number of records that an earlier attempt had written to the log.
    pub n_there_before: u64,
    /// Whether the log was written to.
    pub written: bool,
}

/// Verifies an export, and that it could be imported into `log`; `None` stands for an empty one. Writes nothing.
pub async fn dry_run(
    log: Option<&Arc<dyn EventLog>>,
    archive: &Archive,
    hash_key: Option<&HashKey>,
    tell: Tell<'_>,
) -> Result<Imported, ImportError> {
    let Importable { n_there, .. } = importable(log, archive, hash_key, tell).await?;
    Ok(Imported { manifest: archive.manifest.clone(), n_there_before: n_there.iter().sum(), written: false })
}

/// Imports an export into `log`, whose topics exist. Verifies everything before it writes the first record. Resumes an interrupted
/// import where it stopped.
pub async fn import(
    log: &Arc<dyn EventLog>,
    archive: &Archive,
    hash_key: Option<&HashKey>,
    tell: Tell<'_>,
) -> Result<Imported, ImportError> {
    let manifest = &archive.manifest;
    let Importable { resumed, n_there } = importable(Some(log), archive, hash_key, tell).await?;
    let n_there_before = n_there.iter().sum();
    if !resumed {
        log.prepare(&[marker::topic()]).await?;
        marker::say(log.as_ref(), manifest.export_id, Step::Begun).await.map_err(ImportError::Append)?;
    }
    for (entry, n_there) in manifest.journals.iter().zip(n_there) {
        append(log.as_ref(), archive, entry, n_there, tell).await?;
    }
    for entry in &manifest.journals {
        let found = hex(&digest_of(log, &entry.journal, entry.end()).await?);
        if found != entry.last_digest {
            let (journal, wanted) = (entry.journal.clone(), entry.last_digest.clone());
            return Err(ImportError::ReadBack { journal, wanted, found });
        }
    }
    marker::say(log.as_ref(), manifest.export_id, Step::Ended).await.map_err(ImportError::Append)?;
    Ok(Imported { manifest: manifest.clone(), n_there_before, written: true })
}

/// How an import can begin.
struct Importable {
    /// Whether an earlier attempt is resumed.
    resumed: bool,
    /// The number of records that are already in each journal, in the order of the manifest.
    n_there: Vec<u64>,
}

async fn importable(
    log: Option<&Arc<dyn EventLog>>,
    archive: &Archive,
    hash_key: Option<&HashKey>,
    tell: Tell<'_>,
) -> Result<Importable, ImportError> {
    let Archive { services, manifest, .. } = archive;
    same_hash_key(manifest, hash_key)?;
    let resumed = match log {
        Some(log) => may_go_on(log.as_ref(), services, manifest).await?,
        None => false,
    };
    let mut all = Vec::with_capacity(manifest.journals.len());
    for entry in &manifest.journals {
        let there = match log.filter(|_| resumed) {
            Some(log) => {
                let n_there = end_of(log.as_ref(), &entry.journal).await?;
                (n_there, digest_of(log, &entry.journal, n_there).await?)
            }
            None => (0, Digest::default()),
        };
        prove(archive, entry, there, tell)?;
        all.push(there.0);
    }
    Ok(Importable { resumed, n_there: all })
}

fn same_hash_key(manifest: &Manifest, hash_key: Option<&HashKey>) -> Result<(), ImportError> {
    let found = hash_key.map(HashKey::fingerprint);
    match manifest.journals.iter().find(|entry| entry.hash_key.is_some() && entry.hash_key != found) {
        Some(Entry { journal, hash_key: Some(wanted), .. }) => {
            let found = found.unwrap_or_else(|| "none".to_owned());
            Err(ImportError::OtherHashKey { journal: journal.clone(), wanted: wanted.clone(), found })
        }
        Some(Entry { hash_key: None, .. }) | None => Ok(()),
    }
}

/// Returns whether an earlier attempt at this export is resumed. If not, the log is empty.
async fn may_go_on(log: &dyn EventLog, services: &Services, manifest: &Manifest) -> Result<bool, ImportError> {
    let resumed = match marker::unfinished(log).await? {
        Some(export_id) if export_id == manifest.export_id => true,
        Some(export_id) => return Err(ImportError::OtherExport { export_id }),
        None => false,
    };
    // An import only writes to journals.
    let topics = assembly::topics(services);
    let must_be_empty = topics.iter().filter(|topic| !resumed || topic.kind == TopicKind::Public);
    let mut partitions = Vec::new();
    for topic in must_be_empty {
        match log.partitions(&topic.name).await {
            // A dry run creates no topics.
            Err(ReadError::UnknownTopic { .. }) => {}
            there => partitions.extend(there?),
        }
    }
    let ends = log.ends(&partitions).await?;
    match partitions.into_iter().zip(ends).find(|(_, end)| *end > 0) {
        Some((partition, n_records)) => Err(ImportError::NotEmpty { topic: partition.topic.to_string(), n_records }),
        None => Ok(resumed),
    }
}

async fn end_of(log: &dyn EventLog, journal: &str) -> Result<u64, ReadError> {
    Ok(log.ends(&[Partition::journal(journal)]).await?.first().copied().unwrap_or(0))
}

/// Returns the digest of the chain over the records of a journal in the log below `end`.
async fn digest_of(log: &Arc<dyn EventLog>, journal: &str, end: u64) -> Result<Digest, ReadError> {
    let (mut digest, mut reading) = (Digest::default(), records(log, journal, 0, end));
    while let Some(some) = reading.next().await {
        for record in some? {
            digest = chain(&digest, record.offset, packed(&record), &record.value);
        }
    }
    Ok(digest)
}

/// Verifies that the journal is complete, and that the records already in the log, with this digest, are its beginning.
fn prove(archive: &Archive, entry: &Entry, (n_there, there): (u64, Digest), tell: Tell<'_>) -> Result<(), ImportError> {
    let mut exported = Digest::default();
    check_journal(archive, entry, tell, |next, digest| {
        // The log may end in a record that fills a part of a gap.
        if next <= n_there {
            exported = digest;
        }
    })?;
    if exported == there && n_there <= entry.end() {
        Ok(())
    } else {
        Err(ImportError::OtherRecords { journal: entry.journal.clone(), n_records: n_there })
    }
}

/// Appends the records of a journal that are missing from the log.
async fn append(
    log: &dyn EventLog,
    archive: &Archive,
    entry: &Entry,
    n_there: u64,
    tell: Tell<'_>,
) -> Result<(), ImportError> {
    let topic: Arc<str> = entry.journal.as_str().into();
    let mut reader = archive.reader(&entry.journal)?;
    let mut first = n_there;
    loop {
        let (mut batch, mut n_bytes) = (Vec::new(), 0);
        while batch.len() < N_AT_A_TIME && n_bytes < BYTES_AT_A_TIME {
            let Some(record) = reader.next()? else { break };
            if record.offset >= n_there {
                n_bytes += record.value.len() + packed(&record).len();
                let n_missing = record.offset - first - batch.len() as u64;
                batch.extend((0..n_missing).map(|_| gap(&topic)));
                batch.push(imported(&topic, record));
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let wanted = first..;
        first += batch.len() as u64;
        let results = log.append(batch).await;
        for (wanted, result) in wanted.zip(results) {
            let found = result.map_err(ImportError::Append)?.offset;
            if found != wanted {
                return Err(ImportError::Displaced { journal: entry.journal.clone(), wanted, found });
            }
        }
        tell(&entry.journal, reader.offset(), entry.end());
    }
}

/// Returns the record to append for an exported one. A foreign record is marked, since only this marks it in a log that others can't
/// write to.
fn imported(topic: &Arc<str>, record: Record) -> NewRecord {
    let is_foreign = record.header(HEADER).is_none();
    let Record { key, mut headers, value, offset: _, time_ms: _ } = record;
    if is_foreign && !headers.iter().any(|(name, _)| name == FOREIGN) {
        headers.push((FOREIGN.into(), Bytes::new()));
    }
    NewRecord { topic: Arc::clone(topic), partition: Some(0), key, headers, value }
}

/// Returns the record to append where the exported journal had none.
fn gap(topic: &Arc<str>) -> NewRecord {
    let headers = vec![(GAP.into(), Bytes::new())];
    NewRecord { topic: Arc::clone(topic), partition: Some(0), key: None, headers, value: Bytes::new() }
}
