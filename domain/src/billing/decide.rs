//! Decisions of billing. One function per command, guards first.

use uuid::Uuid;

use super::{
    Billing, Command, DeclineReason, Entity, Event, Invoice, InvoiceFilledIn, InvoiceOpened, InvoiceRefunded,
    InvoiceState, InvoiceTotals, InvoiceVoided, PaymentEntry, PaymentRecorded, Published, Reaction, ReactionDeclined,
    RefundCause, RefundEntry, Rejection, react,
};
use orderlog_core::{
    decider::{At, Decider, Millis, Ref, View},
    reason::Reason,
};

use crate::{
    orders,
    planted::Bug,
    values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference},
};

impl Decider for Billing {
    const JOURNAL: &'static str = "billing";
    const REACTS_TO: &'static [&'static str] = &["order.created", "order.rejected", "order.cancelled"];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Published;
    type Heard = orders::Published;

    fn decide(command: &Command, view: &View<'_, Entity>, _now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::RecordPayment { payment_id, order_id, amount, currency, reference } => {
                let invoice = known(view, *order_id)?;
                pay(invoice, *payment_id, *amount, *currency, reference)
            }
            Command::Refund { order_id, amount, reason } => refund(known(view, *order_id)?, *amount, reason.as_ref()),
            Command::OpenInvoice { order_id, customer_id, currency, amount_due } => {
                Ok(open(view, *order_id, *customer_id, *currency, *amount_due))
            }
            Command::CloseInvoice { order_id, customer_id, cause } => Ok(close(view, *order_id, *customer_id, *cause)),
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        command.target()
    }

    fn kind(event: &Event) -> &'static str {
        match event {
            Event::InvoiceOpened(_) => "invoice_opened",
            Event::PaymentRecorded(_) => "payment_recorded",
            Event::InvoiceRefunded(_) => "invoice_refunded",
            Event::InvoiceVoided(_) => "invoice_voided",
            Event::InvoiceFilledIn(_) => "invoice_filled_in",
            Event::ReactionDeclined(_) => "reaction_declined",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        vec![Invoice::aggregate(event.order_id())]
    }

    fn evolve(entity: Option<Entity>, _which: usize, event: &Event, at: &At) -> Entity {
        let invoice = entity.map(|Entity::Invoice(invoice)| invoice);
        let mut invoice = invoice.unwrap_or_else(|| new_invoice(event, at));
        invoice.version = event.version();
        match event {
            Event::InvoiceOpened(it) => total(&mut invoice, &it.totals),
            Event::InvoiceVoided(it) => total(&mut invoice, &it.totals),
            Event::PaymentRecorded(it) => {
                total(&mut invoice, &it.totals);
                let (payment_id, amount, reference) = (it.payment_id, it.amount, it.reference.clone());
                invoice.payments.push(PaymentEntry { payment_id, amount, reference, at_ms: at.time_ms });
            }
            Event::InvoiceRefunded(it) => {
                total(&mut invoice, &it.totals);
                let (amount, cause, reason) = (it.amount, it.cause, it.reason.clone());
                invoice.refunds.push(RefundEntry { amount, cause, reason, at_ms: at.time_ms });
            }
            Event::InvoiceFilledIn(it) => {
                total(&mut invoice, &it.totals);
                (invoice.customer_id, invoice.currency) = (it.customer_id, Some(it.currency));
            }
            // Nothing changed, so `updated_ms` stays.
            Event::ReactionDeclined(_) => return Entity::Invoice(invoice),
        }
        invoice.updated_ms = at.time_ms;
        Entity::Invoice(invoice)
    }

    fn publish(event: &Event) -> Vec<Published> {
        react::publish(event)
    }

    fn react(event: &orders::Published) -> Option<Command> {
        react::react(event)
    }

    fn rests_on(rejection: &Rejection) -> &'static [&'static str] {
        match rejection {
            // That event opens invoices. Everything else about an invoice is known here first.
            Rejection::UnknownOrder { .. } => &["order.created"],
            Rejection::WrongCurrency { .. }
            | Rejection::Overpayment { .. }
            | Rejection::InvoiceClosed { .. }
            | Rejection::NotPaid { .. }
            | Rejection::RefundTooLarge { .. } => &[],
        }
    }
}

