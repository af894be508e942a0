//! What one client sees of an object never goes back, and what it was told counts as seen. Nor is it older than what followed from a
//! record of another service that the client had seen, and said so, nor than what the instance that shows it had answered before to
//! anybody. What it sees is the object as it was at that version, with every field.

use std::collections::HashMap;

use orderlog_core::key::Key;
use uuid::Uuid;

use crate::{
    ask::Outcome,
    history::{Fault, History, Line, Read, fault},
    model::without_nulls,
    published::Expected,
    replay::Shown,
    rule::Journals,
};

pub fn check(history: &History, journals: &Journals, published: &Expected, shown: &Shown<'_>, faults: &mut Vec<Fault>) {
    let versions = versions(journals);
    let followed = followed(journals, &versions, published);
    let last_restore = history.lines.iter().rposition(|line| *line == Line::Restored);
    let mut seen: HashMap<(u64, &str, Key), u64> = HashMap::new();
    let mut answered: HashMap<(Uuid, Key), Vec<(usize, u64)>> = HashMap::new();
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
                        if let Some(instance) = attempt.instance {
                            answered.entry((instance, *object)).or_default().push((at, *version));
                        }
                    }
                }
            }
            Line::Read(read) => {
                let floor = seen.entry((read.client, read.service.as_str(), read.object)).or_default();
                if read.version < *floor {
                    fault(faults, "reads of one client never go back", format!("{read:?} after version {floor}"));
                }
                *floor = (*floor).max(read.version);
                if last_restore.is_some_and(|restore| at < restore) {
                    continue;
                }
                is_shown_as_it_was(read, shown, faults);
                if let Some((instance, asked)) = read.instance {
                    let before = answered.get(&(instance, read.object)).into_iter().flatten();
                    let floor = before.filter(|(at, _)| *at < asked).map(|(_, version)| *version).max();
                    if floor.is_some_and(|floor| read.version < floor) {
                        let detail = format!("{read:?}, and version {floor:?} was answered before");
                        fault(faults, "an instance shows what it has answered", detail);
                    }
                }
                let wanted = wanted(read, &followed);
                if wanted.is_some_and(|wanted| read.version < wanted) {
                    let detail = format!("{read:?}, and version {wanted:?} followed from that");
                    fault(faults, "an answer reflects what followed from what was seen elsewhere", detail);
                }
            }
        }
    }
}

fn is_shown_as_it_was(read: &Read, shown: &Shown<'_>, faults: &mut Vec<Fault>) {
    let was = shown.get(&(read.service.as_str(), read.object, read.version)).and_then(Option::as_ref);
    let is_alike = match &read.doc {
        Some(doc) => was.is_some_and(|was| without_nulls(was) == without_nulls(doc)),
        None => was.is_some() || read.version == 0,
    };
    if !is_alike {
        fault(faults, "a read shows an object as it was at its version", format!("{read:?}, not {was:?}"));
    }
}

/// The version that an object got as another service's record was reacted to: by service and object, each with that record.
type Followed<'a> = HashMap<(&'a str, Key), Vec<(&'static str, u64, u64)>>;

fn followed<'a>(journals: &'a Journals, versions: &Versions<'a>, published: &Expected) -> Followed<'a> {
    let mut followed = Followed::new();
    for (service, records) in journals {
        for judged in records.iter().filter(|judged| judged.accepted) {
            let Some(cause) = judged.header.origin.cause.and_then(|cause| published.get(&cause)) else { continue };
            for (object, version) in versions.get(&(service.as_str(), judged.offset)).into_iter().flatten() {
                let of_object = followed.entry((service.as_str(), *object)).or_default();
                of_object.push((cause.journal, cause.offset, *version));
            }
        }
    }
    followed
}

/// The version that a read has to show for what its client had seen elsewhere.
fn wanted(read: &Read, followed: &Followed<'_>) -> Option<u64> {
    let of_object = followed.get(&(read.service.as_str(), read.object)).into_iter().flatten();
    let is_seen =
        |journal: &str, offset| read.seen_elsewhere.iter().any(|(seen, up_to)| seen == journal && offset <= *up_to);
    of_object.filter(|(journal, offset, _)| is_seen(journal, *offset)).map(|(_, _, version)| *version).max()
}

/// Which version of which object each accepted record makes: the count of accepted records that name its key.
type Versions<'a> = HashMap<(&'a str, u64), Vec<(Key, u64)>>;

fn versions(journals: &Journals) -> Versions<'_> {
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
