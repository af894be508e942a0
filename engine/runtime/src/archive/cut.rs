//! The extent of an export of a log that keeps growing: an end for each journal, so that no record below the ends lacks its cause.
//!
//! A record may follow from a record of another journal. An export that contained it without its cause would be a history that
//! never existed: after an import the cause could be decided differently. The journals have no common clock, and their ends are read
//! one after the other. If two readings in a row are equal, all ends were as read at the moment between the two. Under load they never
//! are. Then the ends of the second reading are lowered until they fit:
//!
//! - A record that reacts to a public event names the event, whose id derives from its record. If that record is not below the ends,
//!   the journal of the reaction is cut before the reaction. This is repeated until nothing changes.
//! - Records may also follow from others in ways that they do not name: facts copied from another service, calls between services, and
//!   clients. So each reading takes effects before causes: first the journals of services that publish nothing, then the others
//!   against the order in which they are listed.
//!
//! Such a cut always exists, at or past the ends of the first reading. A record at or past an end of the second reading was appended
//! after that end was read. So was every record that is cut off: it reacts to such a record, or lies behind one that does. Records of
//! the first reading were appended before, so none of them is cut off, or reacts to one that is. Neither does anything below the
//! ends that were read before the ones that are lowered. See `docs/decisions/0035-a-cut-under-load.md`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use orderlog_core::{
    header::{HEADER, Header, Stored},
    public::{EVENTS_MAX, Services, Topic, event_id},
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Reading, Record};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::journals_of;
use crate::{
    envelope,
    identity::{self, IdentityError},
};

/// How long to wait for the next record below a journal's end before it is considered unreadable.
const PATIENCE: Duration = Duration::from_secs(30);

/// The end of each journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// For each journal, one past its last record.
    pub ends: Vec<(String, u64)>,
    /// Whether all of them ended there at the same moment.
    pub one_moment: bool,
}

/// Returns where an export of these services' journals may end now.
pub async fn cut(log: &dyn EventLog, services: &Services) -> Result<Cut, ReadError> {
    let before = ends_of(log, services).await?;
    let mut ends = ends_of(log, services).await?;
    let one_moment = ends == before;
    if !one_moment {
        let after = ends_of(log, services).await?;
        let Read { reactions, offsets } = reactions(log, services, &before, &ends).await?;
        close(&log_ids(log, services).await?, &reactions, &mut ends, after);
        for ((end, before), offsets) in ends.iter_mut().zip(before).zip(offsets) {
            // Between the last record and a reaction that is cut off, there may be offsets without a record.
            *end = offsets.into_iter().rev().find(|offset| offset < end).map_or(before, |last| last + 1);
        }
    }
    Ok(Cut { ends: journals_of(services).map(str::to_owned).zip(ends).collect(), one_moment })
}

/// Reads the ends one by one, effects before causes.
async fn ends_of(log: &dyn EventLog, services: &Services) -> Result<Vec<u64>, ReadError> {
    let mut order: Vec<_> = services.iter().enumerate().rev().collect();
    order.sort_by_key(|(_, (_, topics))| !topics.is_empty());
    let mut ends = vec![0; services.len()];
    for (n, (journal, _)) in order {
        ends[n] = log.ends(&[Partition::journal(*journal)]).await?.first().copied().unwrap_or(0);
    }
    Ok(ends)
}

/// Returns each journal's id; `None` for a journal that has not begun.
async fn log_ids(log: &dyn EventLog, services: &Services) -> Result<Vec<Option<Uuid>>, ReadError> {
    let begun = match identity::begun(log, services).await {
        Ok(begun) => begun,
        Err(IdentityError::Read(error)) => return Err(error),
        // The export names the journal that does not begin as it should.
        Err(_) => Vec::new(),
    };
    let id = |journal| begun.iter().find(|genesis| genesis.journal == journal).map(|genesis| genesis.log_id);
    Ok(journals_of(services).map(id).collect())
}

/// The index and offset of the records that react to an event, by its id.
type Reactions = HashMap<Uuid, Vec<(usize, u64)>>;

