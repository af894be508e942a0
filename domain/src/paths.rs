//! Values in URL paths, and the ids used in examples.

use orderlog_core::path::{IDENTIFIER, PathValue};
use uuid::Uuid;

use crate::values::{CustomerId, NotificationId, OrderId, ReservationName, Sku};

/// The customer in examples. The page at `/docs` sends the newest customer's id instead, so that examples work.
pub const EXAMPLE_CUSTOMER: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0001);
/// The order in examples, replaced likewise.
pub const EXAMPLE_ORDER: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0002);
/// The notification in examples, replaced likewise.
pub const EXAMPLE_NOTIFICATION: Uuid = Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0003);

macro_rules! uuids {
    ($($id:ident $name:literal $about:literal $example:expr),+ $(,)?) => {
        $(impl PathValue for $id {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            const FORMAT: Option<&'static str> = Some("uuid");

            fn example() -> String {
                $example.to_string()
            }

            fn parse(text: &str) -> Result<Self, String> {
                Uuid::try_parse(text).map(Self).map_err(|_| "it must be a UUID".to_owned())
            }
        })+
    };
}

macro_rules! identifiers {
    ($($id:ident $name:literal $about:literal $example:literal),+ $(,)?) => {
        $(impl PathValue for $id {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            const PATTERN: Option<&'static str> = Some(IDENTIFIER);

            fn example() -> String {
                $example.to_owned()
            }

            fn parse(text: &str) -> Result<Self, String> {
                Self::new(text).map_err(|error| error.to_string())
            }
        })+
    };
}

uuids!(
    CustomerId "customer_id" "The customer's id." EXAMPLE_CUSTOMER,
    OrderId "order_id" "The order's id." EXAMPLE_ORDER,
    NotificationId "notification_id" "The notification's id." EXAMPLE_NOTIFICATION,
);

identifiers!(
    Sku "sku" "The SKU." "espresso-beans-1kg",
    ReservationName "reservation_id" "The reservation's name." "cart-4711",
);
