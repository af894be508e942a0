//! How lines move stock: what is available, what is short, and the levels before and after.

use super::{Entity, MAX_LINES, MovedLine, Reservation, ReservationId, SeenSku, StockItem, commands::added_up};
use orderlog_core::decider::View;

use crate::{
    inventory::{Shortage, ShortageReason, StockLevel, StockLine},
    planted::Bug,
    values::{Quantity, Sku},
};

/// A SKU as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelf {
    /// `None` if it has never been received.
    pub level: Option<StockLevel>,
    /// 0 if no record names it.
    pub version: u64,
}

impl Shelf {
    pub fn of(view: &View<'_, Entity>, sku: &Sku) -> Self {
        match view.get(&StockItem::aggregate(sku)) {
            Some(Entity::Stock(item)) => Self { level: Some(item.level), version: item.version },
            Some(Entity::Unreceived(unreceived)) => Self { level: None, version: unreceived.version },
            Some(Entity::Reservation(_)) | None => Self { level: None, version: 0 },
        }
    }
}

pub(super) fn find<'a>(view: &View<'a, Entity>, id: &ReservationId) -> Option<&'a Reservation> {
    view.get(&id.aggregate()).and_then(Entity::as_reservation)
}

/// The units of a SKU that are requested, and what there is.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub sku: Sku,
    /// The sum of all lines. May exceed [`Quantity::MAX`].
    pub units: u32,
    shelf: Shelf,
}

/// Sums the lines by SKU, sorted, and looks up each SKU. Looks nothing up if there are more SKUs than a reservation may
/// have.
pub(super) fn wanted(view: &View<'_, Entity>, lines: &[StockLine]) -> Result<Vec<Wanted>, TooManySkus> {
    let units = added_up(lines);
    if units.len() > MAX_LINES {
        return Err(TooManySkus(units.len()));
    }
    let look = |(sku, units): (&Sku, u32)| Wanted { sku: sku.clone(), units, shelf: Shelf::of(view, sku) };
    Ok(units.into_iter().map(look).collect())
}

/// More SKUs than a reservation may have. Contains their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooManySkus(pub usize);

/// The SKUs in short supply, with one reason for all. `None` if nothing is short.
pub(super) fn shortages(wanted: &[Wanted]) -> Option<(ShortageReason, Vec<Shortage>)> {
    let n_named = if Bug::FirstShortageOnly.is_loose() { 1 } else { wanted.len() };
    let shortages: Vec<_> = wanted.iter().filter_map(Wanted::shortage).take(n_named).collect();
    if shortages.is_empty() {
        return None;
    }
    let unknown = wanted.iter().any(|wanted| wanted.shelf.level.is_none());
    let reason = if unknown { ShortageReason::UnknownSku } else { ShortageReason::OutOfStock };
    Some((reason, shortages))
}

impl Wanted {
    fn shortage(&self) -> Option<Shortage> {
        // No reservation may exceed `Quantity::MAX`, however much there is.
        let available = self.shelf.level.map_or(0, |level| level.available().min(Quantity::MAX));
        let lent = u32::from(Bug::OversellByOne.is_loose());
        (self.units > available + lent).then(|| Shortage { sku: self.sku.clone(), requested: self.units, available })
    }

    /// The SKU with the version after a record that reads it without moving it.
    pub fn seen(&self) -> SeenSku {
        SeenSku { sku: self.sku.clone(), version: self.shelf.version + 1 }
    }
}

/// How a line changes the level of its SKU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// Reserve available units.
    SetAside,
    /// Release reserved units.
    GiveBack,
    /// Ship reserved units.
    Commit,
    /// Ship available units.
    CommitUnreserved,
}

impl Move {
    /// The level after moving `units`. Callers move only units that exist: [`shortages`] has checked, and reserved units
    /// stay reserved until their reservation ends. If that were violated, the level would stop at zero.
    fn apply(self, level: StockLevel, units: u32) -> StockLevel {
        let StockLevel { on_hand, reserved, .. } = level;
        let (on_hand, reserved) = match self {
            Self::SetAside => (on_hand, reserved.saturating_add(units).min(on_hand)),
            Self::GiveBack => (on_hand, reserved.saturating_sub(units)),
            Self::Commit => (on_hand.saturating_sub(units), reserved.saturating_sub(units)),
            Self::CommitUnreserved => (on_hand.saturating_sub(units).max(reserved), reserved),
        };
        StockLevel { on_hand, reserved, ..level }
    }

    fn line(self, sku: &Sku, quantity: Quantity, shelf: Shelf) -> MovedLine {
        let before = shelf.level.unwrap_or_default();
        let after = self.apply(before, quantity.get());
        MovedLine { sku: sku.clone(), quantity, before, after, version: shelf.version + 1 }
    }

    /// Moves all that is wanted. Nothing of it may be short.
    pub fn wanted(self, wanted: &[Wanted]) -> Vec<MovedLine> {
        let quantity = |units| Quantity::new(units).expect("sums of quantities above their maximum count as short");
        wanted.iter().map(|wanted| self.line(&wanted.sku, quantity(wanted.units), wanted.shelf)).collect()
    }

    pub fn reserved(self, view: &View<'_, Entity>, lines: &[StockLine]) -> Vec<MovedLine> {
        lines.iter().map(|line| self.line(&line.sku, line.quantity, Shelf::of(view, &line.sku))).collect()
    }
}
