//! Orders.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expected, Model, counted, holds, number, text};
use crate::history::Ask;

/// An order.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Empty for what was never placed, only heard of.
    pub state: &'static str,
    /// `unpaid`, `paid` or `refunded`.
    pub payment: &'static str,
    /// What is to be paid.
    pub total: i64,
    version: i64,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// By id.
    pub orders: BTreeMap<String, Order>,
}

impl Model for Orders {
    const KINDS: &'static [&'static str] = &["orders"];

    fn apply(&mut self, name: &str, event: &Value) -> Result<(), &'static str> {
        let order = self.orders.entry(text(event, "order_id")).or_default();
        counted(&mut order.version, event)?;
        let was = order.state;
        let may = |from: &[&str]| holds(from.contains(&was), "an order goes its way forwards only");
        match name {
            "OrderPlaced" => {
                let lines = event["lines"].as_array().cloned().unwrap_or_default();
                order.total = lines.iter().map(|line| number(line, "unit_price") * number(line, "quantity")).sum();
                (order.state, order.payment) = ("placed", "unpaid");
                may(&[""])?;
                holds(order.total == number(event, "total"), "an order's total is the sum of its lines")
            }
            "OrderConfirmed" => {
                order.state = "confirmed";
                may(&["placed"])
            }
            "OrderRejected" => {
                order.state = "rejected";
                may(&["placed"])
            }
            "OrderCancelled" => {
                order.state = "cancelled";
                may(&["placed", "confirmed"])
            }
            "OrderFulfilled" => {
                order.state = "fulfilled";
                holds(order.payment == "paid", "only what is paid leaves the house")?;
                may(&["confirmed"])
            }
            "OrderMarkedPaid" => {
                let was_unpaid = order.payment == "unpaid";
                order.payment = "paid";
                holds(was_unpaid, "an order is paid once")
            }
            "OrderMarkedRefunded" => {
                let was_refunded = order.payment == "refunded";
                order.payment = "refunded";
                holds(!was_refunded, "an order is refunded once")
            }
            _ => Ok(()),
        }
    }

    fn refuses(&self, ask: &Ask) -> bool {
        let find = |id: &String| self.orders.get(id).map_or(("", ""), |order| (order.state, order.payment));
        match ask {
            Ask::Cancel(id) => !matches!(find(id).0, "placed" | "confirmed" | "cancelled"),
            Ask::Fulfil(id) => !matches!(find(id), ("confirmed", "paid") | ("fulfilled", _)),
            _ => false,
        }
    }

    fn rows(&self) -> BTreeMap<(&'static str, String), Expected> {
        let row = |(id, order): (&String, &Order)| {
            let Order { state, payment, total, version } = order;
            let doc = if state.is_empty() {
                ("StrayOrder", json!({"version": version}))
            } else {
                ("Order", json!({"state": state, "payment": payment, "total": total, "version": version}))
            };
            (("orders", id.clone()), doc)
        };
        self.orders.iter().map(row).collect()
    }

    fn id(_kind: &str, document: &Map<String, Value>) -> Option<String> {
        Some(document["order_id"].as_str().unwrap_or_default().to_owned())
    }
}
