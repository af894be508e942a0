//! The commands of the orders service, and why they may be rejected.
//!
//! Commands that react to other services' events are never rejected, but recorded as declined.

use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    inventory::{Shortage, ShortageReason},
    orders::OrderLine,
    values::{Channel, Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

use super::state::{Order, OrderState, Payment};

/// The most lines of one order. A record names every SKU of a reservation, and has room for 255 keys.
pub const MAX_LINES: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Place {
        /// Minted for this command.
        order_id: OrderId,
        customer_id: CustomerId,
        currency: Currency,
        /// 1 to [`MAX_LINES`] lines. SKUs may repeat.
        lines: Vec<OrderLine>,
        /// Where the order came from, if the caller specifies it.
        channel: Option<Channel>,
    },
    /// Cancel an order that has not shipped.
    Cancel { order_id: OrderId },
    /// Ship a confirmed, paid order.
    Fulfil { order_id: OrderId },
    /// `stock.reserved` for an order: all its stock is reserved.
    Confirm { order_id: OrderId },
    /// `stock.rejected`: it can't be supplied.
    Reject {
        order_id: OrderId,
        reason: ShortageReason,
        /// Every SKU in short supply.
        shortages: Vec<Shortage>,
    },
    /// `order.paid`: its invoice is paid in full.
    MarkPaid {
        order_id: OrderId,
        /// The invoice's version with that payment.
        invoice_version: u64,
    },
    /// `payment.refunded`: everything paid was refunded.
    MarkRefunded {
        order_id: OrderId,
        /// The invoice's version with that refund.
        invoice_version: u64,
    },
}

impl Command {
    /// The existing aggregate that the command is about, if any.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Place { .. } => None,
            Self::Cancel { order_id }
            | Self::Fulfil { order_id }
            | Self::Confirm { order_id }
            | Self::Reject { order_id, .. }
            | Self::MarkPaid { order_id, .. }
            | Self::MarkRefunded { order_id, .. } => Some(Order::aggregate(*order_id)),
        }
    }

    /// Identifies a parsed command, without the id that was minted for it.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Place { order_id: _, customer_id, currency, lines, channel } => {
                let lines: Vec<_> = lines.iter().map(|line| (&line.sku, line.quantity, line.unit_price)).collect();
                match channel {
                    // The text from before channels existed: idempotency keys of that time are still compared with it.
                    None => fingerprint::text(&("place", customer_id, currency, lines)),
                    Some(channel) => fingerprint::text(&("place", customer_id, currency, lines, channel)),
                }
            }
            Self::Cancel { order_id } => fingerprint::text(&("cancel", order_id)),
            Self::Fulfil { order_id } => fingerprint::text(&("fulfil", order_id)),
            Self::Confirm { order_id } => fingerprint::text(&("confirm", order_id)),
            Self::Reject { order_id, reason, shortages } => {
                let shortages: Vec<_> =
                    shortages.iter().map(|short| (&short.sku, short.requested, short.available)).collect();
                fingerprint::text(&("reject", order_id, reason, shortages))
            }
            Self::MarkPaid { order_id, invoice_version } => {
                fingerprint::text(&("mark paid", order_id, invoice_version))
            }
            Self::MarkRefunded { order_id, invoice_version } => {
                fingerprint::text(&("mark refunded", order_id, invoice_version))
            }
        }
    }
}

/// What a caller can do to an existing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Cancel,
    Fulfil,
}

words!(Action { Cancel = "cancelled", Fulfil = "fulfilled" });

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("an order needs at least one line")]
    NoLines,
    /// More than [`MAX_LINES`].
    #[error("an order has at most {max} lines, this one has {given}")]
    TooManyLines {
        /// The number of lines in the request.
        given: usize,
        /// The most lines allowed.
        max: usize,
    },
    /// The sum of the lines is above [`Money::MAX`].
    #[error("the total is above {max} minor units")]
    TotalTooLarge { max: i64 },
    /// The lines of one SKU add up to more than can be reserved.
    #[error("the lines of SKU {sku} add up to more than {max} units")]
    QuantityTooLarge { sku: Sku, max: u32 },
    /// No such customer is known here.
    #[error("there is no customer {customer_id}")]
    UnknownCustomer {
        /// The customer in the command.
        customer_id: CustomerId,
    },
    /// The customer is not allowed to place orders.
    #[error("customer {customer_id} is inactive")]
    CustomerInactive {
        /// The customer in the command.
        customer_id: CustomerId,
    },
    /// There is no such order.
    #[error("there is no order {order_id}")]
    UnknownOrder {
        /// The order in the command.
        order_id: OrderId,
    },
    /// The order's state does not allow it.
    #[error("order {order_id} is {from}: it can't be {action}")]
    IllegalTransition {
        order_id: OrderId,
        /// The order's current state.
        from: OrderState,
        action: Action,
    },
    /// Only paid orders ship.
    #[error("order {order_id} is {payment}: only a paid order can be fulfilled")]
    NotPaid { order_id: OrderId, payment: Payment },
}

impl Rejection {
    pub(super) const fn total_too_large() -> Self {
        Self::TotalTooLarge { max: Money::MAX }
    }

    pub(super) const fn quantity_too_large(sku: Sku) -> Self {
        Self::QuantityTooLarge { sku, max: Quantity::MAX }
    }
}
