//! What orders does about stock and payments: an order is confirmed or rejected while it waits for that, and its payment only grows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Reacting};
use crate::{contract::Event, model::text};

struct Order {
    state: &'static str,
    payment: &'static str,
    customer: Value,
}

#[derive(Default)]
pub struct Orders(BTreeMap<String, Order>);

impl Orders {
    /// The answer of an order that waits for this; else why it does not.
    fn while_placed(&self, order: &Value, asked: &str, done: impl FnOnce(&Order) -> Answer) -> Answer {
        match self.find(order) {
            None => declined(order, asked, &json!("unknown_order")),
            Some(it) if it.state == "placed" => done(it),
            Some(it) => declined(order, asked, &json!({"state_is": it.state})),
        }
    }

    fn payment_becomes(&self, order: &Value, asked: &str, done: Answer, from: &[&str]) -> Answer {
        match self.find(order) {
            None => declined(order, asked, &json!("unknown_order")),
            Some(it) if from.contains(&it.payment) => done,
            Some(it) => declined(order, asked, &json!({"payment_is": it.payment})),
        }
    }

    fn find(&self, order: &Value) -> Option<&Order> {
        self.0.get(order.as_str()?)
    }
}

fn declined(order: &Value, asked: &str, because: &Value) -> Answer {
    ("OrderReactionDeclined", json!({"order_id": order, "reaction": asked, "because": because}))
}

impl Reacting for Orders {
    fn answer(&self, Event { topic, value: event, .. }: &Event) -> Option<Answer> {
        let order = &event["order_id"];
        let marked = || json!({"order_id": order, "invoice_version": event["version"]});
        Some(match *topic {
            // A caller's reservation may name any order, and decides nothing.
            "stock.reserved" if event["reserved_for"] == "order" => self.while_placed(order, "confirm", |it| {
                ("OrderConfirmed", json!({"order_id": order, "customer_id": it.customer}))
            }),
            "stock.rejected" => self.while_placed(order, "reject", |it| {
                let why = json!({"reason": event["reason"], "shortages": event["shortages"]});
                ("OrderRejected", json!({"order_id": order, "customer_id": it.customer, "rejection": why}))
            }),
            "order.paid" => self.payment_becomes(order, "mark_paid", ("OrderMarkedPaid", marked()), &["unpaid"]),
            // An order of which only a part was given back stays paid.
            "payment.refunded" if event["amount_refunded"] == event["amount_paid"] => {
                let done = ("OrderMarkedRefunded", marked());
                self.payment_becomes(order, "mark_refunded", done, &["unpaid", "paid"])
            }
            _ => return None,
        })
    }

    fn apply(&mut self, name: &str, event: &Value) {
        let id = text(event, "order_id");
        if name == "OrderPlaced" {
            let customer = event["customer_id"].clone();
            self.0.insert(id, Order { state: "placed", payment: "unpaid", customer });
            return;
        }
        let Some(order) = self.0.get_mut(&id) else { return };
        match name {
            "OrderConfirmed" => order.state = "confirmed",
            "OrderRejected" => order.state = "rejected",
            "OrderCancelled" => order.state = "cancelled",
            "OrderFulfilled" => order.state = "fulfilled",
            "OrderMarkedPaid" => order.payment = "paid",
            "OrderMarkedRefunded" => order.payment = "refunded",
            _ => {}
        }
    }

    fn is_reaction(name: &str, _: &Value) -> bool {
        let paid = ["OrderMarkedPaid", "OrderMarkedRefunded"];
        ["OrderConfirmed", "OrderRejected", "OrderReactionDeclined"].contains(&name) || paid.contains(&name)
    }
}
