//! What billing publishes, and how it reacts to other services.

use super::{
    Command, Event, InvoiceState, RefundCause,
    public::{OrderPaid, PaymentRefunded, Published},
};
use crate::orders;

/// The public events that follow from `event`.
pub(super) fn publish(event: &Event) -> Vec<Published> {
    match event {
        // An invoice with nothing due is paid from the start.
        Event::InvoiceOpened(it) if it.totals.state == InvoiceState::Paid => vec![Published::OrderPaid(OrderPaid {
            order_id: it.order_id,
            customer_id: it.customer_id,
            amount: it.totals.amount_paid,
            currency: it.currency,
            version: it.totals.version,
        })],
        Event::PaymentRecorded(it) if it.totals.state == InvoiceState::Paid => vec![Published::OrderPaid(OrderPaid {
            order_id: it.order_id,
            customer_id: it.customer_id,
            amount: it.totals.amount_paid,
            currency: it.currency,
            version: it.totals.version,
        })],
        Event::InvoiceRefunded(it) => vec![Published::PaymentRefunded(PaymentRefunded {
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

pub(super) fn react(event: &orders::Published) -> Option<Command> {
    match event {
        orders::Published::Created(it) => Some(Command::OpenInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            currency: it.currency,
            amount_due: it.total,
        }),
        orders::Published::Rejected(it) => Some(Command::CloseInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            cause: RefundCause::OrderRejected,
        }),
        orders::Published::Cancelled(it) => Some(Command::CloseInvoice {
            order_id: it.order_id,
            customer_id: it.customer_id,
            cause: RefundCause::OrderCancelled,
        }),
        orders::Published::Confirmed(_) | orders::Published::Fulfilled(_) => None,
    }
}
