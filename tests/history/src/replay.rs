//! Replays each journal into its model, prefix by prefix: no event can't have happened, each is what its request asked for, and every
//! refusal was true at some moment between question and answer.

use std::collections::HashMap;

use orderlog_core::key::Key;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    ask::{Ask, Attempt, Outcome, Refusal},
    history::{Fault, History, Line, fault},
    model::{
        At, Model, billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications,
        orders::Orders, without_nulls,
    },
    rows,
    rule::{Journals, Judged},
};

/// The services that others follow, at the end.
pub struct Models {
    pub customers: Customers,
    pub orders: Orders,
    pub inventory: Inventory,
    pub billing: Billing,
}

/// The document that an object had at a version, of those that somebody read: by service, key and version.
pub type Shown<'a> = HashMap<(&'a str, Key, u64), Option<Value>>;

pub fn check<'a>(history: &'a History, journals: &Journals, faults: &mut Vec<Fault>) -> (Models, Shown<'a>) {
    copied_facts(history, journals, faults);
    let attempts = history.attempts().map(|attempt| (attempt.id, attempt)).collect();
    let mut replay = Replay { history, journals, attempts, shown: shown_by_readers(history) };
    replay.service::<Notifications>("notifications", faults);
    let models = Models {
        customers: replay.service("customers", faults),
        orders: replay.service("orders", faults),
        inventory: replay.service("inventory", faults),
        billing: replay.service("billing", faults),
    };
    (models, replay.shown)
}

/// What readers saw, still without documents.
fn shown_by_readers(history: &History) -> Shown<'_> {
    let reads = history.lines.iter().filter_map(|line| match line {
        Line::Read(read) => Some(((read.service.as_str(), read.object, read.version), None)),
        Line::Attempt(_) | Line::Restored => None,
    });
    reads.collect()
}

/// A refusal, and the sequence numbers between which it has to be true.
struct Refused<'a> {
    attempt: &'a Attempt,
    asked: u64,
    answered: u64,
    was_true: bool,
}

struct Replay<'a, 'b> {
    history: &'a History,
    journals: &'b Journals,
    attempts: HashMap<Uuid, &'a Attempt>,
    shown: Shown<'a>,
}

impl Replay<'_, '_> {
    fn service<M: Model>(&mut self, service: &'static str, faults: &mut Vec<Fault>) -> M {
        let mut model = M::default();
        let mut refused: Vec<_> = self
            .history
            .attempts()
            .filter(|it| it.service == service && matches!(it.outcome, Outcome::Refused(_) | Outcome::OtherVersion(_)))
            .filter_map(|attempt| {
                Some(Refused { attempt, asked: attempt.asked?, answered: attempt.answered?, was_true: false })
            })
            .collect();
        let journals = self.journals;
        let accepted = journals.get(service).map_or(&[][..], Vec::as_slice).iter().filter(|judged| judged.accepted);
        // The state before a record is that of all moments after the one before it had landed, up to when it landed itself.
        let mut since = 0;
        for judged in accepted {
            let landed = judged.landed.unwrap_or_default();
            look(&model, &mut refused, since, landed);
            since = landed + 1;
            self.happens(&mut model, service, judged, faults);
        }
        look(&model, &mut refused, since, u64::MAX);
        for untrue in refused.iter().filter(|refused| !refused.was_true) {
            fault(faults, "a refusal was true when it was given", format!("{:?}", untrue.attempt));
        }
        rows::check(self.history, journals, service, &model, faults);
        model
    }

    fn happens<M: Model>(&mut self, model: &mut M, service: &'static str, judged: &Judged, faults: &mut Vec<Fault>) {
        let Some((name, fields)) = judged.named().filter(|(_, fields)| fields.is_object()) else { return };
        let place = || format!("{service}@{} {}", judged.offset, judged.event);
        if snake_case(name) != judged.header.kind {
            fault(faults, "a header names its event", format!("{}: {}", judged.header.kind, place()));
        }
        let asked = judged.attempt().and_then(|id| self.attempts.get(&id)).filter(|it| it.service == service);
        if let Some(Err(detail)) = asked.map(|attempt| as_asked(model, attempt, judged, (name, fields))) {
            fault(
                faults,
                "what happens is what was asked for",
                format!("{}: {attempt:?}: {detail}", place(), attempt = asked),
            );
        }
        let at = At { offset: judged.offset, time_ms: judged.header.time_ms };
        if let Err(promise) = model.apply(at, name, fields) {
            fault(faults, promise, place());
        }
        for expect in &judged.header.expects {
            let Some(version) = version_of(model, expect.key) else { continue };
            if let Some(doc) = self.shown.get_mut(&(service, expect.key, version)) {
                *doc = model.row(expect.key).map(|(_, doc)| doc);
            }
        }
    }
}

/// `CustomerCreated` as `customer_created`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Whether a record is what its attempt asked for, in the state before it.
fn as_asked<M: Model>(
    model: &M,
    attempt: &Attempt,
    judged: &Judged,
    (name, fields): (&str, &Value),
) -> Result<(), String> {
    let own_id = attempt.ask.minted_at().and_then(|pointer| fields.pointer(pointer)?.as_str());
    let minted = attempt.minted.map(|id| id.to_string());
    let minted = minted.as_deref().or(own_id).unwrap_or_default();
    match model.answer(&attempt.ask, minted, judged.header.time_ms) {
        Ok((wanted, _)) if wanted != name => return Err(format!("it has to be a {wanted}")),
        Ok((_, wanted)) if without_nulls(&wanted) != without_nulls(fields) => return Err(format!("not {wanted}")),
        Ok(_) => {}
        Err(refusals) => return Err(format!("the rules say no: {refusals:?}")),
    }
    let seen = attempt.if_match.as_ref().zip(M::target(&attempt.ask));
    let is_as_seen = seen.is_none_or(|(versions, target)| versions.allows(shown_version(model, target)));
    if is_as_seen { Ok(()) } else { Err("another version than its client had seen was changed".to_owned()) }
}

