//! Read models in SQLite: rows that can be thrown away, since the log tells them again.
//!
//! - [`Store`]: one service's rows in one SQLite file (of several [`Generations`]), and the checkpoint they stand at.
//! - [`Tables`]: what each kind of aggregate has besides its document, and when commands are due.
//! - [`List`]: queries over a store, page by page. The lists themselves belong to the services.
//! - [`Rows`]: what a service's loop needs of a store, and [`MemoryRows`], which keep them in memory: for tests.
//! - [`Publications`]: what a journal tells others, held against its public topics.
//!
//! Deliberately absent: any service's tables, and deciding when to write what (that is the service's loop).

mod error;
mod generations;
mod memory;
mod opening;
mod origin;
mod publications;
mod redis;
mod replacing;
mod rows;
mod schema;
mod snapshots;
mod store;
mod tables;

pub use error::StoreError;
pub use generations::{Generations, SNAPSHOTS};
pub use memory::{Contents, MemoryRows};
pub use publications::{
    Differing, ExpectedEvent, FaultyEvent, FoundEvent, PublicationFault, Publications, PublicationsError,
};
pub use redis::RedisAddress;
pub use rows::Rows;
pub use snapshots::{Label, SnapshotError, Snapshots};
pub use store::{
    Cursor, Difference, Instant, List, Moment, Pace, Page, Paging, Pinned, Row, Store, Unaccepted, Writer,
};
pub use tables::{Cell, Column, Due, Index, Ledger, Table, Tables, Timer};
