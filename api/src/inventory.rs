//! The routes of the inventory service.

mod bodies;
pub mod codes;
pub mod scopes;
pub mod topics;

use std::sync::Arc;

use orderlog_core::decider::Decider;
use orderlog_domain::{
    inventory::{self, Command, Inventory, Rejection, ReservationId, ShortageReason, StockItem},
    notifications::Notifications,
    values::{ReservationName, Sku},
};
use orderlog_http::{
    answer::{Created, Done, Found, Listed},
    auth::Scope,
    freshness::Freshness,
    json::Given,
    list::ListBody,
    operations::operations,
    paging::Paged,
    params::{CommandHeaders, Path},
    problem::{ApiError, Code},
    service::{
        Service, ServiceDefinition,
        contract::TopicContract,
        look::Visibility,
        mounted::Mounted,
        parts::{NotStarted, Parts},
    },
};
use orderlog_projections::inventory as projections;
use orderlog_readmodel::Tables;
use orderlog_runtime::{
    assembly,
    delivery::{self, Target},
    replica::{Executed, Replica},
};
use poem_openapi::{OpenApi, Tags, param::Query};
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
    const ABOUT: &'static str = "What there is";
    const SCOPES: &'static [Scope] = scopes::ALL;
    const CODES: &'static [Code] = codes::ALL;

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
        let replica = service.replica.clone();
        let deliveries = parts.setup.log.lead(DELIVERIES, Inventory::JOURNAL).await;
        let deliveries = deliveries.map_err(|source| NotStarted::new(Inventory::JOURNAL, source))?;
        let notifier = Arc::new(ByNotifications(Arc::clone(&parts.peers)));
        assembly::perform(
            &deliveries,
            &parts.troubles,
            "deliveries",
            &replica,
            move |replica: Replica<Inventory>, lease| {
                let target = Target { notifier: notifier.clone(), journal: Notifications::JOURNAL };
                delivery::run(replica, lease, target, inventory::notice_of)
            },
        );
        Ok(Mounted::new(&service.clone(), InventoryApi(service)))
    }

    fn topic(topic: &str) -> TopicContract {
        topics::of(topic)
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

#[derive(Tags)]
enum Tag {
    /// Stock of each SKU, and reservations of it.
    #[oai(rename = "inventory")]
    Inventory,
}

impl InventoryApi {
    /// The stock item, and the position that a past state (`as_of`) reflects.
    async fn item(
        &self,
        sku: &Sku,
        as_of: Option<&str>,
        seen: &Freshness,
    ) -> Result<(StockItem, Option<String>), ApiError> {
        let looked = self.0.look(StockItem::aggregate(sku), as_of, seen, Visibility::ToAll).await?;
        match looked.entity {
            Some(inventory::Entity::Stock(item)) => Ok((item, looked.position)),
            Some(inventory::Entity::Unreceived(_) | inventory::Entity::Reservation(_)) | None => {
                Err(looked.absent(InventoryService::problem_of(Rejection::UnknownSku { sku: sku.clone() })))
            }
        }
    }

    /// The reservation, and the position that a past state (`as_of`) reflects.
    async fn reservation(
        &self,
        id: &ReservationId,
        as_of: Option<&str>,
        seen: &Freshness,
    ) -> Result<(inventory::Reservation, Option<String>), ApiError> {
        let looked = self.0.look(id.aggregate(), as_of, seen, Visibility::ToAll).await?;
        match looked.entity {
            Some(inventory::Entity::Reservation(found)) => Ok((found, looked.position)),
            Some(inventory::Entity::Stock(_) | inventory::Entity::Unreceived(_)) | None => {
                Err(looked
                    .absent(InventoryService::problem_of(Rejection::UnknownReservation { reservation: id.clone() })))
            }
        }
    }
}

fn done(executed: &Executed<Inventory>) -> Result<Done<StockChanged>, ApiError> {
    let changed = StockChanged::of(executed)?;
    let version = changed.version;
    Ok(Done::new(executed, changed, version))
}

#[operations]
#[OpenApi(prefix_path = "/stock", tag = "Tag::Inventory")]
impl InventoryApi {
    /// Receive stock
    ///
    /// The first receipt of a SKU creates it.
    #[oai(path = "/:sku/receive", method = "post", operation_id = "receive_stock")]
    #[operation(scope = scopes::ADJUST, bound = refused, key_may_be_required, problems(codes::TOO_MUCH_STOCK))]
    async fn receive_stock(
        &self,
        /// The SKU.
        sku: Path<Sku>,
        asked: CommandHeaders,
        body: Given<ReceiveStock>,
    ) -> Result<Done<StockChanged>, ApiError> {
        let sku = sku.0;
        if NO_SKUS.contains(&sku.as_str()) {
            let detail = format!("no SKU can have one of these names: {}", NO_SKUS.join(", "));
            return Err(ApiError::parameter("sku", codes::RESERVED_NAME, detail));
        }
        let operation = format!("POST /stock/{sku}/receive");
        let command = Command::Receive { sku, quantity: body.0 };
        done(&self.0.execute(command, asked, || operation).await?)
    }

    /// Correct a count
    ///
    /// The count can't go below the reserved units. Operations are notified of downward corrections.
    #[oai(path = "/:sku/adjust", method = "post", operation_id = "adjust_stock")]
    #[operation(
        scope = scopes::ADJUST, bound = refused, key_may_be_required,
        problems(codes::UNKNOWN_SKU, codes::TOO_MUCH_STOCK, codes::BELOW_RESERVED)
    )]
    async fn adjust_stock(
        &self,
        /// The SKU.
        sku: Path<Sku>,
        asked: CommandHeaders,
        body: Given<AdjustStock>,
    ) -> Result<Done<StockChanged>, ApiError> {
        let operation = format!("POST /stock/{}/adjust", sku.0);
        let (delta, reason) = body.0;
        done(&self.0.execute(Command::Adjust { sku: sku.0, delta, reason }, asked, || operation).await?)
    }

    /// Set the low-stock threshold
    ///
    /// Operations are notified once when fewer units are available, and once when enough are available again.
    #[oai(path = "/:sku/threshold", method = "put", operation_id = "set_low_stock_threshold")]
    #[operation(scope = scopes::ADJUST, bound = refused, key_may_be_required, problems(codes::UNKNOWN_SKU))]
    async fn set_low_stock_threshold(
        &self,
        /// The SKU.
        sku: Path<Sku>,
        asked: CommandHeaders,
        body: Given<SetThreshold>,
    ) -> Result<Done<StockChanged>, ApiError> {
        let operation = format!("PUT /stock/{}/threshold", sku.0);
        let command = Command::SetThreshold { sku: sku.0, low_stock_threshold: body.0 };
        done(&self.0.execute(command, asked, || operation).await?)
    }

    /// Reserve stock
    ///
    /// Reserves all lines or none: if any SKU is short, `shortages` names every short SKU, and nothing is reserved.
    /// Repeating the same reservation changes nothing. Orders reserve their stock automatically.
    #[oai(path = "/reserve", method = "post", operation_id = "reserve_stock")]
    #[operation(
        scope = scopes::RESERVE, bound = refused, no_target, key_may_be_required,
        problems(
            codes::UNKNOWN_SKU, codes::NOT_ENOUGH_STOCK, codes::RESERVATION_EXISTS, codes::RESERVATION_ENDED,
            crate::orders::codes::NO_LINES, crate::orders::codes::TOO_MANY_LINES,
            crate::orders::codes::QUANTITY_TOO_LARGE,
        )
    )]
    async fn reserve_stock(
        &self,
        asked: CommandHeaders,
        body: Given<ReserveStock>,
    ) -> Result<Created<Reservation>, ApiError> {
        let executed = self.0.execute(Command::Reserve(body.0), asked, || "POST /stock/reserve".to_owned()).await?;
        let held = Reservation::of(&executed)?;
        let (location, version) = (format!("/stock/reservations/{}", held.reservation_id), held.version);
        Ok(Created::new(&executed, held, version).at(location))
    }

    /// Release a reservation
    ///
    /// Makes its units available again. Repeating it changes nothing. An order's own reservation can't be released
    /// here: cancel the order.
    #[oai(path = "/reservations/:reservation_id/release", method = "post", operation_id = "release_reservation")]
    #[operation(
        scope = scopes::RESERVE, bound = refused, key_may_be_required,
        problems(codes::RESERVATION_ENDED, codes::UNKNOWN_RESERVATION)
    )]
    async fn release_reservation(
        &self,
        /// The reservation's name.
        reservation_id: Path<ReservationName>,
        asked: CommandHeaders,
    ) -> Result<Done<Reservation>, ApiError> {
        let name = reservation_id.0;
        let operation = format!("POST /stock/reservations/{name}/release");
        let executed = self.0.execute(Command::Release { name }, asked, || operation).await?;
        let released = Reservation::of(&executed)?;
        let version = released.version;
        Ok(Done::new(&executed, released, version))
    }

    /// Get a reservation
    ///
    /// Reflects everything this instance has answered so far.
    #[oai(path = "/reservations/:reservation_id", method = "get", operation_id = "get_reservation")]
    // Callers choose the names of reservations.
    #[operation(scope = scopes::READ, bound = refused, problems(codes::UNKNOWN_RESERVATION))]
    async fn get_reservation(
        &self,
        /// The reservation's name.
        reservation_id: Path<ReservationName>,
        /// Returns a past state: right after the record at this position, such as `inventory@1042`, or after this
        /// service's last record whose own timestamp is not later than this RFC 3339 time. A time in the future returns
        /// the newest state. The response says which position it reflects.
        as_of: Query<Option<String>>,
        seen: Freshness,
    ) -> Result<Found<Reservation>, ApiError> {
        let id = ReservationId::Caller(reservation_id.0);
        let (found, position) = self.0.held_back(&seen, || self.reservation(&id, as_of.0.as_deref(), &seen)).await?;
        let version = found.version;
        Ok(Found::new(found.into(), version).at(position))
    }

    /// Get the stock of a SKU
    ///
    /// Reflects everything this instance has answered so far.
    #[oai(path = "/:sku", method = "get", operation_id = "get_stock")]
    #[operation(scope = scopes::READ, bound = shared, problems(codes::UNKNOWN_SKU))]
    async fn get_stock(
        &self,
        /// The SKU.
        sku: Path<Sku>,
        /// Returns a past state: right after the record at this position, such as `inventory@1042`, or after this
        /// service's last record whose own timestamp is not later than this RFC 3339 time. A time in the future returns
        /// the newest state. The response says which position it reflects.
        as_of: Query<Option<String>>,
        seen: Freshness,
    ) -> Result<Found<Stock>, ApiError> {
        let (item, position) = self.0.held_back(&seen, || self.item(&sku.0, as_of.0.as_deref(), &seen)).await?;
        Ok(Found::new(Stock::from(&item), item.version).at(position))
    }

    /// List stock
    ///
    /// Sorted by SKU, in pages.
    #[oai(path = "/", method = "get", operation_id = "list_stock")]
    #[operation(scope = scopes::READ, bound = shared)]
    async fn list_stock(
        &self,
        /// `true`: only SKUs with fewer available units than their threshold.
        low: Query<Option<bool>>,
        /// The maximum number of items to return.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
        page: Paged,
        seen: Freshness,
    ) -> Result<Listed<ListBody<Stock>>, ApiError> {
        let rows = self.0.fresh_rows(&seen).await?;
        let found = projections::stock(&rows, low.0.unwrap_or(false), &page.paging(limit.0)?).await?;
        Ok(page.list(found, |item| Stock::from(&item)))
    }

    /// List the movements of a SKU
    ///
    /// Newest first, in pages. Each has its size, its cause, and the levels before and after.
    #[oai(path = "/:sku/movements", method = "get", operation_id = "list_stock_movements")]
    // Movements name other customers' orders.
    #[operation(scope = scopes::READ, bound = refused, problems(codes::UNKNOWN_SKU))]
    async fn list_stock_movements(
        &self,
        /// The SKU.
        sku: Path<Sku>,
        /// The maximum number of items to return.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
        page: Paged,
        seen: Freshness,
    ) -> Result<Listed<ListBody<Movement>>, ApiError> {
        let (item, _) = self.0.held_back(&seen, || self.item(&sku.0, None, &seen)).await?;
        let found = projections::movements(&self.0.replica.store(), &item.sku, &page.paging(limit.0)?).await?;
        Ok(page.list(found, |row| Movement::from(&row)))
    }
}
