//! The routes of the inventory service.

mod bodies;
pub mod codes;
pub mod scopes;

use std::sync::Arc;

use orderlog_core::decider::Decider;
use orderlog_domain::{
    inventory::{self, Command, Inventory, Rejection, ReservationId, ShortageReason, StockItem},
    notifications::Notifications,
    values::{ReservationName, Sku},
};
use orderlog_http::prelude::*;
use orderlog_projections::inventory as projections;
use orderlog_runtime::{
    assembly,
    delivery::{self, Target},
    replica::Replica,
};
use serde_json::{Value, json};

pub use bodies::{
    AdjustStock, Level, Movement, MovementCause, ReceiveStock, Reservation, ReservationState, ReserveStock,
    ReservedFor, SetThreshold, Stock, StockChanged, StockLine,
};
pub use codes::Shortage;

use crate::notifications::ByNotifications;

fn short(shortages: &[inventory::Shortage]) -> Value {
    shortages.iter().map(|shortage| json!(codes::Shortage::from(shortage))).collect()
}

/// The group that delivers notices about corrections. Its positions are separate from the relay's.
const DELIVERIES: &str = "orderlog.inventory.deliveries";

/// Names with another meaning in `/stock/...`. A SKU of such a name could not be queried, so none can be created.
const NO_SKUS: [&str; 2] = ["reserve", "reservations"];

pub struct InventoryApi(Service<InventoryService>);

pub struct InventoryService;

impl ServiceDefinition for InventoryService {
    type Decider = Inventory;
    type Api = InventoryApi;

    const TABLES: &'static Tables<Inventory> = &projections::TABLES;
    const ABOUT: &'static str = "Stock of each SKU, and reservations of it";
    const CODES: &'static [Code] = codes::ALL;
    const CALLS: &'static [Call] =
        &[(ByNotifications::SERVICE, "operations are notified of corrections only by a process that can call it")];

