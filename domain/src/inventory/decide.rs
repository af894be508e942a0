//! Decisions of the inventory. Guards first, one success at the end.

use std::num::NonZeroI64;

use super::{
    Because, Command, Entity, Event, Inventory, MAX_LINES, MAX_ON_HAND, Published, Reaction, Rejection, Reservation,
    ReservationCancelled, ReservationDeclined, ReservationId, ReservationMoved, ReservationRejected,
    ReservationRepeated, ReservationState, Reserve, Shortage, ShortageReason, StockAdjusted, StockLevel, StockLine,
    StockReceived, ThresholdSet, ThresholdUnchanged,
    moves::{Move, Shelf, TooManySkus, Wanted, find, shortages, wanted},
    publish, react, state,
};
use orderlog_core::{
    decider::{At, Decider, Millis, Ref, View},
    reason::Reason,
};

use crate::{
    orders,
    planted::Bug,
    values::{OrderId, Quantity, ReservationName, Sku},
};

impl Decider for Inventory {
    const JOURNAL: &'static str = "inventory";
    const REACTS_TO: &'static [&'static str] = &["order.created", "order.cancelled", "order.fulfilled"];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Published;
    type Heard = orders::Published;

    fn decide(command: &Command, view: &View<'_, Entity>, now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Receive { sku, quantity } => receive(view, sku, *quantity),
            Command::Adjust { sku, delta, reason } => adjust(view, sku, *delta, reason),
            Command::SetThreshold { sku, low_stock_threshold } => set_threshold(view, sku, *low_stock_threshold),
            Command::Reserve(asked) => reserve(view, asked, now),
            Command::Release { name } => release(view, name),
            Command::Expire { reservation } => expire(view, reservation, now),
            Command::ReserveForOrder { order_id, lines } => Ok(reserve_for_order(view, *order_id, lines)),
            Command::CancelForOrder { order_id } => Ok(cancel_for_order(view, *order_id)),
            Command::CommitForOrder { order_id, lines } => Ok(commit_for_order(view, *order_id, lines)),
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        command.target()
    }

    fn kind(event: &Event) -> &'static str {
        event.kind()
    }

    fn touches(event: &Event) -> Vec<Ref> {
        event.touches()
    }

    fn evolve(entity: Option<Entity>, which: usize, event: &Event, at: &At) -> Entity {
        state::evolve(entity, which, event, at)
    }

    fn is_shown(entity: &Entity) -> bool {
        match entity {
            Entity::Stock(_) | Entity::Reservation(_) => true,
            Entity::Unreceived(_) => false,
        }
    }

    fn carries_state(event: &Event, which: usize) -> bool {
        state::carries_state(event, which)
    }

    fn publish(event: &Event) -> Vec<Published> {
        publish::publish(event)
    }

    fn react(event: &orders::Published) -> Option<Command> {
        react::react(event)
    }
}

fn receive(view: &View<'_, Entity>, sku: &Sku, quantity: Quantity) -> Result<Event, Rejection> {
    let shelf = Shelf::of(view, sku);
    let before = shelf.level.unwrap_or_default();
    let on_hand = before.on_hand.saturating_add(quantity.get());
    if on_hand > MAX_ON_HAND {
        return Err(Rejection::TooMuchStock { sku: sku.clone(), on_hand: before.on_hand, max: MAX_ON_HAND });
    }
    let after = StockLevel { on_hand, ..before };
    let version = shelf.version + 1;
    Ok(Event::StockReceived(StockReceived { sku: sku.clone(), quantity, before, after, version }))
}

fn adjust(view: &View<'_, Entity>, sku: &Sku, delta: NonZeroI64, reason: &Reason) -> Result<Event, Rejection> {
    let shelf = Shelf::of(view, sku);
    let Some(before) = shelf.level else {
        return Err(Rejection::UnknownSku { sku: sku.clone() });
    };
    let StockLevel { on_hand, reserved, .. } = before;
    let delta = delta.get();
    let counted = i64::from(on_hand).saturating_add(delta);
    if counted < i64::from(reserved) {
        return Err(Rejection::AdjustedBelowReserved { sku: sku.clone(), delta, on_hand, reserved });
    }
    let counted = match u32::try_from(counted) {
        Ok(counted) if counted <= MAX_ON_HAND => counted,
        Ok(_) | Err(_) => return Err(Rejection::TooMuchStock { sku: sku.clone(), on_hand, max: MAX_ON_HAND }),
    };
    Ok(Event::StockAdjusted(StockAdjusted {
        sku: sku.clone(),
        delta,
        reason: reason.clone(),
        before,
        after: StockLevel { on_hand: counted, ..before },
        version: shelf.version + 1,
    }))
}

