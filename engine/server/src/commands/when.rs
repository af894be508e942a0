//! Points and times as people type them: in addition to the notation of the HTTP API, a date and a time ago.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use orderlog_http::point::Point;
use orderlog_runtime::archive::UpTo;

/// Parses a point of a topic. A time span such as `10m` is that long ago.
pub fn point(text: &str) -> Result<Point, String> {
    let time = span(text).and_then(|span| Utc::now().checked_sub_signed(span)).or_else(|| midnight(text));
    match time {
        Some(time) => Ok(Point::Time(time.timestamp_millis())),
        None => text.parse().map_err(|_| {
            format!(
                "`{text}` is no point of a topic: use `beginning`, `end`, an offset, a position such as orders@1042, a time such as \
                 2026-01-31T12:00:00Z, a date such as 2026-01-31 (from midnight UTC), or a time ago such as 30s, 10m, 2h or 7d"
            )
        }),
    }
}

/// Parses a time to come. A time span such as `90d` is that long from now.
pub fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let exact = || DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
    let time = span(text).and_then(|span| Utc::now().checked_add_signed(span)).or_else(|| midnight(text));
    time.or_else(exact).ok_or_else(|| {
        format!(
            "`{text}` is no time: use one such as 2027-01-31T12:00:00Z, a date such as 2027-01-31 (midnight UTC), or a time from now \
             such as 12h or 90d"
        )
    })
}

/// Parses a time span such as `10s` or `5m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = span(text).and_then(|span| span.to_std().ok()).filter(|span| !span.is_zero());
    span.ok_or_else(|| format!("`{text}` is no time span: use one such as 10s, 5m or 1h"))
}

/// Parses the number of a segment, or a past time.
pub fn up_to(text: &str) -> Result<UpTo, String> {
    if let Ok(number) = text.parse() {
        return Ok(UpTo::Segment(number));
    }
    let exact = || DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
    let time = span(text).and_then(|span| Utc::now().checked_sub_signed(span)).or_else(|| midnight(text));
    time.or_else(exact).map(UpTo::Time).ok_or_else(|| {
        format!(
            "`{text}` is no segment or time: use the number of a segment, a time such as 2026-01-31T12:00:00Z, a date such as \
             2026-01-31 (midnight UTC), or a time ago such as 10m or 2h"
        )
    })
}

fn midnight(text: &str) -> Option<DateTime<Utc>> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}

/// A number and a unit, once or several times: `10m`, `1h30m`.
fn span(text: &str) -> Option<TimeDelta> {
    let (mut sum, mut rest) = (None::<TimeDelta>, text);
    while let Some(n_digits) = rest.find(|c: char| !c.is_ascii_digit()) {
        let seconds = match rest.as_bytes()[n_digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        let number: i64 = rest[..n_digits].parse().ok()?;
        let span = TimeDelta::try_seconds(number.checked_mul(seconds)?)?;
        sum = Some(sum.unwrap_or_default().checked_add(&span)?);
        rest = &rest[n_digits + 1..];
    }
    // Digits without a unit are an offset.
    sum.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_also_a_date_or_a_time_ago() {
        let ms = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        assert_eq!(point("2026-11-30"), Ok(Point::Time(ms("2026-11-30T00:00:00Z"))));
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2d", 172_800), ("1w", 604_800)]
        {
            let ago = Utc::now().timestamp_millis() - seconds * 1_000;
            let Ok(Point::Time(found)) = point(text) else { panic!("{text} is a time") };
            assert!((ago..ago + 60_000).contains(&found), "{text}: {found}");
        }
        for (text, same) in [("10", Point::Offset(10)), ("end", Point::End), ("orders@7", "orders@7".parse().unwrap())]
        {
            assert_eq!(point(text), Ok(same));
        }
        let wrong = [
            "",
            "m",
            "10x",
            "10m5",
            "-10m",
            "1.5h",
            "10\u{b5}",
            "2026-02-30",
            "9999999999999d",
            "99999999999999999999s",
        ];
        for wrong in wrong {
            assert!(point(wrong).unwrap_err().contains("10m"), "{wrong}");
            assert!(time(wrong).unwrap_err().contains("90d"), "{wrong}");
        }
    }

    #[test]
    fn a_time_to_come_counts_from_now() {
        assert_eq!(time("2027-01-31").unwrap().to_rfc3339(), "2027-01-31T00:00:00+00:00");
        assert_eq!(time("2027-01-31T12:00:00+01:00").unwrap().to_rfc3339(), "2027-01-31T11:00:00+00:00");
        assert!(time("90d").unwrap() > Utc::now() + TimeDelta::days(89));
    }

    #[test]
    fn a_time_span_has_a_unit_and_is_not_zero() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0s", "10", "-10s", "500ms", "1 m"] {
            assert!(duration(wrong).is_err_and(|error| error.contains("10s, 5m or 1h")), "{wrong}");
        }
    }

    #[test]
    fn segments_are_named_by_number_or_time() {
        assert_eq!(up_to("17"), Ok(UpTo::Segment(17)));
        let time = |text: &str| UpTo::Time(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
        assert_eq!(up_to("2026-11-30T12:00:00+01:00"), Ok(time("2026-11-30T11:00:00Z")));
        assert_eq!(up_to("2026-11-30"), Ok(time("2026-11-30T00:00:00Z")));
        let ago = Utc::now() - TimeDelta::try_hours(2).unwrap();
        assert!(matches!(up_to("2h"), Ok(UpTo::Time(time)) if (time - ago).num_seconds() < 5));
        for wrong in ["", "-1", "1.5", "segment-00000017", "orders@17", "tomorrow"] {
            assert!(up_to(wrong).is_err_and(|error| error.contains("no segment or time")), "{wrong}");
        }
    }
}
