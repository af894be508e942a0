//! How a service's aggregates become rows: what each kind of aggregate has besides its document.

use orderlog_core::{
    decider::{At, Decider, Kind, Millis},
    key::Key,
};

use crate::error::StoreError;

/// A column that is filled from an aggregate's state or from an event, so that lists can filter and sort by it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// Its SQL type with constraints, such as `integer not null`.
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
    /// A number, a time in milliseconds, or a truth value.
    Integer(i64),
    /// A text of any length.
    Text(String),
    /// A text that the program holds, such as the name of a state.
    Name(&'static str),
    /// Bytes, such as a UUID.
    Blob(Vec<u8>),
}

impl PartialEq for Cell {
    /// As SQLite has it: whether the program holds a text makes no difference.
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

/// An index that lists need. It is made after a full replay, since maintaining it meanwhile costs more.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Its name, unique in the file.
    pub name: &'static str,
    /// What it is on: the text behind the table's name, such as `(state) where state <> 'done'`. The primary key is always
    /// the last part of it, unsaid.
    pub on: &'static str,
}

/// The table of one kind of aggregate: `key, version, offset, <columns>, doc`.
#[derive(Debug)]
pub struct Table<E> {
    /// The kind, which is also the table's name.
    pub kind: Kind,
    /// The columns between the fixed ones.
    pub columns: &'static [Column],
    /// Their values, in the same order.
    pub cells: fn(&E) -> Vec<Cell>,
    pub indexes: &'static [Index],
    /// Whether its rows are facts copied from another service: a row then keeps the highest version, in whatever order its
    /// versions arrive.
    pub copied: bool,
}

impl<E> Table<E> {
    /// A table without columns of its own.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, columns: &[], cells: |_| Vec::new(), indexes: &[], copied: false }
    }
}

/// A table that only grows: rows of accepted events that are no aggregate's state, `offset, line, <columns>`.
#[derive(Debug)]
pub struct Ledger<D: Decider> {
    pub name: &'static str,
    /// The columns behind the fixed ones.
    pub columns: &'static [Column],
    /// What an event adds, from line 0 on.
    pub lines: fn(&At, &D::Event) -> Vec<Vec<Cell>>,
    pub indexes: &'static [Index],
}

/// A column that holds when aggregates are due, and what is due then.
#[derive(Debug)]
pub struct Timer<D: Decider> {
    /// Its name, by which idempotency keys are derived: to be chosen once and never changed.
    pub name: &'static str,
    /// The kind of its aggregates.
    pub kind: Kind,
    /// The column of their table that holds [`Due::at_ms`], null where nothing is due.
    pub column: &'static str,
    /// What is due of an aggregate, if anything ever is.
    pub due: fn(&D::Entity) -> Option<Due<D>>,
}

/// A command that is due.
#[derive(Debug)]
pub struct Due<D: Decider> {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: Millis,
    /// The aggregate's version, as it counts it itself: the same version is never asked twice.
    pub version: u64,
    pub command: D::Command,
}

/// The tables of a service's read model. The names, types and values here are SQL text of this program, never anybody's input.
#[derive(Debug)]
pub struct Tables<D: Decider> {
    /// To be counted up whenever the *meaning* of a document or a column changes. A change of tables, columns or indexes is
    /// noticed without. Another number than the file's means that the rows are rebuilt from the log.
    pub schema: u32,
    /// One for each of [`Decider::KINDS`].
    pub tables: &'static [Table<D::Entity>],
    /// What else the service's lists need.
    pub ledgers: &'static [Ledger<D>],
    /// Commands that only time asks for.
    pub timers: &'static [Timer<D>],
}

impl<D: Decider> Tables<D> {
    /// A read model of tables alone.
    pub const fn new(schema: u32, tables: &'static [Table<D::Entity>]) -> Self {
        Self { schema, tables, ledgers: &[], timers: &[] }
    }

    /// The table of a kind of aggregate.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] for an unknown kind.
    pub fn of(&self, kind: &str) -> Result<&'static Table<D::Entity>, StoreError> {
        let found = self.tables.iter().find(|table| table.kind == kind);
        found.ok_or_else(|| StoreError::NoTable { service: D::JOURNAL, kind: kind.to_owned() })
    }

    /// Whether the rows of this table are copied facts.
    pub(crate) fn is_copied(&self, table: &str) -> bool {
        self.tables.iter().any(|it| it.kind == table && it.copied)
    }
}
