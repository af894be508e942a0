//! The fields of this service's public events.

use orderlog_http::service::contract::{
    TopicContract,
    payload::{Field, id, many, object, text, version},
};
use serde_json::{Value, json};

/// The contract of `topic`.
pub fn of(topic: &str) -> TopicContract {
    match topic {
        "stock.updated" => {
            TopicContract { summary: "Stock of a SKU moved.", key: "The SKU.", payload: stock_updated() }
        }
        "low.stock" => {
            let fields = vec![sku(), ("available", units()), ("low_stock_threshold", units()), version()];
            TopicContract {
                summary: "The available units of a SKU fell below its threshold. Published once until the SKU has \
                    recovered.",
                key: "The SKU.",
                payload: object(fields, &[]),
            }
        }
        "stock.reserved" => {
            let fields = vec![
                ("reservation_id", text("The reservation's name, or an order's id for an order's own.")),
                ("reserved_for", reserved_for()),
                ("order_id", json!({ "type": ["string", "null"], "format": "uuid" })),
                ("lines", many(stock_line())),
                version(),
            ];
            let (key, payload) = ("The reservation's id.", object(fields, &["order_id"]));
            TopicContract { summary: "Stock was reserved.", key, payload }
        }
        "stock.rejected" => {
            let payload = object([vec![id("order_id"), version()], rejected()].concat(), &[]);
            TopicContract { summary: "An order's stock could not be reserved.", key: "The order's id.", payload }
        }
        _ => TopicContract::default(),
    }
}

fn units() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub fn sku() -> Field {
    ("sku", json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }))
}

/// A number of units.
pub fn quantity() -> Field {
    ("quantity", json!({ "type": "integer", "minimum": 1, "maximum": 1_000_000 }))
}

/// A SKU with a number of units.
pub fn stock_line() -> Value {
    object(vec![sku(), quantity()], &[])
}

/// The fields of a rejection for lack of stock.
pub fn rejected() -> Vec<Field> {
    let shortage = object(vec![sku(), ("requested", units()), ("available", units())], &[]);
    vec![
        ("reason", json!({ "type": "string", "enum": ["out_of_stock", "unknown_sku"] })),
        ("shortages", many(shortage)),
    ]
}

fn stock_updated() -> Value {
    let level = || object(vec![("on_hand", units()), ("reserved", units()), ("low_stock_threshold", units())], &[]);
    let causes = ["received", "adjusted", "reserved", "released", "expired", "committed", "threshold_changed"];
    let fields = vec![
        sku(),
        ("delta", json!({ "type": "integer", "description": "The change of the available units." })),
        ("cause", json!({ "type": "string", "enum": causes })),
        (
            "reservation_id",
            json!({ "type": ["string", "null"], "description": "The reservation that moved the stock, if one did." }),
        ),
        ("reserved_for", reserved_for()),
        ("before", level()),
        ("after", level()),
        version(),
    ];
    object(fields, &["reservation_id", "reserved_for"])
}

fn reserved_for() -> Value {
    let description = "Who made the reservation. Only an order's own decides the outcome of the order.";
    json!({ "type": "string", "enum": ["order", "caller"], "description": description })
}
