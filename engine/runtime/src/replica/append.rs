//! How the loop appends records to the log and handles the results.

use std::{sync::Arc, time::Instant};

use futures_util::FutureExt;
use orderlog_core::{
    decider::Decider,
    header::HEADER,
    key::RecordId,
    machine::{Appended, Outgoing, Ticket},
};
use orderlog_eventlog::{AppendError, Landed, NewRecord};
use orderlog_readmodel::Rows;
use tracing::warn;
use uuid::Uuid;

use super::{run::Loop, short, steps::Steps};

/// The outcome of each append, with the command that attempted it.
pub(super) type AppendResult = Vec<(RecordId, Option<Ticket>, Appended)>;

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    pub(super) fn append(&mut self, records: Vec<Outgoing>) {
        if records.is_empty() {
            return;
        }
        let ids: Vec<_> = records.iter().map(|record| (record.id, record.ticket)).collect();
        for (_, ticket) in &ids {
            if let Some(steps) = self.steps(*ticket) {
                steps.sent();
            }
        }
        let sizes: Vec<_> = records.iter().map(|record| record.header.len() + record.value.len()).collect();
        let (measures, begun) = (Arc::clone(&self.shared.measures), Instant::now());
        let appending = self.setup.log.append(records.into_iter().map(new_record::<D>).collect());
        let results = appending.inspect(move |results| measures.appended(begun, &sizes, results)).map(move |results| {
            let each = ids.into_iter().zip(results);
            each.map(|((id, ticket), it)| (id, ticket, heard::<D>(id, it))).collect()
        });
        self.appends.push(results.boxed());
    }

    pub(super) fn appended(&mut self, results: AppendResult) {
        let now = self.setup.environment.now_ms();
        for (id, ticket, result) in results {
            if let (Some(steps), Appended::At(_)) = (self.steps(ticket), result) {
                steps.acknowledged();
            }
            self.heard_of_discard(id, result);
            self.core.appended(id, result, now);
        }
    }

    /// Returns the progress of a command that is traced.
    fn steps(&mut self, ticket: Option<Ticket>) -> Option<&mut Steps> {
        self.replies.get_mut(&ticket?)?.steps.as_mut()
    }
}

fn new_record<D: Decider>(record: Outgoing) -> NewRecord {
    let key = Uuid::from_bytes(*record.about.as_bytes()).simple().to_string();
    NewRecord {
        topic: D::JOURNAL.into(),
        partition: Some(0),
        key: Some(key.into()),
        headers: vec![(HEADER.into(), record.header)],
        value: record.value,
    }
}

fn heard<D: Decider>(id: RecordId, result: Result<Landed, AppendError>) -> Appended {
    match result {
        Ok(landed) => Appended::At(landed.offset),
        Err(error) => {
            warn!(service = D::JOURNAL, record = %id, "record {} of {}: {error}", short(id), D::JOURNAL);
            match error {
                AppendError::Refused { .. } => Appended::Refused,
                AppendError::TooLarge { .. } => Appended::TooLarge,
                AppendError::Unknown { .. } => Appended::Unknown,
            }
        }
    }
}
