//! The text of every table: what is in each service's file, and the version by which a file of another text is recognised.

use crate::tables::{Column, Tables};
use orderlog_core::decider::Decider;

/// To be counted up when the fixed tables change their meaning.
const LAYOUT: u32 = 1;

/// Offsets in one block of `periods`. A moment costs one pass over the blocks and one over a block's records.
pub(crate) const RECORDS_PER_PERIOD: u64 = 4_096;

/// The tables that every service has.
///
/// Keys and ids are 16-byte blobs as primary keys of tables without rowid: time-ordered ones (UUIDv7) are appended.
/// `meta.base`: rows that were copied from a snapshot at this offset, or folded from the first record: 0. `meta.revision` counts
/// how often rows of records that were folded before have changed.
/// `heads` has where the last record of each key stands; its id is in `records`. Keys that are hashes come to lie all over the table:
/// while a mass of rows is written they are gathered in `fresh_heads`, which goes before `heads` and is merged into it now and then.
/// `copied.print` tells the record before `next` from another one at its place, as in a log that was restored.
/// `records` is a plain rowid table, since its offsets ascend. `periods` has the earliest and the latest time of each block of
/// [`RECORDS_PER_PERIOD`] offsets: by it a moment is found although record times do not always ascend. `touched` has what an accepted record touches besides what it is
/// about, which stands in `records`.
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

/// The indexes by which an aggregate's history is found; made late, like those of the lists.
const HISTORY: [&str; 2] = [
    "create index if not exists records_about on records (about)",
    "create index if not exists touched_by_key on touched (key)",
];

fn columns(columns: &[Column]) -> String {
    columns.iter().map(|column| format!("{} {}, ", column.name, column.sql_type)).collect()
}

impl<D: Decider> Tables<D> {
    /// The tables whose rows go when they are built anew: all but `meta`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let fixed = ["heads", "fresh_heads", "records", "periods", "touched", "parked", "discarded", "copied"];
        let of_tables = self.tables.iter().map(|table| table.kind);
        fixed.into_iter().chain(of_tables).chain(self.ledgers.iter().map(|ledger| ledger.name))
    }

    /// The statements that make the tables of a service.
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

    /// The statements that make what can wait until a replay is done; each may be repeated.
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

    /// The version of the schema, by which files of other tables are recognised: layout, the service's count, and a hash of all
    /// statements, so that nobody can forget to count a new column.
    pub fn version(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in self.statements().into_iter().chain(self.indexes()) {
            hasher.update(text.as_bytes()).update(&[0]);
        }
        format!("{LAYOUT}.{}.{}", self.schema, &hasher.finalize().to_hex()[..8])
    }
}

/// The statement that notes `meta.base` once more, in the header of the file: the log does not say where rows began, so nothing else
/// would show that the column was changed.
pub(crate) fn note_base(base: u64) -> String {
    format!("pragma user_version = {}", base_print(base))
}

/// What `user_version` is where `meta.base` is `base`. Never 0: that is what files have that were made before it was noted.
pub(crate) fn base_print(base: u64) -> i32 {
    let hash = blake3::hash(format!("base {base}").as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    (i32::from_be_bytes([a, b, c, d]) & i32::MAX).max(1)
}
