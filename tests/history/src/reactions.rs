//! Each public event that a service consumes leads to one record there, which is what was promised and names the event as its cause;
//! what it says is derived once more, naively, from the event and what the service had done before. A repeated event leads to nothing.
//!
//! A story's correlation and trace go along: from the request's record to what it publishes, to what answers that, and so on.

mod billing;
mod inventory;
mod notifications;
mod orders;

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use self::{billing::Billing, inventory::Inventory, notifications::Notifications, orders::Orders};
use crate::{
    contract::Event,
    history::{Fault, History, fault},
    published::{Expected, FirstCopies, Told},
    rule::{Journals, Judged},
};

const ONCE: &str = "a public event is answered once by each service that consumes it";
const PROMISED: &str = "a public event is answered as promised";
const CAUSED: &str = "a reaction names the event that caused it";
const PROMPT: &str = "a public event is answered at once where nothing goes wrong";
const STORY: &str = "correlation and trace go along with a story";

/// A record that has to answer a public event: the name of its event, and fields that this must have.
type Answer = (&'static str, Value);

/// What a service does about the public events of others.
trait Reacting: Default {
    /// What answers this event at present; none if such an event does not concern the service, ever.
    fn answer(&self, event: &Event) -> Option<Answer>;

    /// An accepted event of the service.
    fn apply(&mut self, name: &str, event: &Value);

    /// Whether only a public event of another service leads to this.
    fn is_reaction(name: &str, event: &Value) -> bool;
}

#[derive(Default)]
struct Deaf;

impl Reacting for Deaf {
    fn answer(&self, _: &Event) -> Option<Answer> {
        None
    }

    fn apply(&mut self, _: &str, _: &Value) {}

    fn is_reaction(_: &str, _: &Value) -> bool {
        false
    }
}

pub fn check(
    history: &History,
    journals: &Journals,
    (expected, copies): (&Expected, &FirstCopies<'_>),
    faults: &mut Vec<Fault>,
) {
    let all = All { history, journals, expected, copies };
    of_service::<Deaf>("customers", all, faults);
    of_service::<Orders>("orders", all, faults);
    of_service::<Inventory>("inventory", all, faults);
    of_service::<Billing>("billing", all, faults);
    of_service::<Notifications>("notifications", all, faults);
}

#[derive(Clone, Copy)]
struct All<'a> {
    history: &'a History,
    journals: &'a Journals,
    expected: &'a Expected,
    copies: &'a FirstCopies<'a>,
}

fn of_service<S: Reacting>(service: &str, all: All<'_>, faults: &mut Vec<Fault>) {
    let mut state = S::default();
    let mut answered: HashMap<Uuid, u64> = HashMap::new();
    let records = all.journals.get(service).map_or(&[][..], Vec::as_slice);
    for judged in records.iter().filter(|judged| judged.accepted) {
        let Some((name, fields)) = judged.named().filter(|(_, fields)| fields.is_object()) else { continue };
        let found = || format!("{service}@{} {}", judged.offset, judged.event);
        match judged.header.origin.cause {
            None if S::is_reaction(name, fields) => fault(faults, CAUSED, found()),
            None if judged.header.origin.correlation.is_some() => fault(faults, STORY, found()),
            None => {}
            Some(cause) => {
                if let Some(before) = answered.insert(cause, judged.offset) {
                    fault(faults, ONCE, format!("{} answers {cause} again, after {before}", found()));
                }
                match (all.expected.get(&cause), all.copies.get(&cause)) {
                    (Some(told), Some(copy)) => {
                        let is_before = copy.landed.zip(judged.landed).is_some_and(|(copy, own)| own < copy);
                        let is_late = all.history.is_late(told.taken_ms, judged.taken_ms);
                        let broken = is_before.then_some(CAUSED).or_else(|| is_late.then_some(PROMPT));
                        broken.into_iter().for_each(|promise| fault(faults, promise, found()));
                        answers(&state, (told, judged), found(), faults);
                    }
                    _ => fault(faults, CAUSED, format!("{}: nothing published is {cause}", found())),
                }
            }
        }
        state.apply(name, fields);
    }
    let concerns = |told: &Told| S::default().answer(&told.event).is_some();
    for (id, told) in all.expected.iter().filter(|(id, told)| !answered.contains_key(id) && concerns(told)) {
        fault(faults, ONCE, format!("{service} never answered {} {id}: {}", told.event.topic, told.event.value));
    }
}

/// A record answers this event.
fn answers<S: Reacting>(state: &S, (told, judged): (&Told, &Judged), found: String, faults: &mut Vec<Fault>) {
    let (event, origin) = (&told.event, &judged.header.origin);
    if origin.correlation != Some(told.correlation) || origin.trace != told.trace {
        let begun = (told.correlation, &told.trace);
        fault(faults, STORY, format!("{found} is of {origin:?}, and what it answers of {begun:?}"));
    }
    let answer = state.answer(event);
    let is_promised = answer.as_ref().is_some_and(|(name, fields)| covers(&judged.event, &json!({ *name: fields })));
    if !is_promised {
        fault(faults, PROMISED, format!("{found} answers {} {}, not {answer:?}", event.topic, event.value));
    }
}

/// Whether all that is wanted is found: of objects the fields that are wanted, everything else as it is. What is absent is null.
pub fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::Object(fields)) => fields.iter().all(|(name, wanted)| covers(&found[name], wanted)),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        _ => found == wanted,
    }
}
