//! Times as records have them, and as answers show them.

use chrono::{DateTime, Utc};
use orderlog_core::decider::{At, Millis};

/// A time as answers show it.
pub fn time(ms: Millis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// A time as records have it. What it has beyond milliseconds is left out upwards: no record is between.
pub fn ms(time: DateTime<Utc>) -> Millis {
    let ms = time.timestamp_millis();
    if time.timestamp_subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms + 1 }
}

/// When a record was decided, as answers show it.
pub fn time_of(at: &At) -> DateTime<Utc> {
    time(at.time_ms)
}
