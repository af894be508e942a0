//! The published contract: the events that services tell each other and the world, one topic each, as CloudEvents.
//!
//! ## Storage format: these names and fields are a contract
//! Public topics are kept for ever and read by programs we do not know. Fields may be added, never renamed, removed or
//! given another meaning. They carry no personal data: a topic can't forget.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    decoding::{self, DecodeError},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

/// Where an event comes from, besides its own content: the CloudEvents attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`: derived from the journal record, so every copy of the event has the same.
    pub id: Uuid,
    /// `ce_time`, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// `ce_correlationid`: the event that began the whole story.
    pub correlation: Uuid,
    /// `ce_causationid`: the event that caused this one, if it was not a person.
    pub cause: Option<Uuid>,
    /// `ce_traceparent`, W3C Trace Context.
    pub trace: Option<String>,
}

/// A line of an order: a SKU at the price that the customer was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// For how much each, in minor units.
    pub unit_price: Money,
}

/// Units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// A SKU of which there is not enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// What.
    pub sku: Sku,
    /// How many were asked for.
    pub requested: u32,
    /// How many there are to be had; 0 for a SKU that nobody has received yet.
    pub available: u32,
}

/// Why an order could not be supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortageReason {
    /// Too few units of at least one SKU.
    OutOfStock,
    /// At least one SKU has never been received.
    UnknownSku,
}

/// Who made a reservation. Only the order flow's own reservations decide about orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservedFor {
    /// An order, by `order.created`.
    Order,
    /// A caller of `POST /stock/reserve`; an order id is a mere label there.
    Caller,
}

/// What moved stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementCause {
    /// Goods came in.
    Received,
    /// A count was corrected.
    Adjusted,
    /// Units were set aside.
    Reserved,
    /// Units that had been set aside were given back.
    Released,
    /// A reservation's time was up.
    Expired,
    /// Units that had been set aside left the house.
    Committed,
    /// The threshold below which stock counts as low was changed; no unit moved.
    ThresholdChanged,
}

/// The level of a SKU at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevel {
    /// Units in the house.
    pub on_hand: u32,
    /// Of these, set aside. Never more than `on_hand`.
    pub reserved: u32,
    /// Below this many available units stock counts as low; 0 means never.
    pub low_stock_threshold: u32,
}

impl StockLevel {
    /// Units that can be promised.
    pub const fn available(&self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }

    /// Whether too few units are available.
    pub const fn is_low(&self) -> bool {
        self.available() < self.low_stock_threshold
    }
}

/// `customer.created` and `customer.updated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerChanged {
    /// Who. Names and addresses stay in the customers service.
    pub customer_id: CustomerId,
    /// Whether the customer may place orders.
    pub active: bool,
    /// Of the customer.
    pub version: u64,
}

/// `order.created`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// Of the prices and the total.
    pub currency: Currency,
    /// As ordered; SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// Sum of the lines, minor units.
    pub total: Money,
    /// Of the order.
    pub version: u64,
}

/// `order.confirmed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// Of the order.
    pub version: u64,
}

/// `order.rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// Why.
    pub reason: ShortageReason,
    /// Each SKU of which there was not enough.
    pub shortages: Vec<Shortage>,
    /// Of the order.
    pub version: u64,
}

/// `order.cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// Of the order.
    pub version: u64,
}

/// `order.fulfilled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFulfilled {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// What left the house, each SKU once.
    pub lines: Vec<StockLine>,
    /// Of the order.
    pub version: u64,
}

/// `order.paid`: the invoice is paid in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaid {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// What was paid in all, minor units.
    pub amount: Money,
    /// Of the amount.
    pub currency: Currency,
    /// Of the invoice.
    pub version: u64,
}

/// `payment.refunded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// Which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// What was given back this time, minor units.
    pub amount: Money,
    /// What was paid in all.
    pub amount_paid: Money,
    /// What was given back in all.
    pub amount_refunded: Money,
    /// Of the amounts.
    pub currency: Currency,
    /// Of the invoice.
    pub version: u64,
}

/// `stock.updated`: a movement of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUpdated {
    /// Which SKU.
    pub sku: Sku,
    /// By how much the available units changed.
    pub delta: i64,
    /// What moved it.
    pub cause: MovementCause,
    /// The reservation, where one moved it: an order's id for an order's own.
    pub reservation_id: Option<String>,
    /// Who made that reservation: a caller may have called it as an order is called. Absent where none moved it, and in
    /// events from before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<ReservedFor>,
    /// Before the movement.
    pub before: StockLevel,
    /// After it.
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// `low.stock`: the available units of a SKU fell below its threshold. Told once, and again only after it has recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowStock {
    /// Which SKU.
    pub sku: Sku,
    /// How many units are available.
    pub available: u32,
    /// How many there should be at least.
    pub low_stock_threshold: u32,
    /// Of the stock item.
    pub version: u64,
}

