//! The log as a whole, for whoever copies it, puts an older copy in its place, or judges what it holds in the end.

use std::{collections::BTreeMap, sync::Arc};

use super::{SimulatedLog, index};
use crate::{Partition, Position, Record};

impl SimulatedLog {
    /// The same for one partition.
    ///
    /// # Panics
    /// If it does not exist: the test is wrong.
    pub fn truncate_partition(&self, partition: &Partition, end: u64) {
        let mut state = self.shared.state();
        let topic = state.topics.get_mut(&partition.topic).expect("the topic to truncate exists");
        topic.partitions[partition.index as usize].truncate(index(end));
        self.shared.changed(state);
    }

    /// Every partition there is, and what it holds, ascending.
    pub fn contents(&self) -> BTreeMap<Partition, Vec<Record>> {
        let state = self.shared.state();
        let each = state.topics.iter().flat_map(|(name, topic)| {
            let partitions = (0..).zip(&topic.partitions);
            partitions.map(|(index, records)| (Partition::new(Arc::clone(name), index), records.clone()))
        });
        each.collect()
    }

    /// One past the last record of every partition there is, ascending.
    pub fn all_ends(&self) -> BTreeMap<Partition, u64> {
        let state = self.shared.state();
        let each = state.topics.iter().flat_map(|(name, topic)| {
            let partitions = (0..).zip(&topic.partitions);
            partitions.map(|(index, records)| (Partition::new(Arc::clone(name), index), records.len() as u64))
        });
        each.collect()
    }

    /// Give the lease to whoever has waited for it the longest, if nobody holds it.
    pub fn find_lease_holder(&self, group: &str) {
        if let Some(group) = self.shared.state().groups.get_mut(group) {
            group.find_holder();
        }
    }

    /// Where a group stands in a partition, if it ever kept a position there.
    pub fn position(&self, group: &str, partition: &Partition) -> Option<u64> {
        self.shared.state().positions.get(&(group.to_owned(), partition.clone())).map(|position| position.next)
    }

    /// Where all groups stand: (group, partition) and position.
    pub fn all_positions(&self) -> BTreeMap<(String, Partition), Position> {
        self.shared.state().positions.iter().map(|(place, position)| (place.clone(), position.clone())).collect()
    }

    /// Have all groups stand there, as when they were restored too.
    pub fn set_positions(&self, positions: BTreeMap<(String, Partition), Position>) {
        self.shared.state().positions = positions.into_iter().collect();
    }

    /// Lose every position of a group, as Kafka does with those of a group that was away for a week.
    pub fn forget_positions(&self, group: &str) {
        self.shared.state().positions.retain(|(name, _), _| name != group);
    }
}
