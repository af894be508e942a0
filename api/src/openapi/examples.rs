//! Examples for the answers that have none of their own: made of the others, so that all tell one story.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::params::{EXAMPLE_CUSTOMER, EXAMPLE_NOTIFICATION, EXAMPLE_ORDER};

const TIME: &str = "2026-09-21T14:13:20Z";
const SKU: &str = "espresso-beans-1kg";
const QUANTITY: &str = "a quantity must be from 1 to 1000000";

/// No example goes deeper than this.
const MAX_DEPTH: usize = 8;

/// Examples that can't be put together of others without contradicting themselves.
fn own() -> [(&'static str, Value); 9] {
    let line = json!({ "sku": SKU, "quantity": 2, "unit_price": 1890 });
    let level = |on_hand: u32, available: u32| json!({ "on_hand": on_hand, "reserved": 2, "available": available, "low_stock_threshold": 5 });
    let order = json!({
        "order_id": EXAMPLE_ORDER, "customer_id": EXAMPLE_CUSTOMER, "state": "confirmed", "payment": "unpaid",
        "currency": "EUR", "total": 3780, "lines": [line], "version": 2, "created_at": TIME, "updated_at": TIME,
    });
    let changed = json!({
        "order_id": EXAMPLE_ORDER, "customer_id": EXAMPLE_CUSTOMER, "state": "cancelled", "payment": "unpaid", "version": 3,
        "changed_at": TIME,
    });
    let refund = json!({
        "order_id": EXAMPLE_ORDER, "amount": 1890, "currency": "EUR", "state": "paid", "amount_due": 3780,
        "amount_paid": 3780, "amount_refunded": 1890, "version": 3, "recorded_at": TIME,
    });
    let moved = json!({
        "sku": SKU, "delta": -1, "cause": "adjusted", "before": level(10, 8), "after": level(9, 7), "version": 4,
        "offset": 1042, "moved_at": TIME,
    });
    let entry = json!({
        "offset": 1042, "time": TIME, "type": "order_confirmed", "version": 2, "summary": "All of its stock is set aside.",
    });
    let read = json!({ "notification_id": EXAMPLE_NOTIFICATION, "read": true, "version": 2, "read_at": TIME });
    [
        ("OrderLine", line),
        ("Level", level(10, 8)),
        ("Order", order),
        ("OrderChanged", changed),
        ("RefundAnswer", refund),
        ("Movement", moved),
        ("HistoryEntry", entry),
        ("NotificationRead", read),
        ("Fault", json!({ "pointer": "#/lines/0/quantity", "code": "invalid_quantity", "detail": QUANTITY })),
    ]
}

/// Give every object schema an example.
pub fn all(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else { return };
    for (name, example) in own() {
        if let Some(schema) = schemas.get_mut(name) {
            schema["example"] = example;
        }
    }
    let known = Known { values: values(schemas), schemas: schemas.clone() };
    for schema in schemas.values_mut() {
        if schema["type"] == "object" && schema.get("example").is_none() {
            schema["example"] = known.example(schema, "", 0);
        }
    }
}

/// What the examples that are there call by which name.
fn values(schemas: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for example in schemas.values().filter_map(|schema| schema.get("example")?.as_object()) {
        for (name, value) in example {
            values.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    values
}

struct Known {
    values: BTreeMap<String, Value>,
    schemas: Map<String, Value>,
}

impl Known {
    /// An example of `schema`, which is that of a field called `field`.
    fn example(&self, schema: &Value, field: &str, depth: usize) -> Value {
        if let Some(example) = schema.get("example") {
            return example.clone();
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        let referred = schema.get("$ref").or_else(|| schema["allOf"].get(0)?.get("$ref"));
        if let Some(name) = referred.and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
            return self.schemas.get(name).map_or(Value::Null, |schema| self.example(schema, field, depth));
        }
        if depth >= MAX_DEPTH {
            return Value::Null;
        }
        match schema["type"].as_str() {
            Some("object") => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let fields = required
                    .map(|field| (field.to_owned(), self.example(&schema["properties"][field], field, depth + 1)));
                fields.collect::<Map<_, _>>().into()
            }
            Some("array") => json!([self.example(&schema["items"], field, depth + 1)]),
            kind => self.values.get(field).cloned().unwrap_or_else(|| match kind {
                Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
                Some("boolean") => true.into(),
                _ => match schema["format"].as_str() {
                    Some("date-time") => TIME.into(),
                    Some("uuid") => json!(EXAMPLE_ORDER),
                    Some(_) | None => "...".into(),
                },
            }),
        }
    }
}
