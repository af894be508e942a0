//! The facts that rows should have copied from other services' topics, read from the topics again. They are read up to the
//! positions stored in the rows, since topics and journal have no common order.

use std::sync::Arc;

use orderlog_core::{
    decider::Decider,
    machine::{CopiedRow, EntityRow},
    public::PublicEvent,
};
use orderlog_eventlog::{EventLog, Partition};
use orderlog_readmodel::Pinned;

use super::RebuildError;
use crate::{marks, partitions_of};

/// The maximum number of records in memory.
const N_AT_A_TIME: usize = 2_000;

/// Adds to `rows` the facts that they are compared with.
///
/// # Errors
/// [`RebuildError`] if a topic cannot be read, or contains a record that is not one of its events.
pub(crate) async fn expect<D: Decider>(log: &dyn EventLog, rows: &mut Pinned<D>) -> Result<(), RebuildError> {
    for partition in partitions_of(log, D::COPIES).await? {
        let is_of_it = |row: &&CopiedRow| *row.topic == *partition.topic && row.part == partition.index;
        if let Some(next) = rows.copied.iter().find(is_of_it).map(|row| row.next) {
            expect_of(log, &partition, next, rows).await?;
        }
    }
    Ok(())
}

/// Adds the facts of one partition below `end`. Facts that it no longer contains count as differences.
async fn expect_of<D: Decider>(
    log: &dyn EventLog,
    partition: &Partition,
    end: u64,
    rows: &mut Pinned<D>,
) -> Result<(), RebuildError> {
    let held = log.ends(std::slice::from_ref(partition)).await?.first().copied().unwrap_or(0);
    let (end, mut next, mut last) = (end.min(held), 0, None);
    while next < end {
        let records = log.history(partition, next, end, N_AT_A_TIME).await?;
        let Some(newest) = records.last() else { break };
        next = newest.offset + 1;
        let (topic, part) = (partition.topic.to_string(), partition.index);
        last = Some(CopiedRow { topic, part, next, print: marks::print_of(newest) });
        let mut facts = Vec::with_capacity(records.len());
        for record in &records {
            let event = D::Heard::from_json(&partition.topic, &record.value)
                .map_err(|failure| RebuildError::Damage(format!("{partition}@{}: {failure}", record.offset)))?;
            let fact = D::copy(&event);
            let row =
                |(aggregate, version, entity)| EntityRow { aggregate, version, offset: 0, entity: Arc::new(entity) };
            facts.extend(fact.map(row));
        }
        rows.expect_facts(&facts).await?;
    }
    if let Some(last) = last {
        rows.expect_position(&last).await?;
    }
    Ok(())
}
