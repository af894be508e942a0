//! Points of a topic in the notation that people write: `orders@1042`, a time, or a word.

use std::{fmt, str::FromStr};

use chrono::DateTime;

/// A point in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    Beginning,
    /// After the last record.
    End,
    /// A record of the topic in question.
    Offset(u64),
    /// A record of a named topic.
    Position(String, u64),
    /// A time, in milliseconds since the Unix epoch.
    Time(i64),
}

impl Point {
    /// Returns the same point in `topic`.
    ///
    /// # Errors
    /// If it is a position in another topic.
    pub fn of(&self, topic: &str) -> Result<Self, OtherTopic> {
        match self {
            Self::Position(named, _) if named != topic => {
                Err(OtherTopic { point: self.to_string(), topic: topic.to_owned() })
            }
            Self::Position(_, offset) => Ok(Self::Offset(*offset)),
            Self::Beginning | Self::End | Self::Offset(_) | Self::Time(_) => Ok(self.clone()),
        }
    }
}

/// A position in another topic than the expected one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{point} is no position in {topic}")]
pub struct OtherTopic {
    point: String,
    topic: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::End => f.write_str("end"),
            Self::Offset(offset) => offset.fmt(f),
            Self::Position(topic, offset) => write!(f, "{topic}@{offset}"),
            Self::Time(ms) => f.write_str(&time(*ms)),
        }
    }
}

/// Formats a time.
pub fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no point of a topic: use `beginning`, `end`, an offset, a position such as orders@1042, or a \
                 time such as 2026-01-31T12:00:00Z"
            )
        };
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some((topic, offset)) = text.rsplit_once('@') {
            let offset = offset.parse().map_err(|_| wrong())?;
            return if topic.is_empty() { Err(wrong()) } else { Ok(Self::Position(topic.to_owned(), offset)) };
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        DateTime::parse_from_rfc3339(text).map(|time| Self::Time(time.timestamp_millis())).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_an_offset_a_position_a_time_or_a_word() {
        for (text, point) in [
            ("beginning", Point::Beginning),
            ("end", Point::End),
            ("1042", Point::Offset(1042)),
            ("orders@1042", Point::Position("orders".to_owned(), 1042)),
            ("1970-01-01T00:00:01.000Z", Point::Time(1_000)),
        ] {
            assert_eq!(text.parse(), Ok(point.clone()));
            assert_eq!(point.to_string(), text);
        }
        for wrong in ["", "yesterday", "orders@", "@1", "-1", "2026-01-31"] {
            assert!(wrong.parse::<Point>().unwrap_err().contains("orders@1042"), "{wrong}");
        }
    }

    #[test]
    fn a_position_counts_in_its_own_topic_only() {
        let point: Point = "orders@7".parse().unwrap();
        assert_eq!(point.of("orders"), Ok(Point::Offset(7)));
        assert_eq!(point.of("billing").unwrap_err().to_string(), "orders@7 is no position in billing");
    }
}
