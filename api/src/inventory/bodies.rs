//! The request and response bodies of the inventory service.

mod movements;

use std::num::NonZeroI64;

use chrono::{DateTime, Utc};
use orderlog_core::reason::Reason;
use orderlog_domain::{
    inventory::{
        self, Event, Inventory, MAX_ON_HAND, Rejection, ReservationAnswer, Reserve, StockItem, StockLevel,
        StockLine as StoredLine,
    },
    values::{OrderId, Quantity, ReservationName, Sku, TtlSeconds},
};
use orderlog_http::prelude::*;

use super::codes;
pub use movements::{Level, Movement, MovementCause, ReservedFor, examples};

use super::InventoryService;
use crate::values::CheckValues;

/// The SKU of the examples, the same as in those of orders, so that they can be tried one after the other.
const EXAMPLE_SKU: &str = "espresso-beans-1kg";

/// A receipt of stock.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    /// The number of units.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: i64,
}

impl Example for ReceiveStock {
    fn example() -> Self {
        Self { quantity: 10 }
    }
}

impl Checked for ReceiveStock {
    type Values = Quantity;

    fn checked(self) -> ApiResult<Quantity> {
        let mut faults = Faults::default();
        faults.check("#/quantity", units(self.quantity)).ok_or_else(|| faults.into())
    }
}

fn units(given: i64) -> Result<Quantity, orderlog_domain::values::ValueError> {
    // A value that is not a `u32` is as invalid as 0, and has the same error.
    Quantity::new(u32::try_from(given).unwrap_or(0))
}

/// A correction of a count.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// The change of the count, in units; not 0.
    #[oai(validator(minimum(value = "-1000000000"), maximum(value = "1000000000")))]
    pub delta: i64,
    /// The reason, 1 to 200 characters.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub reason: String,
}

impl Example for AdjustStock {
    fn example() -> Self {
        Self { delta: -1, reason: "one bag was torn".to_owned() }
    }
}

impl Checked for AdjustStock {
    type Values = (NonZeroI64, Reason);

    fn checked(self) -> ApiResult<(NonZeroI64, Reason)> {
        let max = i64::from(MAX_ON_HAND);
        let mut faults = Faults::default();
        let reason = faults.check("#/reason", Reason::new(self.reason));
        let delta = NonZeroI64::new(self.delta).filter(|_| (-max..=max).contains(&self.delta));
        if delta.is_none() {
            faults.add("#/delta", codes::INVALID_DELTA, format!("a delta must be from -{max} to {max}, and not 0"));
        }
        match (delta, reason) {
            (Some(delta), Some(reason)) => Ok((delta, reason)),
            (Some(_) | None, Some(_) | None) => Err(faults.into()),
        }
    }
}

/// A new low-stock threshold.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct SetThreshold {
    /// Stock counts as low while fewer units than this are available; 0 means never.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000")))]
    pub low_stock_threshold: i64,
}

impl Example for SetThreshold {
    fn example() -> Self {
        Self { low_stock_threshold: 5 }
    }
}

impl Checked for SetThreshold {
    type Values = u32;

    fn checked(self) -> ApiResult<u32> {
        match u32::try_from(self.low_stock_threshold) {
            Ok(threshold) if threshold <= MAX_ON_HAND => Ok(threshold),
            Ok(_) | Err(_) => {
                let mut faults = Faults::default();
                let detail = format!("a threshold must be from 0 to {MAX_ON_HAND}");
                faults.add("#/low_stock_threshold", codes::INVALID_THRESHOLD, detail);
                Err(faults.into())
            }
        }
    }
}

/// Units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct StockLine {
    /// The SKU: 1 to 64 letters, digits, dots, dashes or underscores, with at least one letter or digit.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    pub sku: String,
    /// The number of units.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: i64,
}

impl From<&StoredLine> for StockLine {
    fn from(line: &StoredLine) -> Self {
        Self { sku: line.sku.as_str().to_owned(), quantity: i64::from(line.quantity.get()) }
    }
}

/// A reservation to make.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
#[serde(deny_unknown_fields)]
pub struct ReserveStock {
    /// A name of your choice: 1 to 64 letters, digits, dots, dashes or underscores, with at least one letter or digit.
    /// It can be used only once.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    pub reservation_id: String,
    /// 1 to 100 lines. SKUs may repeat; their quantities are added up.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub lines: Vec<StockLine>,
    /// The number of seconds after which the units are released automatically; without it, never.
    #[oai(validator(minimum(value = "1"), maximum(value = "604800")))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// An order's id, as a label only: this reservation is independent of the order's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
}

impl Example for ReserveStock {
    fn example() -> Self {
        Self {
            reservation_id: "cart-4711".to_owned(),
            lines: vec![StockLine { sku: EXAMPLE_SKU.to_owned(), quantity: 2 }],
            ttl_seconds: Some(900),
            order_id: None,
        }
    }
}

