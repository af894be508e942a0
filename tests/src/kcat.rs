//! Topics on Kafka as an outsider sees them, with `kcat`.

use std::{collections::BTreeMap, process::Command};

use crate::deployment::kafka;

/// A record of a public topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub partition: u32,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub value: String,
}

impl Published {
    /// # Panics
    /// If it has no such header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is no {name}: {:?}", self.headers))
    }
}

/// Reads a topic, by its name on the brokers.
///
/// # Panics
/// If `kcat` fails.
pub fn read(topic: &str) -> Vec<Published> {
    let output = Command::new("kcat")
        .args(["-C", "-b", &kafka(), "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p\t%k\t%h\t%s\n"])
        .output()
        .expect("kcat is installed: `tests/run` does that");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("events are text").lines().map(published).collect()
}

fn published(line: &str) -> Published {
    let [partition, key, headers, value] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else {
        panic!("not four fields: {line}")
    };
    let header = |header: &str| {
        let (name, value) = header.split_once('=').unwrap_or_else(|| panic!("no header: {header}"));
        (name.to_owned(), value.to_owned())
    };
    Published {
        partition: partition.parse().expect("a partition is a number"),
        key: key.to_owned(),
        headers: headers.split(',').map(header).collect(),
        value: value.to_owned(),
    }
}
