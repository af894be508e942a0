//! The state of a topic while it is in use: others may change or delete it.

use std::sync::Arc;

use crate::{TopicKind, TopicSpec};

/// What was found out about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub topic: Arc<str>,
    pub kind: TopicKind,
    /// The first offset of each partition. Empty if the topic does not exist.
    pub starts: Vec<u64>,
    pub faults: Vec<TopicFault>,
}

impl TopicState {
    pub(crate) fn missing(spec: &TopicSpec) -> Self {
        Self { topic: Arc::clone(&spec.name), kind: spec.kind, starts: Vec::new(), faults: vec![TopicFault::Missing] }
    }

    /// A topic with these first offsets, and without other faults.
    pub(crate) fn beginning_at(spec: &TopicSpec, starts: Vec<u64>) -> Self {
        let trimmed = (0..).zip(&starts).filter(|(_, start)| **start > 0);
        let faults = trimmed.map(|(partition, &first)| TopicFault::Trimmed { partition, first }).collect();
        Self { topic: Arc::clone(&spec.name), kind: spec.kind, starts, faults }
    }
}

/// What is wrong with a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TopicFault {
    #[error("it does not exist")]
    Missing,
    /// Records can be lost, replaced or reordered, or are refused.
    #[error("it has {setting}={found}, but must have {wanted}")]
    Setting {
        /// The setting as the log names it.
        setting: String,
        found: String,
        wanted: String,
    },
    #[error("its first records are gone, partition {partition} begins at offset {first}")]
    Trimmed { partition: u32, first: u64 },
}
