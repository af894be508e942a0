//! Acknowledged is in the log exactly once and accepted; refused is not; unknown may be either. A key counts once: who repeats its
//! command is given the first answer, and who uses it for another command is refused.

use std::collections::HashMap;

use orderlog_core::key::Key;
use uuid::Uuid;

use crate::{
    ask::{Attempt, Outcome},
    history::{Fault, History, Line, fault},
    model::without_nulls,
    rule::{Journals, Judged},
};

const KEY_ONCE: &str = "a key is used once";
const OWN_RECORD: &str = "an answer is about its own record";

pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let mut written: HashMap<Uuid, Vec<&Judged>> = HashMap::new();
    let attempts: HashMap<Uuid, &Attempt> = history.attempts().map(|attempt| (attempt.id, attempt)).collect();
    for (service, records) in journals {
        for judged in records.iter().filter(|judged| judged.accepted) {
            // A trace goes along: what is written under it elsewhere is what followed, not what was asked for.
            let own = |attempt: &Uuid| attempts.get(attempt).is_none_or(|asked| asked.service == *service);
            if let Some(attempt) = judged.attempt().filter(own) {
                written.entry(attempt).or_default().push(judged);
            }
        }
    }
    let answers = Answers { journals, by_key: by_key(&written, &attempts, faults) };
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
        if let Line::Attempt(attempt) = line {
            answers.judge(attempt, faults);
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
        Outcome::Refused(_) | Outcome::OtherVersion(_) | Outcome::KeyReused | Outcome::NotDone if !own.is_empty() => {
            fault(faults, "what was refused is not in the log", found());
        }
        Outcome::Unknown if own.len() > 1 => fault(faults, "an attempt happens at most once", found()),
        Outcome::Acknowledged { .. }
        | Outcome::Refused(_)
        | Outcome::OtherVersion(_)
        | Outcome::KeyReused
        | Outcome::NotDone
        | Outcome::Unknown => {}
    }
}

/// The accepted record of each key as its clients know it, with the attempt that wrote it: by service and key.
type ByKey<'a> = HashMap<(&'a str, &'a str), (&'a Judged, &'a Attempt)>;

fn by_key<'a>(
    written: &HashMap<Uuid, Vec<&'a Judged>>,
    attempts: &HashMap<Uuid, &'a Attempt>,
    faults: &mut Vec<Fault>,
) -> ByKey<'a> {
    let mut by_key = ByKey::new();
    for (id, records) in written {
        let Some(attempt) = attempts.get(id) else { continue };
        for judged in records {
            let is_keyed = judged.header.command.is_some();
            let Some(key) = &attempt.key else { continue };
            if !is_keyed {
                fault(faults, KEY_ONCE, format!("{attempt:?} wrote a record without its key"));
            }
            if let Some((before, _)) = by_key.insert((attempt.service.as_str(), key.as_str()), (judged, attempt)) {
                fault(faults, KEY_ONCE, format!("{} and {}: {attempt:?}", before.offset, judged.offset));
            }
        }
    }
    by_key
}

struct Answers<'a> {
    journals: &'a Journals,
    by_key: ByKey<'a>,
}

impl Answers<'_> {
    fn judge(&self, attempt: &Attempt, faults: &mut Vec<Fault>) {
        let used = attempt.key.as_ref().and_then(|key| self.by_key.get(&(attempt.service.as_str(), key.as_str())));
        let is_before =
            |judged: &Judged, when: Option<u64>| judged.landed.zip(when).is_some_and(|(landed, when)| landed < when);
        match &attempt.outcome {
            Outcome::Acknowledged { .. } => self.is_at_its_place(attempt, faults),
            Outcome::KeyReused => {
                // Where nobody counts records, it is enough that it was used.
                let was_used = |judged: &Judged| judged.landed.is_none() || is_before(judged, attempt.answered);
                let is_true = used.is_some_and(|(judged, by)| was_used(judged) && !by.ask.is_repeated_by(&attempt.ask));
                if !is_true {
                    fault(faults, "a key is refused only to another command", format!("{attempt:?}, used by {used:?}"));
                }
            }
            Outcome::Refused(_) | Outcome::OtherVersion(_) => {
                if used.is_some_and(|(judged, _)| is_before(judged, attempt.asked)) {
                    fault(faults, "a key that was used is answered by its record", format!("{attempt:?}"));
                }
            }
            Outcome::NotDone | Outcome::Unknown => {}
        }
    }

    fn is_at_its_place(&self, attempt: &Attempt, faults: &mut Vec<Fault>) {
        let Outcome::Acknowledged { offset, replayed, event } = &attempt.outcome else { return };
        let place = format!("{}@{offset}", attempt.service);
        let judged = self.journals.get(&attempt.service).and_then(|all| all.iter().find(|it| it.offset == *offset));
        let Some(judged) = judged.filter(|judged| judged.accepted) else {
            return fault(faults, "acknowledged is accepted where it was said to be", format!("{place}: {attempt:?}"));
        };
        let mut wrong = |promise, what: &str| {
            fault(faults, promise, format!("{place}: {attempt:?} is answered {what} {}", judged.event));
        };
        if !replayed && judged.attempt() != Some(attempt.id) {
            wrong(OWN_RECORD, "with somebody else's");
        }
        if *replayed {
            let key = attempt.key.as_ref();
            let first = key.and_then(|key| self.by_key.get(&(attempt.service.as_str(), key.as_str())));
            match first {
                Some((first, by)) if first.offset == *offset => {
                    if !by.ask.is_repeated_by(&attempt.ask) {
                        wrong("a key is refused to another command", "as a repetition of");
                    }
                }
                _ => wrong(OWN_RECORD, "as a repetition of"),
            }
        }
        if event.as_ref().is_some_and(|event| without_nulls(event) != without_nulls(&judged.event)) {
            wrong(OWN_RECORD, "otherwise than");
        }
        let time = judged.header.time_ms;
        if let Some([earliest, latest]) = attempt.clock.filter(|_| !replayed)
            && !(earliest..=latest).contains(&time)
        {
            let promise = "a record has a time between question and answer";
            wrong(promise, &format!("by the clock between {earliest} and {latest}, at {time} there is"));
        }
    }
}

fn one_record_per_key(journals: &Journals, faults: &mut Vec<Fault>) {
    for (service, records) in journals {
        let mut seen: HashMap<Key, u64> = HashMap::new();
        for judged in records.iter().filter(|judged| judged.accepted) {
            let Some(command) = judged.header.command else { continue };
            if let Some(before) = seen.insert(command.key, judged.offset) {
                fault(faults, KEY_ONCE, format!("{service}@{before} and {service}@{}", judged.offset));
            }
        }
    }
}
