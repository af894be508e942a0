//! At rest the rows are what the model says, in every field of every table, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    history::{Fault, History, Ledgers, fault},
    model::{Model, without_nulls},
    rule::{self, Journals},
};

const AS_MODELLED: &str = "rows are what the model says";

/// Check it for one service.
pub fn check<M: Model>(history: &History, journals: &Journals, service: &str, model: &M, faults: &mut Vec<Fault>) {
    if let Some(rows) = history.rows.get(service) {
        let found = rows.iter().filter(|row| !M::COPIES.contains(&row.kind.as_str()));
        let found: BTreeMap<_, _> = found.map(|row| (row.key, (row.kind.as_str(), without_nulls(&row.doc)))).collect();
        let wanted = model.keys().into_iter().filter_map(|key| Some((key, model.row(key)?)));
        let wanted = wanted.map(|(key, (kind, doc))| (key, (kind, without_nulls(&doc)))).collect();
        compare(service, &found, &wanted, faults);
    }
    if let Some(heads) = history.heads.get(service) {
        let wanted = journals.get(service).map(|journal| rule::heads(journal)).unwrap_or_default();
        compare(service, heads, &wanted, faults);
    }
    if let Some(ledgers) = history.ledgers.get(service) {
        let alike = |line: &Vec<Value>| line.iter().map(without_nulls).collect::<Vec<_>>();
        let all_alike = |ledgers: &Ledgers| ledgers.iter().map(|(at, line)| (at.clone(), alike(line))).collect();
        compare::<_, Vec<Value>>(service, &all_alike(ledgers), &all_alike(&model.ledgers()), faults);
    }
}

fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    service: &str,
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    faults: &mut Vec<Fault>,
) {
    for (key, found) in found {
        let wanted = wanted.get(key);
        if wanted != Some(found) {
            fault(faults, AS_MODELLED, format!("{service} {key:?}: {found:?}, not {wanted:?}"));
        }
    }
    for (key, wanted) in wanted.iter().filter(|(key, _)| !found.contains_key(key)) {
        fault(faults, AS_MODELLED, format!("{service} {key:?} is missing: {wanted:?}"));
    }
}
