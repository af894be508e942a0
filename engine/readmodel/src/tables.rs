//! Declares how a service's aggregates are stored: the columns of each kind besides its document, ledgers and timers.

use orderlog_core::{
    decider::{At, Decider, Kind, Millis},
    key::Key,
};

use crate::{error::StoreError, views::SqlView};

/// A column derived from an aggregate's state or an event, so that lists can filter and sort by it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// The SQL type with constraints, such as `integer not null`.
    pub sql_type: &'static str,
}

impl Column {
    pub const fn new(name: &'static str, sql_type: &'static str) -> Self {
        Self { name, sql_type }
    }
}

/// A value of a [`Column`].
#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    /// A number, a time in milliseconds, or a Boolean.
    Integer(i64),
    Text(String),
    /// A static text, such as the name of a state.
    Name(&'static str),
    /// Bytes, such as a UUID.
    Blob(Vec<u8>),
}

impl PartialEq for Cell {
    /// Compares as SQLite does: `Text` and `Name` with the same text are equal.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Blob(one), Self::Blob(other)) => one == other,
            (one, other) => one.text().is_some_and(|text| other.text() == Some(text)),
        }
    }
}

impl Eq for Cell {}

impl Cell {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Name(text) => Some(text),
            Self::Null | Self::Integer(_) | Self::Blob(_) => None,
        }
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<Key> for Cell {
    fn from(key: Key) -> Self {
        Self::Blob(key.as_bytes().to_vec())
    }
}

impl From<uuid::Uuid> for Cell {
    fn from(id: uuid::Uuid) -> Self {
        Self::Blob(id.as_bytes().to_vec())
    }
}

/// An index that lists need. It is created after a full replay, because maintaining it during the replay costs more.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Must be unique in the file.
    pub name: &'static str,
    /// The SQL after the table's name, such as `(state) where state <> 'done'`. SQLite implicitly appends the primary key to the
    /// indexed columns.
    pub on: &'static str,
}

/// The table of one kind of aggregate: `key, version, offset, <columns>, doc`.
#[derive(Debug)]
pub struct Table<E> {
    /// Also the table's name.
    pub kind: Kind,
    /// The columns between `offset` and `doc`.
    pub columns: &'static [Column],
    /// Returns the values of `columns`, in the same order.
    pub cells: fn(&E) -> Vec<Cell>,
    pub indexes: &'static [Index],
    /// Whether the rows are facts copied from another service. The highest version of a row then wins, even if versions arrive
    /// out of order.
    pub copied: bool,
}

impl<E> Table<E> {
    /// Creates a table without additional columns.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, columns: &[], cells: |_| Vec::new(), indexes: &[], copied: false }
    }
}

/// An append-only table, `offset, line, <columns>`, of rows that come from accepted events and are not an aggregate's state.
#[derive(Debug)]
pub struct Ledger<D: Decider> {
    pub name: &'static str,
    /// The columns after `offset` and `line`.
    pub columns: &'static [Column],
    /// Returns the rows that an event adds, numbered from line 0.
    pub lines: fn(&At, &D::Event) -> Vec<Vec<Cell>>,
    pub indexes: &'static [Index],
}

/// A column with the times at which commands on aggregates are due.
#[derive(Debug)]
pub struct Timer<D: Decider> {
    /// Idempotency keys are derived from the name, so it must never change.
    pub name: &'static str,
    /// The kind of the aggregates.
    pub kind: Kind,
    /// The column of their table that contains [`Due::at_ms`], or null if nothing is due.
    pub column: &'static str,
    /// Returns the command that is or will be due for an aggregate, if any.
    pub due: fn(&D::Entity) -> Option<Due<D>>,
}

/// A command that is due at a certain time.
#[derive(Debug)]
pub struct Due<D: Decider> {
    /// In milliseconds since the Unix epoch.
    pub at_ms: Millis,
    /// The aggregate's own version number. At most one command is issued per version.
    pub version: u64,
    pub command: D::Command,
}

/// Objects that wait for an outcome, such as orders that are neither confirmed nor rejected. They are counted by age, for operators.
#[derive(Debug)]
pub struct Pending {
    /// The objects in the plural, such as `orders`.
    pub name: &'static str,
    /// The SQL after `from`, such as `orders where state = 'placed'`. An index should find the rows, because they are counted often.
    pub from: &'static str,
    /// The column with the time since when they wait, in milliseconds since the Unix epoch.
    pub since: &'static str,
}

/// The tables of a service's read model. Names, types and conditions become part of SQL statements, so they are static and never
/// user input.
#[derive(Debug)]
pub struct Tables<D: Decider> {
    /// Increment this when the *meaning* of a document or a column changes. Changed tables, columns and indexes are detected
    /// automatically. If the file has another schema version, the read model is rebuilt from the log.
    pub schema: u32,
    /// One for each kind of aggregate.
    pub tables: &'static [Table<D::Entity>],
    /// Other tables that the service's lists need.
    pub ledgers: &'static [Ledger<D>],
    /// Commands triggered by time.
    pub timers: &'static [Timer<D>],
    /// Views for people and their tools. Not part of the schema version.
    pub views: &'static [SqlView],
    /// Not part of the schema version.
    pub pending: &'static [Pending],
}

impl<D: Decider> Tables<D> {
    /// Creates a read model of these tables alone.
    pub const fn new(schema: u32, tables: &'static [Table<D::Entity>]) -> Self {
        Self { schema, tables, ledgers: &[], timers: &[], views: &[], pending: &[] }
    }

    pub fn of(&self, kind: &str) -> Result<&'static Table<D::Entity>, StoreError> {
        let found = self.tables.iter().find(|table| table.kind == kind);
        found.ok_or_else(|| StoreError::NoTable { service: D::JOURNAL, kind: kind.to_owned() })
    }

    /// Returns whether the rows of this table are copied facts.
    pub(crate) fn is_copied(&self, table: &str) -> bool {
        self.tables.iter().any(|it| it.kind == table && it.copied)
    }
}