/// Records between two readings of the ends.
struct Read {
    reactions: Reactions,
    /// The offsets of each journal's records.
    offsets: Vec<Vec<u64>>,
}

async fn reactions(log: &dyn EventLog, services: &Services, from: &[u64], to: &[u64]) -> Result<Read, ReadError> {
    let (mut reactions, mut offsets) = (Reactions::new(), vec![Vec::new(); services.len()]);
    for (n, journal) in journals_of(services).map(Partition::journal).enumerate() {
        for record in log.history(&journal, from[n], to[n], usize::MAX).await? {
            if envelope::is_gap(&record) {
                continue;
            }
            offsets[n].push(record.offset);
            let header = record.header(HEADER).and_then(|bytes| Header::decode(bytes).ok());
            if let Some(cause) = header.and_then(|header| header.origin.cause) {
                reactions.entry(cause).or_default().push((n, record.offset));
            }
        }
    }
    Ok(Read { reactions, offsets })
}

/// Lowers `ends` until no reaction below them is to an event of a record from them up to `past`.
fn close(log_ids: &[Option<Uuid>], reactions: &Reactions, ends: &mut [u64], mut past: Vec<u64>) {
    loop {
        let mut lowered = ends.to_vec();
        for (n, log_id) in log_ids.iter().enumerate() {
            let Some(log_id) = *log_id else { continue };
            let events = (ends[n]..past[n]).flat_map(|offset| (0..EVENTS_MAX).map(move |index| (offset, index)));
            let too_early = events.filter_map(|(offset, index)| reactions.get(&event_id(log_id, offset, index)));
            for (reacting, offset) in too_early.flatten() {
                lowered[*reacting] = lowered[*reacting].min(*offset);
            }
        }
        if lowered == ends {
            return;
        }
        past.copy_from_slice(ends);
        ends.copy_from_slice(&lowered);
    }
}

/// Consecutive records of a journal.
pub type Records = BoxStream<'static, Result<Vec<Record>, ReadError>>;

/// A source of journals: a log, or a running server.
#[async_trait]
pub trait Journals: Send + Sync {
    /// Returns where the journals end.
    async fn cut(&self) -> Result<Cut, ReadError>;

    /// Returns the records of `journal` at `from` up to below `end`. The stream ends after the last one, or with an error.
    fn records(&self, journal: &str, from: u64, end: u64) -> Records;
}

/// The journals of these services in a log that this process has opened.
pub struct OfLog(pub Arc<dyn EventLog>, pub Vec<(&'static str, &'static [Topic])>);

#[async_trait]
impl Journals for OfLog {
    async fn cut(&self) -> Result<Cut, ReadError> {
        cut(self.0.as_ref(), &self.1).await
    }

    fn records(&self, journal: &str, from: u64, end: u64) -> Records {
        records(&self.0, journal, from, end)
    }
}

/// Returns the records of `journal` at `from` up to below `end`, without those that fill gaps. A record without a header is an error
/// if only orderlog writes to the log.
pub fn records(log: &Arc<dyn EventLog>, journal: &str, from: u64, end: u64) -> Records {
    struct Place {
        reading: Reading,
        partition: Partition,
        next: u64,
        end: u64,
        log: Arc<dyn EventLog>,
    }
    let partition = Partition::journal(journal);
    let reading = log.read(vec![(partition.clone(), from)]);
    let place = Place { reading, partition, next: from, end, log: Arc::clone(log) };
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
        records.retain(|record| !envelope::is_gap(record));
        let is_missing = |record: &&Record| envelope::stored(place.log.as_ref(), record) == Stored::Missing;
        if let Some(damaged) = records.iter().find(is_missing) {
            let reason = "it has no header".to_owned();
            return Some((
                Err(ReadError::Damaged { partition: place.partition, offset: damaged.offset, reason }),
                None,
            ));
        }
        Some((Ok(records), Some(place)))
    })
    .boxed()
}

#[cfg(test)]
mod tests;
