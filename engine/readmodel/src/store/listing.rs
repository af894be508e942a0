//! Paged lists, with keyset pagination: a page begins after the key of the last row of the previous page, so new rows neither
//! repeat nor hide others.

use std::{borrow::Cow, fmt};

use orderlog_core::{
    decider::{Decider, Kind},
    key::Key,
};
use serde::de::DeserializeOwned;
use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqliteConnection, Transaction, TypeInfo, ValueRef,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use super::{Origin, Store, loading::document};
use crate::{error::StoreError, tables::Cell};

/// The maximum number of rows per page.
const MAX_LIMIT: u32 = 1000;

/// The end of a page, opaque to callers. It consists of letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// Wraps a cursor received from a caller. It is validated when it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key that the previous page ended with.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for another list's cursor.
    pub fn key(&self) -> Result<Key, StoreError> {
        Key::try_from(self.0.clone()).map_err(|_| StoreError::Cursor)
    }

    /// Returns the numbers that the previous page ended with.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for another list's cursor.
    pub fn numbers<const N: usize>(&self) -> Result<[i64; N], StoreError> {
        let parsed: Vec<i64> =
            self.0.split('.').map(|part| part.parse().map_err(|_| StoreError::Cursor)).collect::<Result<_, _>>()?;
        parsed.try_into().map_err(|_| StoreError::Cursor)
    }

    pub fn of_key(key: &Key) -> Self {
        Self(String::from(*key))
    }

    /// Creates a cursor from the last row's numbers, in the order of the list's columns.
    pub fn of_numbers(numbers: &[i64]) -> Self {
        Self(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join("."))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Selects a page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The end of the previous page. `None` selects the first page.
    pub after: Option<Cursor>,
    /// The maximum number of rows, clamped to 1 to 1000.
    pub limit: u32,
}

impl Paging {
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// Returns the maximum number of rows, between 1 and 1000.
    pub fn limit(&self) -> u32 {
        self.limit.clamp(1, MAX_LIMIT)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Maps the items with `read`, dropping those for which it returns `None`.
    pub fn filter_map<U>(self, read: impl FnMut(T) -> Option<U>) -> Page<U> {
        Page { items: self.items.into_iter().filter_map(read).collect(), next: self.next }
    }

    /// Creates a page from up to `limit + 1` rows, each with the cursor after it. The additional row shows that there is a next page.
    pub fn cut(mut rows: Vec<(Cursor, T)>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(|(cursor, _)| cursor.clone()) } else { None };
        Self { items: rows.into_iter().map(|(_, item)| item).collect(), next }
    }
}

/// A list query: `select`, conditions, order. User input only occurs in bound values.
pub struct List {
    select: Cow<'static, str>,
    conditions: Vec<&'static str>,
    cells: Vec<Cell>,
    order: &'static str,
}

impl List {
    /// Selects all rows. The first column of `select` should be the row's key or number, which errors include.
    pub fn new(select: impl Into<Cow<'static, str>>, order: &'static str) -> Self {
        Self { select: select.into(), conditions: Vec::new(), cells: Vec::new(), order }
    }

    #[must_use]
    pub fn only(mut self, condition: &'static str, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.conditions.push(condition);
        self.cells.extend(cells);
        self
    }

    /// Adds a condition if there is a value for it.
    #[must_use]
    pub fn only_if(self, condition: &'static str, cell: Option<Cell>) -> Self {
        match cell {
            Some(cell) => self.only(condition, [cell]),
            None => self,
        }
    }

    fn text(&self) -> String {
        let Self { select, conditions, order, .. } = self;
        let only = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
        format!("{select}{only} order by {order} limit ?")
    }

    async fn run<T>(
        self,
        origin: &Origin,
        connection: &mut SqliteConnection,
        limit: u32,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(self.text()));
        for cell in self.cells {
            query = bind(query, cell);
        }
        let rows = query.bind(limit).fetch_all(connection).await;
        let rows = rows.map_err(|error| origin.error("reading a list", error))?;
        let place = |row| {
            [Some(table_of(&self.select).to_owned()), key_of(row)].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        rows.iter().map(|row| read(&Row { origin, row }).map_err(|error| error.at(|| place(row)))).collect()
    }
}

fn table_of(select: &str) -> &str {
    select.rsplit(" from ").next().unwrap_or(select)
}

/// Returns the first column of a row as SQL, if it is a number or a key.
fn key_of(row: &SqliteRow) -> Option<String> {
    match row.try_get_raw(0).ok()?.type_info().name() {
        "INTEGER" => row.try_get::<i64, _>(0).ok().map(|number| number.to_string()),
        "BLOB" => Uuid::from_slice(row.try_get(0).ok()?).ok().map(|key| format!("X'{:X}'", key.simple())),
        _ => None,
    }
}

