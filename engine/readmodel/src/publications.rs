//! The events that a journal tells others, held against the records of its public topics. They may be more than fit into memory, so
//! both sides are gathered in a database of SQLite's own: it is in a file without a name where temporary files are (`TMPDIR`), and
//! gone with the value.
//!
//! Which copies are right is known by a print that the caller makes of both sides. Three things are no faults: copies that follow the
//! first right one, records whose id no expected event has, and records of a history that a restore took away. Those stand before
//! the place where the relay began again, and another event has their id by now.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

/// Faults of a kind that are reported.
const MAX_FAULTS: u32 = 100;
/// Memory for pages, in KiB.
const CACHE: &str = "pragma cache_size = -16384; pragma journal_mode = off; pragma synchronous = off";

/// A `seq` is the place of an event among all that are expected, in the order of the journal.
const TABLES: &str = "
    create table expected (seq integer primary key, topic text not null, id blob not null, key integer not null,
        record integer not null, line integer not null, print integer not null) strict;
    create table found (topic text not null, part integer not null, offset integer not null, id blob not null,
        print integer not null, primary key (topic, part, offset)) without rowid, strict";

/// Once everything is gathered: what was found of each expected event.
const JOINED: &str = "
    create index expected_by_id on expected (id);
    create table copies (topic text not null, part integer not null, offset integer not null, seq integer not null,
        is_right integer not null, primary key (topic, part, offset)) without rowid, strict;
    insert into copies select found.topic, part, offset, seq, found.print = expected.print
        from found cross join expected on expected.id = found.id and expected.topic = found.topic
        order by found.topic, part, offset;
    create index copies_of on copies (seq, topic, part, offset);
    create index right_copies on copies (topic, part, offset) where is_right = 1";

/// Right copies come in the journal's order. So a wrong one that is followed by a copy of an earlier event, or of its own, stands before
/// a place where the relay began again.
const WRONG: &str = "
    create table wrong as select c.topic, c.part, c.offset, c.seq from copies c
    where c.is_right = 0
      and not exists (select 1 from copies b where b.seq = c.seq and b.topic = c.topic and b.part = c.part and b.offset < c.offset)
      and coalesce((select n.seq from copies n where n.topic = c.topic and n.part = c.part and n.offset > c.offset and n.is_right = 1
                    order by n.offset limit 1) > c.seq, true)";

const WRONG_ONES: &str = "
    select topic, part, offset, id, record from wrong join (select seq, id, record from expected) using (seq) order by seq limit ?";

const MISSING: &str = "
    select topic, null, null, id, record from expected e
    where not exists (select 1 from copies c where c.seq = e.seq and c.is_right = 1) and seq not in (select seq from wrong)
    order by seq limit ?";

/// An event whose last copy stands before the first of the event of its key that the journal tells before it.
const DISORDERED: &str = "
    select topic, part, last, id, record from (
        select topic, part, last, id, record, seq, lag(first) over (partition by topic, part, key order by seq) as before
        from (select c.topic, c.part, min(c.offset) as first, max(c.offset) as last, c.seq, e.key, e.id, e.record
              from copies c join expected e using (seq) where c.is_right = 1 group by c.topic, c.part, c.seq))
    where last < before order by seq limit ?";

/// The first copies that are not the expected bytes, behind a place.
const DIFFERING: &str = "
    select c.topic, c.part, c.offset, e.record, e.line, c.seq from copies c join expected e using (seq)
    where c.is_right = 0 and (c.topic, c.part, c.offset) > (?, ?, ?)
      and not exists (select 1 from copies b where b.seq = c.seq and b.topic = c.topic and b.part = c.part and b.offset < c.offset)
    order by c.topic, c.part, c.offset limit ?";

/// An event that a record of the journal tells others.
#[derive(Clone, Debug)]
pub struct ExpectedEvent {
    pub topic: String,
    /// `ce_id`.
    pub id: Uuid,
    /// What tells its key from another one.
    pub key: u64,
    /// The offset of the record in the journal.
    pub record: u64,
    /// Which of the record's events it is.
    pub line: u64,
    /// What tells its bytes from others.
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
    /// As that of an expected event.
    pub print: u64,
}

/// The first copy of an event, whose bytes are not those that are expected. It may be the same event as an older program wrote it.
#[derive(Clone, Debug)]
pub struct Differing {
    pub topic: String,
    /// Index of its partition.
    pub partition: u32,
    pub offset: u64,
    /// The offset of the record in the journal.
    pub record: u64,
    /// Which of the record's events it is.
    pub line: u64,
    seq: i64,
}

