//! Compares the public events of a journal with the records of its public topics. They may not fit into memory, so both sides are
//! collected in a temporary SQLite database: an unnamed file in `TMPDIR`, deleted when the value is dropped.
//!
//! A copy is right if its print, which the caller computes for both sides, is the expected one. Three things are not faults: copies
//! after the first right one, records whose id no expected event has, and records from before the log was restored to an older
//! state. The latter are before the place where the relay restarted, and another event has their id by now.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

/// The maximum number of reported faults per kind.
const MAX_FAULTS: u32 = 100;
/// A negative `cache_size` is in KiB.
const CACHE: &str = "pragma cache_size = -16384; pragma journal_mode = off; pragma synchronous = off";

/// `seq` numbers the expected events in the order of the journal.
const TABLES: &str = "
    create table expected (seq integer primary key, topic text not null, id blob not null, key integer not null,
        record integer not null, line integer not null, print integer not null) strict;
    create table found (topic text not null, part integer not null, offset integer not null, id blob not null,
        print integer not null, primary key (topic, part, offset)) without rowid, strict";

/// Joins both sides after everything is collected: the copies of each expected event.
const JOINED: &str = "
    create index expected_by_id on expected (id);
    create table copies (topic text not null, part integer not null, offset integer not null, seq integer not null,
        is_right integer not null, primary key (topic, part, offset)) without rowid, strict;
    insert into copies select found.topic, part, offset, seq, found.print = expected.print
        from found cross join expected on expected.id = found.id and expected.topic = found.topic
        order by found.topic, part, offset;
    create index copies_of on copies (seq, topic, part, offset);
    create index right_copies on copies (topic, part, offset) where is_right = 1";

/// Right copies are in the journal's order. So a wrong copy that is followed by a right one of the same or an earlier event is before
/// a place where the relay restarted, and is not a fault.
const WRONG: &str = "
    create table wrong as select c.topic, c.part, c.offset, c.seq from copies c
    where c.is_right = 0
      and not exists (select 1 from copies b where b.seq = c.seq and b.topic = c.topic and b.part = c.part and b.offset < c.offset)
      and coalesce((select n.seq from copies n where n.topic = c.topic and n.part = c.part and n.offset > c.offset and n.is_right = 1
                    order by n.offset limit 1) > c.seq, true)";

const WRONG_ONES: &str = "
    select topic, part, offset, id, record from wrong join (select seq, id, record from expected) using (seq) order by seq limit ?";

const MISSING: &str = "
    create table missing as select seq, topic, key from expected e
    where not exists (select 1 from copies c where c.seq = e.seq and c.is_right = 1) and seq not in (select seq from wrong)";

const MISSING_ONES: &str = "
    select topic, null, null, id, record from missing join (select seq, id, record from expected) using (seq) order by seq limit ?";

/// The events of each key from its first missing one on, after a place.
const TO_PUBLISH: &str = "
    select e.seq, e.id, e.record, e.line, e.seq in (select seq from missing)
    from expected e join (select topic, key, min(seq) as first from missing group by topic, key) using (topic, key)
    where e.seq >= first and e.seq > ? order by e.seq limit ?";

/// Events whose last copy is before the first copy of the previous event with the same key.
const DISORDERED: &str = "
    select topic, part, last, id, record from (
        select topic, part, last, id, record, seq, lag(first) over (partition by topic, part, key order by seq) as before
        from (select c.topic, c.part, min(c.offset) as first, max(c.offset) as last, c.seq, e.key, e.id, e.record
              from copies c join expected e using (seq) where c.is_right = 1 group by c.topic, c.part, c.seq))
    where last < before order by seq limit ?";

/// The first copies of events that differ from the expected bytes, after a place.
const DIFFERING: &str = "
    select c.topic, c.part, c.offset, e.record, e.line, c.seq from copies c join expected e using (seq)
    where c.is_right = 0 and (c.topic, c.part, c.offset) > (?, ?, ?)
      and not exists (select 1 from copies b where b.seq = c.seq and b.topic = c.topic and b.part = c.part and b.offset < c.offset)
    order by c.topic, c.part, c.offset limit ?";

