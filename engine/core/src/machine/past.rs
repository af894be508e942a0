//! The state as it was: one aggregate's own events, folded again.

use crate::decider::{At, Decider, Ref};

/// The events of one aggregate, collected from the newest to the oldest until nothing older can matter.
pub struct Past<D: Decider> {
    aggregate: Ref,
    newest_first: Vec<(At, D::Event)>,
    is_complete: bool,
}

impl<D: Decider> Past<D> {
    /// Nothing yet of this aggregate.
    pub const fn of(aggregate: Ref) -> Self {
        Self { aggregate, newest_first: Vec::new(), is_complete: false }
    }

    /// Whether older events don't matter any more.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The next older accepted event that touches the aggregate.
    pub fn push(&mut self, at: At, event: D::Event) {
        if !self.is_complete {
            self.is_complete = self.place(&event).is_some_and(|which| D::carries_state(&event, which));
            self.newest_first.push((at, event));
        }
    }

    /// The state after the newest of them; none if there is none.
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

/// Which of the aggregates that `event` touches this one is.
fn place<D: Decider>(aggregate: &Ref, event: &D::Event) -> Option<usize> {
    D::touches(event).iter().position(|it| (it.kind, it.key) == (aggregate.kind, aggregate.key))
}
