//! Checks what clients saw against what the log holds.
//!
//! A [`History`] is the attempts and reads of clients (lines of JSON, in the order in which they happened), the journals, the public
//! topics and the rows, after everything came to rest. [`check`] tells what of it can't be. It does not matter where a history comes
//! from: the simulation makes one per seed, and a test that kills real processes can write one down and read it back.
//!
//! The unit is the attempt, not the key: two attempts with one idempotency key are two lines, and each is judged by what *it* was
//! told. A record says by its trace (`00-<attempt>-...`) which attempt wrote it.
//!
//! Everything in here is written independently of the program, and naively: the rule of arbitration in [`rule`], what each service
//! is in [`model`], over JSON, what it publishes in `contract`. Only the header's codec, keys and ids of public events are shared
//! with it.
//!
//! Deliberately absent: where there are no sequence numbers in a history (they need one clock over all logs), it is not asked
//! whether a refusal was true when it was told.

pub mod ask;
mod attempts;
mod contract;
mod deliveries;
mod flow;
pub mod history;
pub mod model;
mod published;
mod reactions;
mod reads;
mod replay;
mod rows;
pub mod rule;
mod timers;

pub use ask::{Address, Ask, Attempt, IfMatch, OrderLine, Outcome, Refusal, Units};
pub use history::{Fault, Head, History, Ledgers, Line, PublicRecord, Read, Record, Row, fault};

/// The five services, each called as its journal.
pub const SERVICES: [&str; 5] = ["customers", "orders", "inventory", "billing", "notifications"];

/// Everything in the history that can't be; nothing, if all promises were kept.
pub fn check(history: &History) -> Vec<Fault> {
    let mut faults = Vec::new();
    let judged = rule::judge(history, &mut faults);
    attempts::check(history, &judged, &mut faults);
    let published = published::expected(&judged);
    let (models, shown) = replay::check(history, &judged, &mut faults);
    reads::check(history, &judged, &published, &shown, &mut faults);
    let first_copies = published::check(history, &published, &mut faults);
    reactions::check(history, &judged, (&published, &first_copies), &mut faults);
    timers::check(history, &judged, &mut faults);
    deliveries::check(history, &judged, &mut faults);
    flow::check(history, &models, &mut faults);
    faults
}
