//! Commands that only time asks for: reservations whose time is up.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use orderlog_domain::{
    header::{CommandStamp, Origin},
    inventory::{Command, Inventory, Reservation},
    key::Key,
    planted::{self, Bug},
};
use orderlog_projections::{DueReservations, StoreError};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

use crate::replica::{ExecuteError, Replica};

/// How often the rows are asked what is due. A reservation ends at most so much later than it says.
const EVERY: Duration = Duration::from_millis(250);
/// So many are taken at a time.
const N_MAX: u32 = 500;
/// So many are ended at once.
const N_AT_ONCE: usize = 64;
/// How long one attempt may take.
const DEADLINE_MS: i64 = 10_000;

/// End reservations whose time is up, until duties are to end or the rows can't be read.
///
/// # Errors
/// [`StoreError`]; started again it finds what is due again.
pub async fn run<R: DueReservations>(replica: Replica<Inventory, R>) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = replica.is_to_end() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Else what was just ended would be found once more.
        replica.read_your_writes().await;
        let mut now_ms = replica.now_ms();
        if planted::has(Bug::ExpireEarly) {
            now_ms += 1_000;
        }
        if planted::has(Bug::ExpireLate) {
            now_ms -= 10_000;
        }
        let due = replica.store().expired_reservations(now_ms, N_MAX).await?;
        stream::iter(due).for_each_concurrent(N_AT_ONCE, |reservation| expire(&replica, reservation)).await;
    }
}

async fn expire<R: DueReservations>(replica: &Replica<Inventory, R>, reservation: Reservation) {
    let Reservation { id, version, .. } = reservation;
    let aggregate = String::from(id.aggregate().key);
    // With the version: should a clock that was set back make this one decline, the next attempt is another command.
    let key = Key::named("expiry", &format!("{aggregate}/{version}"));
    let stamp = CommandStamp { key, fingerprint: [0; 16] };
    let command = Command::Expire { reservation: id };
    let mut outcome =
        replica.execute(command.clone(), Some(stamp), Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    if let Err(ExecuteError::Discarded) = outcome {
        // An expiry that was discarded is none: the reservation is still there, and due.
        outcome = replica.execute(command, None, Origin::default(), replica.now_ms() + DEADLINE_MS).await;
    }
    match outcome {
        Ok(_) => {}
        // Only reservations that exist are found, and their keys are nobody else's: a mistake in the program.
        Err(
            refusal @ (ExecuteError::Rejected(_)
            | ExecuteError::OtherVersion(_)
            | ExecuteError::KeyReused
            | ExecuteError::Discarded),
        ) => {
            error!(aggregate, "the expiry of a reservation was refused: {refusal}");
        }
        // It is found again at the next tick.
        Err(
            failure @ (ExecuteError::Parked
            | ExecuteError::KeyInUse
            | ExecuteError::TooLarge
            | ExecuteError::Unavailable(_)
            | ExecuteError::Unknown),
        ) => {
            warn!(aggregate, "a reservation can't expire yet: {failure}");
        }
    }
}
