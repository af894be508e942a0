//! The request and response bodies of the billing service.

use chrono::{DateTime, Utc};
use orderlog_core::reason::Reason;
use orderlog_domain::{
    billing::{self, Billing, Command, Event, InvoiceTotals, PaymentEntry, RefundEntry},
    paths::{EXAMPLE_CUSTOMER, EXAMPLE_ORDER},
    values::{Currency, Money, OrderId, PaymentId, PaymentReference},
};
use orderlog_http::prelude::*;
use serde_json::{Value, json};

use crate::values::CheckValues;

/// A payment received for an order.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    /// The order it pays, in full or in part.
    pub order_id: Uuid,
    /// The amount, in minor units of the currency (cents).
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000000000")))]
    pub amount: i64,
    /// The ISO 4217 code of the amount's currency, which must be the order's.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// The payer's or the bank's reference, 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub reference: String,
}

impl Example for RecordPayment {
    fn example() -> Self {
        Self {
            order_id: EXAMPLE_ORDER,
            amount: 3780,
            currency: "EUR".to_owned(),
            reference: "bank transfer 2026-09-21".to_owned(),
        }
    }
}

impl Checked for RecordPayment {
    type Values = Command;

    fn checked(self) -> ApiResult<Command> {
        let mut faults = Faults::default();
        let amount = faults.check("#/amount", Money::positive(self.amount));
        let currency = faults.check("#/currency", Currency::new(&self.currency));
        let reference = faults.check("#/reference", PaymentReference::new(self.reference));
        let (Some(amount), Some(currency), Some(reference)) = (amount, currency, reference) else {
            return Err(faults.into());
        };
        let (payment_id, order_id) = (PaymentId(mint()), OrderId(self.order_id));
        Ok(Command::RecordPayment { payment_id, order_id, amount, currency, reference })
    }
}

/// A refund to make.
#[derive(Debug, Default, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
#[serde(deny_unknown_fields)]
pub struct RefundPayment {
    /// The amount, in minor units. Defaults to everything paid and not yet refunded.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000000000")))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The reason, 1 to 200 characters.
    #[oai(validator(min_length = 1, max_length = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Example for RefundPayment {
    fn example() -> Self {
        Self { amount: Some(1890), reason: Some("one bag was torn".to_owned()) }
    }
}

impl Checked for RefundPayment {
    type Values = (Option<Money>, Option<Reason>);

    fn checked(self) -> ApiResult<(Option<Money>, Option<Reason>)> {
        let mut faults = Faults::default();
        let amount = faults.check_if("#/amount", self.amount.map(Money::positive));
        let reason = faults.check_if("#/reason", self.reason.map(Reason::new));
        faults.none()?;
        Ok((amount, reason))
    }
}

mirror! {
    /// The state of an invoice.
    pub enum InvoiceState of billing::InvoiceState {
        /// Not paid in full; part of it may have been paid.
        Open,
        /// Paid in full; part of it may have been refunded.
        Paid,
        /// Nothing is due, and nothing was ever paid. Terminal state.
        Void,
        /// Everything paid was refunded. Terminal state.
        Refunded,
    }
}

/// A recorded payment, and the invoice after it.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(example)]
pub struct PaymentAnswer {
    /// The payment's id.
    pub payment_id: Uuid,
    /// The order's id.
    pub order_id: Uuid,
    /// The amount received, in minor units.
    pub amount: i64,
    /// The currency of all amounts.
    pub currency: String,
    /// The payer's or the bank's reference.
    pub reference: String,
    /// The state of the invoice.
    pub state: InvoiceState,
    /// The total amount due, in minor units.
    pub amount_due: i64,
    /// The total amount paid, in minor units.
    pub amount_paid: i64,
    /// The total amount refunded, in minor units.
    pub amount_refunded: i64,
    /// Incremented by every change to the invoice.
    pub version: u64,
    /// When this was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl Example for PaymentAnswer {
    fn example() -> Self {
        let RecordPayment { order_id, amount, currency, reference } = RecordPayment::example();
        Self {
            payment_id: Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0004),
            order_id,
            amount,
            currency,
            reference,
            state: InvoiceState::Paid,
            amount_due: amount,
            amount_paid: amount,
            amount_refunded: 0,
            version: 2,
            recorded_at: time(1_790_000_000_000),
        }
    }
}

impl PaymentAnswer {
    /// The response for the record of a payment.
    pub fn of(executed: &Executed<Billing>) -> ApiResult<Self> {
        let Event::PaymentRecorded(paid) = &*executed.accepted.event else {
            return Err(unexpected(&executed.accepted.event));
        };
        let InvoiceTotals { state, amount_due, amount_paid, amount_refunded, version } = paid.totals;
        Ok(Self {
            payment_id: paid.payment_id.0,
            order_id: paid.order_id.0,
            amount: paid.amount.minor_units(),
            currency: paid.currency.as_str().to_owned(),
            reference: paid.reference.as_str().to_owned(),
            state: state.into(),
            amount_due: amount_due.minor_units(),
            amount_paid: amount_paid.minor_units(),
            amount_refunded: amount_refunded.minor_units(),
            version,
            recorded_at: time_of(&executed.accepted.at),
        })
    }
}

