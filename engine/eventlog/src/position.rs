//! A group's position in a partition, and how to check that it belongs to this log.
//!
//! An offset alone does not identify the records below it: if a log is replaced by an older copy, which then grows, those offsets
//! hold different records. So a position has [marks](Mark): records that were in the log when the position was stored. If one of
//! them is missing from the log, the position belongs to another log.

use std::{fmt, str::FromStr};

use crate::Partition;

/// A record that was in the log when a position was stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub partition: Partition,
    pub offset: u64,
    /// A fingerprint that distinguishes the record from any other at this offset. The caller chooses how to compute it.
    pub print: u64,
}

/// A group's progress in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The offset to resume from: one past the last processed record.
    pub next: u64,
    /// Empty if the position was stored by a version without marks, or not stored yet.
    pub marks: Vec<Mark>,
}

impl From<u64> for Position {
    fn from(next: u64) -> Self {
        Self { next, marks: Vec::new() }
    }
}

/// The stored form: `topic/partition@offset:print`, with the print as 16 hexadecimal digits.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{:016x}", self.partition, self.offset, self.print)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (partition, rest) = text.rsplit_once('@').ok_or(())?;
        let (topic, index) = partition.rsplit_once('/').ok_or(())?;
        let (offset, print) = rest.split_once(':').ok_or(())?;
        Ok(Self {
            partition: Partition::new(topic, index.parse().map_err(drop)?),
            offset: offset.parse().map_err(drop)?,
            print: u64::from_str_radix(print, 16).map_err(drop)?,
        })
    }
}

/// Formats marks as one comma-separated string without spaces.
pub(crate) fn to_text(marks: &[Mark]) -> String {
    marks.iter().map(Mark::to_string).collect::<Vec<_>>().join(",")
}

/// Parses the marks in such a string. Ignores items that are not marks, because other programs may have written them.
pub(crate) fn from_text(text: &str) -> Vec<Mark> {
    text.split(',').filter_map(|mark| mark.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_text_is_stable_and_comes_back() {
        let mark = |topic: &str, index, offset, print| Mark { partition: Partition::new(topic, index), offset, print };
        let marks = vec![mark("orders", 0, 17, 0xab), mark("order.created", 2, u64::MAX, u64::MAX)];
        let text = to_text(&marks);
        assert_eq!(text, "orders/0@17:00000000000000ab,order.created/2@18446744073709551615:ffffffffffffffff");
        assert_eq!(from_text(&text), marks);
        assert_eq!(from_text(""), []);
        assert_eq!(from_text("http://host:8080"), []);
    }
}