impl Checked for ReserveStock {
    type Values = Reserve;

    fn checked(self) -> ApiResult<Reserve> {
        let mut faults = Faults::default();
        let n_lines = self.lines.len();
        let name = faults.check("#/reservation_id", ReservationName::new(self.reservation_id));
        let ttl = self.ttl_seconds.map(|ttl| TtlSeconds::new(u32::try_from(ttl).unwrap_or(0)));
        let ttl_seconds = faults.check_if("#/ttl_seconds", ttl);
        let mut lines = Vec::with_capacity(self.lines.len());
        for (i, StockLine { sku, quantity }) in self.lines.into_iter().enumerate() {
            let sku = faults.check(format_args!("#/lines/{i}/sku"), Sku::new(sku));
            let quantity = faults.check(format_args!("#/lines/{i}/quantity"), units(quantity));
            if let (Some(sku), Some(quantity)) = (sku, quantity) {
                lines.push(StoredLine { sku, quantity });
            }
        }
        // If this is the only fault, the service rejects it; otherwise it is reported together with the others.
        if !faults.is_empty() && n_lines == 0 {
            faults.extend(Some(InventoryService::problem_of(Rejection::NoLines)));
        }
        let Some(name) = name else { return Err(faults.into()) };
        faults.none()?;
        Ok(Reserve { name, lines, ttl_seconds, order_id: self.order_id.map(OrderId) })
    }
}

/// The stock of a SKU after a command.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(example)]
pub struct StockChanged {
    /// The SKU.
    pub sku: String,
    /// Units on hand.
    pub on_hand: u32,
    /// Units on hand that are reserved.
    pub reserved: u32,
    /// Units on hand that are not reserved.
    pub available: u32,
    /// Stock counts as low while fewer units than this are available; 0 means never.
    pub low_stock_threshold: u32,
    /// Incremented by every change to the SKU.
    pub version: u64,
    /// When the change was made.
    pub changed_at: DateTime<Utc>,
}

impl Example for StockChanged {
    fn example() -> Self {
        let Stock { sku, on_hand, reserved, available, low_stock_threshold, version, updated_at } = Stock::example();
        Self { sku, on_hand, reserved, available, low_stock_threshold, version, changed_at: updated_at }
    }
}

impl StockChanged {
    /// The response for the record of a command.
    pub fn of(executed: &Executed<Inventory>) -> ApiResult<Self> {
        let (sku, level, version) = match &*executed.accepted.event {
            Event::StockReceived(e) => (&e.sku, e.after, e.version),
            Event::StockAdjusted(e) => (&e.sku, e.after, e.version),
            Event::ThresholdSet(e) => (&e.sku, e.after, e.version),
            Event::ThresholdUnchanged(e) => (&e.sku, e.level, e.version),
            other @ (Event::ReservationHeld(_)
            | Event::ReservationRejected(_)
            | Event::ReservationRepeated(_)
            | Event::ReservationReleased(_)
            | Event::ReservationExpired(_)
            | Event::ReservationCommitted(_)
            | Event::ReservationCancelled(_)
            | Event::ReservationDeclined(_)) => return Err(unexpected(other)),
        };
        let StockLevel { on_hand, reserved, low_stock_threshold } = level;
        let (available, changed_at) = (level.available(), time_of(&executed.accepted.at));
        let sku = sku.as_str().to_owned();
        Ok(Self { sku, on_hand, reserved, available, low_stock_threshold, version, changed_at })
    }
}

/// The stock of a SKU.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(example)]
pub struct Stock {
    /// The SKU.
    pub sku: String,
    /// Units on hand.
    pub on_hand: u32,
    /// Units on hand that are reserved.
    pub reserved: u32,
    /// Units on hand that are not reserved.
    pub available: u32,
    /// Stock counts as low while fewer units than this are available; 0 means never.
    pub low_stock_threshold: u32,
    /// Incremented by every change to the SKU.
    pub version: u64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Example for Stock {
    fn example() -> Self {
        Self {
            sku: EXAMPLE_SKU.to_owned(),
            on_hand: 10,
            reserved: 2,
            available: 8,
            low_stock_threshold: 5,
            version: 3,
            updated_at: time(1_790_000_000_000),
        }
    }
}

impl From<&StockItem> for Stock {
    fn from(item: &StockItem) -> Self {
        let StockLevel { on_hand, reserved, low_stock_threshold } = item.level;
        Self {
            sku: item.sku.as_str().to_owned(),
            on_hand,
            reserved,
            available: item.level.available(),
            low_stock_threshold,
            version: item.version,
            updated_at: time(item.updated_ms),
        }
    }
}

impl ListItem for Stock {}

mirror! {
    /// The state of a reservation.
    pub enum ReservationState of inventory::ReservationState {
        /// Its units are reserved.
        Held,
        /// There was too little stock; nothing was ever reserved.
        Rejected,
        /// Its units have shipped.
        Committed,
        /// Its units were released.
        Released,
        /// It expired; its units were released.
        Expired,
    }
}

/// A reservation.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct Reservation {
    /// The reservation's name.
    pub reservation_id: String,
    /// The state of the reservation.
    pub state: ReservationState,
    /// The lines: each SKU once, sorted.
    pub lines: Vec<StockLine>,
    /// The requested time to live, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The label given with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Uuid>,
    /// Incremented by every change to it.
    pub version: u64,
    /// When it last changed.
    pub changed_at: DateTime<Utc>,
}

