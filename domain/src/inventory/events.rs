//! What happened in the inventory.
//!
//! ## Storage format: these names and fields are in the log for ever
//! Fields may be added with a default, never renamed, removed or given another meaning. A test freezes each variant.
//!
//! Every event carries what its answer, its public events and its fold need: levels before and after, resulting versions.

use serde::{Deserialize, Serialize};

use super::{ReservationId, ReservationState, StockItem};
use orderlog_core::{
    decider::{Millis, Ref},
    reason::Reason,
};

use crate::{
    inventory::{Shortage, ShortageReason, StockLevel, StockLine},
    values::{OrderId, Quantity, Sku, TtlSeconds},
};

/// An event of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    StockReceived(StockReceived),
    /// A count was corrected.
    StockAdjusted(StockAdjusted),
    ThresholdSet(ThresholdSet),
    /// The threshold that was asked for counts already.
    ThresholdUnchanged(ThresholdUnchanged),
    /// Units were set aside.
    ReservationHeld(ReservationMoved),
    /// An order can't be supplied; nothing was set aside.
    ReservationRejected(ReservationRejected),
    /// A command found things as it wants them: held, or released.
    ReservationRepeated(ReservationRepeated),
    /// Units that had been set aside were given back.
    ReservationReleased(ReservationMoved),
    /// A reservation's time was up; its units were given back.
    ReservationExpired(ReservationMoved),
    /// An order's units left the house.
    ReservationCommitted(ReservationMoved),
    /// An order was cancelled before anything was set aside for it: now nothing will be.
    ReservationCancelled(ReservationCancelled),
    /// A reaction or a timer came to nothing.
    ReservationDeclined(ReservationDeclined),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub sku: Sku,
    pub quantity: Quantity,
    /// Before; all zero for the first receipt.
    pub before: StockLevel,
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// A count was corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub sku: Sku,
    pub delta: i64,
    pub reason: Reason,
    pub before: StockLevel,
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdSet {
    pub sku: Sku,
    pub before: StockLevel,
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// The threshold that was asked for counts already. Recorded, since the log has the last word on that; told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdUnchanged {
    pub sku: Sku,
    /// As it was and is.
    pub level: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// How one line of a reservation moved its SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedLine {
    pub sku: Sku,
    pub quantity: Quantity,
    pub before: StockLevel,
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// All lines of a reservation moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationMoved {
    pub reservation: ReservationId,
    /// The order; a mere label on a caller's reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Each SKU once, sorted.
    pub lines: Vec<MovedLine>,
    /// The time to live it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<TtlSeconds>,
    /// When that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Millis>,
    pub version: u64,
}

/// An order can't be supplied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRejected {
    pub order_id: OrderId,
    pub reason: ShortageReason,
    pub shortages: Vec<Shortage>,
    /// Every SKU that was looked at, short or not.
    pub seen: Vec<SeenSku>,
    pub version: u64,
}

/// A SKU that a decision depended on without moving it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSku {
    pub sku: Sku,
    /// Of the stock item, afterwards.
    pub version: u64,
}

/// A command found things as it wants them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRepeated {
    pub reservation: ReservationId,
    /// The order; a mere label on a caller's reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// How it is doing: held or released.
    pub state: ReservationState,
    /// Each SKU once, sorted.
    pub lines: Vec<StockLine>,
    /// The time to live it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<TtlSeconds>,
    /// When that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Millis>,
    pub version: u64,
}

/// An order was cancelled before anything was set aside for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationCancelled {
    pub order_id: OrderId,
    pub version: u64,
}

/// A reaction or a timer came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationDeclined {
    pub reservation: ReservationId,
    pub asked: Reaction,
    /// Why nothing came of it.
    pub because: Because,
    pub version: u64,
}

/// What another service's event, or a timer, asks of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// `order.created`.
    Reserve,
    /// `order.cancelled`.
    Release,
    /// `order.fulfilled`.
    Commit,
    Expire,
}

/// Why a reaction came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The reservation is in this state already.
    Already(ReservationState),
    /// Its time is not up, or never is.
    NotDue,
}

/// A reservation, as the answer to a command shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationAnswer {
    pub id: ReservationId,
    /// The order; a mere label on a caller's reservation.
    pub order_id: Option<OrderId>,
    /// Each SKU once, sorted.
    pub lines: Vec<StockLine>,
    /// How it is doing.
    pub state: ReservationState,
    /// The time to live it was asked for.
    pub ttl_seconds: Option<TtlSeconds>,
    /// When that is over.
    pub expires_at_ms: Option<Millis>,
    pub version: u64,
}

