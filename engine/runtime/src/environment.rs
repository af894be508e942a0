//! The environment of an instance: clock, ids and task spawner. In production it is the machine; under simulation it is derived from
//! a seed, and also makes some instances behave like an older version.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use orderlog_core::{decider::Millis, known::Unknown};
use uuid::{ContextV7, Timestamp, Uuid};

/// The clock and new ids. Called once per turn or command, never per record.
pub trait Environment: Send + Sync + 'static {
    /// The wall clock, in milliseconds since the Unix epoch. It may jump, so correctness must not depend on it.
    fn now_ms(&self) -> Millis;

    /// A new UUIDv7.
    fn mint(&self) -> Uuid;

    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// The kinds of events that this instance must treat as unknown.
    fn unknown(&self) -> Unknown {
        &[]
    }
}

/// The machine's clock, UUIDv7 ids with random bits, and tokio.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Environment for Machine {
    fn now_ms(&self) -> Millis {
        now_ms()
    }

    fn mint(&self) -> Uuid {
        mint()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // The handle is only needed to await or abort the task.
        drop(tokio::spawn(task));
    }
}

/// The machine's clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> Millis {
    Millis::try_from(since_epoch().as_millis()).unwrap_or(Millis::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A new UUIDv7 with the time of the machine's clock.
///
/// Ids of one process ascend as long as the clock is not set back. [`Uuid::now_v7`] makes them always ascend. If the clock was ahead
/// for a moment, its ids would then have a wrong time until the next restart.
pub fn mint() -> Uuid {
    static MINT: Mutex<Mint> = Mutex::new(Mint::new());
    let mut mint = MINT.lock().unwrap_or_else(PoisonError::into_inner);
    mint.at(since_epoch())
}

/// Makes ids that ascend until the clock is set back.
struct Mint {
    last: Duration,
    context: ContextV7,
}

impl Mint {
    const fn new() -> Self {
        Self { last: Duration::ZERO, context: ContextV7::new() }
    }

    /// Returns an id with this time since the Unix epoch.
    fn at(&mut self, time: Duration) -> Uuid {
        if time < self.last {
            self.context = ContextV7::new();
        }
        self.last = time;
        Uuid::new_v7(Timestamp::from_unix(&self.context, time.as_secs(), time.subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_ms(id: Uuid) -> u64 {
        let (seconds, nanos) = id.get_timestamp().expect("a UUIDv7").to_unix();
        seconds * 1_000 + u64::from(nanos) / 1_000_000
    }

    #[test]
    fn ids_ascend_within_a_millisecond_and_follow_a_clock_that_is_set_back() {
        let mut mint = Mint::new();
        let at = |ms: u64| Duration::from_millis(ms);
        let ids: Vec<_> = [5_000, 5_000, 5_000, 5_001, 7_205_001].map(|ms| mint.at(at(ms))).to_vec();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(time_ms(ids[4]), 7_205_001);
        let after: Vec<_> = [5_002, 5_002, 5_003].map(|ms| mint.at(at(ms))).to_vec();
        assert!(after.is_sorted(), "{after:?}");
        assert_eq!(after.iter().map(|id| time_ms(*id)).collect::<Vec<_>>(), [5_002, 5_002, 5_003]);
    }
}