impl Example for Reservation {
    fn example() -> Self {
        let ReserveStock { reservation_id, lines, .. } = ReserveStock::example();
        Self {
            reservation_id,
            state: ReservationState::Held,
            lines,
            ttl_seconds: Some(900),
            expires_at: Some(time(1_790_000_900_000)),
            order_id: None,
            version: 1,
            changed_at: time(1_790_000_000_000),
        }
    }
}

impl Reservation {
    /// The response for the record of a command.
    pub fn of(executed: &Executed<Inventory>) -> ApiResult<Self> {
        let event = &executed.accepted.event;
        let answer = event.reservation().ok_or_else(|| unexpected(event))?;
        Ok(Self::new(answer, time_of(&executed.accepted.at)))
    }

    fn new(answer: ReservationAnswer, changed_at: DateTime<Utc>) -> Self {
        let ReservationAnswer { id, order_id, lines, state, ttl_seconds, expires_at_ms, version } = answer;
        Self {
            reservation_id: id.to_string(),
            state: state.into(),
            lines: lines.iter().map(StockLine::from).collect(),
            ttl_seconds: ttl_seconds.map(TtlSeconds::get),
            expires_at: expires_at_ms.map(time),
            order_id: order_id.map(|id| id.0),
            version,
            changed_at,
        }
    }
}

impl From<inventory::Reservation> for Reservation {
    fn from(reservation: inventory::Reservation) -> Self {
        let inventory::Reservation {
            id,
            order_id,
            lines,
            state,
            ttl_seconds,
            expires_at_ms,
            version,
            updated_ms,
            created_ms: _,
        } = reservation;
        let answer = ReservationAnswer { id, order_id, lines, state, ttl_seconds, expires_at_ms, version };
        Self::new(answer, time(updated_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told<T: std::fmt::Debug>(checked: Result<T, ApiError>) -> Vec<(String, String)> {
        let faults = checked.unwrap_err().faults();
        faults.into_iter().map(|fault| (fault.pointer.unwrap_or_default(), fault.code)).collect()
    }

    #[test]
    fn every_wrong_value_of_a_reservation_is_told_at_once() {
        let line = |sku: &str, quantity| StockLine { sku: sku.to_owned(), quantity };
        let wrong = ReserveStock {
            reservation_id: "a b".to_owned(),
            lines: vec![line("a", 1), line("", 0), line("a", -1)],
            ttl_seconds: Some(0),
            order_id: None,
        };
        let pointers: Vec<_> = told(wrong.checked()).into_iter().map(|(pointer, _)| pointer).collect();
        let expected =
            ["#/reservation_id", "#/ttl_seconds", "#/lines/1/sku", "#/lines/1/quantity", "#/lines/2/quantity"];
        assert_eq!(pointers, expected);
        let empty = ReserveStock { lines: Vec::new(), reservation_id: "a b".to_owned(), ..ReserveStock::example() };
        let codes: Vec<_> = told(empty.checked()).into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes, ["invalid_identifier", "no_lines"]);
    }

    #[test]
    fn a_correction_changes_something_within_bounds() {
        let reason = || "counted".to_owned();
        for delta in [0, i64::from(MAX_ON_HAND) + 1, i64::MIN] {
            let fault = ("#/delta".to_owned(), "invalid_delta".to_owned());
            assert_eq!(told(AdjustStock { delta, reason: reason() }.checked()), [fault], "{delta}");
        }
        assert!(AdjustStock { delta: -1, reason: reason() }.checked().is_ok());
    }

    #[test]
    fn a_threshold_is_no_negative_number() {
        assert!(SetThreshold { low_stock_threshold: 0 }.checked().is_ok());
        for low_stock_threshold in [-1, i64::from(MAX_ON_HAND) + 1] {
            let fault = ("#/low_stock_threshold".to_owned(), "invalid_threshold".to_owned());
            assert_eq!(told(SetThreshold { low_stock_threshold }.checked()), [fault]);
        }
    }

    #[test]
    fn the_examples_are_accepted() {
        assert!(ReceiveStock::example().checked().is_ok());
        assert!(AdjustStock::example().checked().is_ok());
        assert!(SetThreshold::example().checked().is_ok());
        assert!(ReserveStock::example().checked().is_ok());
    }
}
