//! The public events of other services that lead to notifications. This service publishes nothing.

use uuid::{Builder, Uuid};

use orderlog_core::{heard, key::Key, public::PublicEvent as _};

use crate::{
    billing::{self, public::OrderPaid},
    inventory::{
        self,
        public::{LowStock, StockUpdated},
    },
    planted::Bug,
    values::{Body, Currency, Money, NotificationId, OrderId, Recipient, Subject},
};

use super::{commands::Command, events::Source};

/// The role that looks after stock.
pub const OPERATIONS: &str = "operations";

heard! {
    /// The public events that the notifications service consumes.
    pub enum Heard {
        /// Stock movements.
        Inventory(inventory::Published),
        /// Payments.
        Billing(billing::Published),
    }
}

/// The notification that `event` leads to, if any.
pub(super) fn react(event: &Heard) -> Option<Command> {
    use billing::Published as Payment;
    use inventory::Published as Stock;
    let (recipient, subject, body) = match event {
        Heard::Inventory(Stock::LowStock(low)) => low_stock(low),
        Heard::Inventory(Stock::StockUpdated(moved)) if moved.before.is_low() && !moved.after.is_low() => {
            stock_recovered(moved)
        }
        Heard::Billing(Payment::OrderPaid(paid)) => order_paid(paid),
        Heard::Inventory(Stock::StockUpdated(_) | Stock::StockReserved(_) | Stock::StockRejected(_))
        | Heard::Billing(Payment::PaymentRefunded(_)) => return None,
    };
    Some(Command::Notify {
        notification_id: derived_id(event),
        source: Source::News,
        recipient: Recipient::new(&*recipient).expect("a role and a UUID are recipients"),
        recipient_as_given: recipient,
        subject: Subject::new(subject).expect("a few words and a SKU of at most 64 characters are a subject"),
        body: Body::new(body).expect("a sentence of a SKU, an id and numbers is a body"),
    })
}

/// The notification id derived from `event`. The same on every delivery. It is a version 8 UUID, which allows custom
/// content, so it can't be mistaken for one with a timestamp.
fn derived_id(event: &Heard) -> NotificationId {
    let source = format!("{}/{}/{}", event.topic(), event.subject(), event.version());
    let bytes: [u8; 16] = *Key::named("notification", &source).as_bytes();
    let id: Uuid = Builder::from_custom_bytes(bytes).into_uuid();
    NotificationId(id)
}

fn low_stock(low: &LowStock) -> (String, String, String) {
    let LowStock { sku, available, low_stock_threshold, version: _ } = low;
    let body = format!("Units of {sku} available: {available}. There should be at least {low_stock_threshold}.");
    (OPERATIONS.to_owned(), format!("Low stock: {sku}"), body)
}

fn stock_recovered(moved: &StockUpdated) -> (String, String, String) {
    let (sku, available) = (&moved.sku, moved.after.available());
    let threshold = moved.after.low_stock_threshold;
    let body = format!("Units of {sku} available: {available}. The low-stock threshold is {threshold}.");
    (OPERATIONS.to_owned(), format!("Stock recovered: {sku}"), body)
}

fn order_paid(paid: &OrderPaid) -> (String, String, String) {
    let order_id = if Bug::NoticeOfAnotherOrder.is_loose() { OrderId(paid.customer_id.0) } else { paid.order_id };
    // An order without charge is paid from the start. Its customer is notified like any other, but the text must not
    // mention a payment that was never made.
    let body = if paid.amount == Money::ZERO {
        format!("Nothing was due for your order {order_id}. Thank you.")
    } else {
        let amount = amount_text(paid.amount, paid.currency);
        format!("We received {amount} for your order {order_id}. Thank you.")
    };
    (paid.customer_id.to_string(), "Order paid".to_owned(), body)
}

/// The amount for people, such as `12.34 EUR` or `1234 JPY`.
fn amount_text(amount: Money, currency: Currency) -> String {
    let exponent = currency.exponent();
    let unit = 10_i64.pow(exponent);
    let (whole, part) = (amount.minor_units() / unit, amount.minor_units() % unit);
    match exponent {
        0 => format!("{whole} {currency}"),
        decimals => format!("{whole}.{part:0width$} {currency}", width = decimals as usize),
    }
}

#[cfg(test)]
mod tests;
