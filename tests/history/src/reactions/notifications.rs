//! Who is told what by public events: operations of stock that becomes low or recovers, a customer of an order that is paid.

use orderlog_domain::values::Currency;
use serde_json::{Value, json};

use super::{Answer, Reacting};
use crate::{
    contract::{Event, available, is_low},
    model::{number, text},
};

#[derive(Default)]
pub struct Notifications;

/// As people write it: `12.34 EUR`, `1234 JPY`.
fn amount(event: &Value) -> String {
    let (minor, currency) = (number(event, "amount"), text(event, "currency"));
    let decimals = Currency::new(currency.as_str()).map_or(2, Currency::exponent) as usize;
    let digits = format!("{minor:0>width$}", width = decimals + 1);
    match digits.split_at(digits.len() - decimals) {
        (whole, "") => format!("{whole} {currency}"),
        (whole, part) => format!("{whole}.{part} {currency}"),
    }
}

impl Reacting for Notifications {
    fn answer(&self, Event { topic, value: event, .. }: &Event) -> Option<Answer> {
        let (operations, sku) = ("operations".to_owned(), text(event, "sku"));
        let (recipient, subject, body) = match *topic {
            "low.stock" => {
                let [available, threshold] = ["available", "low_stock_threshold"].map(|field| number(event, field));
                let body = format!("Units of {sku} available: {available}. There should be at least {threshold}.");
                (operations, format!("Low stock: {sku}"), body)
            }
            "stock.updated" if is_low(&event["before"]) && !is_low(&event["after"]) => {
                let (available, threshold) = (available(&event["after"]), &event["after"]["low_stock_threshold"]);
                let body = format!("Units of {sku} available: {available}. The low-stock threshold is {threshold}.");
                (operations, format!("Stock recovered: {sku}"), body)
            }
            "order.paid" => {
                let order = text(event, "order_id");
                let body = match number(event, "amount") {
                    0 => format!("Nothing was due for your order {order}. Thank you."),
                    _ => format!("We received {} for your order {order}. Thank you.", amount(event)),
                };
                (text(event, "customer_id"), "Order paid".to_owned(), body)
            }
            _ => return None,
        };
        let made = json!({"source": "news", "recipient": recipient, "subject": subject, "body": body, "version": 1});
        Some(("NotificationMade", made))
    }

    fn apply(&mut self, _: &str, _: &Value) {}

    fn is_reaction(name: &str, event: &Value) -> bool {
        match name {
            "NotificationMade" => event["source"] != "caller",
            "NotificationAlreadyMade" => true,
            _ => false,
        }
    }
}
