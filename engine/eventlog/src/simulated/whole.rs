//! Access to the whole log, for tests that copy it, restore an older copy, or check its final contents.

use std::{collections::BTreeMap, sync::Arc};

use super::{SimulatedLog, index};
use crate::{Partition, Position, Record};

impl SimulatedLog {
    /// Truncates one partition to this end.
    ///
    /// # Panics
    /// If the partition does not exist.
    pub fn truncate_partition(&self, partition: &Partition, end: u64) {
        let mut state = self.shared.state();
        let topic = state.topics.get_mut(&partition.topic).expect("the topic to truncate exists");
        topic.partitions[partition.index as usize].truncate(index(end));
        self.shared.changed(state);
    }

    pub fn contents(&self) -> BTreeMap<Partition, Vec<Record>> {
        let state = self.shared.state();
        let each = state.topics.iter().flat_map(|(name, topic)| {
            let partitions = (0..).zip(&topic.partitions);
            partitions.map(|(index, records)| (Partition::new(Arc::clone(name), index), records.clone()))
        });
        each.collect()
    }

    /// Returns one past the last offset of every partition.
    pub fn all_ends(&self) -> BTreeMap<Partition, u64> {
        let state = self.shared.state();
        let each = state.topics.iter().flat_map(|(name, topic)| {
            let partitions = (0..).zip(&topic.partitions);
            partitions.map(|(index, records)| (Partition::new(Arc::clone(name), index), records.len() as u64))
        });
        each.collect()
    }

    /// Gives the lease to the member that has waited the longest, if nobody holds it.
    pub fn find_lease_holder(&self, group: &str) {
        if let Some(group) = self.shared.state().groups.get_mut(group) {
            group.find_holder();
        }
    }

    /// Returns a group's position in a partition, if it has stored one.
    pub fn position(&self, group: &str, partition: &Partition) -> Option<u64> {
        self.shared.state().positions.get(&(group.to_owned(), partition.clone())).map(|position| position.next)
    }

    pub fn all_positions(&self) -> BTreeMap<(String, Partition), Position> {
        self.shared.state().positions.iter().map(|(place, position)| (place.clone(), position.clone())).collect()
    }

    /// Replaces all positions, as if they had been restored too.
    pub fn set_positions(&self, positions: BTreeMap<(String, Partition), Position>) {
        self.shared.state().positions = positions.into_iter().collect();
    }

    /// Deletes all positions of a group, as Kafka does for a group that was inactive for a week.
    pub fn forget_positions(&self, group: &str) {
        self.shared.state().positions.retain(|(name, _), _| name != group);
    }
}
