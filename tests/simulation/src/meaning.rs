//! What commands and refusals mean to the checker: requests and problem codes, as the contracts have them.

use orderlog_core::machine::Versions;
use orderlog_domain::{
    billing, customers,
    inventory::{self, StockLine},
    notifications, orders,
};
use orderlog_history::{Address, Ask, IfMatch, OrderLine, Refusal, Units};
use serde_json::{Value, json};

fn text(value: impl Into<String>) -> String {
    value.into()
}

fn address(address: &customers::Address) -> Address {
    let customers::Address { email, email_key, canonical_key } = address;
    Address { text: text(email.clone()), key: *email_key, canonical_key: *canonical_key }
}

fn units(lines: &[StockLine]) -> Vec<Units> {
    let line = |line: &StockLine| Units { sku: text(line.sku.clone()), quantity: line.quantity.get().into() };
    lines.iter().map(line).collect()
}

/// A command to the customers service; `None` for what no caller can ask.
pub fn of_customers(command: &customers::Command) -> Option<Ask> {
    use customers::Command;
    Some(match command {
        Command::Create { customer_id: _, name, address: email } => {
            Ask::CreateCustomer { name: text(name.clone()), email: address(email) }
        }
        Command::Update { customer_id, name, address: email } => Ask::UpdateCustomer {
            customer: customer_id.to_string(),
            name: name.clone().map(text),
            email: email.as_ref().map(address),
        },
        Command::Deactivate { customer_id } => Ask::Deactivate { customer: customer_id.to_string() },
        Command::ClaimEmailKey { .. } => return None,
    })
}

/// A command to the orders service; `None` for what no caller can ask.
pub fn of_orders(command: &orders::Command) -> Option<Ask> {
    use orders::Command;
    Some(match command {
        Command::Place { order_id: _, customer_id, currency, lines, channel } => {
            let line = |line: &orderlog_domain::orders::OrderLine| OrderLine {
                sku: text(line.sku.clone()),
                quantity: line.quantity.get().into(),
                unit_price: line.unit_price.minor_units(),
            };
            Ask::Place {
                customer: customer_id.to_string(),
                currency: currency.to_string(),
                lines: lines.iter().map(line).collect(),
                channel: channel.clone().map(text),
            }
        }
        Command::Cancel { order_id } => Ask::Cancel { order: order_id.to_string() },
        Command::Fulfil { order_id } => Ask::Fulfil { order: order_id.to_string() },
        Command::Confirm { .. } | Command::Reject { .. } | Command::MarkPaid { .. } | Command::MarkRefunded { .. } => {
            return None;
        }
    })
}

/// A command to the inventory; `None` for what no caller can ask.
pub fn of_inventory(command: &inventory::Command) -> Option<Ask> {
    use inventory::{Command, Reserve};
    Some(match command {
        Command::Receive { sku, quantity } => Ask::Receive { sku: text(sku.clone()), quantity: quantity.get().into() },
        Command::Adjust { sku, delta, reason } => {
            Ask::Adjust { sku: text(sku.clone()), delta: delta.get(), reason: text(reason.clone()) }
        }
        Command::SetThreshold { sku, low_stock_threshold } => {
            Ask::SetThreshold { sku: text(sku.clone()), threshold: (*low_stock_threshold).into() }
        }
        Command::Reserve(Reserve { name, lines, ttl_seconds, order_id }) => Ask::Reserve {
            name: text(name.clone()),
            lines: units(lines),
            ttl_seconds: ttl_seconds.map(|ttl| ttl.get().into()),
            order: order_id.map(|id| id.to_string()),
        },
        Command::Release { name } => Ask::Release { name: text(name.clone()) },
        Command::Expire { .. }
        | Command::ReserveForOrder { .. }
        | Command::CancelForOrder { .. }
        | Command::CommitForOrder { .. } => return None,
    })
}

/// A command to billing; `None` for what no caller can ask.
pub fn of_billing(command: &billing::Command) -> Option<Ask> {
    use billing::Command;
    Some(match command {
        Command::RecordPayment { payment_id: _, order_id, amount, currency, reference } => Ask::Pay {
            order: order_id.to_string(),
            amount: amount.minor_units(),
            currency: currency.to_string(),
            reference: text(reference.clone()),
        },
        Command::Refund { order_id, amount, reason } => Ask::Refund {
            order: order_id.to_string(),
            amount: amount.map(|amount| amount.minor_units()),
            reason: reason.clone().map(text),
        },
        Command::OpenInvoice { .. } | Command::CloseInvoice { .. } => return None,
    })
}

/// A command to the notifications service.
pub fn of_notifications(command: &notifications::Command) -> Option<Ask> {
    use notifications::Command;
    Some(match command {
        Command::Notify { notification_id: _, source: _, recipient: _, recipient_as_given, subject, body } => {
            let (subject, body) = (text(subject.clone()), text(body.clone()));
            Ask::Notify { recipient: recipient_as_given.clone(), subject, body }
        }
        Command::MarkRead { notification_id } => Ask::MarkRead { notification: notification_id.to_string() },
    })
}

