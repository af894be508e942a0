//! The commands of billing, and why they may be rejected.

use super::state::{Invoice, InvoiceState};
use orderlog_core::{decider::Ref, reason::Reason};

use crate::{
    fingerprint,
    values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Record money received for an order.
    RecordPayment {
        /// Minted for this command.
        payment_id: PaymentId,
        /// The order that was paid.
        order_id: OrderId,
        /// At least 1 minor unit.
        amount: Money,
        currency: Currency,
        reference: PaymentReference,
    },
    Refund {
        /// The order whose payment is refunded.
        order_id: OrderId,
        /// `None` refunds everything left.
        amount: Option<Money>,
        reason: Option<Reason>,
    },
    /// On `order.created`: there is something to pay.
    OpenInvoice { order_id: OrderId, customer_id: CustomerId, currency: Currency, amount_due: Money },
    /// On `order.rejected` or `order.cancelled`: nothing is to be paid any more.
    CloseInvoice {
        order_id: OrderId,
        /// The customer who placed the order.
        customer_id: CustomerId,
        cause: super::RefundCause,
    },
}

impl Command {
    /// The existing aggregate that the command is about, if any.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::OpenInvoice { .. } => None,
            Self::RecordPayment { order_id, .. }
            | Self::Refund { order_id, .. }
            | Self::CloseInvoice { order_id, .. } => Some(Invoice::aggregate(*order_id)),
        }
    }

    /// Identifies a parsed command, without the id that was minted for it.
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

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No invoice: the order does not exist, or was placed a moment ago.
    #[error("there is no invoice for order {order_id}")]
    UnknownOrder { order_id: OrderId },
    /// The invoice is in another currency.
    #[error("the invoice is in {invoice}, the payment in {given}")]
    WrongCurrency { invoice: Currency, given: Currency },
    /// More than is open.
    #[error("a payment of {} minor units exceeds the {} that are open", given.minor_units(), open_amount.minor_units())]
    Overpayment {
        /// The open amount. 0 if everything is paid.
        open_amount: Money,
        given: Money,
    },
    /// The invoice accepts no more payments or refunds.
    #[error("the invoice is {state}")]
    InvoiceClosed { state: InvoiceState },
    /// A refund of an order that is not paid.
    #[error("order {order_id} is not paid: there is nothing to refund")]
    NotPaid { order_id: OrderId },
    /// More than can be refunded.
    #[error("only {} minor units can be refunded, {} were requested", refundable.minor_units(), asked.minor_units())]
    RefundTooLarge {
        /// What was paid and not refunded.
        refundable: Money,
        /// The amount in the command.
        asked: Money,
    },
}
