//! Time-driven commands, as declared by a service's [`Timer`]s.

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

/// How often the rows are queried for due aggregates. Bounds the delay of a command.
const EVERY: Duration = Duration::from_millis(250);
/// The maximum number of aggregates fetched at a time.
const N_MAX: u32 = 500;
/// The maximum number of concurrent commands.
const N_AT_ONCE: usize = 64;
/// The deadline of one attempt, in milliseconds.
const DEADLINE_MS: i64 = 10_000;

/// Executes due commands until background tasks are asked to end or the rows cannot be read.
///
/// # Errors
/// [`StoreError`]. A restart finds the due aggregates again.
pub async fn run<D: Decider, R: Rows<D>>(replica: Replica<D, R>) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = replica.is_to_end() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Otherwise the query would return aggregates that were just processed.
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
    // The key includes the version: if a clock that was set back makes this command decline, the next attempt is a new command.
    let stamp = CommandStamp { key: Key::named(timer, &format!("{aggregate}/{version}")), fingerprint: [0; 16] };
    let mut outcome =
        replica.execute(command.clone(), Some(stamp), Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    if let Err(ExecuteError::Discarded) = outcome {
        // A discarded command had no effect, so the aggregate is unchanged and still due.
        outcome = replica.execute(command, None, Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    }
    match outcome {
        Ok(_) => {}
        // Due aggregates exist and these keys are used nowhere else, so this is a bug.
        Err(
            refusal @ (ExecuteError::Rejected(_)
            | ExecuteError::OtherVersion(_)
            | ExecuteError::KeyReused
            | ExecuteError::Discarded),
        ) => {
            error!(service, timer, aggregate, "what was due by {timer} of {service} was refused: {refusal}");
        }
        // The next tick finds it again.
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
