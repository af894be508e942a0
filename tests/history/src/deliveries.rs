//! Notices that no public event asks for: operations hear once of each correction of a count downwards, in the trace of the request
//! that made it.

use std::collections::{BTreeMap, HashMap};

use orderlog_core::header::Origin;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ask::{Attempt, Outcome},
    history::{Fault, History, fault},
    model::{number, text},
    rule::{Journals, Judged},
};

const ONCE: &str = "operations hear once of each correction downwards";
const BY_SOMEBODY: &str = "a notification that no caller asked for follows from something";

pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let attempts: HashMap<Uuid, &Attempt> = history.attempts().map(|attempt| (attempt.id, attempt)).collect();
    // How many of them were made, less how many have to be.
    let mut notices: BTreeMap<String, i64> = BTreeMap::new();
    for judged in accepted(journals, "inventory") {
        if let Some(("StockAdjusted", event)) = judged.named()
            && number(event, "delta") < 0
        {
            *notices.entry(notice(&corrected(event), judged)).or_default() -= 1;
        }
    }
    for judged in accepted(journals, "notifications") {
        let Some(("NotificationMade", event)) = judged.named() else { continue };
        let asker = judged.attempt().and_then(|id| attempts.get(&id));
        if event["source"] != "caller" || asker.is_some_and(|attempt| attempt.service == "notifications") {
            continue;
        }
        let subject = text(event, "subject");
        if subject.starts_with("Stock count corrected") {
            *notices.entry(notice(event, judged)).or_default() += 1;
        } else if !subject.starts_with("Overpayment refused") || asker.is_some_and(|attempt| !was_refused(attempt)) {
            fault(faults, BY_SOMEBODY, format!("notifications@{} {}", judged.offset, judged.event));
        }
    }
    for (notice, n) in notices.iter().filter(|(_, n)| **n != 0) {
        fault(faults, ONCE, format!("{n:+} of {notice}"));
    }
}

fn accepted<'a>(journals: &'a Journals, service: &str) -> impl Iterator<Item = &'a Judged> {
    journals.get(service).into_iter().flatten().filter(|judged| judged.accepted)
}

/// A payment that was refused, as far as its caller knows.
fn was_refused(attempt: &Attempt) -> bool {
    attempt.service == "billing" && !matches!(attempt.outcome, Outcome::Acknowledged { .. })
}

/// What is told of a correction.
fn corrected(event: &Value) -> Value {
    let (sku, delta, reason) = (text(event, "sku"), number(event, "delta"), text(event, "reason"));
    let on_hand = number(&event["after"], "on_hand");
    json!({
        "recipient": "operations",
        "subject": format!("Stock count corrected: {sku}"),
        "body": format!("The count of {sku} was corrected by {delta} to {on_hand} units on hand. Reason: {reason}"),
    })
}

/// One text for all that two notices must have in common.
fn notice(told: &Value, judged: &Judged) -> String {
    let Origin { cause, correlation, trace } = &judged.header.origin;
    let parts = ["recipient", "subject", "body"].map(|field| text(told, field));
    format!("{parts:?} of {trace:?}, {cause:?}, {correlation:?}")
}