pub(super) fn bind(query: Query<'_, Sqlite, SqliteArguments>, cell: Cell) -> Query<'_, Sqlite, SqliteArguments> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(number) => query.bind(number),
        Cell::Text(text) => query.bind(text),
        Cell::Name(text) => query.bind(text),
        Cell::Blob(bytes) => query.bind(bytes),
    }
}

/// A row of a list. Columns are numbered from 0. Every error is [`StoreError::Damaged`], since this program wrote the row.
pub struct Row<'a> {
    origin: &'a Origin,
    row: &'a SqliteRow,
}

#[expect(clippy::missing_errors_doc, reason = "all are alike")]
impl Row<'_> {
    /// A signed number.
    pub fn number(&self, column: usize) -> Result<i64, StoreError> {
        self.origin.get(self.row, column)
    }

    /// An offset, a version or a count.
    pub fn count(&self, column: usize) -> Result<u64, StoreError> {
        self.origin.count(self.row, column)
    }

    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.origin.get(self.row, column)
    }

    pub fn uuid(&self, column: usize) -> Result<Uuid, StoreError> {
        self.origin.bytes(self.row, column).map(Uuid::from_bytes)
    }

    pub fn key(&self, column: usize) -> Result<Key, StoreError> {
        self.origin.key(self.row, column)
    }

    /// A JSON document, such as the state of an aggregate.
    pub fn document<E: DeserializeOwned>(&self, column: usize) -> Result<E, StoreError> {
        document(self.origin, self.row, column)
    }
}

/// A read transaction for several lists from one consistent state. Dropping it ends it.
pub struct Moment<'a> {
    origin: &'a Origin,
    transaction: Transaction<'static, Sqlite>,
}

impl Moment<'_> {
    /// Returns the first `limit` rows of `list`, converted by `read`.
    pub async fn rows<T>(
        &mut self,
        list: List,
        limit: u32,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        list.run(self.origin, &mut self.transaction, limit, read).await
    }

    /// Returns the checkpoint: the first offset that is not folded.
    pub async fn next(&mut self) -> Result<u64, StoreError> {
        let next = sqlx::query_scalar::<_, i64>("select next from meta").fetch_one(&mut *self.transaction).await;
        self.origin.counted(next.map_err(|error| self.origin.error("reading the checkpoint", error))?)
    }
}

impl<D: Decider> Store<D> {
    /// Begins a read transaction. Its consistent state is that at the first read.
    pub async fn moment(&self) -> Result<Moment<'_>, StoreError> {
        let transaction = self.lists.begin().await.map_err(|error| self.origin.error("reading a list", error))?;
        Ok(Moment { origin: &self.origin, transaction })
    }

    /// Returns the first `limit` rows of `list`, converted by `read`.
    pub async fn rows<T>(
        &self,
        list: List,
        limit: u32,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let connection = self.lists.acquire().await;
        let mut connection = connection.map_err(|error| self.origin.error("reading a list", error))?;
        list.run(&self.origin, &mut connection, limit, read).await
    }

    /// Returns a page of aggregates. The list's first two columns must be `key, doc`, and it must be ordered by key.
    pub async fn page_by_key(&self, list: List, limit: u32) -> Result<Page<D::Entity>, StoreError> {
        let rows = self.rows(list, limit + 1, |row| Ok((Cursor::of_key(&row.key(0)?), row.document(1)?))).await?;
        Ok(Page::cut(rows, limit))
    }

    /// Returns a page of all aggregates of a kind, by descending key. If keys ascend with time, these are the newest.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for another list's cursor, or if the rows can't be read.
    pub async fn newest(&self, kind: Kind, paging: &Paging) -> Result<Page<D::Entity>, StoreError> {
        let before = paging.after.as_ref().map(Cursor::key).transpose()?;
        let list = List::new(format!("select key, doc from {kind}"), "key desc");
        self.page_by_key(list.only_if("key < ?", before.map(Cell::from)), paging.limit()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cursors_of_a_list_are_accepted_by_it() {
        let key = Key::named("sku", "a");
        assert_eq!(Cursor::of_key(&key).key().ok(), Some(key));
        assert_eq!(Cursor::of_numbers(&[7, -1]).numbers::<2>().ok(), Some([7, -1]));
        for wrong in ["", "x", "1", "1.2.3", "1.", "'"] {
            assert!(Cursor::new(wrong).numbers::<2>().is_err(), "{wrong}");
            assert!(Cursor::new(wrong).key().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_knows_whether_another_follows() {
        let rows = |n: i64| (0..n).map(|i| (Cursor::of_numbers(&[i]), i)).collect::<Vec<_>>();
        assert_eq!(Page::cut(rows(2), 2), Page { items: vec![0, 1], next: None });
        assert_eq!(Page::cut(rows(3), 2), Page { items: vec![0, 1], next: Some(Cursor::of_numbers(&[1])) });
    }
}
