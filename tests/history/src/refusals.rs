//! Replays each journal into its model, prefix by prefix: no event can't have happened, every refusal was true at some moment
//! between question and answer, and the rows are what the model says.

use serde_json::Value;

use crate::{
    history::{Ask, Attempt, Fault, History, Outcome, Row, fault},
    model::{
        Model, billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications,
        orders::Orders,
    },
    rule::{Journals, Judged},
};

/// The services that others follow, at the end.
pub struct Models {
    pub customers: Customers,
    pub orders: Orders,
    pub inventory: Inventory,
    pub billing: Billing,
}

/// Check it.
pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) -> Models {
    copied_facts(history, journals, faults);
    replay::<Notifications>("notifications", history, journals, faults);
    Models {
        customers: replay("customers", history, journals, faults),
        orders: replay("orders", history, journals, faults),
        inventory: replay("inventory", history, journals, faults),
        billing: replay("billing", history, journals, faults),
    }
}

/// A refusal, and the sequence numbers between which it has to be true.
struct Refused<'a> {
    attempt: &'a Attempt,
    asked: u64,
    answered: u64,
    was_true: bool,
}

fn replay<M: Model>(service: &str, history: &History, journals: &Journals, faults: &mut Vec<Fault>) -> M {
    let mut model = M::default();
    let mut refused: Vec<_> = history
        .attempts()
        .filter(|attempt| attempt.service == service && attempt.outcome == Outcome::Refused)
        .filter_map(|attempt| {
            Some(Refused { attempt, asked: attempt.asked?, answered: attempt.answered?, was_true: false })
        })
        .collect();
    let accepted = journals.get(service).map_or(&[][..], Vec::as_slice).iter().filter(|judged| judged.accepted);
    // The state before a record is that of all moments after the one before it had landed, up to when it landed itself.
    let mut since = 0;
    for judged in accepted {
        let landed = judged.landed.unwrap_or_default();
        look(&model, &mut refused, since, landed);
        since = landed + 1;
        happens(&mut model, service, judged, faults);
    }
    look(&model, &mut refused, since, u64::MAX);
    for untrue in refused.iter().filter(|refused| !refused.was_true) {
        fault(faults, "a refusal was true when it was told", format!("{:?}", untrue.attempt));
    }
    if let Some(rows) = history.rows.get(service) {
        compare(&model, service, rows, faults);
    }
    model
}

/// Between these numbers the model was like this.
fn look<M: Model>(model: &M, refused: &mut [Refused<'_>], since: u64, until: u64) {
    for refused in refused.iter_mut().filter(|it| !it.was_true && it.asked <= until && it.answered >= since) {
        refused.was_true = is_place(&refused.attempt.ask) || model.refuses(&refused.attempt.ask);
    }
}

/// Refused on copied facts; see [`copied_facts`].
const fn is_place(ask: &Ask) -> bool {
    matches!(ask, Ask::Place(_))
}

fn happens<M: Model>(model: &mut M, service: &str, judged: &Judged, faults: &mut Vec<Fault>) {
    let Some((name, fields)) = judged.named().filter(|(_, fields)| fields.is_object()) else { return };
    if let Err(promise) = model.apply(name, fields) {
        fault(faults, promise, format!("{service}@{} {}", judged.offset, judged.event));
    }
}

fn compare<M: Model>(model: &M, service: &str, rows: &[Row], faults: &mut Vec<Fault>) {
    let mut expected = model.rows();
    for row in rows.iter().filter(|row| M::KINDS.contains(&row.kind.as_str())) {
        let Some((variant, Value::Object(document))) = row.doc.as_object().and_then(|doc| doc.iter().next()) else {
            continue;
        };
        let kind = M::KINDS.iter().find(|kind| **kind == row.kind).copied().unwrap_or_default();
        let id = M::id(kind, document).unwrap_or_else(|| String::from(row.key));
        let found = expected.remove(&(kind, id.clone()));
        let is_alike = found.as_ref().is_some_and(|(wanted, fields)| {
            let mut fields = fields.as_object().into_iter().flatten();
            wanted == variant && fields.all(|(field, value)| document.get(field) == Some(value))
        });
        if !is_alike {
            fault(
                faults,
                "rows are what the model says",
                format!("{service} {kind} {id}: {document:?}, not {found:?}"),
            );
        }
    }
    for ((kind, id), _) in expected {
        fault(faults, "rows are what the model says", format!("{service} {kind} {id} is missing"));
    }
}

/// An order is refused because of its customer only as far as the news of that customer go.
fn copied_facts(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let customers = journals.get("customers").map_or(&[][..], Vec::as_slice);
    let placing = history.attempts().filter(|it| it.outcome == Outcome::Refused && is_place(&it.ask));
    for attempt in placing {
        let (Ask::Place(customer), Some(asked), Some(answered)) = (&attempt.ask, attempt.asked, attempt.answered)
        else {
            continue;
        };
        let news = ["customer.created", "customer.updated"].into_iter().filter_map(|topic| history.topics.get(topic));
        let is_of =
            |value: &[u8]| serde_json::from_slice::<Value>(value).is_ok_and(|it| it["customer_id"] == **customer);
        let was_known = news.flatten().any(|it| it.landed.is_some_and(|landed| landed < asked) && is_of(&it.value));
        let deactivated = customers.iter().filter(|judged| judged.accepted).any(|judged| {
            let facts = judged.named().map(|(_, fields)| &fields["customer"]);
            facts.is_some_and(|facts| facts["customer_id"] == **customer && facts["active"] == false)
                && judged.landed.is_none_or(|landed| landed < answered)
        });
        if was_known && !deactivated {
            fault(faults, "a refusal was true when it was told", format!("{attempt:?}"));
        }
    }
}
