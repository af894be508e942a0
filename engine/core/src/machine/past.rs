//! The state at a point in the past, folded again from one aggregate's events.

use crate::decider::{At, Decider, Ref};

/// The events of one aggregate, collected from newest to oldest until older ones can't matter.
pub struct Past<D: Decider> {
    aggregate: Ref,
    newest_first: Vec<(At, D::Event)>,
    is_complete: bool,
}

impl<D: Decider> Past<D> {
    /// No events yet.
    pub const fn of(aggregate: Ref) -> Self {
        Self { aggregate, newest_first: Vec::new(), is_complete: false }
    }

    /// Whether older events can't matter any more.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Adds the next older accepted event that touches the aggregate.
    pub fn push(&mut self, at: At, event: D::Event) {
        if !self.is_complete {
            self.is_complete = self.place(&event).is_some_and(|which| D::carries_state(&event, which));
            self.newest_first.push((at, event));
        }
    }

    /// The state after the newest event. `None` if there are no events.
    pub fn fold(self) -> Option<D::Entity> {
        let (aggregate, mut state) = (self.aggregate, None);
        for (at, event) in self.newest_first.into_iter().rev() {
            if let Some(which) = place::<D>(&aggregate, &event) {
                state = Some(D::evolve(state, which, &event, &at));
            }
        }
        state
    }

    fn place(&self, event: &D::Event) -> Option<usize> {
        place::<D>(&self.aggregate, event)
    }
}

/// The position of the aggregate in [`Decider::touches`] of `event`.
fn place<D: Decider>(aggregate: &Ref, event: &D::Event) -> Option<usize> {
    D::touches(event).iter().position(|it| (it.kind, it.key) == (aggregate.kind, aggregate.key))
}
