//! What the orders service tells others, what it does about their news, and what it copies from them.

use crate::{
    decider::Ref,
    planted::{self, Bug},
    public::{self, Public, ReservedFor},
};

use super::{
    commands::Command,
    events::Event,
    state::{Entity, KnownCustomer},
};

/// What others are told of `event`.
pub(super) fn publish(event: &Event) -> Vec<Public> {
    match event {
        Event::OrderPlaced(placed) => vec![Public::OrderCreated(public::OrderCreated {
            order_id: placed.order_id,
            customer_id: placed.customer_id,
            currency: placed.currency,
            lines: placed.lines.clone(),
            total: placed.total,
            version: placed.version,
        })],
        Event::OrderConfirmed(confirmed) => vec![Public::OrderConfirmed(public::OrderConfirmed {
            order_id: confirmed.order_id,
            customer_id: confirmed.customer_id,
            version: confirmed.version,
        })],
        Event::OrderRejected(rejected) => vec![Public::OrderRejected(public::OrderRejected {
            order_id: rejected.order_id,
            customer_id: rejected.customer_id,
            reason: rejected.rejection.reason,
            shortages: rejected.rejection.shortages.clone(),
            version: rejected.version,
        })],
        Event::OrderCancelled(cancelled) => vec![Public::OrderCancelled(public::OrderCancelled {
            order_id: cancelled.order_id,
            customer_id: cancelled.customer_id,
            version: cancelled.version,
        })],
        Event::OrderFulfilled(fulfilled) => vec![Public::OrderFulfilled(public::OrderFulfilled {
            order_id: fulfilled.order_id,
            customer_id: fulfilled.customer_id,
            lines: fulfilled.lines.clone(),
            version: fulfilled.version,
        })],
        // Payments are billing's to tell; what changed nothing is nobody's news.
        Event::OrderMarkedPaid(_)
        | Event::OrderMarkedRefunded(_)
        | Event::OrderUnchanged(_)
        | Event::OrderReactionDeclined(_) => Vec::new(),
    }
}

/// What this service does about `event`.
pub(super) fn react(event: &Public) -> Option<Command> {
    match event {
        // A caller's reservation may name any order: it is a mere label, and decides nothing.
        Public::StockReserved(reserved) => match (reserved.reserved_for, reserved.order_id) {
            (ReservedFor::Order, Some(order_id)) => Some(Command::Confirm { order_id }),
            (ReservedFor::Order, None) | (ReservedFor::Caller, _) => None,
        },
        Public::StockRejected(rejected) => Some(Command::Reject {
            order_id: rejected.order_id,
            reason: rejected.reason,
            shortages: rejected.shortages.clone(),
        }),
        Public::OrderPaid(paid) => Some(Command::MarkPaid { order_id: paid.order_id, invoice_version: paid.version }),
        // A partial refund leaves a paid order paid.
        Public::PaymentRefunded(refunded) => (refunded.amount_refunded == refunded.amount_paid
            || planted::has(Bug::RefundInPart))
        .then_some(Command::MarkRefunded { order_id: refunded.order_id, invoice_version: refunded.version }),
        Public::CustomerCreated(_)
        | Public::CustomerUpdated(_)
        | Public::OrderCreated(_)
        | Public::OrderConfirmed(_)
        | Public::OrderRejected(_)
        | Public::OrderCancelled(_)
        | Public::OrderFulfilled(_)
        | Public::StockUpdated(_)
        | Public::LowStock(_) => None,
    }
}

/// The row that a customer's news stands for.
pub(super) fn copy(event: &Public) -> Option<(Ref, u64, Entity)> {
    match event {
        Public::CustomerCreated(changed) | Public::CustomerUpdated(changed) => {
            let public::CustomerChanged { customer_id, active, version } = *changed;
            let known = KnownCustomer { customer_id, active, version };
            Some((KnownCustomer::aggregate(customer_id), version, Entity::KnownCustomer(known)))
        }
        Public::OrderCreated(_)
        | Public::OrderConfirmed(_)
        | Public::OrderRejected(_)
        | Public::OrderCancelled(_)
        | Public::OrderFulfilled(_)
        | Public::OrderPaid(_)
        | Public::PaymentRefunded(_)
        | Public::StockUpdated(_)
        | Public::LowStock(_)
        | Public::StockReserved(_)
        | Public::StockRejected(_) => None,
    }
}

#[cfg(test)]
mod tests;
