//! Commands that only time asks for, as a service's [`Timer`]s declare them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use orderlog_core::{
    decider::Decider,
    header::{CommandStamp, Origin},
    key::Key,
    planted::Bug,
};
use orderlog_readmodel::{Due, Rows, StoreError, Timer};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

use crate::replica::{ExecuteError, Replica};

/// How often the rows are asked what is due. Nothing begins later than this after it is due.
const EVERY: Duration = Duration::from_millis(250);
/// So many are taken at a time.
const N_MAX: u32 = 500;
/// So many are executed at once.
const N_AT_ONCE: usize = 64;
/// How long one attempt may take.
const DEADLINE_MS: i64 = 10_000;

/// Executes what is due, until duties are to end or the rows can't be read.
///
/// # Errors
/// [`StoreError`]; started again it finds what is due again.
pub async fn run<D: Decider, R: Rows<D>>(replica: Replica<D, R>) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = replica.is_to_end() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Else what was just done would be found once more.
        replica.read_your_writes().await;
        let mut now_ms = replica.now_ms();
        if Bug::ExpireLate.is_loose() {
            now_ms -= 10_000;
        }
        let rows = replica.store();
        for timer in rows.tables().timers {
            let due = rows.due(timer, now_ms, N_MAX).await?;
            let execute = |(key, due)| execute(&replica, timer, key, due);
            stream::iter(due).for_each_concurrent(N_AT_ONCE, execute).await;
        }
    }
}

async fn execute<D: Decider, R: Rows<D>>(replica: &Replica<D, R>, timer: &Timer<D>, aggregate: Key, due: Due<D>) {
    let (service, timer, aggregate) = (D::JOURNAL, timer.name, String::from(aggregate));
    let Due { version, command, .. } = due;
    // With the version: should a clock that was set back make this one decline, the next attempt is another command.
    let stamp = CommandStamp { key: Key::named(timer, &format!("{aggregate}/{version}")), fingerprint: [0; 16] };
    let mut outcome =
        replica.execute(command.clone(), Some(stamp), Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    if let Err(ExecuteError::Discarded) = outcome {
        // What was discarded did not happen: the aggregate is as it was, and due.
        outcome = replica.execute(command, None, Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    }
    match outcome {
        Ok(_) => {}
        // Only aggregates that exist are found, and these keys are nobody else's: a mistake in the program.
        Err(
            refusal @ (ExecuteError::Rejected(_)
            | ExecuteError::OtherVersion(_)
            | ExecuteError::KeyReused
            | ExecuteError::Discarded),
        ) => {
            error!(service, timer, aggregate, "what was due by {timer} of {service} was refused: {refusal}");
        }
        // It is found again at the next tick.
        Err(
            failure @ (ExecuteError::Parked
            | ExecuteError::KeyInUse
            | ExecuteError::TooLarge
            | ExecuteError::Unavailable(_)
            | ExecuteError::Unknown),
        ) => {
            warn!(service, timer, aggregate, "what is due by {timer} of {service} can't be done yet: {failure}");
        }
    }
}
