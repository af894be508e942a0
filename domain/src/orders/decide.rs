//! Decisions of the orders service. One function per command, guards first.

use orderlog_core::decider::{At, Decider, Millis, Ref, View};

use crate::{
    planted::Bug,
    values::{Channel, Currency, CustomerId, Money, OrderId},
};

use super::{
    Orders,
    commands::{Action, Command, MAX_LINES, Rejection},
    events::{
        DeclineReason, Event, OrderCancelled, OrderConfirmed, OrderFulfilled, OrderMarkedPaid, OrderMarkedRefunded,
        OrderPlaced, OrderReactionDeclined, OrderRejected, OrderUnchanged, Reaction,
    },
    lines::{QuantityOverflow, added_up, total_of},
    public::{OrderLine, Published},
    react::{self, Heard},
    state::{Entity, KnownCustomer, Order, OrderState, Payment, StrayOrder, Unsupplied},
};

impl Decider for Orders {
    const JOURNAL: &'static str = "orders";
    const REACTS_TO: &'static [&'static str] = &["stock.reserved", "stock.rejected", "order.paid", "payment.refunded"];
    const COPIES: &'static [&'static str] = &["customer.created", "customer.updated"];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Published;
    type Heard = Heard;

    fn decide(command: &Command, view: &View<'_, Entity>, _now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Place { order_id, customer_id, currency, lines, channel } => {
                place(view, *order_id, *customer_id, *currency, lines, channel.as_ref())
            }
            Command::Cancel { order_id } => cancel(view, *order_id),
            Command::Fulfil { order_id } => fulfil(view, *order_id),
            Command::Confirm { order_id } => Ok(confirm(view, *order_id)),
            Command::Reject { order_id, reason, shortages } => {
                let rejection = Unsupplied { reason: *reason, shortages: shortages.clone() };
                Ok(reject(view, *order_id, rejection))
            }
            Command::MarkPaid { order_id, invoice_version } => Ok(mark_paid(view, *order_id, *invoice_version)),
            Command::MarkRefunded { order_id, invoice_version } => Ok(mark_refunded(view, *order_id, *invoice_version)),
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        command.target()
    }

    fn kind(event: &Event) -> &'static str {
        match event {
            Event::OrderPlaced(_) => "order_placed",
            Event::OrderConfirmed(_) => "order_confirmed",
            Event::OrderRejected(_) => "order_rejected",
            Event::OrderCancelled(_) => "order_cancelled",
            Event::OrderFulfilled(_) => "order_fulfilled",
            Event::OrderMarkedPaid(_) => "order_marked_paid",
            Event::OrderMarkedRefunded(_) => "order_marked_refunded",
            Event::OrderUnchanged(_) => "order_unchanged",
            Event::OrderReactionDeclined(_) => "order_reaction_declined",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        let order = Order::aggregate(event.order_id());
        match event {
            Event::OrderPlaced(_) => vec![Ref::minted(order.kind, order.key)],
            Event::OrderConfirmed(_)
            | Event::OrderRejected(_)
            | Event::OrderCancelled(_)
            | Event::OrderFulfilled(_)
            | Event::OrderMarkedPaid(_)
            | Event::OrderMarkedRefunded(_)
            | Event::OrderUnchanged(_)
            | Event::OrderReactionDeclined(_) => vec![order],
        }
    }

    fn evolve(entity: Option<Entity>, _which: usize, event: &Event, at: &At) -> Entity {
        match (event, entity) {
            (Event::OrderPlaced(placed), _) => Entity::Order(new_order(placed, at)),
            (event, Some(Entity::Order(order))) => Entity::Order(order_after(order, event, at)),
            (event, Some(Entity::StrayOrder(_) | Entity::KnownCustomer(_)) | None) => {
                Entity::StrayOrder(StrayOrder { order_id: event.order_id(), version: event.version() })
            }
        }
    }

    fn is_shown(entity: &Entity) -> bool {
        match entity {
            Entity::Order(_) | Entity::KnownCustomer(_) => true,
            Entity::StrayOrder(_) => false,
        }
    }

    fn publish(event: &Event) -> Vec<Published> {
        react::publish(event)
    }

    fn react(event: &Heard) -> Option<Command> {
        react::react(event)
    }

    fn copy(event: &Heard) -> Option<(Ref, u64, Entity)> {
        react::copy(event)
    }

    fn rests_on(rejection: &Rejection) -> &'static [&'static str] {
        match rejection {
            Rejection::UnknownCustomer { .. } | Rejection::CustomerInactive { .. } => Self::COPIES,
            Rejection::NotPaid { .. } => &["order.paid"],
            Rejection::IllegalTransition { from: OrderState::Placed, action: Action::Fulfil, .. } => {
                &["stock.reserved", "order.paid"]
            }
            Rejection::NoLines
            | Rejection::TooManyLines { .. }
            | Rejection::TotalTooLarge { .. }
            | Rejection::QuantityTooLarge { .. }
            | Rejection::UnknownOrder { .. }
            | Rejection::IllegalTransition { .. } => &[],
        }
    }
}

