//! A public event for tests.

use orderlog_core::{public_events, schema::Schema};
use serde::{Deserialize, Serialize};

/// The journal of its publisher.
pub const JOURNAL: &str = "shelves";

/// A shelf was weighed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Weighed {
    pub shelf: String,
    pub grams: i64,
    /// Missing in earlier versions.
    #[serde(default)]
    pub scale: Option<String>,
    pub version: u64,
}

public_events! {
    pub enum Published by JOURNAL {
        /// A shelf was weighed.
        Weighed(Weighed) = "shelf.weighed", shelf;
    }
}
