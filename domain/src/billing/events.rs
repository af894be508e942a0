//! What happened in billing.
//!
//! ## Storage format: these names and fields lie in journals for ever
//! Fields may be added with a default, never renamed, removed or given another meaning: anything else is a new event beside
//! the old one. The tests below hold the bytes.

use serde::{Deserialize, Serialize};

use super::state::InvoiceState;
use orderlog_core::reason::Reason;

use crate::values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference};

/// An invoice's figures after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceTotals {
    pub state: InvoiceState,
    /// Minor units to be paid in all.
    pub amount_due: Money,
    pub amount_paid: Money,
    /// Given back in all.
    pub amount_refunded: Money,
    /// How often the invoice was changed.
    pub version: u64,
}

/// There is something to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceOpened {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub currency: Currency,
    /// Afterwards; paid at once if nothing is due.
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

/// What led to a refund, or closed an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundCause {
    /// Somebody asked for it.
    Requested,
    /// The order could not be supplied.
    OrderRejected,
    /// The order was cancelled.
    OrderCancelled,
}

/// Money was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceRefunded {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// How much this time.
    pub amount: Money,
    pub currency: Currency,
    /// What led to it.
    pub cause: RefundCause,
    /// Why, in somebody's words.
    pub reason: Option<Reason>,
    pub totals: InvoiceTotals,
}

/// Nothing is to be paid any more, and nothing ever was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceVoided {
    pub order_id: OrderId,
    /// Whose order it was.
    pub customer_id: CustomerId,
    pub cause: RefundCause,
    pub totals: InvoiceTotals,
}

/// What was to be paid became known only after the order had ended: the invoice was made void without figures, stays void,
/// and now looks as if the news had come in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceFilledIn {
    pub order_id: OrderId,
    /// Whose order it was.
    pub customer_id: CustomerId,
    pub currency: Currency,
    /// Afterwards: still void, but with what would have been due.
    pub totals: InvoiceTotals,
}

/// What billing does about news of an order.
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
    /// The invoice is there already, with its figures, perhaps in its ended state.
    InvoiceExists,
    /// The invoice ended already.
    InvoiceEnded,
}

/// News of an order changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionDeclined {
    pub order_id: OrderId,
    /// What would have been done.
    pub reaction: Reaction,
    /// Why it was not.
    pub because: DeclineReason,
    /// How often the invoice was changed, this record included.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// There is something to pay.
    InvoiceOpened(InvoiceOpened),
    PaymentRecorded(PaymentRecorded),
    /// Money was given back.
    InvoiceRefunded(InvoiceRefunded),
    /// Nothing is to be paid any more.
    InvoiceVoided(InvoiceVoided),
    /// What was to be paid became known only after the order had ended.
    InvoiceFilledIn(InvoiceFilledIn),
    /// News of an order changed nothing.
    ReactionDeclined(ReactionDeclined),
}

impl Event {
    /// The order whose invoice it is about.
    pub const fn order_id(&self) -> OrderId {
        match self {
            Self::InvoiceOpened(it) => it.order_id,
            Self::PaymentRecorded(it) => it.order_id,
            Self::InvoiceRefunded(it) => it.order_id,
            Self::InvoiceVoided(it) => it.order_id,
            Self::InvoiceFilledIn(it) => it.order_id,
            Self::ReactionDeclined(it) => it.order_id,
        }
    }

    /// The invoice's version afterwards.
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