fn find<'a>(view: &View<'a, Entity>, order_id: OrderId) -> Option<&'a Invoice> {
    view.get(&Invoice::aggregate(order_id)).and_then(Entity::as_invoice)
}

fn known<'a>(view: &View<'a, Entity>, order_id: OrderId) -> Result<&'a Invoice, Rejection> {
    find(view, order_id).ok_or(Rejection::UnknownOrder { order_id })
}

/// The invoice's figures with the next version, before the event changes them.
fn next_totals(invoice: &Invoice) -> InvoiceTotals {
    InvoiceTotals {
        state: invoice.state,
        amount_due: invoice.amount_due,
        amount_paid: invoice.amount_paid,
        amount_refunded: invoice.amount_refunded,
        version: invoice.version + 1,
    }
}

fn pay(
    invoice: &Invoice,
    payment_id: PaymentId,
    amount: Money,
    given: Currency,
    reference: &PaymentReference,
) -> Result<Event, Rejection> {
    let closed = Rejection::InvoiceClosed { state: invoice.state };
    match invoice.state {
        InvoiceState::Open | InvoiceState::Paid => {}
        InvoiceState::Void | InvoiceState::Refunded => return Err(closed),
    }
    let currency = invoice.currency.ok_or(closed)?;
    if currency != given && !Bug::TakeAnyCurrency.is_loose() {
        return Err(Rejection::WrongCurrency { invoice: currency, given });
    }
    let open_amount = invoice.open_amount();
    let overpayment = Rejection::Overpayment { open_amount, given: amount };
    let left = open_amount.checked_sub(amount).ok_or_else(|| overpayment.clone())?;
    let amount_paid = invoice.amount_paid.checked_add(amount).ok_or(overpayment)?;
    let state = if left == Money::ZERO { InvoiceState::Paid } else { InvoiceState::Open };
    Ok(Event::PaymentRecorded(PaymentRecorded {
        payment_id,
        order_id: invoice.order_id,
        customer_id: invoice.customer_id,
        amount,
        currency,
        reference: reference.clone(),
        totals: InvoiceTotals { state, amount_paid, ..next_totals(invoice) },
    }))
}

fn refund(invoice: &Invoice, amount: Option<Money>, reason: Option<&Reason>) -> Result<Event, Rejection> {
    let not_paid = Rejection::NotPaid { order_id: invoice.order_id };
    match invoice.state {
        InvoiceState::Paid => {}
        InvoiceState::Open | InvoiceState::Void => return Err(not_paid),
        InvoiceState::Refunded => return Err(Rejection::InvoiceClosed { state: invoice.state }),
    }
    let refundable = invoice.refundable();
    let asked = amount.unwrap_or(refundable);
    if refundable == Money::ZERO {
        return Err(not_paid);
    }
    if asked > refundable {
        return Err(Rejection::RefundTooLarge { refundable, asked });
    }
    let reason = reason.filter(|_| !Bug::DropReason.is_loose());
    give_back(invoice, asked, RefundCause::Requested, reason.cloned()).ok_or(not_paid)
}

/// `None` if more would be refunded than was paid, or if the currency is not known.
fn give_back(invoice: &Invoice, amount: Money, cause: RefundCause, reason: Option<Reason>) -> Option<Event> {
    let amount_refunded = invoice.amount_refunded.checked_add(amount)?;
    let is_ended = invoice.amount_paid.checked_sub(amount_refunded)? == Money::ZERO || cause != RefundCause::Requested;
    let state = if is_ended { InvoiceState::Refunded } else { invoice.state };
    Some(Event::InvoiceRefunded(InvoiceRefunded {
        order_id: invoice.order_id,
        customer_id: invoice.customer_id,
        amount,
        currency: invoice.currency?,
        cause,
        reason,
        totals: InvoiceTotals { state, amount_refunded, ..next_totals(invoice) },
    }))
}

