//! What the topics hold is what accepted records tell others: all of it, and nothing else.

use std::collections::{BTreeMap, HashMap};

use orderlog_domain::{
    billing::Billing, customers::Customers, decider::Decider, inventory::Inventory, notifications::Notifications,
    orders::Orders, public::event_id,
};
use uuid::Uuid;

use crate::{
    history::{Fault, History, fault},
    rule::Journals,
};

/// The events of a service, by id: topic, JSON, and whose they are.
type Expected = BTreeMap<Uuid, (String, Vec<u8>, String)>;

/// Check it.
pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let mut expected = Expected::new();
    told_by::<Customers>(journals, &mut expected);
    told_by::<Orders>(journals, &mut expected);
    told_by::<Inventory>(journals, &mut expected);
    told_by::<Billing>(journals, &mut expected);
    told_by::<Notifications>(journals, &mut expected);
    let mut found: HashMap<Uuid, u32> = HashMap::new();
    for (topic, records) in &history.topics {
        for record in records {
            let id =
                std::str::from_utf8(&record.header).ok().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default();
            match expected.get(&id) {
                Some((wanted, json, _)) if wanted == topic && json[..] == record.value[..] => {
                    *found.entry(id).or_default() += 1;
                }
                _ => fault(faults, "only what was accepted is published", format!("{topic}@{} {id}", record.offset)),
            }
        }
    }
    for (id, (topic, json, place)) in &expected {
        if !found.contains_key(id) {
            let json = String::from_utf8_lossy(json);
            fault(faults, "everything accepted is published", format!("{place} lacks {topic} {id}: {json}"));
        }
    }
}

/// What a service publishes is a pure function that its own tests hold; here it only matters that all of it is there.
fn told_by<D: Decider>(journals: &Journals, expected: &mut Expected) {
    let Some(records) = journals.get(D::JOURNAL) else { return };
    let log_id = records.first().and_then(|genesis| genesis.event.get("log_id")?.as_str()?.parse().ok());
    let log_id: Uuid = log_id.unwrap_or_default();
    for judged in records.iter().filter(|judged| judged.accepted) {
        let Ok(event) = serde_json::from_value::<D::Event>(judged.event.clone()) else { continue };
        for (index, public) in D::publish(&event).into_iter().enumerate() {
            let place = format!("{}@{}", D::JOURNAL, judged.offset);
            let told = (public.topic().to_owned(), public.to_json(), place);
            expected.insert(event_id(log_id, judged.offset, index), told);
        }
    }
}