fn new_order(placed: &OrderPlaced, at: &At) -> Order {
    Order {
        order_id: placed.order_id,
        customer_id: placed.customer_id,
        currency: placed.currency,
        lines: placed.lines.clone(),
        total: placed.total,
        channel: placed.channel.clone(),
        state: OrderState::Placed,
        payment: Payment::Unpaid,
        rejection: None,
        version: placed.version,
        created_ms: at.time_ms,
        updated_ms: at.time_ms,
    }
}

fn order_after(mut order: Order, event: &Event, at: &At) -> Order {
    order.version = event.version();
    match event {
        Event::OrderPlaced(placed) => return new_order(placed, at),
        Event::OrderConfirmed(_) => order.state = OrderState::Confirmed,
        Event::OrderRejected(rejected) => {
            order.state = OrderState::Rejected;
            order.rejection = Some(rejected.rejection.clone());
        }
        Event::OrderCancelled(_) => order.state = OrderState::Cancelled,
        Event::OrderFulfilled(_) => order.state = OrderState::Fulfilled,
        Event::OrderMarkedPaid(_) => order.payment = Payment::Paid,
        Event::OrderMarkedRefunded(_) => order.payment = Payment::Refunded,
        Event::OrderUnchanged(_) | Event::OrderReactionDeclined(_) => return order,
    }
    order.updated_ms = at.time_ms;
    order
}

/// Validates the lines of an order and returns their total.
///
/// # Errors
/// [`Rejection`] if there are no lines or too many, or if a sum overflows.
pub fn total_of_order(lines: &[OrderLine]) -> Result<Money, Rejection> {
    if lines.is_empty() {
        return Err(Rejection::NoLines);
    }
    if lines.len() > MAX_LINES {
        return Err(Rejection::TooManyLines { given: lines.len(), max: MAX_LINES });
    }
    let total = total_of(lines).ok_or(Rejection::total_too_large())?;
    match added_up(lines) {
        Ok(_) => Ok(total),
        Err(QuantityOverflow(sku)) => Err(Rejection::quantity_too_large(sku)),
    }
}

fn place(
    view: &View<'_, Entity>,
    order_id: OrderId,
    customer_id: CustomerId,
    currency: Currency,
    lines: &[OrderLine],
    channel: Option<&Channel>,
) -> Result<Event, Rejection> {
    let customer = view.get(&KnownCustomer::aggregate(customer_id)).and_then(Entity::as_known_customer);
    let lines = if Bug::FirstLineOnly.is_loose() { lines.get(..1).unwrap_or(lines) } else { lines };
    let total = total_of_order(lines)?;
    let customer = customer.ok_or(Rejection::UnknownCustomer { customer_id })?;
    if !customer.active {
        return Err(Rejection::CustomerInactive { customer_id });
    }
    Ok(Event::OrderPlaced(OrderPlaced {
        order_id,
        customer_id,
        currency,
        lines: lines.to_vec(),
        total,
        channel: channel.cloned(),
        version: 1,
    }))
}

fn cancel(view: &View<'_, Entity>, order_id: OrderId) -> Result<Event, Rejection> {
    let order = order_in(view, order_id).ok_or(Rejection::UnknownOrder { order_id })?;
    match order.state {
        OrderState::Placed | OrderState::Confirmed => Ok(Event::OrderCancelled(OrderCancelled {
            order_id,
            customer_id: order.customer_id,
            payment: order.payment,
            version: order.version + 1,
        })),
        OrderState::Cancelled => Ok(unchanged(order)),
        from @ (OrderState::Rejected | OrderState::Fulfilled) => {
            Err(Rejection::IllegalTransition { order_id, from, action: Action::Cancel })
        }
    }
}