/// The version of the object with this key; `None` if no record names it.
fn version_of<M: Model>(model: &M, key: Key) -> Option<u64> {
    let (_, doc) = model.row(key)?;
    doc.as_object()?.values().next()?["version"].as_u64()
}

/// The same, as callers see it: what was only heard of is not there.
fn shown_version<M: Model>(model: &M, key: Key) -> Option<u64> {
    let is_shown = |(_, doc): (&str, Value)| doc.get("StrayOrder").is_none() && doc.get("Unreceived").is_none();
    model.row(key).is_some_and(is_shown).then(|| version_of(model, key)).flatten()
}

/// Between these numbers the model was like this.
fn look<M: Model>(model: &M, refused: &mut [Refused<'_>], since: u64, until: u64) {
    for refused in refused.iter_mut().filter(|it| !it.was_true && it.asked <= until && it.answered >= since) {
        refused.was_true = is_refused(model, refused.attempt);
    }
}

/// Whether the answer that an attempt got is right in this state.
///
/// A wrong version goes before a rule, but that there is no such object is said by the rule.
fn is_refused<M: Model>(model: &M, attempt: &Attempt) -> bool {
    let answer = model.answer(&attempt.ask, "", 0);
    let versions = attempt.if_match.as_ref().zip(M::target(&attempt.ask));
    let versions = versions.map(|(versions, target)| (versions, shown_version(model, target)));
    match &attempt.outcome {
        Outcome::Refused(given) => {
            let is_as_seen = versions.is_none_or(|(versions, version)| version.is_none() || versions.allows(version));
            let is_said = |refusals: Vec<Refusal>| refusals.iter().any(|it| is_alike(it, given));
            // Whether a customer may order is judged by what is copied of customers.
            let rests_on_copy = is_about_customer(&attempt.ask, given) && answer.is_ok();
            is_as_seen && (rests_on_copy || answer.is_err_and(is_said))
        }
        Outcome::OtherVersion(version) => versions.is_some_and(|(versions, now)| {
            now == *version && !versions.allows(now) && (now.is_some() || answer.is_ok())
        }),
        _ => false,
    }
}

fn is_alike(refusal: &Refusal, given: &Refusal) -> bool {
    let facts = given.facts.is_null() || without_nulls(&given.facts) == without_nulls(&refusal.facts);
    refusal.code == given.code && facts
}

fn is_about_customer(ask: &Ask, refusal: &Refusal) -> bool {
    matches!(ask, Ask::Place { .. }) && matches!(refusal.code.as_str(), "unknown_customer" | "customer_inactive")
}

/// Orders decides about customers by what is copied of them. A refusal is as new as what was published when it was asked, and never
/// ahead of the customers service; only customers that this has created can order.
fn copied_facts(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let customers = journals.get("customers").map_or(&[][..], Vec::as_slice);
    let facts = |id: &str, is: &dyn Fn(&Value) -> bool, before: Option<u64>| {
        customers.iter().filter(|judged| judged.accepted).any(|judged| {
            let facts = judged.named().map(|(_, fields)| &fields["customer"]);
            facts.is_some_and(|facts| facts["customer_id"] == *id && is(facts))
                && before.is_none_or(|before| judged.landed.is_none_or(|landed| landed < before))
        })
    };
    for attempt in history.attempts() {
        let (Ask::Place { customer, .. }, Outcome::Refused(given)) = (&attempt.ask, &attempt.outcome) else { continue };
        let (Some(asked), Some(answered)) = (attempt.asked, attempt.answered) else { continue };
        let is_true = match given.code.as_str() {
            "unknown_customer" => !is_published(history, customer, asked),
            "customer_inactive" => facts(customer, &|facts| facts["active"] == false, Some(answered)),
            _ => continue,
        };
        let is_named = given.facts.is_null() || given.facts["customer_id"] == **customer;
        if !(is_true && is_named) {
            fault(faults, "a refusal was true when it was given", format!("{attempt:?}"));
        }
    }
    for judged in journals.get("orders").into_iter().flatten().filter(|judged| judged.accepted) {
        let Some(("OrderPlaced", placed)) = judged.named() else { continue };
        let customer = placed["customer_id"].as_str().unwrap_or_default();
        if !facts(customer, &|facts| facts["active"] == true, judged.landed) {
            fault(faults, "only customers order", format!("orders@{} {placed}", judged.offset));
        }
    }
}

/// Whether the customers service had published this customer by then.
fn is_published(history: &History, customer: &str, asked: u64) -> bool {
    let topics = ["customer.created", "customer.updated"].into_iter().filter_map(|topic| history.topics.get(topic));
    let is_of = |value: &[u8]| serde_json::from_slice::<Value>(value).is_ok_and(|it| it["customer_id"] == *customer);
    topics.flatten().any(|it| it.landed.is_some_and(|landed| landed < asked) && is_of(&it.value))
}
