//! Acknowledged is in the log exactly once and accepted; refused is not; unknown may be either; a key counts once.

use std::collections::HashMap;

use orderlog_domain::key::Key;
use uuid::Uuid;

use crate::{
    history::{Attempt, Fault, History, Line, Outcome, fault},
    rule::{Journals, Judged},
};

/// Check it.
pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let mut written: HashMap<Uuid, Vec<&Judged>> = HashMap::new();
    let asked_of: HashMap<Uuid, &str> =
        history.attempts().map(|attempt| (attempt.id, attempt.service.as_str())).collect();
    for (service, records) in journals {
        for judged in records.iter().filter(|judged| judged.accepted) {
            // A trace goes along: what is written under it elsewhere is what followed, not what was asked for.
            let own = |attempt: &Uuid| asked_of.get(attempt).is_none_or(|asked| asked == service);
            if let Some(attempt) = judged.attempt().filter(own) {
                written.entry(attempt).or_default().push(judged);
            }
        }
    }
    for attempt in history.attempts() {
        let own = written.remove(&attempt.id).unwrap_or_default();
        judge(attempt, &own, faults);
    }
    for (attempt, records) in written {
        let first = records[0];
        fault(
            faults,
            "nothing happens that nobody asked for",
            format!("{attempt} wrote {} {}", first.offset, first.event),
        );
    }
    one_record_per_key(journals, faults);
    // Offsets that were told before an older log was restored are no places in the one that is there now.
    let since = history.lines.iter().rposition(|line| *line == Line::Restored).map_or(0, |at| at + 1);
    for line in &history.lines[since..] {
        if let Line::Attempt(attempt) = line
            && let Outcome::Acknowledged { offset, replayed } = attempt.outcome
        {
            stands_there(attempt, (offset, replayed), journals, faults);
        }
    }
}

fn judge(attempt: &Attempt, own: &[&Judged], faults: &mut Vec<Fault>) {
    let found = || format!("{attempt:?} has {} accepted records", own.len());
    match attempt.outcome {
        Outcome::Acknowledged { replayed: false, .. } if own.len() != 1 => {
            fault(faults, "acknowledged is in the log exactly once", found());
        }
        Outcome::Acknowledged { replayed: true, .. } if own.len() > 1 => {
            fault(faults, "acknowledged is in the log exactly once", found());
        }
        Outcome::Refused | Outcome::NotDone if !own.is_empty() => {
            fault(faults, "what was refused is not in the log", found());
        }
        Outcome::Unknown if own.len() > 1 => fault(faults, "an attempt happens at most once", found()),
        Outcome::Acknowledged { .. } | Outcome::Refused | Outcome::NotDone | Outcome::Unknown => {}
    }
}

fn stands_there(attempt: &Attempt, (offset, replayed): (u64, bool), journals: &Journals, faults: &mut Vec<Fault>) {
    let place = format!("{}@{offset}", attempt.service);
    let judged = journals.get(&attempt.service).and_then(|all| all.iter().find(|judged| judged.offset == offset));
    let Some(judged) = judged.filter(|judged| judged.accepted) else {
        return fault(faults, "acknowledged is accepted where it was said to be", format!("{place}: {attempt:?}"));
    };
    let is_own = judged.attempt() == Some(attempt.id);
    // Who gave none may have been given one on the way, but then nobody else has it.
    let has_key = match attempt.key {
        Some(key) => judged.header.command.is_some_and(|command| command.key == key),
        None => is_own && !replayed,
    };
    if !has_key || (!replayed && !is_own) {
        fault(faults, "an answer is about its own record", format!("{place}: {attempt:?} is told of {}", judged.event));
    }
}

fn one_record_per_key(journals: &Journals, faults: &mut Vec<Fault>) {
    for (service, records) in journals {
        let mut seen: HashMap<Key, u64> = HashMap::new();
        for judged in records.iter().filter(|judged| judged.accepted) {
            let Some(command) = judged.header.command else { continue };
            if let Some(before) = seen.insert(command.key, judged.offset) {
                let found = format!("{service}@{before} and {service}@{}", judged.offset);
                fault(faults, "a key is used once", found);
            }
        }
    }
}
