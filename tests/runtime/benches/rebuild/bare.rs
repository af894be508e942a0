//! What the rebuild is held against: the same rows inserted, and the same topic consumed, by as little code as possible.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use rusqlite::{Connection, OpenFlags, types::Value};

use super::Result;

/// The tables that a replay of orders fills, and the column by which their rows are taken in turn.
const TABLES: [(&str, &str); 3] = [("records", "offset"), ("heads", "offset"), ("orders", "offset")];
const PER_TRANSACTION: u64 = 20_000;

/// How long it takes to insert all rows of `rows` into `fresh`, a file of the same tables: each row once, in the order of the
/// records that last changed them, by one prepared statement per table, in transactions of as many records as a replay has.
/// Reading them is not counted, and no index is made.
pub fn insert(rows: &Path, fresh: &Path, n_records: u64) -> Result<Duration> {
    let from = Connection::open_with_flags(rows, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let to = Connection::open(fresh)?;
    to.execute_batch("pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -65536")?;
    to.execute_batch("pragma wal_autocheckpoint = 32000")?;
    let mut selected = Vec::new();
    let mut inserts = Vec::new();
    for (table, by) in TABLES {
        let text: String = from.query_row("select sql from sqlite_schema where name = ?", [table], |row| row.get(0))?;
        to.execute_batch(&text)?;
        let select = from.prepare(&format!("select {by}, * from {table} order by {by}"))?;
        let holes = vec!["?"; select.column_count() - 1].join(",");
        selected.push(select);
        inserts.push(to.prepare(&format!("insert into {table} values ({holes})"))?);
    }
    let mut selected = selected.iter_mut().map(rusqlite::Statement::raw_query).collect::<Vec<_>>();
    let mut next = Vec::new();
    for rows in &mut selected {
        next.push(taken(rows)?);
    }
    let mut spent = Duration::ZERO;
    for begin in (0..n_records).step_by(usize::try_from(PER_TRANSACTION)?) {
        let end = i64::try_from(begin + PER_TRANSACTION)?;
        let mut chunks = Vec::new();
        for (rows, next) in selected.iter_mut().zip(&mut next) {
            let mut chunk = Vec::new();
            while let Some((_, row)) = next.take_if(|(offset, _)| *offset < end) {
                chunk.push(row);
                *next = taken(rows)?;
            }
            chunks.push(chunk);
        }
        let began = Instant::now();
        to.execute_batch("begin immediate")?;
        for (insert, chunk) in inserts.iter_mut().zip(&chunks) {
            for row in chunk {
                insert.execute(rusqlite::params_from_iter(row))?;
            }
        }
        to.execute_batch("commit")?;
        spent += began.elapsed();
    }
    Ok(spent)
}

/// The next row: what it is ordered by, and its columns.
fn taken(rows: &mut rusqlite::Rows<'_>) -> Result<Option<(i64, Vec<Value>)>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let n_columns = row.as_ref().column_count();
    let values = (1..n_columns).map(|column| row.get(column)).collect::<std::result::Result<_, _>>()?;
    Ok(Some((row.get(0)?, values)))
}

/// How long it takes to receive `n_records` of a topic, and to look at each header and value.
pub fn consume(brokers: &str, topic: &str, n_records: u64) -> Result<Duration> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "4194304")
        .set("fetch.max.bytes", "16777216")
        .set("queued.max.messages.kbytes", "32768")
        .create()?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)?;
    let began = Instant::now();
    consumer.assign(&from)?;
    let (mut n, mut bytes) = (0, 0);
    while n < n_records {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else { return Err("no more records".into()) };
        let message = message?;
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        bytes += headers.filter_map(|header| header.value).map(<[u8]>::len).sum::<usize>();
        bytes += message.payload().map_or(0, <[u8]>::len);
        n += 1;
    }
    assert!(bytes > 0, "records have bytes");
    Ok(began.elapsed())
}
