//! The topics as they are created.

use rdkafka::admin::{NewTopic, TopicReplication};

use super::KafkaConfig;
use crate::{TopicKind, TopicSpec};

/// Settings that topics are created with and must have.
pub(super) const KEPT_FOR_EVER: &[(&str, &str)] =
    &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// A setting that topics are created with and must have: a replica that lacks records must never become the leader.
pub(super) const CLEAN_ELECTIONS: (&str, &str) = ("unclean.leader.election.enable", "false");

/// A record's timestamp is the time at which the broker appended it.
const LOG_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// With this many replicas, and `min.insync.replicas` as below, losing one broker neither loses an acknowledged record nor stops
/// appends.
pub(super) const SAFE_COPIES: usize = 3;
pub(super) const SAFE_IN_SYNC: (&str, &str) = ("min.insync.replicas", "2");

/// A topic as it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTopic {
    /// The name on the brokers.
    pub name: String,
    pub partitions: i32,
    /// -1 is the brokers' default.
    pub replication: i16,
    pub settings: Vec<(&'static str, &'static str)>,
}

impl KafkaConfig {
    /// Returns how these topics are created.
    pub fn plan(&self, topics: &[TopicSpec]) -> Vec<PlannedTopic> {
        topics.iter().map(|spec| self.planned(spec)).collect()
    }

    fn planned(&self, TopicSpec { name, kind }: &TopicSpec) -> PlannedTopic {
        let has_safe_copies = usize::try_from(self.replication).is_ok_and(|copies| copies >= SAFE_COPIES);
        let settings = KEPT_FOR_EVER.iter().copied().chain([CLEAN_ELECTIONS, LOG_TIME]);
        PlannedTopic {
            name: self.on_brokers(name),
            partitions: match kind {
                TopicKind::Journal => 1,
                TopicKind::Public => self.public_partitions,
            },
            replication: self.replication,
            settings: settings.chain(has_safe_copies.then_some(SAFE_IN_SYNC)).collect(),
        }
    }
}

impl PlannedTopic {
    pub(super) fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(i32::from(self.replication)));
        self.settings.iter().fold(topic, |topic, (setting, value)| topic.set(setting, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_copies_are_made_to_acknowledge_only_what_two_of_them_have() {
        let two_must_have_it = |replication| {
            let config = KafkaConfig { replication, ..KafkaConfig::new("localhost:9092") };
            config
                .planned(&TopicSpec { name: "orders".into(), kind: TopicKind::Journal })
                .settings
                .contains(&SAFE_IN_SYNC)
        };
        assert!(two_must_have_it(3) && two_must_have_it(4));
        // With two replicas, losing one broker would stop appends. The brokers' default number of replicas is unknown.
        assert!(!two_must_have_it(2) && !two_must_have_it(1) && !two_must_have_it(-1));
    }
}
