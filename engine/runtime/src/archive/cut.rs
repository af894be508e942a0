//! What an export holds of a log that grows meanwhile: all journals as they are at one moment.
//!
//! A record may follow from one of another journal. An export that had it without its cause would be of a history that never
//! was: after an import the cause could be decided otherwise. So where the journals end is asked until two answers in a row
//! are the same: then all ends were as told at the moment between the two.

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

/// So often is asked where the journals end. If something is appended every time, the last answer has to do.
const N_TRIES: u32 = 200;
/// Below a journal's end there are records. If none comes for so long, there is none that can be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where each journal ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// By journal, one past its last record.
    pub ends: Vec<(String, u64)>,
    /// Whether all of them ended there at one and the same moment; otherwise within one call to the log.
    pub one_moment: bool,
}

/// Where the journals of these services end.
///
/// # Errors
/// [`ReadError`] if that can't be read.
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

/// Some records of a journal, in order.
pub type Records = BoxStream<'static, Result<Vec<Record>, ReadError>>;

/// Where journals are read from: a log, or a running server.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Where they end.
    ///
    /// # Errors
    /// [`ReadError`] if that can't be told.
    async fn cut(&self) -> Result<Cut, ReadError>;

    /// The records of `journal` below `end`, from the first one on. The stream ends behind the last one, or with an error.
    fn records(&self, journal: &str, end: u64) -> Records;
}

/// The journals of these services in a log of this process.
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

/// The records of `journal` below `end`, from the first one on.
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
