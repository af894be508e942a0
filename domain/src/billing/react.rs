//! What billing tells others, and what it does about their news.

use super::{Command, Event, InvoiceState, RefundCause};
use crate::public::{OrderPaid, PaymentRefunded, Public};

/// What others are told of `event`.
pub(super) fn publish(event: &Event) -> Vec<Public> {
    match event {
        // Nothing due is paid from the beginning.
        Event::InvoiceOpened(it) if it.totals.state == InvoiceState::Paid => vec![Public::OrderPaid(OrderPaid {
            order_id: it.order_id,
            customer_id: it.customer_id,
            amount: it.totals.amount_paid,
            currency: it.currency,
            version: it.totals.version,
        })],
        Event::PaymentRecorded(it) if it.totals.state == InvoiceState::Paid => vec![Public::OrderPaid(OrderPaid {
            order_id: it.order_id,
            customer_id: it.customer_id,
            amount: it.totals.amount_paid,
            currency: it.currency,
            version: it.totals.version,
        })],
        Event::InvoiceRefunded(it) => vec![Public::PaymentRefunded(PaymentRefunded {
            order_id: it.order_id,
            customer_id: it.customer_id,
            amount: it.amount,
            amount_paid: it.totals.amount_paid,
            amount_refunded: it.totals.amount_refunded,
            currency: it.currency,
            version: it.totals.version,
        })],
        Event::InvoiceOpened(_)
        | Event::PaymentRecorded(_)
        | Event::InvoiceVoided(_)
        | Event::InvoiceFilledIn(_)
        | Event::ReactionDeclined(_) => Vec::new(),
    }
}

/// What billing does about `event`.
pub(super) fn react(event: &Public) -> Option<Command> {
    match event {
        Public::OrderCreated(it) => Some(Command::OpenInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            currency: it.currency,
            amount_due: it.total,
        }),
        Public::OrderRejected(it) => Some(Command::CloseInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            cause: RefundCause::OrderRejected,
        }),
        Public::OrderCancelled(it) => Some(Command::CloseInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            cause: RefundCause::OrderCancelled,
        }),
        Public::CustomerCreated(_)
        | Public::CustomerUpdated(_)
        | Public::OrderConfirmed(_)
        | Public::OrderFulfilled(_)
        | Public::OrderPaid(_)
        | Public::PaymentRefunded(_)
        | Public::StockUpdated(_)
        | Public::LowStock(_)
        | Public::StockReserved(_)
        | Public::StockRejected(_) => None,
    }
}