/// A public event of a journal's record.
#[derive(Clone, Debug)]
pub struct ExpectedEvent {
    pub topic: String,
    /// `ce_id`.
    pub id: Uuid,
    /// A fingerprint of the event's key.
    pub key: u64,
    /// The offset of the record in the journal.
    pub record: u64,
    /// The index of the event among those of the record.
    pub line: u64,
    /// A fingerprint of the event's bytes.
    pub print: u64,
}

/// A record of a public topic.
#[derive(Clone, Debug)]
pub struct FoundEvent {
    pub topic: String,
    /// Index of its partition.
    pub partition: u32,
    pub offset: u64,
    /// `ce_id`.
    pub id: Uuid,
    /// Computed in the same way as [`ExpectedEvent::print`].
    pub print: u64,
}

/// The first copy of an event if it differs from the expected bytes. It may be the same event, written by an older version.
#[derive(Clone, Debug)]
pub struct Differing {
    pub topic: String,
    /// Index of its partition.
    pub partition: u32,
    pub offset: u64,
    /// The offset of the record in the journal.
    pub record: u64,
    /// The index of the event among those of the record.
    pub line: u64,
    seq: i64,
}

/// An event to publish again: a missing one, or one that follows a missing one with the same key.
#[derive(Clone, Debug)]
pub struct ToPublish {
    /// Its place among the expected events.
    pub seq: i64,
    /// `ce_id`.
    pub id: Uuid,
    /// The offset of the record in the journal.
    pub record: u64,
    /// The index of the event among those of the record.
    pub line: u64,
    pub is_missing: bool,
}

/// A kind of fault of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationFault {
    /// The event is on no partition of its topic.
    Missing,
    /// The event's first copy differs from the journal.
    Wrong,
    /// The event is before another event with the same key that is earlier in the journal.
    Disordered,
}

/// An event with a fault.
#[derive(Clone, Debug)]
pub struct FaultyEvent {
    pub fault: PublicationFault,
    pub topic: String,
    /// The partition's index and the offset. `None` if the event is missing.
    pub place: Option<(u32, u64)>,
    /// `ce_id`.
    pub id: Uuid,
    /// The offset of the record in the journal.
    pub record: u64,
}

