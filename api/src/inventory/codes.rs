//! The codes of inventory's problems.

use orderlog_domain::inventory;
use orderlog_http::problem::Member;
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A SKU that is short.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize, Serialize)]
pub struct Shortage {
    /// The SKU.
    pub sku: String,
    /// The number of units requested.
    pub requested: u32,
    /// The number of units available; 0 for a SKU that was never received.
    pub available: u32,
}

impl From<&inventory::Shortage> for Shortage {
    fn from(shortage: &inventory::Shortage) -> Self {
        Self { sku: shortage.sku.to_string(), requested: shortage.requested, available: shortage.available }
    }
}

/// What is short. Problems about one SKU that the path names do without it.
pub static SHORTAGES: Member = Member {
    name: "shortages",
    description: "Each SKU that is short, if that is the problem.",
    schema: Member::schema_of::<Vec<Shortage>>,
    example: || json!([{ "sku": "espresso-beans-1kg", "requested": 99, "available": 8 }]),
};

orderlog_http::problem_codes! {
    /// This SKU, or one of several, was never received. `shortages` names every short SKU of a reservation.
    UNKNOWN_SKU "unknown_sku" [404], Declared,
        says "SKU espresso-beans-1kg has never been received",
        so "Check the SKU. The first receipt of stock creates it.";
    /// At least one SKU is short. Nothing was reserved. `shortages` names every short SKU.
    NOT_ENOUGH_STOCK "not_enough_stock" [409], Declared,
        says "not enough stock of espresso-beans-1kg (99 requested, 8 available)",
        with SHORTAGES,
        so "Request at most the `available` units, or wait for the next receipt.";
    /// The SKU would have more units on hand than the maximum.
    TOO_MUCH_STOCK "too_much_stock" [409], Declared,
        says "at most 1000000000 units of espresso-beans-1kg can be in the house, 999999999 are",
        so "Check the quantity.";
    /// The correction would remove units that are missing or reserved.
    BELOW_RESERVED "below_reserved" [409], Declared,
        says "espresso-beans-1kg can't be adjusted by -9: 10 units are in the house, 2 of them are set aside",
        so "Remove only units that are on hand and not reserved. To free reserved units, release the reservation or \
            cancel the order first.";
    /// The name belongs to another reservation with different lines, a different time to live or a different label.
    RESERVATION_EXISTS "reservation_exists" [409], Declared,
        says "reservation cart-4711 exists with other lines, another time to live or another label",
        so "Use another name, or release that reservation first; reservations are never changed.";
    /// The reservation has already ended in a different way.
    RESERVATION_ENDED "reservation_ended" [409], Declared,
        says "reservation cart-4711 has ended: expired",
        so "Make a new reservation under another name.";
    /// There is no such reservation.
    UNKNOWN_RESERVATION "unknown_reservation" [404], Declared,
        says "there is no reservation cart-4711",
        so "Check the name.";
    /// A correction must be a whole number within bounds, and not 0.
    INVALID_DELTA "invalid_delta" [400], Values,
        says "a delta must be from -1000000 to 1000000, and not 0",
        so "Send a delta within the bounds.";
    /// A threshold must be a whole number within bounds.
    INVALID_THRESHOLD "invalid_threshold" [400], Values,
        says "a threshold must be from 0 to 1000000",
        so "Send a threshold within the bounds.";
    /// The name is reserved for paths and can't be used for a SKU.
    RESERVED_NAME "reserved_name" [400], Values,
        says "`reservations` can't be a SKU",
        so "Use another name.";
}
