//! The history of a deployment that has stopped: what clients noted, what its log holds, and its rows.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use orderlog_core::{decider::Decider, header::HEADER, key::Key};
use orderlog_domain::notifications::Notification;
use orderlog_eventlog::{EventLog, Partition, Record, TopicKind};
use orderlog_history::{History, Line, PublicRecord, Row};
use orderlog_projections::{self as projections, Inbox, RedisInbox};
use orderlog_readmodel::{Paging, RedisAddress, Store, Tables};
use orderlog_runtime::{assembly, now_ms};

/// Everything there is to check. `rows` tells the data folder of each service.
///
/// # Errors
/// If log or rows can't be read.
pub async fn history(log: &dyn EventLog, rows: impl Fn(&str) -> Box<Path>, lines: Vec<Line>) -> Result<History> {
    let mut history = History { lines, rested_ms: Some(now_ms()), ..History::default() };
    for topic in assembly::topics(orderlog_domain::SERVICES) {
        let name = topic.name.to_string();
        for partition in log.partitions(&name).await.with_context(|| name.clone())? {
            let (index, records) = (partition.index, contents(log, partition).await?.into_iter());
            match topic.kind {
                TopicKind::Journal => {
                    history.journals.entry(name.clone()).or_default().extend(records.map(of_journal));
                }
                TopicKind::Public => {
                    let records = records.map(|record| of_topic(index, record));
                    history.topics.entry(name.clone()).or_default().extend(records);
                }
            }
        }
    }
    history.rows.insert("customers".to_owned(), documents(&projections::customers::TABLES, &rows("customers")).await?);
    history.rows.insert("orders".to_owned(), documents(&projections::orders::TABLES, &rows("orders")).await?);
    history.rows.insert("inventory".to_owned(), documents(&projections::inventory::TABLES, &rows("inventory")).await?);
    history.rows.insert("billing".to_owned(), documents(&projections::billing::TABLES, &rows("billing")).await?);
    history.rows.insert(
        "notifications".to_owned(),
        documents(&projections::notifications::TABLES, &rows("notifications")).await?,
    );
    Ok(history)
}

fn of_journal(record: Record) -> orderlog_history::Record {
    orderlog_history::Record {
        offset: record.offset,
        landed: None,
        taken_ms: None,
        key: record.key.clone(),
        header: record.header(HEADER).cloned().unwrap_or_default(),
        value: record.value,
    }
}

fn of_topic(partition: u32, record: Record) -> PublicRecord {
    PublicRecord {
        partition,
        offset: record.offset,
        landed: None,
        taken_ms: None,
        key: record.key,
        headers: record.headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect(),
        value: record.value,
    }
}

/// What the inbox in the Redis at `url` holds otherwise than the rows in `dir`; nothing, once both have come to rest.
///
/// # Errors
/// If one of them can't be read.
pub async fn inbox_differences(url: &str, dir: &Path) -> Result<Vec<String>> {
    let rows = Store::open(dir, &projections::notifications::TABLES).await?;
    let log_id = rows.checkpoint().await?.genesis.context("the journal has begun")?.log_id;
    let address = RedisAddress { url: url.to_owned(), user: None, password: None, ca_pem: None };
    let redis = RedisInbox::new(&address, &log_id.simple().to_string(), log_id)?;
    let (ours, theirs) = (notifications(&rows).await?, notifications(&redis).await?);
    let mut found = Vec::new();
    let mut compare = |what: String, ours: u64, theirs: u64| {
        if ours != theirs {
            found.push(format!("the inbox in Redis has {theirs} as {what}, the rows {ours}"));
        }
    };
    compare("its position".to_owned(), Inbox::position(&rows).await?, redis.position().await?);
    compare("its size".to_owned(), ours.len() as u64, theirs.len() as u64);
    let recipients: BTreeSet<_> = ours.iter().map(|notification| &notification.recipient).collect();
    for recipient in recipients {
        let page = async |inbox: &dyn Inbox| inbox.page(recipient, false, &Paging::first(1)).await;
        compare(format!("unread of {recipient}"), page(&rows).await?.unread, page(&redis).await?.unread);
    }
    let others = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
    found.extend(others.map(|(ours, _)| format!("notification {} is another one in Redis", ours.sequence)));
    rows.close().await;
    Ok(found)
}

/// All of them, in their order.
async fn notifications(inbox: &dyn Inbox) -> Result<Vec<Notification>> {
    let mut all: Vec<Notification> = Vec::new();
    loop {
        let more = inbox.since(all.last().map(|last| last.sequence), None, 500).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

async fn contents(log: &dyn EventLog, partition: Partition) -> Result<Vec<Record>> {
    let end = log.ends(std::slice::from_ref(&partition)).await?[0];
    let mut reading = log.read(vec![(partition, 0)]);
    let mut records: Vec<Record> = Vec::new();
    while records.last().map_or(0, |last| last.offset + 1) < end {
        records.extend(reading.next().await.context("reading ended")??.records);
    }
    Ok(records)
}

/// The rows of a service that serve.
async fn documents<D: Decider>(tables: &'static Tables<D>, dir: &Path) -> Result<Vec<Row>> {
    let store = Store::open(dir, tables).await?;
    let connection = rusqlite::Connection::open(store.file())?;
    let mut rows = Vec::new();
    for table in tables.tables {
        let mut query = connection.prepare(&format!("select key, doc from {}", table.kind))?;
        let found = query.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?)))?;
        for found in found {
            let (key, doc) = found?;
            rows.push(Row { kind: table.kind.to_owned(), key: Key::from_bytes(key), doc: serde_json::from_str(&doc)? });
        }
    }
    store.close().await;
    Ok(rows)
}
