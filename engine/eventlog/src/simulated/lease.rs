//! In-memory groups. The first instance to join holds the lease until it leaves or is deposed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Shared;
use crate::{Lease, LeaseError, Partition, Position};

/// The members in the order in which they joined, and the holder of the lease.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: Vec<(u64, watch::Sender<bool>)>,
    holder: Option<u64>,
}

impl Group {
    /// Takes the lease from its holder, which moves to the end of the queue.
    pub(super) fn depose(&mut self) {
        let deposed = self.holder.take();
        if let Some(at) = self.members.iter().position(|(member, _)| Some(*member) == deposed) {
            let member = self.members.remove(at);
            self.elect();
            self.members.push(member);
            self.tell();
        }
    }

    /// Gives the lease to the first member if nobody holds it.
    pub(super) fn find_holder(&mut self) {
        self.elect();
        self.tell();
    }

    fn elect(&mut self) {
        if self.holder.is_none() {
            self.holder = self.members.first().map(|(member, _)| *member);
        }
    }

    fn tell(&self) {
        for (member, held) in &self.members {
            let holds = self.holder == Some(*member);
            held.send_if_modified(|held| std::mem::replace(held, holds) != holds);
        }
    }
}

/// An instance's membership in a group, which ends when this is dropped.
pub(super) struct SimulatedLease {
    shared: Arc<Shared>,
    group: String,
    member: u64,
    held: watch::Receiver<bool>,
}

impl SimulatedLease {
    /// Joins the group at the end of the queue.
    pub(super) fn new(shared: Arc<Shared>, group: &str) -> Self {
        let held = watch::Sender::new(false);
        let watching = held.subscribe();
        let mut state = shared.state();
        let member = state.next_member;
        state.next_member += 1;
        let members = state.groups.entry(group.to_owned()).or_default();
        members.members.push((member, held));
        members.elect();
        members.tell();
        drop(state);
        Self { shared, group: group.into(), member, held: watching }
    }
}

#[async_trait]
impl Lease for SimulatedLease {
    fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }

    /// Always `None`: simulated instances have no addresses.
    async fn holder(&self) -> Result<Option<String>, LeaseError> {
        Ok(None)
    }

    fn positions_expire(&self) -> bool {
        true
    }

    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        Ok(self.shared.state().positions_of(&self.group, partitions))
    }

    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError> {
        let mut state = self.shared.state();
        if state.groups.get(&self.group).and_then(|group| group.holder) != Some(self.member) {
            return Err(LeaseError::Lost);
        }
        for (partition, position) in positions {
            state.positions.insert((self.group.clone(), partition.clone()), position.clone());
        }
        Ok(())
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let Some(group) = state.groups.get_mut(&self.group) else {
            return;
        };
        group.members.retain(|(member, _)| *member != self.member);
        if group.holder == Some(self.member) {
            group.holder = None;
        }
        group.elect();
        group.tell();
    }
}
