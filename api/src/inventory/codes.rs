//! The codes of inventory's problems.

use orderlog_domain::inventory;
use orderlog_http::problem::Member;
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A SKU of which there is not enough.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize, Serialize)]
pub struct Shortage {
    /// Which SKU.
    pub sku: String,
    /// How many units were asked for.
    pub requested: u32,
    /// How many there are to be had; 0 for a SKU that nobody has received yet.
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
    description: "Each SKU of which there is not enough, if that is the problem.",
    schema: Member::schema_of::<Vec<Shortage>>,
    example: || json!([{ "sku": "espresso-beans-1kg", "requested": 99, "available": 8 }]),
};

orderlog_http::problem_codes! {
    /// Nobody has received this SKU yet, or one of several. `shortages` names every short SKU of a reservation.
    UNKNOWN_SKU "unknown_sku" [404], Declared,
        says "SKU espresso-beans-1kg has never been received",
        so "Check the SKU. The first receipt of stock creates it.";
    /// There is too little of at least one SKU. Nothing was set aside. `shortages` names every short SKU.
    NOT_ENOUGH_STOCK "not_enough_stock" [409], Declared,
        says "not enough stock of espresso-beans-1kg",
        with SHORTAGES,
        so "Ask for no more than is `available`, or wait for the next receipt.";
    /// There would be more units of the SKU than the house can hold.
    TOO_MUCH_STOCK "too_much_stock" [409], Declared,
        says "at most 1000000000 units of espresso-beans-1kg can be in the house, 999999999 are",
        so "Check the quantity.";
    /// The correction would take units that are not there, or that are set aside.
    BELOW_RESERVED "below_reserved" [409], Declared,
        says "espresso-beans-1kg can't be adjusted by -9: 10 units are in the house, 2 of them are set aside",
        so "Take no more than what is neither missing nor set aside; release or cancel first what has to give way.";
    /// The name belongs to another reservation, with other lines, another time to live or another label.
    RESERVATION_EXISTS "reservation_exists" [409], Declared,
        says "reservation cart-4711 exists with other lines, another time to live or another label",
        so "Use another name, or release that one first; a reservation is never changed.";
    /// The reservation has ended already, and otherwise than asked for.
    RESERVATION_ENDED "reservation_ended" [409], Declared,
        says "reservation cart-4711 has ended: expired",
        so "Make a new one, under another name.";
    /// There is no such reservation.
    UNKNOWN_RESERVATION "unknown_reservation" [404], Declared,
        says "there is no reservation cart-4711",
        so "Check the name.";
    /// A correction is a whole number within bounds, and not 0.
    INVALID_DELTA "invalid_delta" [400], Values,
        says "a delta must be from -1000000 to 1000000, and not 0",
        so "Send a delta within the bounds.";
    /// A threshold is a whole number within bounds.
    INVALID_THRESHOLD "invalid_threshold" [400], Values,
        says "a threshold must be from 0 to 1000000",
        so "Send a threshold within the bounds.";
    /// The name has a meaning of its own in paths and can't be a SKU's.
    RESERVED_NAME "reserved_name" [400], Values,
        says "`reservations` can't be a SKU",
        so "Use another name.";
}
