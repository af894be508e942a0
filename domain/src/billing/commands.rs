//! What can be asked of billing, and why it may be refused.

use super::state::{Invoice, InvoiceState};
use orderlog_core::{decider::Ref, reason::Reason};

use crate::{
    fingerprint,
    values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference},
};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Money for an order came in.
    RecordPayment {
        /// Minted for this command.
        payment_id: PaymentId,
        /// The order it pays.
        order_id: OrderId,
        /// How much, at least 1 minor unit.
        amount: Money,
        currency: Currency,
        reference: PaymentReference,
    },
    Refund {
        /// The order it was paid for.
        order_id: OrderId,
        /// How much; none for all that is left.
        amount: Option<Money>,
        reason: Option<Reason>,
    },
    /// By `order.created`: there is something to pay.
    OpenInvoice { order_id: OrderId, customer_id: CustomerId, currency: Currency, amount_due: Money },
    /// By `order.rejected` or `order.cancelled`: nothing is to be paid any more.
    CloseInvoice {
        order_id: OrderId,
        /// Whose order it was.
        customer_id: CustomerId,
        cause: super::RefundCause,
    },
}

impl Command {
    /// The aggregate that it is about, if that exists before.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::OpenInvoice { .. } => None,
            Self::RecordPayment { order_id, .. }
            | Self::Refund { order_id, .. }
            | Self::CloseInvoice { order_id, .. } => Some(Invoice::aggregate(*order_id)),
        }
    }

    /// What tells two parsed commands apart, without the id that was minted for this one.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::RecordPayment { payment_id: _, order_id, amount, currency, reference } => {
                fingerprint::text(&("pay", order_id, amount, currency, reference))
            }
            Self::Refund { order_id, amount, reason } => fingerprint::text(&("refund", order_id, amount, reason)),
            Self::OpenInvoice { order_id, customer_id, currency, amount_due } => {
                fingerprint::text(&("open", order_id, customer_id, currency, amount_due))
            }
            Self::CloseInvoice { order_id, customer_id, cause } => {
                fingerprint::text(&("close", order_id, customer_id, cause))
            }
        }
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No invoice: the order does not exist, or was placed a moment ago.
    #[error("there is no invoice for order {order_id}")]
    UnknownOrder { order_id: OrderId },
    /// The invoice is in another currency.
    #[error("the invoice is in {invoice}, the payment in {given}")]
    WrongCurrency { invoice: Currency, given: Currency },
    /// More than is open.
    #[error("only {} minor units are open, {} were given", open_amount.minor_units(), given.minor_units())]
    Overpayment {
        /// What is open; 0 if all is paid.
        open_amount: Money,
        given: Money,
    },
    /// The invoice takes no payments any more.
    #[error("the invoice is {}", state.as_str())]
    InvoiceClosed { state: InvoiceState },
    /// A refund of an order that is not paid.
    #[error("order {order_id} is not paid: there is nothing to refund")]
    NotPaid { order_id: OrderId },
    /// More than can be given back.
    #[error("only {} minor units can be refunded, {} were asked for", refundable.minor_units(), asked.minor_units())]
    RefundTooLarge {
        /// What is left of what was paid.
        refundable: Money,
        /// What was asked for.
        asked: Money,
    },
}
