//! What is expected here is what the contract that is published describes.

use std::collections::BTreeSet;

use super::*;

/// An accepted event of each kind that leads to public events, with more fields than those have.
fn samples() -> Vec<(&'static str, &'static str, Value)> {
    let level = |on_hand: i64| json!({"on_hand": on_hand, "reserved": 2, "low_stock_threshold": 3});
    let customer =
        json!({"customer": {"customer_id": "c", "name": "Ada", "email": "a@b", "active": true, "version": 1}});
    let order =
        |more: Value| merged(json!({"order_id": "o", "customer_id": "c", "payment": "paid", "version": 2}), more);
    let lines =
        json!([{"sku": "s", "quantity": 1, "unit_price": 5, "before": level(9), "after": level(4), "version": 7}]);
    let why = json!({"reason": "out_of_stock", "shortages": [{"sku": "s", "requested": 2, "available": 1}]});
    let totals = json!({"state": "paid", "amount_due": 5, "amount_paid": 5, "amount_refunded": 1, "version": 3});
    let invoice = |more: Value| {
        let ids =
            json!({"order_id": "o", "customer_id": "c", "currency": "EUR", "reference": "bank", "totals": totals});
        merged(ids, more)
    };
    let moved = json!({"sku": "s", "quantity": 1, "delta": -1, "reason": "lost", "before": level(9), "after": level(4), "version": 7});
    let held = json!({
        "reservation": {"order": "o"}, "order_id": "o", "lines": lines, "ttl_seconds": null, "expires_at_ms": null, "version": 1,
    });
    vec![
        ("customers", "CustomerCreated", customer.clone()),
        ("customers", "CustomerDeactivated", customer),
        ("orders", "OrderPlaced", order(json!({"currency": "EUR", "lines": lines, "total": 5}))),
        ("orders", "OrderConfirmed", order(json!({}))),
        ("orders", "OrderRejected", order(json!({"rejection": why}))),
        ("orders", "OrderCancelled", order(json!({}))),
        ("orders", "OrderFulfilled", order(json!({"lines": lines}))),
        ("billing", "PaymentRecorded", invoice(json!({"amount": 2}))),
        ("billing", "InvoiceRefunded", invoice(json!({"amount": 1, "cause": "requested"}))),
        ("inventory", "StockAdjusted", moved),
        ("inventory", "ReservationHeld", held),
        ("inventory", "ReservationRejected", merged(json!({"order_id": "o", "seen": [], "version": 1}), why)),
    ]
}

/// Whether a value has every required field of a schema, at every depth, and no other than it names.
fn is_of(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let properties = &schema["properties"];
            let is_known =
                |(name, value): (&String, &Value)| properties[name].is_object() && is_of(&properties[name], value);
            required.into_iter().all(|name| fields.contains_key(name)) && fields.iter().all(is_known)
        }
        Value::Array(items) => items.iter().all(|item| is_of(&schema["items"], item)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => !schema["type"].is_null(),
    }
}

#[test]
fn every_expected_event_is_one_of_the_published_contract() {
    let contract: Value = serde_json::from_str(include_str!("../../../../openapi/asyncapi.json")).unwrap();
    let messages = contract["components"]["messages"].as_object().unwrap();
    let mut seen = BTreeSet::new();
    for (service, name, event) in samples() {
        for Event { topic, value, .. } in events_of(service, name, &event) {
            let message = messages.values().find(|message| message["name"] == topic).unwrap();
            let schema = |of: &str| {
                let reference = message[of]["$ref"].as_str().unwrap();
                contract.pointer(reference.trim_start_matches('#')).unwrap()
            };
            assert_eq!(schema("headers")["properties"]["ce_source"]["const"], format!("/orderlog/{service}"));
            assert!(is_of(schema("payload"), &value), "{topic}: {value}");
            seen.insert(topic);
        }
    }
    let promised: BTreeSet<_> = messages.values().filter_map(|message| message["name"].as_str()).collect();
    assert_eq!(seen, promised);
}

#[test]
fn events_of_a_record_are_numbered_movements_first() {
    let line = |sku: &str, before: i64, after: i64| {
        let level = |on_hand: i64| json!({"on_hand": on_hand, "reserved": 0, "low_stock_threshold": 5});
        json!({"sku": sku, "quantity": 1, "before": level(before), "after": level(after), "version": 2})
    };
    let lines = [line("a", 6, 4), line("b", 4, 3), line("c", 5, 2)];
    let event = json!({"reservation": {"caller": "cart"}, "lines": lines, "version": 1});
    let events = events_of("inventory", "ReservationHeld", &event);
    let events: Vec<_> = events.iter().map(|event| (event.topic, event.subject.as_str())).collect();
    let updated = ["a", "b", "c"].map(|sku| ("stock.updated", sku));
    let low = ["a", "c"].map(|sku| ("low.stock", sku));
    assert_eq!(events, [&updated[..], &low[..], &[("stock.reserved", "cart")]].concat());
}
