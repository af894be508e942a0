//! Which deployment a log belongs to. The first record of each journal names the journal, its log id, and the fingerprint of
//! the hash key that hashes e-mail addresses and idempotency keys.
//!
//! A program with another hash key finds none of the stored hashes: it would charge a repeated payment twice and register an
//! e-mail address twice. So the fingerprint is compared before a log is used.

use orderlog_core::{
    header::{HEADER, Header, HeaderError},
    key::HashKey,
    machine::{GENESIS, Genesis},
    public::Services,
    words,
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Record};

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

/// Returns the genesis of every journal that is not empty.
///
/// # Errors
/// [`IdentityError`] if the first record of a journal is not its genesis.
pub async fn begun(log: &dyn EventLog, services: &Services) -> Result<Vec<Genesis>, IdentityError> {
    let mut found = Vec::with_capacity(services.len());
    for &(journal, _) in services {
        let partition = Partition::journal(journal);
        let end = match log.ends(std::slice::from_ref(&partition)).await {
            Err(ReadError::UnknownTopic { .. }) => 0,
            ends => ends?.first().copied().unwrap_or(0),
        };
        if end == 0 {
            continue;
        }
        let first = match log.history(&partition, 0, end, 1).await {
            Err(ReadError::OutOfRange { first, .. }) if first > 0 => {
                return Err(IdentityError::Trimmed { journal: journal.to_owned(), first });
            }
            first => first?,
        };
        let first = first.first().ok_or_else(|| IdentityError::NoGenesis { journal: journal.to_owned() })?;
        found.push(genesis(journal, first)?);
    }
    Ok(found)
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

pub(crate) fn genesis(journal: &str, first: &Record) -> Result<Genesis, IdentityError> {
    let none = || IdentityError::NoGenesis { journal: journal.to_owned() };
    let header = Header::decode(first.header(HEADER).ok_or_else(none)?);
    let header = header.map_err(|source| IdentityError::Format { journal: journal.to_owned(), source })?;
    let genesis: Genesis = serde_json::from_slice(&first.value).map_err(|_| none())?;
    if header.kind == GENESIS && genesis.journal == journal { Ok(genesis) } else { Err(none()) }
}