/// What is wrong with a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationFault {
    /// It is on no partition of its topic.
    Missing,
    /// Its first copy is not what the journal says.
    Wrong,
    /// It stands before an event of the same key that comes earlier in the journal.
    Disordered,
}

/// An event with which something is wrong.
#[derive(Clone, Debug)]
pub struct FaultyEvent {
    pub fault: PublicationFault,
    pub topic: String,
    /// Where it stands, with the index of its partition; none if it is missing.
    pub place: Option<(u32, u64)>,
    /// `ce_id`.
    pub id: Uuid,
    /// The offset of the record in the journal.
    pub record: u64,
}

/// The database could not be used: most likely there is no room for it.
#[derive(Debug, thiserror::Error)]
#[error("published events can't be gathered in a temporary file (TMPDIR says where): {0}")]
pub struct PublicationsError(#[from] rusqlite::Error);

/// Both sides, as far as they are gathered.
pub struct Publications {
    database: Connection,
}

impl Publications {
    /// Nothing yet.
    ///
    /// # Errors
    /// [`PublicationsError`] if there is no temporary file to be had.
    pub fn gather() -> Result<Self, PublicationsError> {
        // SQLite's name for a file that it deletes by itself.
        let database = Connection::open("")?;
        database.execute_batch(CACHE)?;
        database.execute_batch(TABLES)?;
        database.execute_batch("begin")?;
        Ok(Self { database })
    }

    /// The journal's next events.
    ///
    /// # Errors
    /// [`PublicationsError`] if they can't be kept.
    pub fn expect(&mut self, events: &[ExpectedEvent]) -> Result<(), PublicationsError> {
        let text = "insert into expected (topic, id, key, record, line, print) values (?, ?, ?, ?, ?, ?)";
        let mut insert = self.database.prepare_cached(text)?;
        for ExpectedEvent { topic, id, key, record, line, print } in events {
            let (key, print) = (key.cast_signed(), print.cast_signed());
            insert.execute(params![topic, id.as_bytes(), key, record.cast_signed(), line.cast_signed(), print])?;
        }
        Ok(())
    }

    /// The next records of a partition.
    ///
    /// # Errors
    /// [`PublicationsError`] if they can't be kept.
    pub fn find(&mut self, events: &[FoundEvent]) -> Result<(), PublicationsError> {
        let text = "insert into found (topic, part, offset, id, print) values (?, ?, ?, ?, ?)";
        let mut insert = self.database.prepare_cached(text)?;
        for FoundEvent { topic, partition, offset, id, print } in events {
            insert.execute(params![topic, partition, offset.cast_signed(), id.as_bytes(), print.cast_signed()])?;
        }
        Ok(())
    }

    /// Holds both sides against each other, once all of both is gathered. Returns how many events are expected.
    ///
    /// # Errors
    /// [`PublicationsError`] if there is no room.
    pub fn join(&mut self) -> Result<u64, PublicationsError> {
        self.database.execute_batch(JOINED)?;
        self.n_expected()
    }

    /// Expects only what comes not behind the last event that was found: how far the relay has come is not known. Returns how many
    /// events are still expected.
    ///
    /// # Errors
    /// [`PublicationsError`] if the database can't be used.
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

    /// The first copies with other bytes than expected behind `after`, at most `limit`.
    ///
    /// # Errors
    /// [`PublicationsError`] if the database can't be used.
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

    /// Other bytes, but the same event.
    ///
    /// # Errors
    /// [`PublicationsError`] if the database can't be used.
    pub fn approve(&mut self, same: &Differing) -> Result<(), PublicationsError> {
        let text = "update copies set is_right = 1 where topic = ? and part = ? and offset = ? and seq = ?";
        let Differing { topic, partition, offset, seq, .. } = same;
        self.database.prepare_cached(text)?.execute(params![topic, partition, offset.cast_signed(), seq])?;
        Ok(())
    }

    /// What is wrong, at most 100 events of each kind, in the order of the journal.
    ///
    /// # Errors
    /// [`PublicationsError`] if the database can't be used.
    pub fn faults(&mut self) -> Result<Vec<FaultyEvent>, PublicationsError> {
        self.database.execute_batch("drop table if exists wrong")?;
        self.database.execute_batch(WRONG)?;
        let mut faults = Vec::new();
        for (fault, text) in [
            (PublicationFault::Missing, MISSING),
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
