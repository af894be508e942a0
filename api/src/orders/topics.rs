//! The fields of this service's public events.

use orderlog_http::service::contract::{
    TopicContract,
    payload::{Field, id, many, object, version},
};
use serde_json::{Value, json};

use crate::inventory::topics::{quantity, rejected, sku, stock_line};

/// The contract of `topic`.
pub fn of(topic: &str) -> TopicContract {
    let (summary, more) = match topic {
        "order.created" => {
            let total = ("total", money("The sum of the lines."));
            ("An order was placed.", vec![currency(), ("lines", many(order_line())), total])
        }
        "order.confirmed" => ("All stock of an order is reserved.", Vec::new()),
        "order.rejected" => ("An order can't be supplied.", rejected()),
        "order.cancelled" => ("An order was cancelled.", Vec::new()),
        "order.fulfilled" => ("An order was fulfilled.", vec![("lines", many(stock_line()))]),
        _ => return TopicContract::default(),
    };
    TopicContract { summary, key: ORDER_KEY, payload: object([order(), more].concat(), &[]) }
}

/// The key of topics about orders.
pub const ORDER_KEY: &str = "The order's id.";

/// The fields of every event about an order.
pub fn order() -> Vec<Field> {
    vec![id("order_id"), id("customer_id"), version()]
}

pub fn money(description: &str) -> Value {
    let description = format!("{description} In minor units.");
    json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_i64, "description": description })
}

/// The currency of the amounts.
pub fn currency() -> Field {
    ("currency", json!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "The ISO 4217 currency code." }))
}

fn order_line() -> Value {
    object(vec![sku(), quantity(), ("unit_price", money("The price per unit."))], &[])
}
