//! The fields of the public events, topic by topic.

use serde_json::{Map, Value, json};

/// In a sentence, what an event of `topic` says, and the JSON schema of its payload.
pub fn of(topic: &str) -> (&'static str, Value) {
    let customer = || vec![id("customer_id"), ("active", json!({ "type": "boolean" })), version()];
    let order = || vec![id("order_id"), id("customer_id"), version()];
    match topic {
        "customer.created" => ("A customer exists.", object(customer(), &[])),
        "customer.updated" => ("A customer was changed or deactivated.", object(customer(), &[])),
        "order.created" => {
            let total = ("total", money("Sum of the lines."));
            let fields = [order(), vec![currency(), ("lines", many(order_line())), total]].concat();
            ("An order was placed.", object(fields, &[]))
        }
        "order.confirmed" => ("All stock of an order is set aside.", object(order(), &[])),
        "order.rejected" => ("An order can't be supplied.", object([order(), rejected()].concat(), &[])),
        "order.cancelled" => ("An order was cancelled.", object(order(), &[])),
        "order.fulfilled" => {
            ("An order left the house.", object([order(), vec![("lines", many(stock_line()))]].concat(), &[]))
        }
        "order.paid" => {
            let fields = [order(), vec![currency(), ("amount", money("What was paid in all."))]].concat();
            ("An order is paid in full.", object(fields, &[]))
        }
        "payment.refunded" => {
            let amounts = vec![
                currency(),
                ("amount", money("What was given back this time.")),
                ("amount_paid", money("What was paid in all.")),
                ("amount_refunded", money("What was given back in all.")),
            ];
            ("Money was given back.", object([order(), amounts].concat(), &[]))
        }
        "stock.updated" => ("Stock of a SKU moved.", stock_updated()),
        "low.stock" => {
            let fields = vec![sku(), ("available", units()), ("low_stock_threshold", units()), version()];
            (
                "The available units of a SKU fell below its threshold. Told once, until it has recovered.",
                object(fields, &[]),
            )
        }
        "stock.reserved" => {
            let fields = vec![
                ("reservation_id", text("The reservation: an order's id for an order's own.")),
                ("reserved_for", reserved_for()),
                ("order_id", json!({ "type": ["string", "null"], "format": "uuid" })),
                ("lines", many(stock_line())),
                version(),
            ];
            ("Stock was set aside.", object(fields, &["order_id"]))
        }
        "stock.rejected" => {
            let fields = [vec![id("order_id"), version()], rejected()].concat();
            ("An order's stock could not be set aside.", object(fields, &[]))
        }
        // A test compares this with the list of topics.
        _ => ("", Value::Null),
    }
}

/// What the key of a topic's records is.
pub fn key(topic: &str) -> &'static str {
    match topic.split('.').next() {
        Some("customer") => "The customer's id.",
        Some("order" | "payment") => "The order's id.",
        _ if topic == "stock.reserved" => "The reservation's id.",
        _ if topic == "stock.rejected" => "The order's id.",
        _ => "The SKU.",
    }
}

type Field = (&'static str, Value);

/// An object with these fields; all but `optional` are always there.
fn object(fields: Vec<Field>, optional: &[&str]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn many(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn money(description: &str) -> Value {
    let description = format!("{description} In minor units.");
    json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_i64, "description": description })
}

fn units() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn id(name: &'static str) -> Field {
    (name, json!({ "type": "string", "format": "uuid" }))
}

fn sku() -> Field {
    ("sku", json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }))
}

fn currency() -> Field {
    ("currency", json!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217." }))
}

fn version() -> Field {
    let description = "Counts what happened to what the event is about.";
    ("version", json!({ "type": "integer", "minimum": 1, "description": description }))
}

fn quantity() -> Field {
    ("quantity", json!({ "type": "integer", "minimum": 1, "maximum": 1_000_000 }))
}

fn order_line() -> Value {
    object(vec![sku(), quantity(), ("unit_price", money("For each."))], &[])
}

fn stock_line() -> Value {
    object(vec![sku(), quantity()], &[])
}

fn rejected() -> Vec<Field> {
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
        ("delta", json!({ "type": "integer", "description": "By how much the available units changed." })),
        ("cause", json!({ "type": "string", "enum": causes })),
        (
            "reservation_id",
            json!({ "type": ["string", "null"], "description": "The reservation, where one moved it." }),
        ),
        ("reserved_for", reserved_for()),
        ("before", level()),
        ("after", level()),
        version(),
    ];
    object(fields, &["reservation_id", "reserved_for"])
}

fn reserved_for() -> Value {
    let description = "Who made the reservation: only an order's own decides about the order.";
    json!({ "type": "string", "enum": ["order", "caller"], "description": description })
}
