//! Commands that only time asks for: reservations whose time is up.

use std::time::Duration;

use orderlog_domain::{
    header::{CommandStamp, Origin},
    inventory::Inventory,
    key::Key,
};
use orderlog_projections::StoreError;
use tracing::warn;

use crate::{now_ms, replica::Replica};

/// How often the rows are asked what is due. A reservation ends at most so much later than it says.
const EVERY: Duration = Duration::from_millis(250);
/// So many are ended at once.
const N_MAX: u32 = 500;
/// How long one attempt may take.
const DEADLINE_MS: i64 = 10_000;
