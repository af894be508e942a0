//! The commands of the inventory, and why they may be rejected.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    num::NonZeroI64,
};

use super::{ReservationId, ReservationState, StockItem};
use orderlog_core::{decider::Ref, reason::Reason};

use crate::{
    inventory::{Shortage, ShortageReason, StockLine},
    values::{OrderId, Quantity, ReservationName, Sku, TtlSeconds},
};

/// The most lines of one reservation, since a record can name only so many keys.
pub const MAX_LINES: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Receive goods. The first receipt of a SKU creates it.
    Receive { sku: Sku, quantity: Quantity },
    /// Correct a count.
    Adjust { sku: Sku, delta: NonZeroI64, reason: Reason },
    /// Set the number of available units below which stock is low. 0 means never.
    SetThreshold { sku: Sku, low_stock_threshold: u32 },
    /// Reserve units for a caller.
    Reserve(Reserve),
    /// Release a caller's reservation.
    Release { name: ReservationName },
    /// Expire a reservation. Issued by a timer.
    Expire { reservation: ReservationId },
    /// `order.created`: reserve the order's units.
    ReserveForOrder {
        order_id: OrderId,
        /// As ordered. SKUs may repeat.
        lines: Vec<StockLine>,
    },
    /// `order.cancelled`: release what is reserved for the order, and reserve nothing for it later.
    CancelForOrder { order_id: OrderId },
    /// `order.fulfilled`: the order's units have shipped.
    CommitForOrder { order_id: OrderId, lines: Vec<StockLine> },
}

/// A caller's request to reserve units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Chosen by the caller.
    pub name: ReservationName,
    /// The units to reserve. Lines of the same SKU are summed.
    pub lines: Vec<StockLine>,
    /// How long until the reservation expires. `None` means never.
    pub ttl_seconds: Option<TtlSeconds>,
    pub order_id: Option<OrderId>,
}

/// Why a command was rejected. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The SKU has never been received.
    #[error("SKU {sku} has never been received")]
    UnknownSku { sku: Sku },
    /// More than [`MAX_ON_HAND`](super::MAX_ON_HAND).
    #[error("at most {max} units of {sku} can be in the house, {on_hand} are")]
    TooMuchStock {
        sku: Sku,
        /// The units on hand now.
        on_hand: u32,
        /// The most units allowed.
        max: u32,
    },
    /// The correction would remove units that don't exist or are reserved.
    #[error("{sku} can't be adjusted by {delta}: {on_hand} units are in the house, {reserved} of them are set aside")]
    AdjustedBelowReserved {
        sku: Sku,
        /// The correction in the command.
        delta: i64,
        /// The units on hand now.
        on_hand: u32,
        /// How many of them are reserved.
        reserved: u32,
    },
    #[error("a reservation needs at least one line")]
    NoLines,
    /// Too many SKUs for one reservation.
    #[error("a reservation has at most {max} lines, {lines} were given")]
    TooManyLines {
        /// The number of SKUs in the command.
        lines: usize,
        /// The most SKUs allowed.
        max: usize,
    },
    /// The lines of one SKU add up to more than [`Quantity::MAX`].
    #[error("the lines of {sku} add up to {requested} units, at most {max} are allowed")]
    TooManyUnits {
        sku: Sku,
        /// Their sum.
        requested: u32,
        /// The most units allowed.
        max: u32,
    },
    /// Too few units of at least one SKU.
    #[error("not enough stock of {}", listed(.shortages))]
    NotEnoughStock {
        /// Whether stock is short, or a SKU has never been received.
        reason: ShortageReason,
        shortages: Vec<Shortage>,
    },
    /// Another reservation has this name.
    #[error("reservation {reservation} exists with other lines, another time to live or another label")]
    ReservationExists { reservation: ReservationId },
    /// It has already ended, in another way than requested.
    #[error("reservation {reservation} has ended: {state}")]
    ReservationEnded { reservation: ReservationId, state: ReservationState },
    /// There is no such reservation.
    #[error("there is no reservation {reservation}")]
    UnknownReservation { reservation: ReservationId },
}

fn listed(shortages: &[Shortage]) -> String {
    let each = shortages.iter().map(|short| {
        let Shortage { sku, requested, available } = short;
        format!("{sku} ({requested} requested, {available} available)")
    });
    each.collect::<Vec<_>>().join(", ")
}

impl Command {
    /// The existing aggregate that the command is about, if any.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Receive { sku, .. } | Self::Adjust { sku, .. } | Self::SetThreshold { sku, .. } => {
                Some(StockItem::aggregate(sku))
            }
            Self::Reserve(_) | Self::ReserveForOrder { .. } => None,
            Self::Release { name } => Some(ReservationId::Caller(name.clone()).aggregate()),
            Self::Expire { reservation } => Some(reservation.aggregate()),
            Self::CancelForOrder { order_id } | Self::CommitForOrder { order_id, .. } => {
                Some(ReservationId::Order(*order_id).aggregate())
            }
        }
    }

    /// Identifies a command, regardless of spelling and the order of its lines. Idempotency keys are compared with it
    /// forever: after a change, repeats of older commands are rejected.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Receive { sku, quantity } => format!("receive {sku} {}", quantity.get()),
            Self::Adjust { sku, delta, reason } => format!("adjust {sku} {delta} {reason}"),
            Self::SetThreshold { sku, low_stock_threshold } => format!("threshold {sku} {low_stock_threshold}"),
            Self::Reserve(Reserve { name, lines, ttl_seconds, order_id }) => {
                let ttl = OrNone(ttl_seconds.map(TtlSeconds::get));
                format!("reserve {name} {ttl} {}{}", OrNone(*order_id), line_text(lines))
            }
            Self::Release { name } => format!("release {name}"),
            Self::Expire { reservation: ReservationId::Caller(name) } => format!("expire caller {name}"),
            Self::Expire { reservation: ReservationId::Order(order_id) } => format!("expire order {order_id}"),
            Self::ReserveForOrder { order_id, lines } => format!("reserve for order {order_id}{}", line_text(lines)),
            Self::CancelForOrder { order_id } => format!("cancel for order {order_id}"),
            Self::CommitForOrder { order_id, lines } => format!("commit for order {order_id}{}", line_text(lines)),
        }
    }
}

/// Writes `None` as `-`, which is neither an id nor a number.
struct OrNone<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

fn line_text(lines: &[StockLine]) -> String {
    added_up(lines).iter().fold(String::new(), |mut text, (sku, units)| {
        write!(text, " {sku}={units}").expect("writing to a string can't fail");
        text
    })
}

/// The units per SKU, sorted by SKU.
pub(super) fn added_up(lines: &[StockLine]) -> BTreeMap<&Sku, u32> {
    let mut units = BTreeMap::new();
    for StockLine { sku, quantity } in lines {
        let sum: &mut u32 = units.entry(sku).or_default();
        // Saturates far above any quantity that can be reserved, so the exact value does not matter.
        *sum = sum.saturating_add(quantity.get());
    }
    units
}