/// The temporary database can't be used. Most likely the disk is full.
#[derive(Debug, thiserror::Error)]
#[error("published events can't be gathered in a temporary file (TMPDIR says where): {0}")]
pub struct PublicationsError(#[from] rusqlite::Error);

/// The collected expected events and records.
pub struct Publications {
    database: Connection,
}

impl Publications {
    pub fn gather() -> Result<Self, PublicationsError> {
        // The empty name makes SQLite create a temporary file that it deletes on close.
        let database = Connection::open("")?;
        database.execute_batch(CACHE)?;
        database.execute_batch(TABLES)?;
        database.execute_batch("begin")?;
        Ok(Self { database })
    }

    pub fn expect(&mut self, events: &[ExpectedEvent]) -> Result<(), PublicationsError> {
        let text = "insert into expected (topic, id, key, record, line, print) values (?, ?, ?, ?, ?, ?)";
        let mut insert = self.database.prepare_cached(text)?;
        for ExpectedEvent { topic, id, key, record, line, print } in events {
            let (key, print) = (key.cast_signed(), print.cast_signed());
            insert.execute(params![topic, id.as_bytes(), key, record.cast_signed(), line.cast_signed(), print])?;
        }
        Ok(())
    }

    /// Adds the next records of a partition.
    pub fn find(&mut self, events: &[FoundEvent]) -> Result<(), PublicationsError> {
        let text = "insert into found (topic, part, offset, id, print) values (?, ?, ?, ?, ?)";
        let mut insert = self.database.prepare_cached(text)?;
        for FoundEvent { topic, partition, offset, id, print } in events {
            insert.execute(params![topic, partition, offset.cast_signed(), id.as_bytes(), print.cast_signed()])?;
        }
        Ok(())
    }

    /// Compares both sides, once they are complete. Returns the number of expected events.
    pub fn join(&mut self) -> Result<u64, PublicationsError> {
        self.database.execute_batch(JOINED)?;
        self.n_expected()
    }

    /// Drops expected events after the last one that was found, for use when the relay's position is unknown. Returns the number of
    /// events that remain.
    pub fn expect_only_published(&mut self) -> Result<u64, PublicationsError> {
        self.database.execute_batch(
            "delete from expected where record > \
             coalesce((select max(record) from copies join expected using (seq) where is_right = 1), -1);
             delete from copies where seq not in (select seq from expected)",
        )?;
        self.n_expected()
    }

    fn n_expected(&self) -> Result<u64, PublicationsError> {
        let n: i64 = self.database.query_row("select count(*) from expected", [], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    }

    /// Returns up to `limit` first copies that differ from the expected bytes, starting after `after`.
    pub fn differing(&self, after: Option<&Differing>, limit: u32) -> Result<Vec<Differing>, PublicationsError> {
        let (topic, partition, offset) =
            after.map_or(("", 0, -1), |it| (it.topic.as_str(), it.partition, it.offset.cast_signed()));
        let mut select = self.database.prepare_cached(DIFFERING)?;
        let read = |row: &Row<'_>| {
            Ok(Differing {
                topic: row.get(0)?,
                partition: row.get(1)?,
                offset: row.get::<_, i64>(2)?.cast_unsigned(),
                record: row.get::<_, i64>(3)?.cast_unsigned(),
                line: row.get::<_, i64>(4)?.cast_unsigned(),
                seq: row.get(5)?,
            })
        };
        Ok(select.query_map(params![topic, partition, offset, limit], read)?.collect::<Result<_, _>>()?)
    }

    /// Accepts a differing copy as the same event.
    pub fn approve(&mut self, same: &Differing) -> Result<(), PublicationsError> {
        let text = "update copies set is_right = 1 where topic = ? and part = ? and offset = ? and seq = ?";
        let Differing { topic, partition, offset, seq, .. } = same;
        self.database.prepare_cached(text)?.execute(params![topic, partition, offset.cast_signed(), seq])?;
        Ok(())
    }

    /// Finds wrong and missing events, once differing ones are approved.
    fn find_faults(&self) -> Result<(), PublicationsError> {
        self.database.execute_batch("drop table if exists wrong; drop table if exists missing")?;
        self.database.execute_batch(WRONG)?;
        Ok(self.database.execute_batch(MISSING)?)
    }

    /// Returns up to `limit` events to publish, starting after `after`, so that every expected event has a copy and the last copies of each
    /// key are in the journal's order.
    pub fn unpublished(&self, after: Option<i64>, limit: u32) -> Result<Vec<ToPublish>, PublicationsError> {
        if after.is_none() {
            self.find_faults()?;
        }
        let mut select = self.database.prepare_cached(TO_PUBLISH)?;
        let read = |row: &Row<'_>| {
            Ok(ToPublish {
                seq: row.get(0)?,
                id: Uuid::from_bytes(row.get(1)?),
                record: row.get::<_, i64>(2)?.cast_unsigned(),
                line: row.get::<_, i64>(3)?.cast_unsigned(),
                is_missing: row.get(4)?,
            })
        };
        Ok(select.query_map(params![after.unwrap_or(-1), limit], read)?.collect::<Result<_, _>>()?)
    }

    /// Returns the faults, up to 100 of each kind, in the order of the journal.
    pub fn faults(&mut self) -> Result<Vec<FaultyEvent>, PublicationsError> {
        self.find_faults()?;
        let mut faults = Vec::new();
        for (fault, text) in [
            (PublicationFault::Missing, MISSING_ONES),
            (PublicationFault::Wrong, WRONG_ONES),
            (PublicationFault::Disordered, DISORDERED),
        ] {
            let mut select = self.database.prepare(text)?;
            let read = |row: &Row<'_>| {
                let place = row.get::<_, Option<u32>>(1)?.zip(row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned));
                let (id, record) = (Uuid::from_bytes(row.get(3)?), row.get::<_, i64>(4)?.cast_unsigned());
                Ok(FaultyEvent { fault, topic: row.get(0)?, place, id, record })
            };
            faults.extend(select.query_map([MAX_FAULTS], read)?.collect::<Result<Vec<_>, _>>()?);
        }
        faults.sort_by_key(|fault| fault.record);
        Ok(faults)
    }
}
