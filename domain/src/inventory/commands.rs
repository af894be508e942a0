//! What can be asked of the inventory, and why it may be refused.

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

/// The most lines of one reservation: a record can name only so many keys.
pub const MAX_LINES: usize = 100;

/// A command to the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Goods came in. The first receipt of a SKU creates it.
    Receive { sku: Sku, quantity: Quantity },
    /// A count is corrected.
    Adjust { sku: Sku, delta: NonZeroI64, reason: Reason },
    /// Below how many available units stock counts as low; 0 means never.
    SetThreshold { sku: Sku, low_stock_threshold: u32 },
    /// A caller wants units set aside.
    Reserve(Reserve),
    /// A caller gives back what was set aside.
    Release { name: ReservationName },
    /// A timer found a reservation whose time is up.
    Expire { reservation: ReservationId },
    /// `order.created`: set the order's units aside.
    ReserveForOrder {
        order_id: OrderId,
        /// As ordered; SKUs may repeat.
        lines: Vec<StockLine>,
    },
    /// `order.cancelled`: give back what was set aside for the order, if anything ever is.
    CancelForOrder { order_id: OrderId },
    /// `order.fulfilled`: the order's units have left the house.
    CommitForOrder { order_id: OrderId, lines: Vec<StockLine> },
}

/// A caller wants units set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The name that the caller gives the reservation.
    pub name: ReservationName,
    /// What; equal SKUs are added up first.
    pub lines: Vec<StockLine>,
    /// After how long it expires by itself.
    pub ttl_seconds: Option<TtlSeconds>,
    pub order_id: Option<OrderId>,
}

/// Why a command was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody has received it yet.
    #[error("SKU {sku} has never been received")]
    UnknownSku { sku: Sku },
    /// More than the house holds.
    #[error("at most {max} units of {sku} can be in the house, {on_hand} are")]
    TooMuchStock {
        sku: Sku,
        /// How many there are.
        on_hand: u32,
        /// How many there can be.
        max: u32,
    },
    /// A correction would take units that are not there, or that are set aside.
    #[error("{sku} can't be adjusted by {delta}: {on_hand} units are in the house, {reserved} of them are set aside")]
    AdjustedBelowReserved {
        sku: Sku,
        /// By how much it was to change.
        delta: i64,
        /// How many there are.
        on_hand: u32,
        /// How many of them are set aside.
        reserved: u32,
    },
    /// A reservation needs at least one line.
    #[error("a reservation needs at least one line")]
    NoLines,
    /// Too many SKUs for one reservation.
    #[error("a reservation has at most {max} lines, {lines} were given")]
    TooManyLines {
        /// How many were given.
        lines: usize,
        /// How many there may be.
        max: usize,
    },
    /// The lines of one SKU add up to more than one movement may have.
    #[error("the lines of {sku} add up to {requested} units, at most {max} are allowed")]
    TooManyUnits {
        sku: Sku,
        /// What they add up to.
        requested: u32,
        /// How many there may be.
        max: u32,
    },
    /// Too few units of at least one SKU.
    #[error("not enough stock of {}", listed(.shortages))]
    NotEnoughStock {
        /// Whether there is too little, or a SKU that nobody has received.
        reason: ShortageReason,
        shortages: Vec<Shortage>,
    },
    /// The name is taken by another reservation.
    #[error("reservation {reservation} exists with other lines, another time to live or another label")]
    ReservationExists { reservation: ReservationId },
    /// It has ended already, and otherwise than asked for.
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
    /// The aggregate that it is about, if that exists before.
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

    /// What tells two commands apart, whatever their spelling and the order of their lines. Part of what an idempotency key
    /// is compared with for ever: a change here refuses repeats of commands from before it.
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

/// Writes `-` for nothing, which no id or number is.
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

/// How many units of each SKU, equal SKUs added up and sorted.
pub(super) fn added_up(lines: &[StockLine]) -> BTreeMap<&Sku, u32> {
    let mut units = BTreeMap::new();
    for StockLine { sku, quantity } in lines {
        let sum: &mut u32 = units.entry(sku).or_default();
        // Far above any quantity that can be set aside, where it stops does not matter.
        *sum = sum.saturating_add(quantity.get());
    }
    units
}
