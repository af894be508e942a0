//! Caches the verdicts of the newest records, because the relay asks for those of every batch right after they were written. They
//! are added only after they were written to the rows, so that the cache never contradicts the rows.

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

/// The maximum number of cached records that were not accepted. There are usually few of them.
const N_UNACCEPTED_MAX: usize = 10_000;

/// The verdicts of the newest records.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The records whose verdicts are cached.
    offsets: Range<u64>,
    /// The ones that were not accepted, ascending.
    unaccepted: VecDeque<(u64, Verdict)>,
}

impl Newest {
    /// Adds the verdicts of changes that were written.
    pub fn follow<D: Decider>(&self, changes: &Changes<D>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = changes.records.first().map_or(changes.next, |record| record.offset);
        if from != kept.offsets.end || !changes.verdicts.is_empty() {
            // There is a gap, or verdicts of cached records may have changed.
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

    /// Clears the cache, when all rows are deleted.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// Returns the records in `from..to` that were not accepted, or `None` unless the whole range is cached.
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