fn set_threshold(view: &View<'_, Entity>, sku: &Sku, low_stock_threshold: u32) -> Result<Event, Rejection> {
    let shelf = Shelf::of(view, sku);
    let Some(before) = shelf.level else {
        return Err(Rejection::UnknownSku { sku: sku.clone() });
    };
    let (sku, version) = (sku.clone(), shelf.version + 1);
    if before.low_stock_threshold == low_stock_threshold {
        return Ok(Event::ThresholdUnchanged(ThresholdUnchanged { sku, level: before, version }));
    }
    let after = StockLevel { low_stock_threshold, ..before };
    Ok(Event::ThresholdSet(ThresholdSet { sku, before, after, version }))
}

fn reserve(view: &View<'_, Entity>, asked: &Reserve, now: Millis) -> Result<Event, Rejection> {
    let reservation = ReservationId::Caller(asked.name.clone());
    let found = find(view, &reservation);
    let wanted =
        wanted(view, &asked.lines).map_err(|TooManySkus(lines)| Rejection::TooManyLines { lines, max: MAX_LINES })?;
    if wanted.is_empty() {
        return Err(Rejection::NoLines);
    }
    if let Some(Wanted { sku, units, .. }) = wanted.iter().find(|wanted| wanted.units > Quantity::MAX) {
        return Err(Rejection::TooManyUnits { sku: sku.clone(), requested: *units, max: Quantity::MAX });
    }
    if let Some(found) = found {
        return repeat(found, asked, &wanted);
    }
    if let Some((reason, shortages)) = shortages(&wanted) {
        return Err(Rejection::NotEnoughStock { reason, shortages });
    }
    Ok(Event::ReservationHeld(ReservationMoved {
        reservation,
        order_id: asked.order_id,
        lines: Move::SetAside.wanted(&wanted),
        ttl_seconds: asked.ttl_seconds,
        expires_at_ms: asked.ttl_seconds.map(|ttl| now.saturating_add(1000 * Millis::from(ttl.get()))),
        version: 1,
    }))
}

/// Decides a request whose name is taken, by the same reservation or by another.
fn repeat(found: &Reservation, asked: &Reserve, wanted: &[Wanted]) -> Result<Event, Rejection> {
    if found.state != ReservationState::Held {
        return Err(Rejection::ReservationEnded { reservation: found.id.clone(), state: found.state });
    }
    let lines = found.lines.iter().map(|line| (&line.sku, line.quantity.get()));
    let same = lines.eq(wanted.iter().map(|wanted| (&wanted.sku, wanted.units)))
        && found.ttl_seconds == asked.ttl_seconds
        && found.order_id == asked.order_id;
    if !same {
        return Err(Rejection::ReservationExists { reservation: found.id.clone() });
    }
    Ok(repeated(found))
}

fn release(view: &View<'_, Entity>, name: &ReservationName) -> Result<Event, Rejection> {
    let reservation = ReservationId::Caller(name.clone());
    let Some(found) = find(view, &reservation) else {
        return Err(Rejection::UnknownReservation { reservation });
    };
    match found.state {
        ReservationState::Held => Ok(Event::ReservationReleased(moved(view, found, Move::GiveBack))),
        ReservationState::Released if Bug::ReleaseTwice.is_loose() => {
            Ok(Event::ReservationReleased(moved(view, found, Move::GiveBack)))
        }
        ReservationState::Released => Ok(repeated(found)),
        state @ (ReservationState::Rejected | ReservationState::Committed | ReservationState::Expired) => {
            Err(Rejection::ReservationEnded { reservation, state })
        }
    }
}

fn expire(view: &View<'_, Entity>, reservation: &ReservationId, now: Millis) -> Result<Event, Rejection> {
    let Some(found) = find(view, reservation) else {
        return Err(Rejection::UnknownReservation { reservation: reservation.clone() });
    };
    if found.state != ReservationState::Held && !Bug::ExpireTheEnded.is_loose() {
        return Ok(declined(found, Reaction::Expire, Because::Already(found.state)));
    }
    let now = if Bug::ExpireEarly.is_loose() { now + 1_000 } else { now };
    if found.expires_at_ms.is_none_or(|at| now < at) {
        return Ok(declined(found, Reaction::Expire, Because::NotDue));
    }
    Ok(Event::ReservationExpired(moved(view, found, Move::GiveBack)))
}

