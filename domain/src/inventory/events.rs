//! The events of the inventory, as stored in its journal.
//!
//! ## Storage format: these names and fields are in the log forever
//! Fields may be added with a default, but never renamed, removed or given another meaning. A test freezes each variant.
//!
//! Every event contains what its response, its public events and its fold need: levels before and after, resulting
//! versions.

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    StockReceived(StockReceived),
    /// A count was corrected.
    StockAdjusted(StockAdjusted),
    ThresholdSet(ThresholdSet),
    /// The threshold already had the requested value.
    ThresholdUnchanged(ThresholdUnchanged),
    /// Units were reserved.
    ReservationHeld(ReservationMoved),
    /// An order can't be supplied. Nothing was reserved.
    ReservationRejected(ReservationRejected),
    /// The reservation already was as the command requested: held, or released.
    ReservationRepeated(ReservationRepeated),
    /// Reserved units were released.
    ReservationReleased(ReservationMoved),
    /// A reservation expired, and its units were released.
    ReservationExpired(ReservationMoved),
    /// An order's units shipped.
    ReservationCommitted(ReservationMoved),
    /// An order was cancelled before anything was reserved for it. Nothing ever will be.
    ReservationCancelled(ReservationCancelled),
    /// A reaction or a timer had no effect.
    ReservationDeclined(ReservationDeclined),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub sku: Sku,
    pub quantity: Quantity,
    /// All zero before the first receipt.
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub sku: Sku,
    pub delta: i64,
    pub reason: Reason,
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdSet {
    pub sku: Sku,
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

/// The threshold already had the requested value. Recorded, since the log has the last word on that, but not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdUnchanged {
    pub sku: Sku,
    /// The unchanged level.
    pub level: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

/// How one line of a reservation moved its SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedLine {
    pub sku: Sku,
    pub quantity: Quantity,
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationMoved {
    pub reservation: ReservationId,
    /// The order. On a caller's reservation it is only a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Each SKU once, sorted.
    pub lines: Vec<MovedLine>,
    /// The time to live that was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<TtlSeconds>,
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
    /// Every SKU that was read, short or not.
    pub seen: Vec<SeenSku>,
    pub version: u64,
}

/// A SKU that a decision depended on without moving it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSku {
    pub sku: Sku,
    /// The stock item's version after the event.
    pub version: u64,
}

/// The reservation already was as the command requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRepeated {
    pub reservation: ReservationId,
    /// The order. On a caller's reservation it is only a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Held or released.
    pub state: ReservationState,
    /// Each SKU once, sorted.
    pub lines: Vec<StockLine>,
    /// The time to live that was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<TtlSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Millis>,
    pub version: u64,
}

/// An order was cancelled before anything was reserved for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationCancelled {
    pub order_id: OrderId,
    pub version: u64,
}

/// A reaction or a timer had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationDeclined {
    pub reservation: ReservationId,
    pub asked: Reaction,
    pub because: Because,
    pub version: u64,
}

/// The change to a reservation that another service's event, or a timer, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// On `order.created`.
    Reserve,
    /// On `order.cancelled`.
    Release,
    /// On `order.fulfilled`.
    Commit,
    Expire,
}

/// Why a reaction had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    Already(ReservationState),
    /// It has not expired yet, or never will.
    NotDue,
}

/// A reservation, for the response to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationAnswer {
    pub id: ReservationId,
    /// The order. On a caller's reservation it is only a label.
    pub order_id: Option<OrderId>,
    /// Each SKU once, sorted.
    pub lines: Vec<StockLine>,
    pub state: ReservationState,
    /// The time to live that was requested.
    pub ttl_seconds: Option<TtlSeconds>,
    pub expires_at_ms: Option<Millis>,
    pub version: u64,
}

impl Event {
    /// The reservation after this event, if the event contains all of it.
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

    /// The aggregates it changes: a stock item, or a reservation followed by the SKUs that its decision depended on.
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
    /// The units moved, each SKU once.
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
