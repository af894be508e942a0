//! The tables of a service, read from a database that is created with the schema's own statements. So comparing, printing and
//! checking rows never misses a table or column.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::Origin;
use crate::{error::StoreError, tables::Tables, views};
use orderlog_core::decider::Decider;

/// A table, with its primary key and all of its columns in the order of their declaration.
#[derive(Debug)]
pub(super) struct Shape {
    pub table: String,
    pub key: Vec<String>,
    pub columns: Vec<String>,
}

/// Returns all tables of the service, in the order in which they are created.
pub(super) fn shapes<D: Decider>(tables: &Tables<D>) -> Vec<Shape> {
    made(tables, |connection| {
        let mut names = connection.prepare("select name from sqlite_schema where type = 'table' order by rowid")?;
        let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        names.into_iter().map(|table| shape(connection, table)).collect()
    })
}

fn shape(connection: &Connection, table: String) -> rusqlite::Result<Shape> {
    let mut columns = connection.prepare("select name, pk from pragma_table_info(?) order by cid")?;
    let columns = columns.query_map([&table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))?;
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
    key.sort_by_key(|(_, place)| *place);
    let key = key.into_iter().map(|(name, _)| name.clone()).collect();
    Ok(Shape { table, key, columns: columns.into_iter().map(|(name, _)| name).collect() })
}

/// Runs `read` on an empty in-memory database with the service's tables and indexes.
fn made<D: Decider, T>(tables: &Tables<D>, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
    let of = || {
        let connection = Connection::open_in_memory()?;
        tables.statements().iter().chain(&tables.indexes()).try_for_each(|text| connection.execute_batch(text))?;
        read(&connection)
    };
    of().expect("the statements of the schema are fixed, and every store has been made by them")
}

/// The SQL that created an object, by the object's type and name.
type Statements = BTreeMap<(String, String), Option<String>>;

/// Returns the query for a database's tables, indexes, triggers and foreign views, except SQLite's internal ones. Our own views may be
/// of another version.
fn statements() -> String {
    format!(
        "select type, name, sql from sqlite_schema where name not like 'sqlite\\_%' escape '\\' and not ({})",
        views::IS_OURS
    )
}

/// Checks that a file has exactly the service's tables and indexes, created with the same statements.
pub(super) async fn check<D: Decider>(
    tables: &Tables<D>,
    origin: &Origin,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let rows = sqlx::query(AssertSqlSafe(statements())).fetch_all(connection).await;
    let rows = rows.map_err(|error| origin.error("reading the tables", error))?;
    let named = |row| Ok(((origin.get(row, 0)?, origin.get(row, 1)?), origin.get(row, 2)?));
    let found = rows.iter().map(named).collect::<Result<Statements, StoreError>>()?;
    let wanted: Statements = made(tables, |connection| {
        let mut statements = connection.prepare(&statements())?;
        let rows = statements.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        rows.collect()
    });
    for ((kind, name), sql) in &wanted {
        match found.get(&(kind.clone(), name.clone())) {
            Some(same) if same == sql => {}
            Some(_) => return Err(origin.damaged(format!("the {kind} {name} was not made by this program"))),
            None => return Err(origin.damaged(format!("the {kind} {name} is missing"))),
        }
    }
    match found.keys().find(|it| !wanted.contains_key(it)) {
        Some((kind, name)) => Err(origin.damaged(format!("the {kind} {name} is none of this program's"))),
        None => Ok(()),
    }
}
