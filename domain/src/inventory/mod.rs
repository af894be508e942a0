//! Inventory: how much stock there is, what is reserved for whom, and until when.
//!
//! - A stock item counts the units of one SKU. Invariant: `0 <= reserved <= on_hand`. Its first receipt creates it.
//! - A reservation takes all its lines or none, in one record that also names every SKU it touches. It ends exactly once:
//!   `held -> committed | released | expired`. One that never held anything begins in its final state, such as `rejected`.
//!   An order's own reservation is in a separate namespace, which callers can't name.
//! - Callers' commands may be rejected with a [`Rejection`]. Commands that react to other services' events always end in a
//!   record, even if it is "declined, because", so that a redelivery can't be decided differently.
//!
//! Deliberately absent: prices, storage locations, back-orders, and any knowledge of the state of orders.

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

pub const STOCK: &str = "stock";

pub const RESERVATIONS: &str = "reservations";
