//! Read models in SQLite. They can be deleted at any time, because they are rebuilt from the log.
//!
//! - [`Store`]: a service's read model in one SQLite file (one of several [`Generations`]), with its checkpoint.
//! - [`Prepared`]: a read model that is built ahead of the start that serves it.
//! - [`Tables`]: the tables and columns for each kind of aggregate, and timers for due commands.
//! - [`SqlView`]: views of the rows for people and their tools.
//! - [`Sql`]: statements of people over the read models of several services.
//! - [`List`]: paged queries over a store. Each service defines its own lists.
//! - [`Rows`]: the operations that a service's loop needs, and [`MemoryRows`], an in-memory implementation for tests.
//! - [`Publications`]: compares a journal's public events with the records of its public topics.
//!
//! Deliberately absent: the services' tables, and deciding when to write (that is the service's loop).

mod error;
mod generations;
mod memory;
mod opening;
mod origin;
mod prepared;
mod publications;
mod redis;
mod replacing;
mod rows;
mod schema;
mod snapshots;
mod sql;
mod store;
mod tables;
mod views;

pub use error::StoreError;
pub use generations::{Generations, SNAPSHOTS};
pub use memory::{Contents, MemoryRows};
pub use prepared::{Ahead, Prepared, prepared_in};
pub use publications::{
    Differing, ExpectedEvent, FaultyEvent, FoundEvent, PublicationFault, Publications, PublicationsError, ToPublish,
};
pub use redis::RedisAddress;
pub use rows::Rows;
pub use snapshots::{Label, SnapshotError, Snapshots};
pub use sql::{Answer, ReadAt, ServingFile, Sql, SqlError, Value};
pub use store::{
    Cursor, Difference, Instant, List, Moment, Pace, Page, Paging, Pinned, Row, Store, Unaccepted, Writer,
};
pub use tables::{Cell, Column, Due, Index, Ledger, Pending, Table, Tables, Timer};
pub use views::{SqlView, ViewColumn};
