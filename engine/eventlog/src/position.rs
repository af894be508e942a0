//! How far a group has come, and by what it is seen that the log is still the one of which that was said.
//!
//! An offset alone says nothing of what stands below it: when an older copy of a log is put in its place and grows, other records
//! come to stand there. So a position has [marks](Mark): records that the log held when it was kept. If it does not hold one of
//! them, the position is another log's.

use std::{fmt, str::FromStr};

use crate::Partition;

/// A record that the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub partition: Partition,
    pub offset: u64,
    /// What tells it from another record that might stand there. Whoever keeps it says how it is made.
    pub print: u64,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The offset to go on from: one past the last record that is done with.
    pub next: u64,
    /// Records that the log held when this was kept. None: it was kept by a program that kept none, or by nobody yet.
    pub marks: Vec<Mark>,
}

impl From<u64> for Position {
    fn from(next: u64) -> Self {
        Self { next, marks: Vec::new() }
    }
}

/// As stored: `topic/partition@offset:print`, the print as 16 hexadecimal digits.
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

/// Marks as one text without spaces.
pub(crate) fn to_text(marks: &[Mark]) -> String {
    marks.iter().map(Mark::to_string).collect::<Vec<_>>().join(",")
}

/// The marks in such a text. What is none was written by somebody else, and says nothing.
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