fn open(
    view: &View<'_, Entity>,
    order_id: OrderId,
    customer_id: CustomerId,
    currency: Currency,
    amount_due: Money,
) -> Event {
    if let Some(invoice) = find(view, order_id) {
        // Voided before it had figures: the order's end arrived before its creation.
        let totals = InvoiceTotals { amount_due, ..next_totals(invoice) };
        return match invoice.currency {
            None => Event::InvoiceFilledIn(InvoiceFilledIn { order_id, customer_id, currency, totals }),
            Some(_) => declined(invoice, Reaction::Open, DeclineReason::InvoiceExists),
        };
    }
    let state = if amount_due == Money::ZERO { InvoiceState::Paid } else { InvoiceState::Open };
    let totals =
        InvoiceTotals { state, amount_due, amount_paid: Money::ZERO, amount_refunded: Money::ZERO, version: 1 };
    Event::InvoiceOpened(InvoiceOpened { order_id, customer_id, currency, totals })
}

/// Voids an invoice without payments, and refunds all that is left of those with payments. Without an invoice, one is
/// created void, so that a late `order.created` finds it and fills in the figures.
fn close(view: &View<'_, Entity>, order_id: OrderId, customer_id: CustomerId, cause: RefundCause) -> Event {
    let Some(invoice) = find(view, order_id) else {
        let (none, state) = (Money::ZERO, InvoiceState::Void);
        let totals = InvoiceTotals { state, amount_due: none, amount_paid: none, amount_refunded: none, version: 1 };
        return Event::InvoiceVoided(InvoiceVoided { order_id, customer_id, cause, totals });
    };
    match invoice.state {
        InvoiceState::Refunded if Bug::RefundTwice.is_loose() => {
            let again = give_back(
                &Invoice { amount_refunded: Money::ZERO, ..invoice.clone() },
                invoice.amount_paid,
                cause,
                None,
            );
            again.unwrap_or_else(|| declined(invoice, Reaction::Close, DeclineReason::InvoiceEnded))
        }
        InvoiceState::Void | InvoiceState::Refunded => declined(invoice, Reaction::Close, DeclineReason::InvoiceEnded),
        InvoiceState::Open | InvoiceState::Paid => {
            let left = invoice.refundable();
            let refunded = (left > Money::ZERO).then(|| give_back(invoice, left, cause, None)).flatten();
            refunded.unwrap_or_else(|| {
                let totals = InvoiceTotals { state: InvoiceState::Void, ..next_totals(invoice) };
                Event::InvoiceVoided(InvoiceVoided { order_id, customer_id, cause, totals })
            })
        }
    }
}

fn declined(invoice: &Invoice, reaction: Reaction, because: DeclineReason) -> Event {
    let (order_id, version) = (invoice.order_id, invoice.version + 1);
    Event::ReactionDeclined(ReactionDeclined { order_id, reaction, because, version })
}

fn total(invoice: &mut Invoice, totals: &InvoiceTotals) {
    invoice.state = totals.state;
    invoice.amount_due = totals.amount_due;
    invoice.amount_paid = totals.amount_paid;
    invoice.amount_refunded = totals.amount_refunded;
}

/// The invoice before its first event. Only an opened or voided one can come first; the others are handled so that history
/// can't fail.
fn new_invoice(event: &Event, at: &At) -> Invoice {
    let (customer_id, currency) = match event {
        Event::InvoiceOpened(it) => (it.customer_id, Some(it.currency)),
        Event::InvoiceVoided(it) => (it.customer_id, None),
        Event::InvoiceFilledIn(it) => (it.customer_id, Some(it.currency)),
        Event::PaymentRecorded(it) => (it.customer_id, Some(it.currency)),
        Event::InvoiceRefunded(it) => (it.customer_id, Some(it.currency)),
        Event::ReactionDeclined(_) => (CustomerId(Uuid::nil()), None),
    };
    Invoice {
        order_id: event.order_id(),
        customer_id,
        currency,
        state: InvoiceState::Void,
        amount_due: Money::ZERO,
        amount_paid: Money::ZERO,
        amount_refunded: Money::ZERO,
        payments: Vec::new(),
        refunds: Vec::new(),
        version: 0,
        created_ms: at.time_ms,
        updated_ms: at.time_ms,
    }
}

#[cfg(test)]
mod tests;
