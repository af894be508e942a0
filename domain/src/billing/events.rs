//! The events of billing, as stored in its journal.
//!
//! ## Storage format: these names and fields are kept forever
//! Fields may be added with a default, but never renamed, removed or given another meaning. Anything else is a new event
//! beside the old one. The tests below freeze the bytes.

use serde::{Deserialize, Serialize};

use super::state::InvoiceState;
use orderlog_core::reason::Reason;

use crate::values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference};

/// An invoice's figures after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceTotals {
    pub state: InvoiceState,
    /// The total due, in minor units.
    pub amount_due: Money,
    pub amount_paid: Money,
    pub amount_refunded: Money,
    /// The number of events of the invoice.
    pub version: u64,
}

/// An invoice was opened for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceOpened {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub currency: Currency,
    /// The figures afterwards. Already paid if nothing is due.
    pub totals: InvoiceTotals,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRecorded {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub amount: Money,
    pub currency: Currency,
    pub reference: PaymentReference,
    pub totals: InvoiceTotals,
}

/// What caused a refund, or closed an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundCause {
    /// A caller requested it.
    Requested,
    /// The order could not be supplied.
    OrderRejected,
    /// The order was cancelled.
    OrderCancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceRefunded {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub amount: Money,
    pub currency: Currency,
    pub cause: RefundCause,
    pub reason: Option<Reason>,
    pub totals: InvoiceTotals,
}

/// Nothing is to be paid any more, and nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceVoided {
    pub order_id: OrderId,
    /// The customer who placed the order.
    pub customer_id: CustomerId,
    pub cause: RefundCause,
    pub totals: InvoiceTotals,
}

/// The amount due became known only after the order had ended. The invoice was voided without figures; it stays void, and
/// now looks as if the public events had arrived in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceFilledIn {
    pub order_id: OrderId,
    /// The customer who placed the order.
    pub customer_id: CustomerId,
    pub currency: Currency,
    /// The figures afterwards: still void, but with the amount that would have been due.
    pub totals: InvoiceTotals,
}

/// What billing does on a public event of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    Open,
    Close,
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// The invoice exists with its figures. It may have ended.
    InvoiceExists,
    InvoiceEnded,
}

/// A public event of an order changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionDeclined {
    pub order_id: OrderId,
    pub reaction: Reaction,
    pub because: DeclineReason,
    /// The number of events of the invoice, including this one.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    InvoiceOpened(InvoiceOpened),
    PaymentRecorded(PaymentRecorded),
    InvoiceRefunded(InvoiceRefunded),
    InvoiceVoided(InvoiceVoided),
    InvoiceFilledIn(InvoiceFilledIn),
    ReactionDeclined(ReactionDeclined),
}

fields_of_all!(Event {
    InvoiceOpened, PaymentRecorded, InvoiceRefunded, InvoiceVoided, InvoiceFilledIn, ReactionDeclined,
} order_id: OrderId);

impl Event {
    /// The invoice's version after the event.
    pub const fn version(&self) -> u64 {
        match self {
            Self::InvoiceOpened(it) => it.totals.version,
            Self::PaymentRecorded(it) => it.totals.version,
            Self::InvoiceRefunded(it) => it.totals.version,
            Self::InvoiceVoided(it) => it.totals.version,
            Self::InvoiceFilledIn(it) => it.totals.version,
            Self::ReactionDeclined(it) => it.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ORDER: &str = "00000000-0000-0000-0000-000000000001";
    const CUSTOMER: &str = "00000000-0000-0000-0000-000000000002";
    const TOTALS: &str = r#""totals":{"state":"open","amount_due":5,"amount_paid":3,"amount_refunded":1,"version":7}"#;

    #[track_caller]
    fn stored_as(event: &Event, json: &str) {
        let json = json.replace("ORDER", ORDER).replace("CUSTOMER", CUSTOMER).replace("TOTALS", TOTALS);
        assert_eq!(serde_json::to_string(event).unwrap(), json);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), *event);
    }

