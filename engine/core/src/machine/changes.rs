//! The rows that the core loads and writes, as plain data, so that the core does no I/O.

use std::sync::Arc;

use crate::{
    decider::{At, Decider, Kind, Millis, Ref},
    key::{Key, RecordId},
};

/// The last accepted record that names a key. One of these per key is the whole state of the arbitration rule.
///
/// A void record's id is also kept as a key, with itself as `last`, so that a late copy of it stays void permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub last: RecordId,
    pub offset: u64,
}

/// The fate of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// For every key, the last accepted record was the one it expected.
    Accepted,
    /// It lost, and never changes anything.
    Void,
    /// It won, but it could not be folded, or it is queued behind a record that could not. Its keys take no commands.
    Parked,
    /// It won and was parked, and an operator discarded it. It never changes anything.
    Discarded,
}

/// A hash chain over the journal up to a record: 16 bytes over (digest before it, offset, header, value). Proves that
/// nothing was skipped.
pub type Digest = [u8; 16];

pub fn chain(before: &Digest, offset: u64, header: &[u8], value: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(&offset.to_be_bytes());
    hasher.update(&(header.len() as u64).to_be_bytes()).update(header).update(value);
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// A key to look up: its head, and its aggregate if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub key: Key,
    /// The table of its aggregate. `None` for keys that are only claimed (idempotency keys, ids of void records).
    pub kind: Option<Kind>,
}

/// The stored state of a key, as of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<E> {
    pub wanted: Wanted,
    /// Its head, if any record ever named it.
    pub head: Option<Head>,
    /// Its aggregate's version and state, if it exists.
    pub entity: Option<(u64, E)>,
}

/// The complete row of an aggregate. The last state in a batch wins.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityRow<E> {
    pub aggregate: Ref,
    /// How many accepted records changed it, from 1. For a copied fact, the version that its owner assigned.
    pub version: u64,
    /// The journal offset that last changed it. 0 for a copied fact.
    pub offset: u64,
    pub entity: Arc<E>,
}

/// A record's index row: its place in the history, its verdict, and the digest that proves completeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRow {
    pub offset: u64,
    pub id: RecordId,
    /// By its writer's clock, which may have been wrong: it can be earlier than that of the record before.
    pub time_ms: Millis,
    /// The first key it names.
    pub about: Key,
    pub verdict: Verdict,
    /// The chain up to and including this record.
    pub digest: Digest,
}

/// An accepted record's event, for rows that are not an aggregate's state (movements, payments).
#[derive(Clone, Debug)]
pub struct Happened<D: Decider> {
    pub at: At,
    pub event: Arc<D::Event>,
    /// The aggregates that it touches. The first is the one the record is about.
    pub touched: Vec<Ref>,
}

/// One key of a record that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRow {
    /// A key it names.
    pub key: Key,
    pub offset: u64,
    pub reason: String,
}

/// A record that an operator discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardedRow {
    pub offset: u64,
    /// The offset of the first accepted discard of it.
    pub by: u64,
    /// The discard's time, by its writer's clock.
    pub time_ms: Millis,
    pub reason: String,
}

/// How far the facts in a partition of another service's topic were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRow {
    pub topic: String,
    /// The partition's index.
    pub part: u32,
    /// The offset to resume from: one past the last record that was read.
    pub next: u64,
    /// Distinguishes that record from another one at its offset. Chosen by the reader.
    pub print: u64,
}

/// The stored state of records that were not folded, for a core to resume from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// All rows of parked records, each with the record's id.
    pub parked: Vec<(ParkedRow, RecordId)>,
    /// Discarded records. May include records not read yet, if an accepted discard of them is known: those are skipped when
    /// read.
    pub discarded: Vec<u64>,
}

/// Everything that changed since the last take. Written in one transaction, including the checkpoint.
#[derive(Clone, Debug)]
pub struct Changes<D: Decider> {
    /// The checkpoint: every record below it is folded, none at or above it.
    pub next: u64,
    /// The journal's identity, once its first record is folded.
    pub genesis: Option<Genesis>,
    /// Heads that moved, including ids of void records. Each key once.
    pub heads: Vec<(Key, Head)>,
    /// Aggregates that changed, each once.
    pub entities: Vec<EntityRow<D::Entity>>,
    /// Every record folded, ascending.
    pub records: Vec<RecordRow>,
    /// New verdicts of records folded earlier, each once.
    pub verdicts: Vec<(u64, Verdict)>,
    /// The events of newly accepted records, in the order they were folded.
    pub happened: Vec<Happened<D>>,
    /// Records that were parked, or whose reason changed.
    pub parked: Vec<ParkedRow>,
    /// Records that are no longer parked.
    pub unparked: Vec<u64>,
    /// Records that were discarded. If one is discarded twice, the first counts.
    pub discarded: Vec<DiscardedRow>,
    /// The offsets at which to resume reading copied facts.
    pub copied: Vec<CopiedRow>,
}

impl<D: Decider> Changes<D> {
    /// Only a checkpoint.
    pub const fn nothing(next: u64) -> Self {
        Self {
            next,
            genesis: None,
            heads: Vec::new(),
            entities: Vec::new(),
            records: Vec::new(),
            verdicts: Vec::new(),
            happened: Vec::new(),
            parked: Vec::new(),
            unparked: Vec::new(),
            discarded: Vec::new(),
            copied: Vec::new(),
        }
    }
}

/// A journal's first record, which identifies it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Genesis {
    /// Minted by the instance that began the journal.
    pub log_id: uuid::Uuid,
    pub journal: String,
    /// The [`crate::key::HashKey::fingerprint`] of the deployment's hash key.
    pub hash_key: String,
}

/// Where the rows are, for a core to resume from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first offset that is not folded.
    pub next: u64,
    /// The chain up to `next`.
    pub digest: Digest,
    /// The journal's identity, if its first record is folded.
    pub genesis: Option<Genesis>,
    /// The last folded record and the chain before it, to compare with the log at startup.
    pub last: Option<(RecordRow, Digest)>,
    /// The offsets at which to resume reading copied facts.
    pub copied: Vec<CopiedRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_all_that_it_covers_and_never_changes() {
        let digest = chain(&[7; 16], 1, b"header", b"value");
        let golden = [109, 168, 14, 191, 159, 2, 189, 47, 148, 222, 94, 213, 98, 9, 247, 188];
        assert_eq!(digest, golden, "rows of every version so far hold digests");
        for other in [
            chain(&[8; 16], 1, b"header", b"value"),
            chain(&[7; 16], 2, b"header", b"value"),
            chain(&[7; 16], 1, b"headerv", b"alue"),
            chain(&[7; 16], 1, b"header", b"other"),
        ] {
            assert_ne!(other, digest);
        }
    }
}
