//! Commands that are not answered yet, and when to look at them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Ends, Request, Ticket};
use crate::{
    decider::{Decider, Millis},
    key::RecordId,
};

pub(super) struct Pending<D: Decider> {
    pub request: Arc<Request<D>>,
    pub deadline: Millis,
    /// Where the logs ended at some moment after the command was asked.
    pub ends: Option<Arc<Ends>>,
    /// Its record in flight. `None` while it waits.
    pub flight: Option<RecordId>,
    /// It is not looked at before this time.
    pub rests_until: Millis,
}

pub(super) struct Commands<D: Decider> {
    pub pending: BTreeMap<Ticket, Pending<D>>,
    pub waiting: BTreeSet<Ticket>,
    pub fresh: Vec<Ticket>,
    /// The last one issued.
    pub ticket: Ticket,
    /// Something happened that may unblock waiting commands.
    pub stirred: bool,
    /// The last time that was passed in.
    pub now: Millis,
    pub wake_at: Millis,
    pub expire_at: Millis,
}

impl<D: Decider> Commands<D> {
    pub fn none() -> Self {
        Self {
            pending: BTreeMap::new(),
            waiting: BTreeSet::new(),
            fresh: Vec::new(),
            ticket: 0,
            stirred: false,
            now: Millis::MIN,
            wake_at: Millis::MAX,
            expire_at: Millis::MAX,
        }
    }

    pub fn ask(&mut self, request: Arc<Request<D>>, now: Millis) -> Ticket {
        let deadline = request.deadline;
        self.ticket += 1;
        self.expire_at = self.expire_at.min(deadline);
        let pending = Pending { request, deadline, ends: None, flight: None, rests_until: now };
        self.pending.insert(self.ticket, pending);
        self.fresh.push(self.ticket);
        self.ticket
    }

    pub fn learn_ends(&mut self, up_to: Ticket, ends: Ends) {
        let ends = Arc::new(ends);
        for (_, pending) in self.pending.range_mut(..=up_to) {
            pending.ends.get_or_insert_with(|| Arc::clone(&ends));
        }
        self.stirred = true;
    }

    /// Removes an answered command. Returns whether it was still pending.
    pub fn remove(&mut self, ticket: Ticket) -> bool {
        let was_pending = self.pending.remove(&ticket).is_some();
        if was_pending {
            self.waiting.remove(&ticket);
        }
        was_pending
    }

    pub fn take_off(&mut self, ticket: Ticket, flight: RecordId) {
        self.waiting.remove(&ticket);
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.flight = Some(flight);
        }
    }

    pub fn wait_again(&mut self, ticket: Ticket, rests_until: Millis) {
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.flight = None;
            pending.rests_until = rests_until;
            self.waiting.insert(ticket);
        }
        self.stirred = true;
    }
}
