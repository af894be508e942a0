//! The SQL of every table in a service's file, and the schema version, which changes with it.

use crate::tables::{Column, Tables};
use orderlog_core::decider::Decider;

/// Increment this when the meaning of the fixed tables changes.
const LAYOUT: u32 = 1;

/// The number of offsets per block in `periods`. Looking up a time scans the blocks, then the records of one block.
pub(crate) const RECORDS_PER_PERIOD: u64 = 4_096;

/// The tables that every service has.
///
/// - Keys and ids are 16-byte blobs and primary keys of tables without rowid, so that time-ordered ones (UUIDv7) are appended.
/// - `meta.base` is the offset of the snapshot that the rows were copied from, or 0 if they were folded from the first record.
/// - `meta.revision` is incremented when rows of records that were folded before change.
/// - `heads` has the offset of the last record of each key; the record's id is in `records`. Keys that are hashes are spread over
///   the whole table, so during a replay they are collected in `fresh_heads`, which takes precedence over `heads` and is merged
///   into it from time to time.
/// - `copied.print` is a fingerprint of the record before `next`, which detects a different record there, as in a restored log.
/// - `records` is a rowid table, since its offsets ascend.
/// - `periods` has the earliest and latest time of each block of [`RECORDS_PER_PERIOD`] offsets. It is used to look up times,
///   because the times of records do not always ascend.
/// - `touched` has the aggregates that an accepted record touches, except the first one, which is in `records`.
const FIXED: &[&str] = &[
    "create table meta (only integer primary key check (only = 1), schema text not null, service text not null,
        genesis text, next integer not null, base integer not null default 0,
        revision integer not null default 0) strict",
    "create table heads (key blob primary key, offset integer not null) without rowid, strict",
    "create table fresh_heads (key blob primary key, offset integer not null) without rowid, strict",
    "create table records (offset integer primary key, id blob not null, time_ms integer not null, about blob not null,
        verdict integer not null, digest blob not null) strict",
    "create table periods (block integer primary key, earliest_ms integer not null, latest_ms integer not null) strict",
    "create table touched (offset integer not null, line integer not null, key blob not null, primary key (offset, line))
        without rowid, strict",
    "create index records_not_accepted on records (offset) where verdict <> 0",
    "create table parked (key blob not null, offset integer not null, reason text not null, primary key (key, offset))
        without rowid, strict",
    "create index parked_by_offset on parked (offset)",
    "create table discarded (offset integer primary key, discarded_by integer not null, time_ms integer not null,
        reason text not null) strict",
    "create table copied (topic text not null, part integer not null, next integer not null, print integer not null,
        primary key (topic, part)) without rowid, strict",
];

/// The indexes for an aggregate's history. Created after a replay, like those of the lists.
const HISTORY: [&str; 2] = [
    "create index if not exists records_about on records (about)",
    "create index if not exists touched_by_key on touched (key)",
];

fn columns(columns: &[Column]) -> String {
    columns.iter().map(|column| format!("{} {}, ", column.name, column.sql_type)).collect()
}

impl<D: Decider> Tables<D> {
    /// Returns the tables that a rebuild empties: all but `meta`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let fixed = ["heads", "fresh_heads", "records", "periods", "touched", "parked", "discarded", "copied"];
        let of_tables = self.tables.iter().map(|table| table.kind);
        fixed.into_iter().chain(of_tables).chain(self.ledgers.iter().map(|ledger| ledger.name))
    }

    /// Returns the statements that create the tables of a service.
    pub(crate) fn statements(&self) -> Vec<String> {
        let mut made: Vec<String> = FIXED.iter().map(|&text| text.to_owned()).collect();
        for table in self.tables {
            made.push(format!(
                "create table {} (key blob primary key, version integer not null, offset integer not null, {}doc text not null) \
                 without rowid, strict",
                table.kind,
                columns(table.columns)
            ));
        }
        for ledger in self.ledgers {
            made.push(format!(
                "create table {} (offset integer not null, line integer not null, {}primary key (offset, line)) \
                 without rowid, strict",
                ledger.name,
                columns(ledger.columns)
            ));
        }
        made
    }

    /// Returns the idempotent statements that create the indexes after a replay.
    pub(crate) fn indexes(&self) -> Vec<String> {
        let of_tables = self.tables.iter().flat_map(|table| table.indexes.iter().map(move |index| (table.kind, index)));
        let of_ledgers =
            self.ledgers.iter().flat_map(|ledger| ledger.indexes.iter().map(move |index| (ledger.name, index)));
        HISTORY
            .into_iter()
            .map(str::to_owned)
            .chain(
                of_tables
                    .chain(of_ledgers)
                    .map(|(table, index)| format!("create index if not exists {} on {table} {}", index.name, index.on)),
            )
            .collect()
    }

    /// Returns the schema version, which detects files with other tables: the layout, the service's schema number, and a hash of all
    /// statements, so that a new column changes it automatically.
    pub fn version(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in self.statements().into_iter().chain(self.indexes()) {
            hasher.update(text.as_bytes()).update(&[0]);
        }
        format!("{LAYOUT}.{}.{}", self.schema, &hasher.finalize().to_hex()[..8])
    }
}

/// Returns the statement that stores a hash of `meta.base` in the header of the file. The base does not follow from the log, so
/// nothing else would detect a change of the column.
pub(crate) fn note_base(base: u64) -> String {
    format!("pragma user_version = {}", base_print(base))
}

/// Returns the `user_version` for a `meta.base`. Never 0, which is the value in files of older versions.
pub(crate) fn base_print(base: u64) -> i32 {
    let hash = blake3::hash(format!("base {base}").as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    (i32::from_be_bytes([a, b, c, d]) & i32::MAX).max(1)
}
