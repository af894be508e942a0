//! Orders.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, At, Document, Model, counted, holds, id_key, list, number, text};
use crate::ask::{Ask, OrderLine, Refusal, Units};

/// The most lines of an order.
const LINES_MAX: usize = 100;
/// The largest total, in minor units.
const TOTAL_MAX: i128 = 1_000_000_000_000;
/// The most units of one SKU.
pub(super) const UNITS_MAX: i64 = 1_000_000;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Order {
    pub order_id: String,
    /// The id of the customer.
    pub customer_id: String,
    /// ISO 4217 code.
    pub currency: String,
    pub lines: Vec<Value>,
    /// The sum of the lines, in minor units.
    pub total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// Empty for what was never placed, only heard of.
    pub state: &'static str,
    /// `unpaid`, `paid` or `refunded`.
    pub payment: &'static str,
    /// Reason and shortages, if it was rejected.
    pub rejection: Option<Value>,
    version: i64,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// By the key of the id.
    pub orders: BTreeMap<Key, Order>,
}

/// The units of each SKU, in the order in which the lines first name them.
pub fn added_up(lines: &[Value]) -> Vec<Units> {
    let mut sums: Vec<Units> = Vec::new();
    for line in lines {
        let (sku, quantity) = (text(line, "sku"), number(line, "quantity"));
        match sums.iter_mut().find(|it| it.sku == sku) {
            Some(sum) => sum.quantity += quantity,
            None => sums.push(Units { sku, quantity }),
        }
    }
    sums
}

fn place(order: &str, customer: &str, currency: &str, lines: &[OrderLine], channel: Option<&str>) -> Answer {
    let mut wrong = Vec::new();
    if lines.is_empty() {
        wrong.push(Refusal::new("no_lines", Value::Null));
    }
    if lines.len() > LINES_MAX {
        wrong.push(Refusal::new("too_many_lines", json!({ "given": lines.len(), "max": LINES_MAX })));
    }
    let total: i128 = lines.iter().map(|line| i128::from(line.unit_price) * i128::from(line.quantity)).sum();
    if total > TOTAL_MAX {
        wrong.push(Refusal::new("total_too_large", Value::Null));
    }
    let as_json: Vec<_> = lines.iter().map(|line| json!(line)).collect();
    let too_large = added_up(&as_json).into_iter().filter(|it| it.quantity > UNITS_MAX);
    wrong.extend(too_large.map(|it| Refusal::new("quantity_too_large", json!({ "sku": it.sku }))));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let total = i64::try_from(total).unwrap_or_default();
    let mut placed = json!({
        "order_id": order, "customer_id": customer, "currency": currency, "lines": lines, "total": total, "version": 1,
    });
    if let Some(channel) = channel {
        placed["channel"] = channel.into();
    }
    Ok(("OrderPlaced", placed))
}

impl Orders {
    fn find(&self, id: &str) -> Result<&Order, Vec<Refusal>> {
        let order = self.orders.get(&id_key(id)).filter(|order| !order.state.is_empty());
        order.ok_or_else(|| vec![Refusal::new("unknown_order", json!({ "order_id": id }))])
    }

    fn cancel(&self, id: &str) -> Answer {
        let order = self.find(id)?;
        let Order { state, payment, customer_id, .. } = order;
        match *state {
            "placed" | "confirmed" => {
                let version = order.version + 1;
                let cancelled =
                    json!({"order_id": id, "customer_id": customer_id, "payment": payment, "version": version});
                Ok(("OrderCancelled", cancelled))
            }
            "cancelled" => Ok(unchanged(order)),
            state => Err(vec![illegal(state, "cancelled")]),
        }
    }

    fn fulfil(&self, id: &str) -> Answer {
        let order = self.find(id)?;
        match (order.state, order.payment) {
            ("confirmed", "paid") => {
                let fulfilled = json!({
                    "order_id": id, "customer_id": order.customer_id, "payment": "paid",
                    "lines": added_up(&order.lines), "version": order.version + 1,
                });
                Ok(("OrderFulfilled", fulfilled))
            }
            ("fulfilled", _) => Ok(unchanged(order)),
            (state, payment) => {
                let state = (state != "confirmed").then(|| illegal(state, "fulfilled"));
                let payment = (payment != "paid").then(|| Refusal::new("not_paid", json!({ "payment": payment })));
                Err(state.into_iter().chain(payment).collect())
            }
        }
    }
}

fn illegal(from: &str, action: &str) -> Refusal {
    Refusal::new("illegal_transition", json!({ "from": from, "action": action }))
}

fn unchanged(order: &Order) -> (&'static str, Value) {
    let Order { order_id, customer_id, state, payment, version, .. } = order;
    let unchanged = json!({
        "order_id": order_id, "customer_id": customer_id, "state": state, "payment": payment, "version": version + 1,
    });
    ("OrderUnchanged", unchanged)
}

impl Model for Orders {
    const COPIES: &'static [&'static str] = &["known_customers"];

    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let id = text(event, "order_id");
        let order = self.orders.entry(id_key(&id)).or_default();
        order.order_id = id;
        counted(&mut order.version, event)?;
        let was = order.state;
        let may = |from: &[&str]| holds(from.contains(&was), "an order goes its way forwards only");
        let is_own = event["customer_id"].is_null() || was.is_empty() || event["customer_id"] == *order.customer_id;
        holds(is_own, "an order stays its customer's")?;
        if !matches!(name, "OrderUnchanged" | "OrderReactionDeclined") {
            order.updated_ms = at.time_ms;
        }
        match name {
            "OrderPlaced" => {
                order.customer_id = text(event, "customer_id");
                order.currency = text(event, "currency");
                order.channel = event["channel"].as_str().map(str::to_owned);
                order.lines = list(event, "lines").to_vec();
                order.created_ms = at.time_ms;
                order.total =
                    order.lines.iter().map(|line| number(line, "unit_price") * number(line, "quantity")).sum();
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
                order.rejection = Some(event["rejection"].clone());
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

    fn answer(&self, ask: &Ask, minted: &str, _now_ms: i64) -> Answer {
        match ask {
            // Whether the customer may order is a copied fact.
            Ask::Place { customer, currency, lines, channel } => {
                place(minted, customer, currency, lines, channel.as_deref())
            }
            Ask::Cancel { order } => self.cancel(order),
            Ask::Fulfil { order } => self.fulfil(order),
            _ => Err(Vec::new()),
        }
    }

    fn target(ask: &Ask) -> Option<Key> {
        match ask {
            Ask::Cancel { order } | Ask::Fulfil { order } => Some(id_key(order)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.orders.keys().copied().collect()
    }

    fn row(&self, key: Key) -> Option<Document> {
        let order = self.orders.get(&key)?;
        let doc = if order.state.is_empty() {
            json!({ "StrayOrder": { "order_id": order.order_id, "version": order.version } })
        } else {
            json!({ "Order": order })
        };
        Some(("orders", doc))
    }
}