/// Where a caller would send the command: its idempotency key counts there.
pub fn operation(ask: &Ask) -> String {
    match ask {
        Ask::CreateCustomer { .. } => "POST /customers".to_owned(),
        Ask::UpdateCustomer { customer, .. } => format!("PATCH /customers/{customer}"),
        Ask::Deactivate { customer } => format!("POST /customers/{customer}/deactivate"),
        Ask::Place { .. } => "POST /orders".to_owned(),
        Ask::Cancel { order } => format!("POST /orders/{order}/cancel"),
        Ask::Fulfil { order } => format!("POST /orders/{order}/fulfil"),
        Ask::Receive { sku, .. } => format!("POST /stock/{sku}/receive"),
        Ask::Adjust { sku, .. } => format!("POST /stock/{sku}/adjust"),
        Ask::SetThreshold { sku, .. } => format!("PUT /stock/{sku}/threshold"),
        Ask::Reserve { .. } => "POST /stock/reserve".to_owned(),
        Ask::Release { name } => format!("POST /stock/reservations/{name}/release"),
        Ask::Pay { .. } => "POST /billing".to_owned(),
        Ask::Refund { order, .. } => format!("POST /billing/{order}/refund"),
        Ask::Notify { .. } => "POST /notify".to_owned(),
        Ask::MarkRead { notification } => format!("POST /notifications/{notification}/read"),
    }
}

/// Versions that a caller has seen.
pub fn if_match(versions: &Versions) -> IfMatch {
    match versions {
        Versions::Any => IfMatch::Any,
        Versions::OneOf(versions) => IfMatch::OneOf(versions.clone()),
    }
}

fn refusal(code: &str, facts: Value) -> Refusal {
    Refusal { code: code.to_owned(), facts }
}

/// A refusal by the customers service.
pub fn by_customers(rejection: &customers::Rejection) -> Refusal {
    use customers::Rejection;
    match rejection {
        Rejection::EmailTaken => refusal("duplicate_email", Value::Null),
        Rejection::UnknownCustomer { customer_id } => {
            refusal("unknown_customer", json!({ "customer_id": customer_id }))
        }
        Rejection::EmailKeyTaken { .. } | Rejection::NothingToClaim { .. } => refusal("internal", Value::Null),
    }
}

/// A refusal by the orders service.
pub fn by_orders(rejection: &orders::Rejection) -> Refusal {
    use orders::Rejection;
    match rejection {
        Rejection::NoLines => refusal("no_lines", Value::Null),
        Rejection::TooManyLines { given, max } => refusal("too_many_lines", json!({ "given": given, "max": max })),
        Rejection::TotalTooLarge { max: _ } => refusal("total_too_large", Value::Null),
        Rejection::QuantityTooLarge { sku, max: _ } => refusal("quantity_too_large", json!({ "sku": sku })),
        Rejection::UnknownCustomer { customer_id } => {
            refusal("unknown_customer", json!({ "customer_id": customer_id }))
        }
        Rejection::CustomerInactive { customer_id } => {
            refusal("customer_inactive", json!({ "customer_id": customer_id }))
        }
        Rejection::UnknownOrder { order_id } => refusal("unknown_order", json!({ "order_id": order_id })),
        Rejection::IllegalTransition { order_id: _, from, action } => {
            refusal("illegal_transition", json!({ "from": from, "action": action.to_string() }))
        }
        Rejection::NotPaid { order_id: _, payment } => refusal("not_paid", json!({ "payment": payment })),
    }
}

/// A refusal by the inventory.
pub fn by_inventory(rejection: &inventory::Rejection) -> Refusal {
    use inventory::Rejection;
    use orderlog_domain::inventory::ShortageReason;
    match rejection {
        Rejection::UnknownSku { sku } => refusal("unknown_sku", json!({ "sku": sku })),
        Rejection::TooMuchStock { sku: _, on_hand, max: _ } => refusal("too_much_stock", json!({ "on_hand": on_hand })),
        Rejection::AdjustedBelowReserved { sku: _, delta, on_hand, reserved } => {
            refusal("below_reserved", json!({ "delta": delta, "on_hand": on_hand, "reserved": reserved }))
        }
        Rejection::NoLines => refusal("no_lines", Value::Null),
        Rejection::TooManyLines { .. } => refusal("too_many_lines", Value::Null),
        Rejection::TooManyUnits { sku, .. } => refusal("quantity_too_large", json!({ "sku": sku })),
        Rejection::NotEnoughStock { reason, shortages } => {
            let code = match reason {
                ShortageReason::OutOfStock => "not_enough_stock",
                ShortageReason::UnknownSku => "unknown_sku",
            };
            refusal(code, json!({ "shortages": shortages }))
        }
        Rejection::ReservationExists { .. } => refusal("reservation_exists", Value::Null),
        Rejection::ReservationEnded { reservation: _, state } => {
            refusal("reservation_ended", json!({ "state": state }))
        }
        Rejection::UnknownReservation { reservation } => {
            refusal("unknown_reservation", json!({ "reservation": reservation.to_string() }))
        }
    }
}

/// A refusal by billing.
pub fn by_billing(rejection: &billing::Rejection) -> Refusal {
    use billing::Rejection;
    match rejection {
        Rejection::UnknownOrder { order_id } => refusal("unknown_order", json!({ "order_id": order_id })),
        Rejection::WrongCurrency { invoice, given } => {
            refusal("wrong_currency", json!({ "invoice": invoice, "given": given }))
        }
        Rejection::Overpayment { open_amount, given } => {
            refusal("overpayment", json!({ "open_amount": open_amount, "given": given }))
        }
        Rejection::InvoiceClosed { state } => refusal("invoice_closed", json!({ "state": state })),
        Rejection::NotPaid { order_id: _ } => refusal("not_paid", Value::Null),
        Rejection::RefundTooLarge { refundable, asked } => {
            refusal("refund_too_large", json!({ "refundable": refundable, "asked": asked }))
        }
    }
}

/// A refusal by the notifications service.
pub fn by_notifications(rejection: &notifications::Rejection) -> Refusal {
    let notifications::Rejection::UnknownNotification { notification_id } = rejection;
    refusal("unknown_notification", json!({ "notification_id": notification_id }))
}