/// `stock.reserved`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// The reservation: an order's id for an order's own.
    pub reservation_id: String,
    /// Who made it.
    pub reserved_for: ReservedFor,
    /// The order; a mere label unless `reserved_for` is `order`.
    pub order_id: Option<OrderId>,
    /// What was set aside, each SKU once.
    pub lines: Vec<StockLine>,
    /// Of the reservation.
    pub version: u64,
}

/// `stock.rejected`: an order could not be supplied; nothing was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRejected {
    /// Which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: ShortageReason,
    /// Each SKU of which there is not enough.
    pub shortages: Vec<Shortage>,
    /// Of the reservation.
    pub version: u64,
}

/// Why bytes are not a public event.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    /// No event is published on this topic.
    #[error("no event is published on topic {0}")]
    UnknownTopic(String),
    /// The topic is known, the bytes are not its event.
    #[error("not an event of topic {topic}")]
    Undecodable {
        /// The topic.
        topic: &'static str,
        /// What is wrong with the JSON.
        #[source]
        source: DecodeError,
    },
}

/// The one list of public events: topic, event and what it is about.
macro_rules! public_events {
    ($($(#[$doc:meta])* $variant:ident($event:ident) = $topic:literal by $service:literal, $subject:ident;)+) => {
        /// A public event.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Public {
            $($(#[$doc])* $variant($event),)+
        }

        impl Public {
            /// Every public topic and the service that publishes it.
            pub const TOPICS: &'static [(&'static str, &'static str)] = &[$(($topic, $service)),+];

            /// The topic, which is also the CloudEvents type.
            pub const fn topic(&self) -> &'static str {
                match self { $(Self::$variant(_) => $topic,)+ }
            }

            /// What the event is about: CloudEvents subject and key of the record.
            pub fn subject(&self) -> String {
                match self { $(Self::$variant(event) => event.$subject.to_string(),)+ }
            }

            /// Version of what the event is about: CloudEvents sequence.
            pub const fn version(&self) -> u64 {
                match self { $(Self::$variant(event) => event.version,)+ }
            }

            /// The event's JSON.
            pub fn to_json(&self) -> Vec<u8> {
                match self { $(Self::$variant(event) => serde_json::to_vec(event),)+ }
                    .expect("public events have string keys and no failing serialiser")
            }

            /// The event that `json` is on `topic`.
            ///
            /// # Errors
            /// [`PublicError`] if it is none.
            pub fn from_json(topic: &str, json: &[u8]) -> Result<Self, PublicError> {
                match topic {
                    $($topic => decoding::from_slice(json).map(Self::$variant)
                        .map_err(|source| PublicError::Undecodable { topic: $topic, source }),)+
                    other => Err(PublicError::UnknownTopic(other.to_owned())),
                }
            }
        }
    };
}

public_events! {
    /// A customer exists.
    CustomerCreated(CustomerChanged) = "customer.created" by "customers", customer_id;
    /// A customer was changed or deactivated.
    CustomerUpdated(CustomerChanged) = "customer.updated" by "customers", customer_id;
    /// An order was placed.
    OrderCreated(OrderCreated) = "order.created" by "orders", order_id;
    /// All stock of an order is set aside.
    OrderConfirmed(OrderConfirmed) = "order.confirmed" by "orders", order_id;
    /// An order can't be supplied.
    OrderRejected(OrderRejected) = "order.rejected" by "orders", order_id;
    /// An order was cancelled.
    OrderCancelled(OrderCancelled) = "order.cancelled" by "orders", order_id;
    /// An order left the house.
    OrderFulfilled(OrderFulfilled) = "order.fulfilled" by "orders", order_id;
    /// An order is paid in full.
    OrderPaid(OrderPaid) = "order.paid" by "billing", order_id;
    /// Money was given back.
    PaymentRefunded(PaymentRefunded) = "payment.refunded" by "billing", order_id;
    /// Stock moved.
    StockUpdated(StockUpdated) = "stock.updated" by "inventory", sku;
    /// Stock became low.
    LowStock(LowStock) = "low.stock" by "inventory", sku;
    /// Stock was set aside.
    StockReserved(StockReserved) = "stock.reserved" by "inventory", reservation_id;
    /// An order's stock could not be set aside.
    StockRejected(StockRejected) = "stock.rejected" by "inventory", order_id;
}

/// The id of the `index`-th public event of a journal record: the same for every copy, whoever publishes it.
pub fn event_id(log_id: Uuid, offset: u64, index: usize) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(log_id.as_bytes()).update(&offset.to_be_bytes()).update(&(index as u64).to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests;
