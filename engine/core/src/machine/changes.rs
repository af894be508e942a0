//! What the core asks of the rows behind it, and what it gives them: plain data, so that the core does no I/O.

use std::sync::Arc;

use crate::{
    decider::{At, Decider, Kind, Millis, Ref},
    key::{Key, RecordId},
};

/// The last accepted record that names a key: the whole state of the arbitration rule is one of these per key.
///
/// A void record's id is kept as a key too, with itself as `last`, so that a late copy of it stays void for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub last: RecordId,
    pub offset: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every key's last accepted record was the one it expected.
    Accepted,
    /// It lost: it changed nothing and never will.
    Void,
    /// It won, but its payload could not be folded, or stands behind one that could not: its keys take no commands.
    Parked,
    /// It won and was parked, and an operator discarded it: it changes nothing and never will.
    Discarded,
}

/// 16 bytes over everything up to a record: (digest before it, offset, header, value). Proves that nothing was skipped.
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
    /// The table of its aggregate; none for keys that are only claimed (idempotency keys, ids of void records).
    pub kind: Option<Kind>,
}

/// What the rows know of a key, as of their checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<E> {
    /// The key, as asked for.
    pub wanted: Wanted,
    /// Its head, if any record ever named it.
    pub head: Option<Head>,
    /// Its aggregate's version and state, if it exists.
    pub entity: Option<(u64, E)>,
}

/// An aggregate's row, whole: the last state of a batch wins.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityRow<E> {
    pub aggregate: Ref,
    /// How many accepted records changed it, from 1; of a copied fact, the version that its owner gave it.
    pub version: u64,
    /// The journal's offset that last changed it; of a copied fact 0.
    pub offset: u64,
    pub entity: Arc<E>,
}

/// A record's narrow row: history index, verdict and proof of completeness in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRow {
    pub offset: u64,
    pub id: RecordId,
    /// Its time by its writer's clock, which may have been wrong: it can be earlier than that of a record before it.
    pub time_ms: Millis,
    /// What it is about: the first key it names.
    pub about: Key,
    /// What became of it.
    pub verdict: Verdict,
    /// The chain up to and with it.
    pub digest: Digest,
}

/// An accepted record's event, for rows that are not an aggregate's state (movements, payments).
#[derive(Clone, Debug)]
pub struct Happened<D: Decider> {
    pub at: At,
    pub event: Arc<D::Event>,
    /// The aggregates that it touches; the first is what the record is about.
    pub touched: Vec<Ref>,
}

/// A record whose payload could not be folded, or that stands behind one.
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
    /// Where the first accepted discard of it stands.
    pub by: u64,
    /// When that was written, by its writer's clock.
    pub time_ms: Millis,
    pub reason: String,
}

/// How far the facts of a partition of another service's topic were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedRow {
    pub topic: String,
    /// Index of its partition.
    pub part: u32,
    /// Where to go on reading: one past the last record that was read.
    pub next: u64,
    /// What tells that record from another one at its place, as whoever read it said.
    pub print: u64,
}

/// What the rows know of records that were not folded, for a core to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Every row of those that are parked, with the record's id.
    pub parked: Vec<(ParkedRow, RecordId)>,
    /// Those that are discarded. Also some that are not read yet may be among them, if an accepted discard of them is known:
    /// they are then passed over when they are read.
    pub discarded: Vec<u64>,
}

/// Everything that changed since the last changes were taken: written in one transaction, checkpoint and all.
#[derive(Clone, Debug)]
pub struct Changes<D: Decider> {
    /// The checkpoint: every record below it is folded, none at or above it.
    pub next: u64,
    /// Who the journal is, once its first record is folded.
    pub genesis: Option<Genesis>,
    /// Heads that moved, void ids among them, each key once.
    pub heads: Vec<(Key, Head)>,
    /// Aggregates that changed, each once.
    pub entities: Vec<EntityRow<D::Entity>>,
    /// Every record folded, ascending.
    pub records: Vec<RecordRow>,
    /// Records folded earlier that have become something else, each once.
    pub verdicts: Vec<(u64, Verdict)>,
    /// The events of those that are accepted now, in the order in which they were folded.
    pub happened: Vec<Happened<D>>,
    /// What was parked, or has another reason.
    pub parked: Vec<ParkedRow>,
    /// Records of which nothing is parked any more.
    pub unparked: Vec<u64>,
    /// What was discarded; of a record that is discarded twice, the first counts.
    pub discarded: Vec<DiscardedRow>,
    /// Where to go on reading copied facts.
    pub copied: Vec<CopiedRow>,
}

impl<D: Decider> Changes<D> {
    /// Nothing but the checkpoint.
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

/// A journal's first record: who it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Genesis {
    /// Minted by whoever began the journal.
    pub log_id: uuid::Uuid,
    pub journal: String,
    /// [`crate::key::HashKey::fingerprint`] of the deployment's hash key.
    pub hash_key: String,
}

/// Where the rows stand, for a core to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first offset that is not folded.
    pub next: u64,
    /// The chain up to `next`.
    pub digest: Digest,
    /// Who the journal is, if its first record is folded.
    pub genesis: Option<Genesis>,
    /// The last folded record and the chain before it, to compare with the log at start.
    pub last: Option<(RecordRow, Digest)>,
    /// Where to go on reading copied facts.
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
