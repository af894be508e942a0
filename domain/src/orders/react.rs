//! What the orders service publishes, how it reacts to other services, and what it copies from them.

use orderlog_core::{decider::Ref, heard};

use crate::{
    billing, customers,
    inventory::{self, ReservedFor},
    planted::Bug,
};

use super::{
    commands::Command,
    events::Event,
    public::{self, Published},
    state::{Entity, KnownCustomer},
};

/// The public events that follow from `event`.
pub(super) fn publish(event: &Event) -> Vec<Published> {
    match event {
        Event::OrderPlaced(placed) => vec![Published::Created(public::OrderCreated {
            order_id: placed.order_id,
            customer_id: placed.customer_id,
            currency: placed.currency,
            lines: placed.lines.clone(),
            total: placed.total,
            version: placed.version,
        })],
        Event::OrderConfirmed(confirmed) => vec![Published::Confirmed(public::OrderConfirmed {
            order_id: confirmed.order_id,
            customer_id: confirmed.customer_id,
            version: confirmed.version,
        })],
        Event::OrderRejected(rejected) => vec![Published::Rejected(public::OrderRejected {
            order_id: rejected.order_id,
            customer_id: rejected.customer_id,
            reason: rejected.rejection.reason,
            shortages: rejected.rejection.shortages.clone(),
            version: rejected.version,
        })],
        Event::OrderCancelled(cancelled) => vec![Published::Cancelled(public::OrderCancelled {
            order_id: cancelled.order_id,
            customer_id: cancelled.customer_id,
            version: cancelled.version,
        })],
        Event::OrderFulfilled(fulfilled) => vec![Published::Fulfilled(public::OrderFulfilled {
            order_id: fulfilled.order_id,
            customer_id: fulfilled.customer_id,
            lines: fulfilled.lines.clone(),
            version: fulfilled.version,
        })],
        // Payments are published by billing. Events that changed nothing are not published.
        Event::OrderMarkedPaid(_)
        | Event::OrderMarkedRefunded(_)
        | Event::OrderUnchanged(_)
        | Event::OrderReactionDeclined(_) => Vec::new(),
    }
}

heard! {
    /// The public events that the orders service consumes.
    pub enum Heard {
        /// Customers, who must exist and be active to order.
        Customers(customers::Published),
        /// Stock reserved for orders.
        Inventory(inventory::Published),
        /// Payments and refunds of orders.
        Billing(billing::Published),
    }
}

pub(super) fn react(event: &Heard) -> Option<Command> {
    match event {
        // Copied by `copy`.
        Heard::Customers(_) => None,
        Heard::Inventory(event) => react_to_stock(event),
        Heard::Billing(event) => react_to_payment(event),
    }
}

fn react_to_stock(event: &inventory::Published) -> Option<Command> {
    use inventory::Published as Stock;
    match event {
        // A caller may label a reservation with any order id. The label has no effect on the order.
        Stock::StockReserved(reserved) => match (reserved.reserved_for, reserved.order_id) {
            (ReservedFor::Order, Some(order_id)) => Some(Command::Confirm { order_id }),
            (ReservedFor::Order, None) | (ReservedFor::Caller, _) => None,
        },
        Stock::StockRejected(rejected) => Some(Command::Reject {
            order_id: rejected.order_id,
            reason: rejected.reason,
            shortages: rejected.shortages.clone(),
        }),
        Stock::StockUpdated(_) | Stock::LowStock(_) => None,
    }
}

fn react_to_payment(event: &billing::Published) -> Option<Command> {
    match event {
        billing::Published::OrderPaid(paid) => {
            Some(Command::MarkPaid { order_id: paid.order_id, invoice_version: paid.version })
        }
        // A partial refund leaves a paid order paid.
        billing::Published::PaymentRefunded(refunded) => (refunded.amount_refunded == refunded.amount_paid
            || Bug::RefundInPart.is_loose())
        .then_some(Command::MarkRefunded { order_id: refunded.order_id, invoice_version: refunded.version }),
    }
}

/// The row that a customer's public event updates.
pub(super) fn copy(event: &Heard) -> Option<(Ref, u64, Entity)> {
    use customers::Published as Customer;
    match event {
        Heard::Customers(Customer::Created(changed) | Customer::Updated(changed)) => {
            let customers::public::CustomerChanged { customer_id, active, version } = *changed;
            let known = KnownCustomer { customer_id, active, version };
            Some((KnownCustomer::aggregate(customer_id), version, Entity::KnownCustomer(known)))
        }
        Heard::Inventory(_) | Heard::Billing(_) => None,
    }
}

#[cfg(test)]
mod tests;
