//! The extent of an export of a log that keeps growing: all journals as they are at one moment.
//!
//! A record may follow from a record of another journal. An export that contained it without its cause would be a history that
//! never existed: after an import the cause could be decided differently. So the ends of the journals are queried until two
//! answers in a row are equal. Then all ends were as returned at the moment between the two queries.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use orderlog_core::public::{Services, Topic};
use orderlog_eventlog::{EventLog, Partition, ReadError, Reading, Record};
use serde::{Deserialize, Serialize};

use super::journals_of;

/// The maximum number of queries for the ends. If records are appended between all of them, the last answer is used.
const N_TRIES: u32 = 200;
/// How long to wait for the next record below a journal's end before it is considered unreadable.
const PATIENCE: Duration = Duration::from_secs(30);

/// The end of each journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// For each journal, one past its last record.
    pub ends: Vec<(String, u64)>,
    /// Whether all of them ended there at the same moment; otherwise within one call to the log.
    pub one_moment: bool,
}

/// Returns where the journals of these services end.
pub async fn cut(log: &dyn EventLog, services: &Services) -> Result<Cut, ReadError> {
    let journals: Vec<_> = journals_of(services).map(Partition::journal).collect();
    let (mut last, mut one_moment) = (log.ends(&journals).await?, false);
    for _ in 0..N_TRIES {
        let ends = log.ends(&journals).await?;
        one_moment = ends == last;
        last = ends;
        if one_moment {
            break;
        }
    }
    Ok(Cut { ends: journals_of(services).map(str::to_owned).zip(last).collect(), one_moment })
}

/// Consecutive records of a journal.
pub type Records = BoxStream<'static, Result<Vec<Record>, ReadError>>;

/// A source of journals: a log, or a running server.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Returns where the journals end.
    async fn cut(&self) -> Result<Cut, ReadError>;

    /// Returns the records of `journal` below `end`, from the first one. The stream ends after the last one, or with an error.
    fn records(&self, journal: &str, end: u64) -> Records;
}

/// The journals of these services in a log that this process has opened.
pub struct OfLog(pub Arc<dyn EventLog>, pub Vec<(&'static str, &'static [Topic])>);

#[async_trait]
impl Journals for OfLog {
    async fn cut(&self) -> Result<Cut, ReadError> {
        cut(self.0.as_ref(), &self.1).await
    }

    fn records(&self, journal: &str, end: u64) -> Records {
        records(self.0.as_ref(), journal, end)
    }
}

/// Returns the records of `journal` below `end`, from the first one.
pub fn records(log: &dyn EventLog, journal: &str, end: u64) -> Records {
    struct Place {
        reading: Reading,
        partition: Partition,
        next: u64,
        end: u64,
    }
    let partition = Partition::journal(journal);
    let place = Place { reading: log.read(vec![(partition.clone(), 0)]), partition, next: 0, end };
    stream::unfold(Some(place), |place| async move {
        let mut place = place?;
        if place.next >= place.end {
            return None;
        }
        let silent = || ReadError::Unavailable {
            reason: format!(
                "{} ends at {}, but nothing can be read from {} on",
                place.partition, place.end, place.next
            ),
        };
        let mut records = match tokio::time::timeout(PATIENCE, place.reading.next()).await {
            Ok(Some(Ok(batch))) => batch.records,
            Ok(Some(Err(error))) => return Some((Err(error), None)),
            Ok(None) | Err(_) => return Some((Err(silent()), None)),
        };
        records.retain(|record| record.offset < place.end);
        place.next = records.last().map_or(place.end, |last| last.offset + 1);
        Some((Ok(records), Some(place)))
    })
    .boxed()
}
