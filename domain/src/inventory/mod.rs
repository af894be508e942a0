//! Inventory: what is in the house, what of it is set aside for whom, and when that ends.
//!
//! - A stock item counts the units of one SKU: `0 <= reserved <= on_hand`, always. Its first receipt creates it.
//! - A reservation takes all its lines or none, in one record that also names every SKU it touches, and ends exactly once:
//!   `held | rejected -> committed | released | expired`. An order's own reservation lives in a namespace of its own, which
//!   callers can't name.
//! - What callers may ask is refused with a [`Rejection`]; what another service's events ask always ends in a record, be it
//!   "declined, because", so that a second delivery can't decide otherwise.
//!
//! Deliberately absent: prices, places within the house, back-orders, and any knowledge of how an order is doing.

mod commands;
mod corrections;
mod decide;
mod events;
mod moves;
pub mod public;
mod publish;
mod react;
mod state;

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use commands::{Command, MAX_LINES, Rejection, Reserve};
pub use corrections::notice_of;
pub use events::{
    Because, Event, MovedLine, Reaction, ReservationAnswer, ReservationCancelled, ReservationDeclined,
    ReservationMoved, ReservationRejected, ReservationRepeated, SeenSku, StockAdjusted, StockReceived, ThresholdSet,
    ThresholdUnchanged,
};
pub use public::{MovementCause, Published, ReservedFor, Shortage, ShortageReason, StockLevel, StockLine};
pub use publish::{Movement, movements};
pub use state::{Entity, MAX_ON_HAND, Reservation, ReservationId, ReservationState, StockItem, UnreceivedSku};

#[derive(Clone, Copy, Debug)]
pub enum Inventory {}

/// Table of the stock items.
pub const STOCK: &str = "stock";

/// Table of the reservations.
pub const RESERVATIONS: &str = "reservations";
