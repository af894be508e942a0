//! What others do to the topics and groups on Kafka while orderlog uses them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod foreign;
mod partitions;
mod planned;
mod positions;
mod republish;
mod shop_on_kafka;
mod watched;
