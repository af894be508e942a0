//! Amounts as people read them.

use std::time::Duration;

use chrono::DateTime;
pub use orderlog_core::words::count;

/// `512 B`, `1.4 MB`: with units of a thousand.
pub fn bytes(n: u64) -> String {
    let mut amount = n as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        // What would be rounded to 1000 takes the next unit.
        if amount < 999.5 {
            return rounded(amount, if unit == "B" { 0 } else { 1 }, unit);
        }
        amount /= 1e3;
    }
    rounded(amount, 1, "TB")
}

/// `0.4 s`, `3 min 20 s`, `2 h 5 min`, `4 days 3 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_millis() as f64 / 1e3),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} {} h", count(seconds / 86_400, "day"), seconds % 86_400 / 3_600),
    }
}

/// `2026-11-30 12:00:00`, from milliseconds since the Unix epoch.
pub fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}

fn rounded(amount: f64, decimals: usize, unit: &str) -> String {
    // Three digits are enough.
    let decimals = if amount < 99.95 { decimals } else { 0 };
    format!("{amount:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_unit_and_few_digits() {
        assert_eq!([0_u64, 1, 2].map(|n| count(n, "record")), ["0 records", "1 record", "2 records"]);
        let sizes = [0, 999, 1_000, 45_678, 123_456, 999_499, 999_500, 1_234_567, 3_000_000_000, 5_000_000_000_000_000];
        let texts = ["0 B", "999 B", "1.0 KB", "45.7 KB", "123 KB", "999 KB", "1.0 MB", "1.2 MB", "3.0 GB", "5000 TB"];
        assert_eq!(sizes.map(bytes), texts);
        let times = [0, 49, 9_940, 10_000, 59_999, 61_000, 3_600_000, 86_400_000, 200_000_000];
        let texts = ["0.0 s", "0.0 s", "9.9 s", "10 s", "59 s", "1 min 1 s", "1 h 0 min", "1 day 0 h", "2 days 7 h"];
        assert_eq!(times.map(|ms| duration(Duration::from_millis(ms))), texts);
    }
}
