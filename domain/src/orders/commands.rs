//! What can be asked of the orders service, and why it may be refused.
//!
//! Absent: refusals of what other services' events ask. Those are recorded as declined instead.

use std::fmt;

use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    inventory::{Shortage, ShortageReason},
    orders::OrderLine,
    values::{Channel, Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

use super::state::{Order, OrderState, Payment};

/// The most lines of one order: a record names every SKU of a reservation, and has room for 255 keys.
pub const MAX_LINES: usize = 100;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Place {
        /// Minted for this command.
        order_id: OrderId,
        customer_id: CustomerId,
        currency: Currency,
        /// What, 1 to [`MAX_LINES`] lines; SKUs may repeat.
        lines: Vec<OrderLine>,
        /// Where it came from, if the caller says so.
        channel: Option<Channel>,
    },
    /// Call an order off that has not left the house.
    Cancel { order_id: OrderId },
    /// A confirmed, paid order leaves the house.
    Fulfil { order_id: OrderId },
    /// `stock.reserved` for an order: all its stock is set aside.
    Confirm { order_id: OrderId },
    /// `stock.rejected`: it can't be supplied.
    Reject {
        order_id: OrderId,
        reason: ShortageReason,
        /// Each SKU of which there is not enough.
        shortages: Vec<Shortage>,
    },
    /// `order.paid`: its invoice is paid in full.
    MarkPaid {
        order_id: OrderId,
        /// The invoice's version that says so.
        invoice_version: u64,
    },
    /// `payment.refunded`: all that was paid was given back.
    MarkRefunded {
        order_id: OrderId,
        /// The invoice's version that says so.
        invoice_version: u64,
    },
}

impl Command {
    /// The aggregate that it is about, if that exists before.
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

    /// What tells two parsed commands apart, without the id that was minted for this one.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Place { order_id: _, customer_id, currency, lines, channel } => {
                let lines: Vec<_> = lines.iter().map(|line| (&line.sku, line.quantity, line.unit_price)).collect();
                match channel {
                    // As before there were channels: keys of that time are still compared with this text.
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

/// What a caller may do to an order that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Cancel,
    Fulfil,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancel => "cancelled",
            Self::Fulfil => "fulfilled",
        })
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// An order needs something to be ordered.
    #[error("an order needs at least one line")]
    NoLines,
    /// More than [`MAX_LINES`].
    #[error("an order has at most {max} lines, this one has {given}")]
    TooManyLines {
        /// How many there were.
        given: usize,
        /// How many there may be.
        max: usize,
    },
    /// The sum of the lines is no amount of money any more.
    #[error("the total is above {max} minor units")]
    TotalTooLarge { max: i64 },
    /// The lines of one SKU add up to more than can be reserved.
    #[error("the lines of SKU {sku} add up to more than {max} units")]
    QuantityTooLarge { sku: Sku, max: u32 },
    /// No such customer is known here.
    #[error("there is no customer {customer_id}")]
    UnknownCustomer {
        /// Who was to order.
        customer_id: CustomerId,
    },
    /// The customer may place no orders.
    #[error("customer {customer_id} is inactive")]
    CustomerInactive {
        /// Who was to order.
        customer_id: CustomerId,
    },
    /// There is no such order.
    #[error("there is no order {order_id}")]
    UnknownOrder {
        /// Which was asked for.
        order_id: OrderId,
    },
    /// The order's state does not allow it.
    #[error("order {order_id} is {from}: it can't be {action}")]
    IllegalTransition {
        order_id: OrderId,
        /// The state it is in.
        from: OrderState,
        action: Action,
    },
    /// Only what is paid leaves the house.
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