/// A refund, and the invoice after it.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct RefundAnswer {
    /// The order's id.
    pub order_id: Uuid,
    /// The amount of this refund, in minor units.
    pub amount: i64,
    /// The currency of all amounts.
    pub currency: String,
    /// The reason, as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state of the invoice.
    pub state: InvoiceState,
    /// The total amount due, in minor units.
    pub amount_due: i64,
    /// The total amount paid, in minor units.
    pub amount_paid: i64,
    /// The total amount refunded, in minor units.
    pub amount_refunded: i64,
    /// Incremented by every change to the invoice.
    pub version: u64,
    /// When this was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl RefundAnswer {
    /// The response for the record of a refund.
    pub fn of(executed: &Executed<Billing>) -> ApiResult<Self> {
        let Event::InvoiceRefunded(refunded) = &*executed.accepted.event else {
            return Err(unexpected(&executed.accepted.event));
        };
        let InvoiceTotals { state, amount_due, amount_paid, amount_refunded, version } = refunded.totals;
        Ok(Self {
            order_id: refunded.order_id.0,
            amount: refunded.amount.minor_units(),
            currency: refunded.currency.as_str().to_owned(),
            reason: refunded.reason.as_ref().map(|reason| reason.as_str().to_owned()),
            state: state.into(),
            amount_due: amount_due.minor_units(),
            amount_paid: amount_paid.minor_units(),
            amount_refunded: amount_refunded.minor_units(),
            version,
            recorded_at: time_of(&executed.accepted.at),
        })
    }
}

/// A payment on an invoice.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
pub struct Payment {
    /// The payment's id.
    pub payment_id: Uuid,
    /// The amount, in minor units.
    pub amount: i64,
    /// The payer's or the bank's reference.
    pub reference: String,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl From<&PaymentEntry> for Payment {
    fn from(payment: &PaymentEntry) -> Self {
        Self {
            payment_id: payment.payment_id.0,
            amount: payment.amount.minor_units(),
            reference: payment.reference.as_str().to_owned(),
            recorded_at: time(payment.at_ms),
        }
    }
}

mirror! {
    /// The cause of a refund.
    pub enum RefundCause of billing::RefundCause {
        /// Requested by a caller.
        Requested,
        /// The order could not be supplied.
        OrderRejected,
        /// The order was cancelled.
        OrderCancelled,
    }
}

/// A refund.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Refund {
    /// The amount, in minor units.
    pub amount: i64,
    /// The cause of the refund.
    pub cause: RefundCause,
    /// The reason, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl From<&RefundEntry> for Refund {
    fn from(refund: &RefundEntry) -> Self {
        Self {
            amount: refund.amount.minor_units(),
            cause: refund.cause.into(),
            reason: refund.reason.as_ref().map(|reason| reason.as_str().to_owned()),
            recorded_at: time(refund.at_ms),
        }
    }
}

/// The invoice of an order.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct Invoice {
    /// The order's id.
    pub order_id: Uuid,
    /// The customer who pays.
    pub customer_id: Uuid,
    /// The state of the invoice.
    pub state: InvoiceState,
    /// The total amount due, in minor units.
    pub amount_due: i64,
    /// The total amount paid, in minor units.
    pub amount_paid: i64,
    /// The total amount refunded, in minor units.
    pub amount_refunded: i64,
    /// The currency of all amounts; absent while only the order's end is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Payments, in the order received.
    pub payments: Vec<Payment>,
    /// Refunds, in the order made.
    pub refunds: Vec<Refund>,
    /// Incremented by every change to it.
    pub version: u64,
    /// When the invoice was opened.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Example for Invoice {
    fn example() -> Self {
        let PaymentAnswer { payment_id, order_id, amount, currency, reference, state, version, recorded_at, .. } =
            PaymentAnswer::example();
        Self {
            order_id,
            customer_id: EXAMPLE_CUSTOMER,
            state,
            amount_due: amount,
            amount_paid: amount,
            amount_refunded: 0,
            currency: Some(currency),
            payments: vec![Payment { payment_id, amount, reference, recorded_at }],
            refunds: Vec::new(),
            version,
            created_at: recorded_at,
            updated_at: recorded_at,
        }
    }
}

impl From<&billing::Invoice> for Invoice {
    fn from(invoice: &billing::Invoice) -> Self {
        Self {
            order_id: invoice.order_id.0,
            customer_id: invoice.customer_id.0,
            state: invoice.state.into(),
            amount_due: invoice.amount_due.minor_units(),
            amount_paid: invoice.amount_paid.minor_units(),
            amount_refunded: invoice.amount_refunded.minor_units(),
            currency: invoice.currency.map(|currency| currency.as_str().to_owned()),
            payments: invoice.payments.iter().map(Payment::from).collect(),
            refunds: invoice.refunds.iter().map(Refund::from).collect(),
            version: invoice.version,
            created_at: time(invoice.created_ms),
            updated_at: time(invoice.updated_ms),
        }
    }
}

impl ListItem for Invoice {}

/// The examples that can't be composed of others without contradictions.
pub fn examples() -> Vec<(&'static str, Value)> {
    let refund = json!({
        "order_id": EXAMPLE_ORDER, "amount": 1890, "currency": "EUR", "state": "paid", "amount_due": 3780,
        "amount_paid": 3780, "amount_refunded": 1890, "version": 3, "recorded_at": EXAMPLE_TIME,
    });
    vec![("RefundAnswer", refund)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_value_of_a_payment_is_told_at_once() {
        let wrong =
            RecordPayment { amount: 0, currency: "XXX".into(), reference: " ".into(), ..RecordPayment::example() };
        let faults = wrong.checked().unwrap_err().faults();
        let told: Vec<_> = faults.into_iter().map(|fault| (fault.pointer.unwrap_or_default(), fault.code)).collect();
        let fault = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        let expected = [
            fault("#/amount", "invalid_amount"),
            fault("#/currency", "invalid_currency"),
            fault("#/reference", "invalid_text"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_refund_may_leave_out_everything_but_not_be_of_nothing() {
        assert_eq!(RefundPayment { amount: None, reason: None }.checked().unwrap(), (None, None));
        assert!(RefundPayment { amount: Some(0), reason: None }.checked().is_err());
    }
}