impl Event {
    /// The reservation after this event, if it carries a whole one.
    pub fn reservation(&self) -> Option<ReservationAnswer> {
        match self {
            Self::ReservationHeld(e) => Some(e.answer(ReservationState::Held)),
            Self::ReservationReleased(e) => Some(e.answer(ReservationState::Released)),
            Self::ReservationExpired(e) => Some(e.answer(ReservationState::Expired)),
            Self::ReservationCommitted(e) => Some(e.answer(ReservationState::Committed)),
            Self::ReservationRejected(e) => Some(empty(e.order_id, ReservationState::Rejected, e.version)),
            Self::ReservationCancelled(e) => Some(empty(e.order_id, ReservationState::Released, e.version)),
            Self::ReservationRepeated(e) => Some(ReservationAnswer {
                id: e.reservation.clone(),
                order_id: e.order_id,
                lines: e.lines.clone(),
                state: e.state,
                ttl_seconds: e.ttl_seconds,
                expires_at_ms: e.expires_at_ms,
                version: e.version,
            }),
            Self::StockReceived(_)
            | Self::StockAdjusted(_)
            | Self::ThresholdSet(_)
            | Self::ThresholdUnchanged(_)
            | Self::ReservationDeclined(_) => None,
        }
    }

    /// The event's name in the journal.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::StockReceived(_) => "stock_received",
            Self::StockAdjusted(_) => "stock_adjusted",
            Self::ThresholdSet(_) => "threshold_set",
            Self::ThresholdUnchanged(_) => "threshold_unchanged",
            Self::ReservationHeld(_) => "reservation_held",
            Self::ReservationRejected(_) => "reservation_rejected",
            Self::ReservationRepeated(_) => "reservation_repeated",
            Self::ReservationReleased(_) => "reservation_released",
            Self::ReservationExpired(_) => "reservation_expired",
            Self::ReservationCommitted(_) => "reservation_committed",
            Self::ReservationCancelled(_) => "reservation_cancelled",
            Self::ReservationDeclined(_) => "reservation_declined",
        }
    }

    /// What it changes: a stock item, or a reservation and then the SKUs that its decision depended on.
    pub(super) fn touches(&self) -> Vec<Ref> {
        match self {
            Self::StockReceived(e) => vec![StockItem::aggregate(&e.sku)],
            Self::StockAdjusted(e) => vec![StockItem::aggregate(&e.sku)],
            Self::ThresholdSet(e) => vec![StockItem::aggregate(&e.sku)],
            Self::ThresholdUnchanged(e) => vec![StockItem::aggregate(&e.sku)],
            Self::ReservationHeld(e)
            | Self::ReservationReleased(e)
            | Self::ReservationExpired(e)
            | Self::ReservationCommitted(e) => with_skus(&e.reservation, e.lines.iter().map(|line| &line.sku)),
            Self::ReservationRejected(e) => {
                with_skus(&ReservationId::Order(e.order_id), e.seen.iter().map(|seen| &seen.sku))
            }
            Self::ReservationRepeated(e) => vec![e.reservation.aggregate()],
            Self::ReservationCancelled(e) => vec![ReservationId::Order(e.order_id).aggregate()],
            Self::ReservationDeclined(e) => vec![e.reservation.aggregate()],
        }
    }
}

fn with_skus<'a>(reservation: &ReservationId, skus: impl Iterator<Item = &'a Sku>) -> Vec<Ref> {
    std::iter::once(reservation.aggregate()).chain(skus.map(StockItem::aggregate)).collect()
}

impl ReservationMoved {
    /// What was moved, each SKU once.
    pub fn stock_lines(&self) -> Vec<StockLine> {
        self.lines.iter().map(|line| StockLine { sku: line.sku.clone(), quantity: line.quantity }).collect()
    }

    fn answer(&self, state: ReservationState) -> ReservationAnswer {
        ReservationAnswer {
            id: self.reservation.clone(),
            order_id: self.order_id,
            lines: self.stock_lines(),
            state,
            ttl_seconds: self.ttl_seconds,
            expires_at_ms: self.expires_at_ms,
            version: self.version,
        }
    }
}

/// An order's reservation that never held anything.
const fn empty(order_id: OrderId, state: ReservationState, version: u64) -> ReservationAnswer {
    ReservationAnswer {
        id: ReservationId::Order(order_id),
        order_id: Some(order_id),
        lines: Vec::new(),
        state,
        ttl_seconds: None,
        expires_at_ms: None,
        version,
    }
}
