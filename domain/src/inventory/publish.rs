//! What the inventory publishes, and the movements it lists.

use super::{
    Event, MovedLine, MovementCause, Published, ReservationId, ReservationMoved, StockLevel,
    public::{LowStock, StockRejected, StockReserved, StockUpdated},
};
use orderlog_core::reason::Reason;

use crate::{planted::Bug, values::Sku};

/// One movement of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub sku: Sku,
    pub cause: MovementCause,
    /// The change of the available units.
    pub delta: i64,
    /// The reservation that moved the stock, if any.
    pub reservation: Option<ReservationId>,
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
    /// Why a count was corrected.
    pub reason: Option<Reason>,
}

impl Movement {
    fn new(sku: &Sku, cause: MovementCause, before: StockLevel, after: StockLevel, version: u64) -> Self {
        let mut delta = i64::from(after.available()) - i64::from(before.available());
        if Bug::CountUnitsOnHand.is_loose() {
            delta = i64::from(after.on_hand) - i64::from(before.on_hand);
        }
        Self { sku: sku.clone(), cause, delta, reservation: None, before, after, version, reason: None }
    }
}

/// The movements of `event`, in the order of its lines.
pub fn movements(event: &Event) -> Vec<Movement> {
    use MovementCause as Cause;
    match event {
        Event::StockReceived(e) => vec![Movement::new(&e.sku, Cause::Received, e.before, e.after, e.version)],
        Event::StockAdjusted(e) => {
            let movement = Movement::new(&e.sku, Cause::Adjusted, e.before, e.after, e.version);
            vec![Movement { reason: Some(e.reason.clone()), ..movement }]
        }
        Event::ThresholdSet(e) => vec![Movement::new(&e.sku, Cause::ThresholdChanged, e.before, e.after, e.version)],
        Event::ReservationHeld(e) => of_reservation(e, Cause::Reserved),
        Event::ReservationReleased(e) => of_reservation(e, Cause::Released),
        Event::ReservationExpired(e) => of_reservation(e, Cause::Expired),
        Event::ReservationCommitted(e) => of_reservation(e, Cause::Committed),
        Event::ThresholdUnchanged(_)
        | Event::ReservationRejected(_)
        | Event::ReservationRepeated(_)
        | Event::ReservationCancelled(_)
        | Event::ReservationDeclined(_) => Vec::new(),
    }
}

fn of_reservation(event: &ReservationMoved, cause: MovementCause) -> Vec<Movement> {
    let movement = |line: &MovedLine| Movement {
        reservation: Some(event.reservation.clone()),
        ..Movement::new(&line.sku, cause, line.before, line.after, line.version)
    };
    let n_listed = if Bug::FirstMovementOnly.is_loose() { 1 } else { event.lines.len() };
    event.lines.iter().take(n_listed).map(movement).collect()
}

/// The public events that follow from `event`: every movement, then the SKUs that became low, then the reservation's
/// outcome.
pub(super) fn publish(event: &Event) -> Vec<Published> {
    let movements = movements(event);
    let updated = movements.iter().map(stock_updated);
    let low = movements.iter().filter_map(low_stock);
    updated.chain(low).chain(outcome(event)).collect()
}

fn stock_updated(movement: &Movement) -> Published {
    Published::StockUpdated(StockUpdated {
        sku: movement.sku.clone(),
        delta: movement.delta,
        cause: movement.cause,
        reservation_id: movement.reservation.as_ref().map(ReservationId::to_string),
        reserved_for: movement.reservation.as_ref().map(ReservationId::reserved_for),
        before: movement.before,
        after: movement.after,
        version: movement.version,
    })
}

/// Publishes only the transition to low stock.
fn low_stock(movement: &Movement) -> Option<Published> {
    let fell = !movement.before.is_low() && movement.after.is_low();
    fell.then(|| {
        Published::LowStock(LowStock {
            sku: movement.sku.clone(),
            available: movement.after.available(),
            low_stock_threshold: movement.after.low_stock_threshold,
            version: movement.version,
        })
    })
}

fn outcome(event: &Event) -> Option<Published> {
    match event {
        Event::ReservationHeld(e) => Some(Published::StockReserved(StockReserved {
            reservation_id: e.reservation.to_string(),
            reserved_for: e.reservation.reserved_for(),
            order_id: e.order_id,
            lines: e.stock_lines(),
            version: e.version,
        })),
        Event::ReservationRejected(e) => Some(Published::StockRejected(StockRejected {
            order_id: e.order_id,
            reason: e.reason,
            shortages: e.shortages.clone(),
            version: e.version,
        })),
        Event::StockReceived(_)
        | Event::StockAdjusted(_)
        | Event::ThresholdSet(_)
        | Event::ThresholdUnchanged(_)
        | Event::ReservationRepeated(_)
        | Event::ReservationReleased(_)
        | Event::ReservationExpired(_)
        | Event::ReservationCommitted(_)
        | Event::ReservationCancelled(_)
        | Event::ReservationDeclined(_) => None,
    }
}
