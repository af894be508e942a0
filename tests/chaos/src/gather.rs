//! The history of a deployment that has stopped: what clients noted, what its log holds, and its rows.

use std::path::Path;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use orderlog_domain::{
    billing::Billing, customers::Customers, header::HEADER, inventory::Inventory, key::Key,
    notifications::Notifications, orders::Orders,
};
use orderlog_eventlog::{EventLog, Partition, Record, TopicKind};
use orderlog_history::{History, Line, Row};
use orderlog_projections::{Store, Tables};
use orderlog_service::{assembly, now_ms};

/// Everything there is to check. `rows` tells the data folder of each service.
///
/// # Errors
/// If log or rows can't be read.
pub async fn history(log: &dyn EventLog, rows: impl Fn(&str) -> Box<Path>, lines: Vec<Line>) -> Result<History> {
    let mut history = History { lines, rested_ms: Some(now_ms()), ..History::default() };
    for topic in assembly::topics() {
        let name = topic.name.to_string();
        let (header, of) = match topic.kind {
            TopicKind::Journal => (HEADER, &mut history.journals),
            TopicKind::Public => ("ce_id", &mut history.topics),
        };
        let mut records = Vec::new();
        for partition in log.partitions(&name).await.with_context(|| name.clone())? {
            records.extend(contents(log, partition).await?.into_iter().map(|record| orderlog_history::Record {
                offset: record.offset,
                landed: None,
                header: record.header(header).cloned().unwrap_or_default(),
                value: record.value,
            }));
        }
        of.insert(name, records);
    }
    history.rows.insert("customers".to_owned(), documents::<Customers>(&rows("customers")).await?);
    history.rows.insert("orders".to_owned(), documents::<Orders>(&rows("orders")).await?);
    history.rows.insert("inventory".to_owned(), documents::<Inventory>(&rows("inventory")).await?);
    history.rows.insert("billing".to_owned(), documents::<Billing>(&rows("billing")).await?);
    history.rows.insert("notifications".to_owned(), documents::<Notifications>(&rows("notifications")).await?);
    Ok(history)
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
async fn documents<D: Tables>(dir: &Path) -> Result<Vec<Row>> {
    let store = Store::<D>::open(dir).await?;
    let connection = rusqlite::Connection::open(store.file())?;
    let mut rows = Vec::new();
    for table in D::TABLES {
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
