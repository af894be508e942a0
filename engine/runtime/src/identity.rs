//! Which deployment a log belongs to. The first record of each journal names the journal, its log id, and the fingerprint of
//! the hash key that hashes e-mail addresses and idempotency keys.
//!
//! A program with another hash key finds none of the stored hashes: it would charge a repeated payment twice and register an
//! e-mail address twice. So the fingerprint is compared before a log is used.

use orderlog_core::{
    header::{HeaderError, Stored},
    key::HashKey,
    machine::{GENESIS, Genesis},
    public::Services,
    words,
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Record};

use crate::envelope;

/// The number of foreign records that are read at a time.
const N_AT_A_TIME: usize = 1_000;

/// Why a log must not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The journal was created with another hash key. Configure that one.
    #[error(
        "the journal {journal} was begun with the hash key of fingerprint {wanted}, the configured one has {found}"
    )]
    OtherHashKey {
        journal: String,
        /// The fingerprint in its first record.
        wanted: String,
        found: String,
    },
    #[error("the first record of the journal {journal} can't be read: {source}")]
    Format { journal: String, source: HeaderError },
    #[error("the journal {journal} begins with a record that orderlog does not write: is this the right log?")]
    NoGenesis { journal: String },
    #[error(
        "the first records of the journal {journal} are gone, it begins at offset {first}: keep the read models and snapshots, which may \
         be the last copy, and restore the journals from an export with `{program} log import`",
        program = words::program()
    )]
    Trimmed { journal: String, first: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Returns the genesis of every journal that has records other than foreign ones.
///
/// # Errors
/// [`IdentityError`] if the first record of a journal that is not foreign is not its genesis.
pub async fn begun(log: &dyn EventLog, services: &Services) -> Result<Vec<Genesis>, IdentityError> {
    let mut found = Vec::with_capacity(services.len());
    for &(journal, _) in services {
        let partition = Partition::journal(journal);
        let end = match log.ends(std::slice::from_ref(&partition)).await {
            Err(ReadError::UnknownTopic { .. }) => 0,
            ends => ends?.first().copied().unwrap_or(0),
        };
        let first = match first_of_journal(log, &partition, end).await {
            Err(ReadError::OutOfRange { first, .. }) if first > 0 => {
                return Err(IdentityError::Trimmed { journal: journal.to_owned(), first });
            }
            first => first?,
        };
        if let Some(first) = first {
            let stored = envelope::stored(log, &first);
            found.push(genesis(journal, stored, &first.value)?);
        }
    }
    Ok(found)
}

/// Returns the first record below `end` that is not foreign.
async fn first_of_journal(log: &dyn EventLog, partition: &Partition, end: u64) -> Result<Option<Record>, ReadError> {
    let (mut next, mut limit) = (0, 1);
    while next < end {
        let records = log.history(partition, next, end, limit).await?;
        next = records.last().map_or(end, |last| last.offset + 1);
        let is_ours = |record: &Record| !matches!(envelope::stored(log, record), Stored::Foreign | Stored::Gap);
        if let Some(first) = records.into_iter().find(is_ours) {
            return Ok(Some(first));
        }
        limit = N_AT_A_TIME;
    }
    Ok(None)
}

/// Checks that all these journals were created with this hash key.
///
/// # Errors
/// [`IdentityError::OtherHashKey`] with the first one that was not.
pub fn check(begun: &[Genesis], hash_key: &HashKey) -> Result<(), IdentityError> {
    let configured = hash_key.fingerprint();
    match begun.iter().find(|genesis| genesis.hash_key != configured) {
        Some(Genesis { journal, hash_key, .. }) => {
            Err(IdentityError::OtherHashKey { journal: journal.clone(), wanted: hash_key.clone(), found: configured })
        }
        None => Ok(()),
    }
}

/// Decodes the genesis of `journal`.
pub(crate) fn genesis(journal: &str, header: Stored<'_>, value: &[u8]) -> Result<Genesis, IdentityError> {
    let none = || IdentityError::NoGenesis { journal: journal.to_owned() };
    let header = header.decode();
    let header = header.map_err(|source| IdentityError::Format { journal: journal.to_owned(), source })?;
    let header = header.ok_or_else(none)?;
    let genesis: Genesis = serde_json::from_slice(value).map_err(|_| none())?;
    if header.kind == GENESIS && genesis.journal == journal { Ok(genesis) } else { Err(none()) }
}
