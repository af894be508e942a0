//! The runtime of one service: the event loop that owns the core, and the background tasks behind it.
//!
//! - [`replica`]: the loop around `core::machine`. It reads the journal, loads and writes rows, accepts commands and appends
//!   their records. Every instance runs one, and any of them accepts any command.
//! - [`relay`]: publishes accepted events to the public topics, as [`cloudevents`].
//! - [`reactor`]: reacts to other services' public events with commands of this service.
//! - [`timer`]: runs time-driven commands. [`delivery`]: sends HTTP calls that follow from the service's own journal.
//! - [`rebuild`]: builds the next generation of the read model beside the serving one, compares the two and switches over.
//!   Operators request it through [`projection`].
//! - [`prepared`]: builds a read model ahead of an upgrade, for the first start of the new version to adopt.
//! - [`snapshots`]: copies of the read model to bootstrap new instances from. [`aside`]: low-priority work.
//! - [`measures`]: the metrics of a replica.
//! - [`identity`]: which deployment a log belongs to.
//! - [`marks`]: fingerprints that prove that a position belongs to this log.
//! - [`environment`]: the environment: clock, id generator and task spawner.
//! - [`trace`]: spans for distributed traces.
//! - [`past`]: earlier states of aggregates, folded from their own records.
//! - [`archive`]: exports all journals to files and imports them into an empty log.
//! - [`envelope`]: the parts of a record that the digest chain does not cover.
//! - `consumed`: the partitions of the public topics that a service consumes.
//! - [`background`]: runs background tasks only on the instance that holds the journal's lease. [`assembly`] wires everything together.
//!
//! Business rules are in `domain`, SQL is in `projections` and routes are in `api`.

pub mod archive;
pub mod aside;
pub mod assembly;
pub mod background;
pub mod cloudevents;
mod consumed;
pub mod delivery;
pub mod envelope;
pub mod environment;
pub mod identity;
pub mod marks;
pub mod measures;
pub mod past;
pub mod prepared;
pub mod projection;
pub mod reactor;
pub mod rebuild;
pub mod relay;
pub mod replica;
#[cfg(test)]
mod sample;
pub mod snapshots;
pub mod timer;
pub mod trace;

pub use environment::now_ms;

use orderlog_eventlog::{EventLog, Partition, ReadError};

async fn partitions_of(log: &dyn EventLog, topics: &[&str]) -> Result<Vec<Partition>, ReadError> {
    let mut partitions = Vec::new();
    for topic in topics {
        partitions.extend(log.partitions(topic).await?);
    }
    Ok(partitions)
}