    #[test]
    fn the_stored_format_is_stable() {
        let (order_id, customer_id) = (OrderId(Uuid::from_u128(1)), CustomerId(Uuid::from_u128(2)));
        let currency = Currency::new("EUR").unwrap();
        let amount = |units| Money::new(units).unwrap();
        let totals = InvoiceTotals {
            state: InvoiceState::Open,
            amount_due: amount(5),
            amount_paid: amount(3),
            amount_refunded: amount(1),
            version: 7,
        };
        stored_as(
            &Event::InvoiceOpened(InvoiceOpened { order_id, customer_id, currency, totals }),
            r#"{"InvoiceOpened":{"order_id":"ORDER","customer_id":"CUSTOMER","currency":"EUR",TOTALS}}"#,
        );
        let payment_id = PaymentId(Uuid::from_u128(2));
        let reference = PaymentReference::new("bank 1").unwrap();
        stored_as(
            &Event::PaymentRecorded(PaymentRecorded {
                payment_id,
                order_id,
                customer_id,
                amount: amount(2),
                currency,
                reference,
                totals,
            }),
            r#"{"PaymentRecorded":{"payment_id":"CUSTOMER","order_id":"ORDER","customer_id":"CUSTOMER","amount":2,"currency":"EUR","reference":"bank 1",TOTALS}}"#,
        );
        let (cause, reason) = (RefundCause::OrderCancelled, None);
        stored_as(
            &Event::InvoiceRefunded(InvoiceRefunded {
                order_id,
                customer_id,
                amount: amount(2),
                currency,
                cause,
                reason,
                totals,
            }),
            r#"{"InvoiceRefunded":{"order_id":"ORDER","customer_id":"CUSTOMER","amount":2,"currency":"EUR","cause":"order_cancelled","reason":null,TOTALS}}"#,
        );
        stored_as(
            &Event::InvoiceVoided(InvoiceVoided { order_id, customer_id, cause: RefundCause::OrderRejected, totals }),
            r#"{"InvoiceVoided":{"order_id":"ORDER","customer_id":"CUSTOMER","cause":"order_rejected",TOTALS}}"#,
        );
        let (reaction, because) = (Reaction::Open, DeclineReason::InvoiceExists);
        stored_as(
            &Event::ReactionDeclined(ReactionDeclined { order_id, reaction, because, version: 7 }),
            r#"{"ReactionDeclined":{"order_id":"ORDER","reaction":"open","because":"invoice_exists","version":7}}"#,
        );
        stored_as(
            &Event::InvoiceFilledIn(InvoiceFilledIn { order_id, customer_id, currency, totals }),
            r#"{"InvoiceFilledIn":{"order_id":"ORDER","customer_id":"CUSTOMER","currency":"EUR",TOTALS}}"#,
        );
        let reason = Some(Reason::new("torn").unwrap());
        stored_as(
            &Event::InvoiceRefunded(InvoiceRefunded {
                order_id,
                customer_id,
                amount: amount(2),
                currency,
                cause: RefundCause::Requested,
                reason,
                totals,
            }),
            r#"{"InvoiceRefunded":{"order_id":"ORDER","customer_id":"CUSTOMER","amount":2,"currency":"EUR","cause":"requested","reason":"torn",TOTALS}}"#,
        );
    }

    #[test]
    fn the_stored_names_are_stable() {
        let is_named = |value: serde_json::Result<String>, name: &str| assert_eq!(value.unwrap(), format!("{name:?}"));
        for (state, name) in [
            (InvoiceState::Open, "open"),
            (InvoiceState::Paid, "paid"),
            (InvoiceState::Void, "void"),
            (InvoiceState::Refunded, "refunded"),
        ] {
            is_named(serde_json::to_string(&state), name);
            assert_eq!(state.as_str(), name);
        }
        is_named(serde_json::to_string(&RefundCause::Requested), "requested");
        is_named(serde_json::to_string(&RefundCause::OrderRejected), "order_rejected");
        is_named(serde_json::to_string(&RefundCause::OrderCancelled), "order_cancelled");
        is_named(serde_json::to_string(&Reaction::Open), "open");
        is_named(serde_json::to_string(&Reaction::Close), "close");
        is_named(serde_json::to_string(&DeclineReason::InvoiceExists), "invoice_exists");
        is_named(serde_json::to_string(&DeclineReason::InvoiceEnded), "invoice_ended");
    }
}
