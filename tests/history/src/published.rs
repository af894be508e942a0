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

/// An event that an accepted record tells others.
pub struct Told {
    topic: String,
    json: Vec<u8>,
    /// The record's journal.
    pub journal: &'static str,
    /// The record's offset.
    pub offset: u64,
}

/// Events by their ids.
pub type Expected = BTreeMap<Uuid, Told>;

/// What accepted records tell others.
pub fn expected(journals: &Journals) -> Expected {
    let mut expected = Expected::new();
    told_by::<Customers>(journals, &mut expected);
    told_by::<Orders>(journals, &mut expected);
    told_by::<Inventory>(journals, &mut expected);
    told_by::<Billing>(journals, &mut expected);
    told_by::<Notifications>(journals, &mut expected);
    expected
}

/// Check it.
pub fn check(history: &History, expected: &Expected, faults: &mut Vec<Fault>) {
    let mut found: HashMap<Uuid, u32> = HashMap::new();
    for (topic, records) in &history.topics {
        for record in records {
            let id =
                std::str::from_utf8(&record.header).ok().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default();
            match expected.get(&id) {
                Some(told) if told.topic == *topic && told.json[..] == record.value[..] => {
                    *found.entry(id).or_default() += 1;
                }
                _ => fault(faults, "only what was accepted is published", format!("{topic}@{} {id}", record.offset)),
            }
        }
    }
    for (id, Told { topic, json, journal, offset }) in expected {
        if !found.contains_key(id) {
            let json = String::from_utf8_lossy(json);
            let place = format!("{journal}@{offset}");
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
            let (topic, json) = (public.topic().to_owned(), public.to_json());
            let told = Told { topic, json, journal: D::JOURNAL, offset: judged.offset };
            expected.insert(event_id(log_id, judged.offset, index), told);
        }
    }
}
