//! The verdicts of the newest records in memory: the relay asks for those of every batch, a moment after they were written. They are
//! here only once they stand in the rows, so that nobody who follows the rows is told anything else than they say.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use orderlog_core::{
    decider::Decider,
    machine::{Changes, Verdict},
};

use super::Unaccepted;

/// More records than this that were not accepted are not kept; there are few of them.
const N_UNACCEPTED_MAX: usize = 10_000;

/// What became of the newest records.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The records of which it is known.
    offsets: Range<u64>,
    /// Those of them that were not accepted, ascending.
    unaccepted: VecDeque<(u64, Verdict)>,
}

impl Newest {
    /// These changes have been written.
    pub fn follow<D: Decider>(&self, changes: &Changes<D>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = changes.records.first().map_or(changes.next, |record| record.offset);
        if from != kept.offsets.end || !changes.verdicts.is_empty() {
            // There are others in between, or some of those that are kept have become something else.
            *kept = Kept { offsets: from..from, unaccepted: VecDeque::new() };
        }
        kept.offsets.end = changes.next;
        let unaccepted = changes.records.iter().filter(|record| record.verdict != Verdict::Accepted);
        kept.unaccepted.extend(unaccepted.map(|record| (record.offset, record.verdict)));
        while kept.unaccepted.len() > N_UNACCEPTED_MAX
            && let Some((offset, _)) = kept.unaccepted.pop_front()
        {
            kept.offsets.start = offset + 1;
        }
    }

    /// All rows were deleted.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// What is known of the records from `from` up to and without `to`, if it is known of all of them.
    pub fn unaccepted(&self, from: u64, to: u64) -> Option<Unaccepted> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if from < kept.offsets.start || to > kept.offsets.end {
            return None;
        }
        let begin = kept.unaccepted.partition_point(|(offset, _)| *offset < from);
        let verdicts = kept.unaccepted.range(begin..).take_while(|(offset, _)| *offset < to).copied().collect();
        Some(Unaccepted { next: kept.offsets.end, verdicts })
    }
}
