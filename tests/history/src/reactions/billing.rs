//! What billing does about orders: an invoice for each that was placed; it ends with an order that is rejected or cancelled, and what
//! is left of the payments is given back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Reacting};
use crate::{
    contract::Event,
    model::{number, text},
};

#[derive(Default)]
struct Invoice {
    state: String,
    /// None until it is known what was due.
    currency: Option<Value>,
    customer: Value,
    paid: i64,
    refunded: i64,
}

#[derive(Default)]
pub struct Billing(BTreeMap<String, Invoice>);

fn declined(order: &Value, asked: &str, because: &str) -> Answer {
    ("ReactionDeclined", json!({"order_id": order, "reaction": asked, "because": because}))
}

fn opened(invoice: Option<&Invoice>, event: &Value) -> Answer {
    let (order, total) = (&event["order_id"], &event["total"]);
    let (name, state) = match invoice {
        Some(Invoice { currency: Some(_), .. }) => return declined(order, "open", "invoice_exists"),
        // Its order had ended before.
        Some(invoice) => ("InvoiceFilledIn", invoice.state.as_str()),
        None if *total == 0 => ("InvoiceOpened", "paid"),
        None => ("InvoiceOpened", "open"),
    };
    let totals = json!({"state": state, "amount_due": total, "amount_paid": 0, "amount_refunded": 0});
    let (customer, currency) = (&event["customer_id"], &event["currency"]);
    (name, json!({"order_id": order, "customer_id": customer, "currency": currency, "totals": totals}))
}

fn closed(invoice: Option<&Invoice>, event: &Value, cause: &str) -> Answer {
    let (order, customer) = (&event["order_id"], &event["customer_id"]);
    let voided = || {
        let totals = json!({"state": "void"});
        ("InvoiceVoided", json!({"order_id": order, "customer_id": customer, "cause": cause, "totals": totals}))
    };
    match invoice {
        None => voided(),
        Some(it) if !matches!(it.state.as_str(), "open" | "paid") => declined(order, "close", "invoice_ended"),
        Some(it) if it.paid == it.refunded => voided(),
        Some(it) => (
            "InvoiceRefunded",
            json!({
                "order_id": order, "customer_id": it.customer, "currency": it.currency, "cause": cause, "reason": null,
                "amount": it.paid - it.refunded,
                "totals": {"state": "refunded", "amount_paid": it.paid, "amount_refunded": it.paid},
            }),
        ),
    }
}

impl Reacting for Billing {
    fn answer(&self, Event { topic, value: event, .. }: &Event) -> Option<Answer> {
        let invoice = self.0.get(event["order_id"].as_str()?);
        Some(match *topic {
            "order.created" => opened(invoice, event),
            "order.rejected" => closed(invoice, event, "order_rejected"),
            "order.cancelled" => closed(invoice, event, "order_cancelled"),
            _ => return None,
        })
    }

    fn apply(&mut self, name: &str, event: &Value) {
        if name == "ReactionDeclined" {
            return;
        }
        let totals = &event["totals"];
        let invoice = self.0.entry(text(event, "order_id")).or_default();
        invoice.state = text(totals, "state");
        invoice.customer = event["customer_id"].clone();
        (invoice.paid, invoice.refunded) = (number(totals, "amount_paid"), number(totals, "amount_refunded"));
        if event["currency"].is_string() {
            invoice.currency = Some(event["currency"].clone());
        }
    }

    fn is_reaction(name: &str, event: &Value) -> bool {
        match name {
            "InvoiceOpened" | "InvoiceFilledIn" | "InvoiceVoided" | "ReactionDeclined" => true,
            "InvoiceRefunded" => event["cause"] != "requested",
            _ => false,
        }
    }
}
