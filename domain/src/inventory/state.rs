//! The state of stock and reservations. The JSON of [`Entity`] is the row's document.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Event, MovedLine, RESERVATIONS, ReservationAnswer, STOCK,
    events::{ReservationDeclined, SeenSku},
};
use orderlog_core::{
    decider::{At, Millis, Ref},
    key::Key,
};

use crate::{
    inventory::{ReservedFor, StockLevel, StockLine},
    values::{OrderId, ReservationName, Sku, TtlSeconds},
};

/// The most units of one SKU on hand. Sums of them stay far from overflow.
pub const MAX_ON_HAND: u32 = 1_000_000_000;

/// Identifies a reservation. Callers and orders have separate namespaces, so a caller can't name an order's own
/// reservation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationId {
    /// Made with `POST /stock/reserve`, under the name its caller chose.
    Caller(ReservationName),
    /// Made by `order.created`.
    Order(OrderId),
}

impl ReservationId {
    pub fn aggregate(&self) -> Ref {
        Ref::new(RESERVATIONS, self.key())
    }

    pub const fn reserved_for(&self) -> ReservedFor {
        match self {
            Self::Caller(_) => ReservedFor::Caller,
            Self::Order(_) => ReservedFor::Order,
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Caller(name) => Key::named("reservation", name.as_str()),
            Self::Order(order_id) => Key::named("reservation/order", &order_id.to_string()),
        }
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(name) => name.fmt(f),
            Self::Order(order_id) => order_id.fmt(f),
        }
    }
}

/// The stock of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockItem {
    pub sku: Sku,
    pub level: StockLevel,
    /// The number of records that name it, including those that only read it.
    pub version: u64,
    /// When its level or threshold last changed.
    pub updated_ms: Millis,
}

impl StockItem {
    /// The aggregate of this SKU, received or not.
    pub fn aggregate(sku: &Sku) -> Ref {
        Ref::new(STOCK, Key::named("sku", sku.as_str()))
    }
}

/// A SKU that has never been received, but that an order was rejected for. Hidden from callers. It is kept so that the
/// first receipt and the rejection name a common key and can't miss each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreceivedSku {
    pub sku: Sku,
    /// The number of records that name it.
    pub version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Its units are reserved.
    Held,
    /// Stock was too low. Nothing was ever reserved.
    Rejected,
    /// Its units have shipped.
    Committed,
    Released,
    /// It expired, and its units were released.
    Expired,
}

words!(ReservationState {
    Held = "held",
    Rejected = "rejected",
    Committed = "committed",
    Released = "released",
    Expired = "expired",
});

/// A current or former reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: ReservationId,
    /// The order. On a caller's reservation it is only a label.
    pub order_id: Option<OrderId>,
    /// Each SKU once, sorted. Empty if it ended before anything was reserved.
    pub lines: Vec<StockLine>,
    pub state: ReservationState,
    /// The time to live that was requested.
    pub ttl_seconds: Option<TtlSeconds>,
    pub expires_at_ms: Option<Millis>,
    /// The number of records that name it.
    pub version: u64,
    /// When its first record was decided.
    pub created_ms: Millis,
    pub updated_ms: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    /// Of kind `stock`: a SKU that has been received.
    Stock(StockItem),
    /// Also of kind `stock`, but hidden from callers.
    Unreceived(UnreceivedSku),
    Reservation(Reservation),
}

variants!(Entity {
    Stock(StockItem) as_stock into_stock,
    Reservation(Reservation) as_reservation into_reservation,
});

impl Entity {
    /// The number of records that name it.
    pub const fn version(&self) -> u64 {
        match self {
            Self::Stock(item) => item.version,
            Self::Unreceived(sku) => sku.version,
            Self::Reservation(reservation) => reservation.version,
        }
    }
}

