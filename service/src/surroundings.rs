//! Where an instance takes the time and new ids from, and what runs its tasks: the machine, or under simulation a seed, which also
//! has some instances pass for an older program.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use orderlog_domain::{decider::Millis, known::Unknown};
use uuid::Uuid;

/// The clock, and new ids. Asked once per turn or command, never per record.
pub trait Surroundings: Send + Sync + 'static {
    /// The wall clock, in milliseconds since the Unix epoch. It may jump; nothing that must be right depends on it.
    fn now_ms(&self) -> Millis;

    /// A new UUIDv7.
    fn mint(&self) -> Uuid;

    /// Run this besides everything else. Only what runs for long is started so.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Kinds of events that the program has to take for unknown.
    fn unknown(&self) -> Unknown {
        &[]
    }
}

/// The machine's clock, ids that are random where they don't tell the time, and tokio.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Surroundings for Machine {
    fn now_ms(&self) -> Millis {
        now_ms()
    }

    fn mint(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // A handle would only be there to wait for its end, or to end it.
        drop(tokio::spawn(task));
    }
}

/// The machine's clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
