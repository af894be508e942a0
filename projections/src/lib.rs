//! What queries read: rows that can be thrown away, since the log tells them again.
//!
//! - [`Store`]: one service's rows in one SQLite file (of several [`Generations`]), and the checkpoint they stand at; [`Tables`] says what each kind of
//!   aggregate has besides its document.
//! - One module per service: its tables, and its lists as methods of its store.
//! - [`Rows`]: what a service's loop needs of them, and [`MemoryRows`], which keep them in memory: for tests.
//! - [`Publications`]: what a journal tells others, held against its public topics.
//! - [`Inbox`]: what recipients of notifications see, in SQLite or, following it, in Redis ([`RedisInbox`]).
//!
//! This crate has the only SQL of orderlog (but the embedded log's) and the only Redis. Deliberately absent: rules (they
//! are in `orderlog-domain`), and deciding when to write what (that is the service's loop).

mod billing;
mod customers;
mod error;
mod generations;
mod inbox;
mod inventory;
mod memory;
mod notifications;
mod orders;
mod publications;
mod replacing;
mod rows;
mod schema;
mod snapshots;
mod store;
mod tables;

pub use error::StoreError;
pub use generations::{Generations, SNAPSHOTS};
pub use inbox::{Applied, Inbox, InboxError, InboxPage, RedisAddress, RedisInbox};
pub use inventory::MovementRow;
pub use memory::{Contents, MemoryRows};
pub use notifications::Notified;
pub use orders::OrderFilter;
pub use publications::{
    Differing, ExpectedEvent, FaultyEvent, FoundEvent, PublicationFault, Publications, PublicationsError,
};
pub use rows::{DueReservations, Rows};
pub use snapshots::{Label, SnapshotError, Snapshots};
pub use store::{Cursor, Difference, Instant, Pace, Page, Paging, Pinned, Store, Unaccepted, Writer};
pub use tables::{Cell, Column, Index, Ledger, Table, Tables};
