//! Conversions between times in records and times in responses.

use chrono::{DateTime, Utc};
use orderlog_core::decider::{At, Millis};

/// Converts a record's time for a response.
pub fn time(ms: Millis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// Converts a time to milliseconds, rounded up, since no record lies between two milliseconds.
pub fn ms(time: DateTime<Utc>) -> Millis {
    let ms = time.timestamp_millis();
    if time.timestamp_subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms + 1 }
}

/// Returns when a record was decided, for a response.
pub fn time_of(at: &At) -> DateTime<Utc> {
    time(at.time_ms)
}
