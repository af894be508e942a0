//! Records that a server did not write: what another program may leave in a journal.

use std::{path::Path, sync::Arc};

use futures_util::StreamExt;
use orderlog_core::{
    header::{Expect, HEADER, Header, Origin},
    key::{Key, RecordId},
    machine::{DISCARD, Discard},
    reason::Reason,
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, embedded::EmbeddedLog};
use serde_json::Value;
use uuid::Uuid;

use crate::eventually;

/// A journal to write to behind the services' backs.
pub struct Journal {
    log: Arc<dyn EventLog>,
    name: &'static str,
}

impl Journal {
    /// One of the embedded log of a stopped server.
    pub async fn of_stopped(name: &'static str, data: &Path) -> Self {
        // The folder is free once the log's writer has ended.
        let log = eventually("the log can be opened", async || EmbeddedLog::open(data).await.ok()).await;
        Self { log, name }
    }

    /// Let others have the folder.
    pub async fn close(self) {
        self.log.close().await;
    }

    /// One of a log that several may use.
    pub fn of(name: &'static str, log: Arc<dyn EventLog>) -> Self {
        Self { log, name }
    }

    /// A record about `key` that is accepted, if nobody else writes. Where it stands.
    ///
    /// # Panics
    /// If the log does not take it.
    pub async fn put(&self, key: Key, kind: &str, value: &Value) -> u64 {
        let expects = vec![Expect { key, last: self.last(key).await }];
        self.append(expects, kind, value.to_string()).await
    }

    /// A discard of the record at `offset`, which nobody's program would make if it has folded that. Where it stands.
    ///
    /// # Panics
    /// If there is no such record.
    pub async fn discard(&self, offset: u64) -> u64 {
        let discarded = self.headers().await.into_iter().find(|(at, _)| *at == offset).expect("a record").1;
        let command = discarded.command.map(|command| command.key);
        let mut expects = Vec::new();
        for Expect { key, .. } in discarded.expects.iter().filter(|expect| Some(expect.key) != command) {
            expects.push(Expect { key: *key, last: self.last(*key).await });
        }
        let reason = Reason::new("it was not meant").expect("a line");
        let discard = Discard { offset, record: discarded.id.0, reason };
        self.append(expects, DISCARD, serde_json::to_string(&discard).expect("plain text")).await
    }

    /// The offset of the last record that names `key`, and its type.
    pub async fn last_about(&self, key: Key) -> Option<(u64, String)> {
        let names = |header: &Header| header.expects.iter().any(|expect| expect.key == key);
        let last = self.headers().await.into_iter().rfind(|(_, header)| names(header));
        last.map(|(offset, header)| (offset, header.kind))
    }

    async fn last(&self, key: Key) -> Option<RecordId> {
        let names = |header: &Header| header.expects.iter().any(|expect| expect.key == key);
        self.headers().await.into_iter().rfind(|(_, header)| names(header)).map(|(_, header)| header.id)
    }

    /// All records' headers with their offsets; in these tests none is void.
    ///
    /// # Panics
    /// If the journal can't be read.
    pub async fn headers(&self) -> Vec<(u64, Header)> {
        let journal = Partition::journal(self.name);
        let end = self.log.ends(std::slice::from_ref(&journal)).await.expect("an end")[0];
        let (mut headers, mut reading) = (Vec::new(), self.log.read(vec![(journal, 0)]));
        while headers.last().is_none_or(|(last, _)| *last + 1 < end) {
            for record in reading.next().await.expect("records").expect("records").records {
                let header = Header::decode(record.header(HEADER).expect("a header")).expect("a header");
                headers.push((record.offset, header));
            }
        }
        headers
    }

    async fn append(&self, expects: Vec<Expect>, kind: &str, value: String) -> u64 {
        let about = expects.first().map(|expect| String::from(expect.key).into());
        let header = Header {
            id: RecordId(Uuid::now_v7()),
            time_ms: 0,
            writer: Uuid::nil(),
            kind: kind.to_owned(),
            expects,
            command: None,
            origin: Origin::default(),
        };
        let record = NewRecord {
            topic: self.name.into(),
            partition: Some(0),
            key: about,
            headers: vec![(HEADER.into(), header.encode().into())],
            value: value.into(),
        };
        self.log.append(vec![record]).await.remove(0).expect("the log takes it").offset
    }
}