fn reserve_for_order(view: &View<'_, Entity>, order_id: OrderId, lines: &[StockLine]) -> Event {
    let found = find(view, &ReservationId::Order(order_id)).filter(|_| !Bug::HoldAfterCancel.is_loose());
    let wanted = wanted(view, lines);
    if let Some(found) = found {
        return declined(found, Reaction::Reserve, Because::Already(found.state));
    }
    match supply(wanted, Move::SetAside) {
        Supply::Moved(lines) => Event::ReservationHeld(first_move(order_id, lines)),
        Supply::Short(reason, shortages, wanted) => rejected(order_id, reason, shortages, &wanted),
    }
}

fn cancel_for_order(view: &View<'_, Entity>, order_id: OrderId) -> Event {
    match find(view, &ReservationId::Order(order_id)) {
        None => Event::ReservationCancelled(ReservationCancelled { order_id, version: 1 }),
        Some(found) if found.state == ReservationState::Held => {
            Event::ReservationReleased(moved(view, found, Move::GiveBack))
        }
        Some(found) => declined(found, Reaction::Release, Because::Already(found.state)),
    }
}

fn commit_for_order(view: &View<'_, Entity>, order_id: OrderId, lines: &[StockLine]) -> Event {
    let found = find(view, &ReservationId::Order(order_id));
    let wanted = wanted(view, lines);
    if let Some(found) = found {
        return match found.state {
            ReservationState::Held => Event::ReservationCommitted(moved(view, found, Move::Commit)),
            state @ (ReservationState::Rejected
            | ReservationState::Committed
            | ReservationState::Released
            | ReservationState::Expired) => declined(found, Reaction::Commit, Because::Already(state)),
        };
    }
    // `order.created` has not arrived yet. When it does, it finds the reservation ended.
    match supply(wanted, Move::CommitUnreserved) {
        Supply::Moved(lines) => Event::ReservationCommitted(first_move(order_id, lines)),
        Supply::Short(reason, shortages, wanted) => rejected(order_id, reason, shortages, &wanted),
    }
}

/// Whether an order can be supplied.
enum Supply {
    Moved(Vec<super::MovedLine>),
    Short(ShortageReason, Vec<Shortage>, Vec<Wanted>),
}

fn supply(wanted: Result<Vec<Wanted>, TooManySkus>, by: Move) -> Supply {
    // The orders service places no such order, but the topic may contain one from another writer.
    let Ok(wanted) = wanted else {
        return Supply::Short(ShortageReason::OutOfStock, Vec::new(), Vec::new());
    };
    match shortages(&wanted) {
        Some((reason, shortages)) => Supply::Short(reason, shortages, wanted),
        None => Supply::Moved(by.wanted(&wanted)),
    }
}

/// The first record of an order's reservation.
const fn first_move(order_id: OrderId, lines: Vec<super::MovedLine>) -> ReservationMoved {
    ReservationMoved {
        reservation: ReservationId::Order(order_id),
        order_id: Some(order_id),
        lines,
        ttl_seconds: None,
        expires_at_ms: None,
        version: 1,
    }
}

/// Moves all lines of a held reservation, which ends it.
fn moved(view: &View<'_, Entity>, found: &Reservation, by: Move) -> ReservationMoved {
    ReservationMoved {
        reservation: found.id.clone(),
        order_id: found.order_id,
        lines: by.reserved(view, &found.lines),
        ttl_seconds: found.ttl_seconds,
        expires_at_ms: found.expires_at_ms,
        version: found.version + 1,
    }
}

fn repeated(found: &Reservation) -> Event {
    Event::ReservationRepeated(ReservationRepeated {
        reservation: found.id.clone(),
        order_id: found.order_id,
        state: found.state,
        lines: found.lines.clone(),
        ttl_seconds: found.ttl_seconds,
        expires_at_ms: found.expires_at_ms,
        version: found.version + 1,
    })
}

fn declined(found: &Reservation, asked: Reaction, because: Because) -> Event {
    let version = found.version + 1;
    Event::ReservationDeclined(ReservationDeclined { reservation: found.id.clone(), asked, because, version })
}

/// A rejection must be arbitrated too, so it names every SKU it is based on.
fn rejected(order_id: OrderId, reason: ShortageReason, shortages: Vec<Shortage>, wanted: &[Wanted]) -> Event {
    let seen = wanted.iter().map(Wanted::seen).collect();
    Event::ReservationRejected(ReservationRejected { order_id, reason, shortages, seen, version: 1 })
}
