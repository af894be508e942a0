//! What one client sees of an object never goes back, and what it was told counts as seen.

use std::collections::HashMap;

use orderlog_domain::key::Key;

use crate::{
    history::{Fault, History, Line, Outcome, fault},
    rule::Journals,
};

/// Check it.
pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let versions = versions(journals);
    let last_restore = history.lines.iter().rposition(|line| *line == Line::Restored);
    let mut seen: HashMap<(u64, &str, Key), u64> = HashMap::new();
    for (at, line) in history.lines.iter().enumerate() {
        match line {
            Line::Restored => seen.clear(),
            Line::Attempt(attempt) => {
                // Offsets of a log that is there no more say nothing.
                let is_current = last_restore.is_none_or(|restore| restore < at);
                if let (Outcome::Acknowledged { offset, .. }, true) = (&attempt.outcome, is_current) {
                    let changed = versions.get(&(attempt.service.as_str(), *offset)).into_iter().flatten();
                    for (object, version) in changed {
                        let floor = seen.entry((attempt.client, attempt.service.as_str(), *object)).or_default();
                        *floor = (*floor).max(*version);
                    }
                }
            }
            Line::Read(read) => {
                let floor = seen.entry((read.client, read.service.as_str(), read.object)).or_default();
                if read.version < *floor {
                    fault(faults, "reads of one client never go back", format!("{read:?} after version {floor}"));
                }
                *floor = (*floor).max(read.version);
            }
        }
    }
}

/// Which version of which object each accepted record makes: the count of accepted records that name its key.
fn versions(journals: &Journals) -> HashMap<(&str, u64), Vec<(Key, u64)>> {
    let mut made = HashMap::new();
    for (service, records) in journals {
        let mut count: HashMap<Key, u64> = HashMap::new();
        for judged in records.iter().filter(|judged| judged.accepted) {
            let own = judged.header.command.map(|command| command.key);
            let objects = judged.header.expects.iter().map(|expect| expect.key).filter(|key| Some(*key) != own);
            let next = objects.map(|key| {
                let version = count.entry(key).or_default();
                *version += 1;
                (key, *version)
            });
            made.insert((service.as_str(), judged.offset), next.collect());
        }
    }
    made
}
