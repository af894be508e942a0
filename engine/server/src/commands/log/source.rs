//! Where records are read: from the data folder's server, or, if there is none, from the log.

use std::sync::Arc;

use orderlog_eventlog::ReadError;

use crate::{
    commands::{
        exit::Failure,
        running::{Place, Running},
    },
    inspect::{Chunk, InFolder, Inspector, TopicSummary},
    registry::Registry,
    server,
};

/// A source of records.
pub enum Source {
    Server(Running),
    /// The log, in this process.
    Here(Inspector),
}

impl Source {
    /// The server at `place`, or the log itself.
    pub async fn find(registry: &'static Registry, place: &Place) -> anyhow::Result<Self> {
        if let Some(running) = Running::find(place).await? {
            return Ok(Self::Server(running));
        }
        let storage = &place.storage;
        let log = server::open_to_read(registry, storage).await.map_err(server::StartError::told)?;
        Ok(Self::Here(Inspector::new(registry, log, Arc::new(InFolder::new(&storage.data)))))
    }

    /// Runs `work` and then closes the log if it was opened for this; the embedded one is a single file again.
    pub async fn ask<T>(self, work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let outcome = work(&self).await;
        if let Self::Here(inspector) = self {
            inspector.close().await;
        }
        outcome
    }

    /// All topics.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn topics(&self) -> anyhow::Result<Vec<TopicSummary>> {
        match self {
            Self::Server(running) => running.get("/admin/log").await,
            Self::Here(inspector) => inspector.topics().await.map_err(Failure::unread),
        }
    }

    /// The partitions of a topic.
    pub async fn partitions(&self, topic: &str) -> anyhow::Result<Vec<u32>> {
        match self {
            Self::Server(running) => running.get(&format!("/admin/log/{topic}")).await,
            Self::Here(inspector) => inspector.partitions(topic).await.map_err(Failure::unread),
        }
    }

    /// At most `limit` records from `from` on.
    pub async fn chunk(&self, topic: &str, partition: u32, from: u64, limit: usize) -> anyhow::Result<Chunk> {
        match self {
            Self::Server(running) => {
                running.get(&format!("/admin/log/{topic}/{partition}?from={from}&limit={limit}")).await
            }
            Self::Here(inspector) => inspector.chunk(topic, partition, from, limit).await.map_err(|error| {
                match error.downcast::<ReadError>() {
                    Ok(error) => Failure::unread(error),
                    Err(error) => error,
                }
            }),
        }
    }
}