fn fulfil(view: &View<'_, Entity>, order_id: OrderId) -> Result<Event, Rejection> {
    let order = order_in(view, order_id).ok_or(Rejection::UnknownOrder { order_id })?;
    match order.state {
        OrderState::Confirmed => {}
        OrderState::Fulfilled => return Ok(unchanged(order)),
        from @ (OrderState::Placed | OrderState::Rejected | OrderState::Cancelled) => {
            return Err(Rejection::IllegalTransition { order_id, from, action: Action::Fulfil });
        }
    }
    if order.payment != Payment::Paid && !Bug::FulfilUnpaid.is_loose() {
        return Err(Rejection::NotPaid { order_id, payment: order.payment });
    }
    let lines = added_up(&order.lines).map_err(|QuantityOverflow(sku)| Rejection::quantity_too_large(sku))?;
    Ok(Event::OrderFulfilled(OrderFulfilled {
        order_id,
        customer_id: order.customer_id,
        payment: order.payment,
        lines,
        version: order.version + 1,
    }))
}

fn confirm(view: &View<'_, Entity>, order_id: OrderId) -> Event {
    match reacting(view, order_id) {
        Reacting::To(order) if order.state == OrderState::Placed => Event::OrderConfirmed(OrderConfirmed {
            order_id,
            customer_id: order.customer_id,
            version: order.version + 1,
        }),
        other => other.declined(order_id, Reaction::Confirm, |order| DeclineReason::StateIs(order.state)),
    }
}

fn reject(view: &View<'_, Entity>, order_id: OrderId, rejection: Unsupplied) -> Event {
    match reacting(view, order_id) {
        Reacting::To(order) if order.state == OrderState::Placed => Event::OrderRejected(OrderRejected {
            order_id,
            customer_id: order.customer_id,
            rejection,
            version: order.version + 1,
        }),
        other => other.declined(order_id, Reaction::Reject, |order| DeclineReason::StateIs(order.state)),
    }
}

fn mark_paid(view: &View<'_, Entity>, order_id: OrderId, invoice_version: u64) -> Event {
    match reacting(view, order_id) {
        Reacting::To(order) if order.payment < Payment::Paid => {
            Event::OrderMarkedPaid(OrderMarkedPaid { order_id, invoice_version, version: order.version + 1 })
        }
        other => other.declined(order_id, Reaction::MarkPaid, |order| DeclineReason::PaymentIs(order.payment)),
    }
}

fn mark_refunded(view: &View<'_, Entity>, order_id: OrderId, invoice_version: u64) -> Event {
    match reacting(view, order_id) {
        Reacting::To(order) if order.payment < Payment::Refunded => {
            Event::OrderMarkedRefunded(OrderMarkedRefunded { order_id, invoice_version, version: order.version + 1 })
        }
        other => other.declined(order_id, Reaction::MarkRefunded, |order| DeclineReason::PaymentIs(order.payment)),
    }
}

/// The target of a public event.
enum Reacting<'a> {
    To(&'a Order),
    /// An order that was never placed here, with the number of records that named it.
    Stray(u64),
}

impl Reacting<'_> {
    /// Records that the public event changed nothing.
    fn declined(self, order_id: OrderId, reaction: Reaction, because: impl Fn(&Order) -> DeclineReason) -> Event {
        let (because, version) = match self {
            Self::To(order) => (because(order), order.version),
            Self::Stray(version) => (DeclineReason::UnknownOrder, version),
        };
        let version = version + 1;
        Event::OrderReactionDeclined(OrderReactionDeclined { order_id, reaction, because, version })
    }
}

fn reacting<'a>(view: &View<'a, Entity>, order_id: OrderId) -> Reacting<'a> {
    match view.get(&Order::aggregate(order_id)) {
        Some(Entity::Order(order)) => Reacting::To(order),
        Some(Entity::StrayOrder(stray)) => Reacting::Stray(stray.version),
        // A customer never has an order's key.
        Some(Entity::KnownCustomer(_)) | None => Reacting::Stray(0),
    }
}

fn order_in<'a>(view: &View<'a, Entity>, order_id: OrderId) -> Option<&'a Order> {
    view.get(&Order::aggregate(order_id)).and_then(Entity::as_order)
}

fn unchanged(order: &Order) -> Event {
    Event::OrderUnchanged(OrderUnchanged {
        order_id: order.order_id,
        customer_id: order.customer_id,
        state: order.state,
        payment: order.payment,
        version: order.version + 1,
    })
}

#[cfg(test)]
pub(super) mod tests;