/// The state of `touches(event)[which]` after `event`.
pub(super) fn evolve(entity: Option<Entity>, which: usize, event: &Event, at: &At) -> Entity {
    let stock = |sku: &Sku, level: StockLevel, version| {
        Entity::Stock(StockItem { sku: sku.clone(), level, version, updated_ms: at.time_ms })
    };
    match event {
        Event::StockReceived(e) => stock(&e.sku, e.after, e.version),
        Event::StockAdjusted(e) => stock(&e.sku, e.after, e.version),
        Event::ThresholdSet(e) => stock(&e.sku, e.after, e.version),
        Event::ThresholdUnchanged(e) => match entity {
            Some(Entity::Stock(item)) => Entity::Stock(StockItem { version: e.version, ..item }),
            Some(Entity::Unreceived(_) | Entity::Reservation(_)) | None => stock(&e.sku, e.level, e.version),
        },
        Event::ReservationHeld(e)
        | Event::ReservationReleased(e)
        | Event::ReservationExpired(e)
        | Event::ReservationCommitted(e) => match which.checked_sub(1).and_then(|line| e.lines.get(line)) {
            Some(MovedLine { sku, after, version, .. }) => stock(sku, *after, *version),
            None => changed(entity, event, at),
        },
        Event::ReservationRejected(e) => match which.checked_sub(1).and_then(|line| e.seen.get(line)) {
            Some(seen) => looked_at(entity, seen),
            None => changed(entity, event, at),
        },
        Event::ReservationCancelled(_) => changed(entity, event, at),
        Event::ReservationRepeated(e) => bumped(entity, e.version).unwrap_or_else(|| changed(None, event, at)),
        Event::ReservationDeclined(e) => bumped(entity, e.version).unwrap_or_else(|| never_decided(e, at)),
    }
}

/// Whether the event alone determines the state of the aggregate. Most stock events do.
pub(super) const fn carries_state(event: &Event, which: usize) -> bool {
    match event {
        Event::StockReceived(_) | Event::StockAdjusted(_) | Event::ThresholdSet(_) => true,
        Event::ReservationHeld(_)
        | Event::ReservationReleased(_)
        | Event::ReservationExpired(_)
        | Event::ReservationCommitted(_) => which > 0,
        Event::ThresholdUnchanged(_)
        | Event::ReservationRejected(_)
        | Event::ReservationCancelled(_)
        | Event::ReservationRepeated(_)
        | Event::ReservationDeclined(_) => false,
    }
}

/// The reservation in the event.
fn changed(entity: Option<Entity>, event: &Event, at: &At) -> Entity {
    let answer = event.reservation().expect("only called for events that carry their whole reservation");
    let created_ms = entity.as_ref().and_then(Entity::as_reservation).map_or(at.time_ms, |before| before.created_ms);
    let ReservationAnswer { id, order_id, lines, state, ttl_seconds, expires_at_ms, version } = answer;
    let updated_ms = at.time_ms;
    let after = Reservation { id, order_id, lines, state, ttl_seconds, expires_at_ms, version, created_ms, updated_ms };
    Entity::Reservation(after)
}

/// The reservation with a new version and no other change.
fn bumped(entity: Option<Entity>, version: u64) -> Option<Entity> {
    match entity? {
        Entity::Reservation(before) => Some(Entity::Reservation(Reservation { version, ..before })),
        Entity::Stock(_) | Entity::Unreceived(_) => None,
    }
}

fn looked_at(entity: Option<Entity>, seen: &SeenSku) -> Entity {
    let SeenSku { sku, version } = seen;
    match entity {
        Some(Entity::Stock(item)) => Entity::Stock(StockItem { version: *version, ..item }),
        Some(Entity::Unreceived(_) | Entity::Reservation(_)) | None => {
            Entity::Unreceived(UnreceivedSku { sku: sku.clone(), version: *version })
        }
    }
}

/// `decide` declines only for existing reservations. If such a record appeared for another, that reservation holds nothing.
fn never_decided(declined: &ReservationDeclined, at: &At) -> Entity {
    let order_id = match &declined.reservation {
        ReservationId::Caller(_) => None,
        ReservationId::Order(order_id) => Some(*order_id),
    };
    Entity::Reservation(Reservation {
        id: declined.reservation.clone(),
        order_id,
        lines: Vec::new(),
        state: ReservationState::Released,
        ttl_seconds: None,
        expires_at_ms: None,
        version: declined.version,
        created_ms: at.time_ms,
        updated_ms: at.time_ms,
    })
}
