//! One service at work: the loop that owns the core, and what runs behind it.
//!
//! - [`replica`]: the loop around `core::machine`: reads the journal, loads and writes rows, takes commands, appends. Every
//!   instance runs one; any of them may take any command.
//! - [`relay`]: publishes what was accepted to the public topics, as [`cloudevents`].
//! - [`reactor`]: answers other services' public events with commands of this one.
//! - [`timer`]: commands that only time asks for. [`delivery`]: HTTP calls that follow from the own journal.
//! - [`rebuild`]: builds the next generation of the rows beside the serving one, compares, and switches; [`projection`]
//!   is how operators ask for that.
//! - [`snapshots`]: copies of rows to begin from. [`aside`]: work at low priority.
//! - [`measures`]: what a replica counts of itself.
//! - [`identity`]: which deployment a log belongs to.
//! - [`marks`]: by what a position is known to be this log's.
//! - [`surroundings`]: where the time and new ids come from, and what runs tasks.
//! - [`trace`]: spans, for traces over all services.
//! - [`past`]: aggregates as they were, folded from their own records.
//! - [`archive`]: all journals as files, and back into an empty log.
//! - [`envelope`]: what the digest chain does not cover of a record.
//! - [`duty`]: runs those only where the journal's lease is held. [`assembly`] puts it all together.
//!
//! Deliberately absent: rules (they are in `domain`), SQL (in `projections`), routes (in `api`).

pub mod archive;
pub mod aside;
pub mod assembly;
pub mod cloudevents;
pub mod delivery;
pub mod duty;
pub mod envelope;
pub mod identity;
pub mod marks;
pub mod measures;
pub mod past;
pub mod projection;
pub mod reactor;
pub mod rebuild;
pub mod relay;
pub mod replica;
#[cfg(test)]
mod sample;
pub mod snapshots;
pub mod surroundings;
pub mod timer;
pub mod trace;

pub use surroundings::now_ms;

use orderlog_eventlog::{EventLog, Partition, ReadError};

/// The partitions of all these topics.
async fn partitions_of(log: &dyn EventLog, topics: &[&str]) -> Result<Vec<Partition>, ReadError> {
    let mut partitions = Vec::new();
    for topic in topics {
        partitions.extend(log.partitions(topic).await?);
    }
    Ok(partitions)
}