    fn fingerprint(command: &Command) -> String {
        command.fingerprint_text()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        let detail = rejection.to_string();
        match rejection {
            Rejection::UnknownSku { .. } => ApiError::not_found(codes::UNKNOWN_SKU, detail),
            Rejection::TooMuchStock { .. } => ApiError::conflict(codes::TOO_MUCH_STOCK, detail),
            Rejection::AdjustedBelowReserved { .. } => ApiError::conflict(codes::BELOW_RESERVED, detail).at("#/delta"),
            Rejection::NoLines => ApiError::invalid_at("#/lines", crate::orders::codes::NO_LINES, detail),
            Rejection::TooManyLines { .. } => {
                ApiError::invalid_at("#/lines", crate::orders::codes::TOO_MANY_LINES, detail)
            }
            Rejection::TooManyUnits { .. } => {
                ApiError::invalid_at("#/lines", crate::orders::codes::QUANTITY_TOO_LARGE, detail)
            }
            Rejection::NotEnoughStock { shortages, reason: ShortageReason::OutOfStock } => {
                ApiError::conflict(codes::NOT_ENOUGH_STOCK, detail).with(&codes::SHORTAGES, short(&shortages))
            }
            Rejection::NotEnoughStock { shortages, reason: ShortageReason::UnknownSku } => {
                ApiError::not_found(codes::UNKNOWN_SKU, detail).at("#/lines").with(&codes::SHORTAGES, short(&shortages))
            }
            Rejection::ReservationExists { .. } => ApiError::conflict(codes::RESERVATION_EXISTS, detail),
            Rejection::ReservationEnded { .. } => ApiError::conflict(codes::RESERVATION_ENDED, detail),
            Rejection::UnknownReservation { .. } => ApiError::not_found(codes::UNKNOWN_RESERVATION, detail),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        let service = parts.start::<Self>().await?;
        if let Some(notifier) = ByNotifications::through(&parts.peers) {
            let deliveries = parts.setup.log.lead(DELIVERIES, Inventory::JOURNAL).await;
            let deliveries = deliveries.map_err(|source| NotStarted::new(Inventory::JOURNAL, source))?;
            let deliver = move |replica: Replica<Inventory>, lease| {
                let target = Target { notifier: Arc::clone(&notifier), journal: Notifications::JOURNAL };
                delivery::run(replica, lease, target, inventory::notice_of)
            };
            assembly::perform(&deliveries, &parts.troubles, "deliveries", &service.replica, deliver);
        }
        Ok(Mounted::new(&service.clone(), InventoryApi(service)))
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

impl InventoryApi {
    /// The stock item, and the position that a past state (`as_of`) reflects.
    async fn item(&self, sku: &Sku, as_of: Option<&str>, seen: &Freshness) -> ApiResult<(StockItem, Option<String>)> {
        let looked = self.0.look(StockItem::aggregate(sku), as_of, seen, Visibility::ToAll).await?;
        let unknown = || InventoryService::problem_of(Rejection::UnknownSku { sku: sku.clone() });
        looked.found(inventory::Entity::into_stock, unknown)
    }

    /// The reservation, and the position that a past state (`as_of`) reflects.
    async fn reservation(
        &self,
        id: &ReservationId,
        as_of: Option<&str>,
        seen: &Freshness,
    ) -> ApiResult<(inventory::Reservation, Option<String>)> {
        let looked = self.0.look(id.aggregate(), as_of, seen, Visibility::ToAll).await?;
        let unknown = || InventoryService::problem_of(Rejection::UnknownReservation { reservation: id.clone() });
        looked.found(inventory::Entity::into_reservation, unknown)
    }
}

fn done(executed: &Executed<Inventory>) -> ApiResult<Done<StockChanged>> {
    let changed = StockChanged::of(executed)?;
    let version = changed.version;
    Ok(Done::new(executed, changed, version))
}

#[operations]
#[OpenApi(prefix_path = "/stock")]
impl InventoryApi {
    /// Receive stock
    ///
    /// The first receipt of a SKU creates it.
    #[operation(post = "/:sku/receive", scope = scopes::ADJUST, bound = refused, key_may_be_required, problems(codes::TOO_MUCH_STOCK))]
    async fn receive_stock(
        &self,
        sku: Path<Sku>,
        head: CommandHeaders,
        body: Given<ReceiveStock>,
    ) -> ApiResult<Done<StockChanged>> {
        let sku = sku.0;
        if NO_SKUS.contains(&sku.as_str()) {
            let detail = format!("no SKU can have one of these names: {}", NO_SKUS.join(", "));
            return Err(ApiError::parameter("sku", codes::RESERVED_NAME, detail));
        }
        let operation = format!("POST /stock/{sku}/receive");
        let command = Command::Receive { sku, quantity: body.0 };
        done(&self.0.execute(command, head, || operation).await?)
    }

    /// Correct a count
    ///
    /// The count can't go below the reserved units. Operations are notified of downward corrections.
    #[operation(post = "/:sku/adjust", scope = scopes::ADJUST, bound = refused, key_may_be_required,
        problems(codes::UNKNOWN_SKU, codes::TOO_MUCH_STOCK, codes::BELOW_RESERVED)
    )]
    async fn adjust_stock(
        &self,
        sku: Path<Sku>,
        head: CommandHeaders,
        body: Given<AdjustStock>,
    ) -> ApiResult<Done<StockChanged>> {
        let operation = format!("POST /stock/{}/adjust", sku.0);
        let (delta, reason) = body.0;
        done(&self.0.execute(Command::Adjust { sku: sku.0, delta, reason }, head, || operation).await?)
    }

    /// Set the low-stock threshold
    ///
    /// Operations are notified once when fewer units are available, and once when enough are available again.
    #[operation(put = "/:sku/threshold", scope = scopes::ADJUST, bound = refused, key_may_be_required, problems(codes::UNKNOWN_SKU))]
    async fn set_low_stock_threshold(
        &self,
        sku: Path<Sku>,
        head: CommandHeaders,
        body: Given<SetThreshold>,
    ) -> ApiResult<Done<StockChanged>> {
        let operation = format!("PUT /stock/{}/threshold", sku.0);
        let command = Command::SetThreshold { sku: sku.0, low_stock_threshold: body.0 };
        done(&self.0.execute(command, head, || operation).await?)
    }

    /// Reserve stock
    ///
    /// Reserves all lines or none: if any SKU is short, `shortages` names every short SKU, and nothing is reserved.
    /// Repeating the same reservation changes nothing. Orders reserve their stock automatically.
    #[operation(post = "/reserve", scope = scopes::RESERVE, bound = refused, no_target, key_may_be_required,
        problems(
            codes::UNKNOWN_SKU, codes::NOT_ENOUGH_STOCK, codes::RESERVATION_EXISTS, codes::RESERVATION_ENDED,
            crate::orders::codes::NO_LINES, crate::orders::codes::TOO_MANY_LINES,
            crate::orders::codes::QUANTITY_TOO_LARGE,
        )
    )]
    async fn reserve_stock(&self, head: CommandHeaders, body: Given<ReserveStock>) -> ApiResult<Created<Reservation>> {
        let executed = self.0.execute(Command::Reserve(body.0), head, || "POST /stock/reserve".to_owned()).await?;
        let held = Reservation::of(&executed)?;
        let (location, version) = (format!("/stock/reservations/{}", held.reservation_id), held.version);
        Ok(Created::new(&executed, held, version).at(location))
    }

    /// Release a reservation
    ///
    /// Makes its units available again. Repeating it changes nothing. An order's own reservation can't be released
    /// here: cancel the order.
    #[operation(post = "/reservations/:reservation_id/release", scope = scopes::RESERVE, bound = refused, key_may_be_required,
        problems(codes::RESERVATION_ENDED, codes::UNKNOWN_RESERVATION)
    )]
    async fn release_reservation(
        &self,
        reservation_id: Path<ReservationName>,
        head: CommandHeaders,
    ) -> ApiResult<Done<Reservation>> {
        let name = reservation_id.0;
        let operation = format!("POST /stock/reservations/{name}/release");
        let executed = self.0.execute(Command::Release { name }, head, || operation).await?;
        let released = Reservation::of(&executed)?;
        let version = released.version;
        Ok(Done::new(&executed, released, version))
    }

    /// Get a reservation
    ///
    /// Reflects everything this instance has answered so far.
    // Callers choose the names of reservations.
    #[operation(get = "/reservations/:reservation_id", scope = scopes::READ, bound = refused, problems(codes::UNKNOWN_RESERVATION))]
    async fn get_reservation(
        &self,
        reservation_id: Path<ReservationName>,
        as_of: AsOf,
        seen: Freshness,
    ) -> ApiResult<Found<Reservation>> {
        let id = ReservationId::Caller(reservation_id.0);
        let (found, position) = self.reservation(&id, as_of.0.as_deref(), &seen).await?;
        let version = found.version;
        Ok(Found::new(found.into(), version).at(position))
    }

    /// Get the stock of a SKU
    ///
    /// Reflects everything this instance has answered so far.
    #[operation(get = "/:sku", scope = scopes::READ, bound = shared, problems(codes::UNKNOWN_SKU))]
    async fn get_stock(&self, sku: Path<Sku>, as_of: AsOf, seen: Freshness) -> ApiResult<Found<Stock>> {
        let (item, position) = self.item(&sku.0, as_of.0.as_deref(), &seen).await?;
        Ok(Found::new(Stock::from(&item), item.version).at(position))
    }

    /// List stock
    ///
    /// Sorted by SKU, in pages.
    #[operation(get = "/", scope = scopes::READ, bound = shared)]
    async fn list_stock(
        &self,
        /// `true`: only SKUs with fewer available units than their threshold.
        low: Query<Option<bool>>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Stock>>> {
        let rows = self.0.fresh_rows(&seen).await?;
        let found = projections::stock(&rows, low.0.unwrap_or(false), &page.paging()?).await?;
        Ok(page.list(found, |item| Stock::from(&item)))
    }

    /// List the movements of a SKU
    ///
    /// Newest first, in pages. Each has its size, its cause, and the levels before and after.
    // Movements name other customers' orders.
    #[operation(get = "/:sku/movements", scope = scopes::READ, bound = refused, problems(codes::UNKNOWN_SKU))]
    async fn list_stock_movements(
        &self,
        sku: Path<Sku>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<ListBody<Movement>>> {
        let (item, _) = self.item(&sku.0, None, &seen).await?;
        let found = projections::movements(&self.0.replica.store(), &item.sku, &page.paging()?).await?;
        Ok(page.list(found, |row| Movement::from(&row)))
    }
}
