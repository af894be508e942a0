//! Views of the rows for people and their tools: ids and times as text, one plain column for each value.
//!
//! The program never reads them. They are no part of the schema version, so that changing one costs no replay: whenever a generation is
//! opened for writing, views with another text are replaced.

use std::collections::BTreeMap;

use orderlog_core::decider::Decider;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::{error::StoreError, origin::Origin, tables::Tables};

/// The condition, in `sqlite_schema`, for a view of this program in any version. Others are foreign to the file.
pub(crate) const IS_OURS: &str = "type = 'view' and name like '%\\_view' escape '\\'";

/// The view of every service that names the generation and its position.
pub(crate) const ABOUT: &str = "about_view";

/// A view of a service's rows. It must not have columns with personal data.
#[derive(Clone, Copy, Debug)]
pub struct SqlView {
    /// Must end in `_view`.
    pub name: &'static str,
    pub columns: &'static [ViewColumn],
    /// The SQL after `from`.
    pub from: &'static str,
}

/// A column of a [`SqlView`].
#[derive(Clone, Copy, Debug)]
pub struct ViewColumn {
    name: &'static str,
    /// An SQL expression.
    value: &'static str,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Number,
    Id,
    Time,
}

impl ViewColumn {
    pub const fn text(name: &'static str, value: &'static str) -> Self {
        Self { name, value, form: Form::Text }
    }

    /// An integer, or a Boolean as 0 or 1.
    pub const fn number(name: &'static str, value: &'static str) -> Self {
        Self { name, value, form: Form::Number }
    }

    /// A UUID that is stored as 16 bytes, shown as text.
    pub const fn id(name: &'static str, value: &'static str) -> Self {
        Self { name, value, form: Form::Id }
    }

    /// A time that is stored in milliseconds since the Unix epoch, shown like `2026-01-31T12:00:00.000Z`.
    pub const fn time(name: &'static str, value: &'static str) -> Self {
        Self { name, value, form: Form::Time }
    }

    /// Returns the column's SQL. The cast gives it a type, by which other programs read it.
    fn sql(&self) -> String {
        let Self { name, value, form } = self;
        match form {
            Form::Text => format!("cast({value} as text) as {name}"),
            Form::Number => format!("cast({value} as integer) as {name}"),
            Form::Id => {
                let part = |from: u8, length: u8| format!("substr(hex({value}), {from}, {length})");
                let parts = [part(1, 8), part(9, 4), part(13, 4), part(17, 4), part(21, 12)];
                format!("cast(lower(nullif({}, '----')) as text) as {name}", parts.join(" || '-' || "))
            }
            Form::Time => {
                format!("cast(strftime('%Y-%m-%dT%H:%M:%fZ', {value} / 1000.0, 'unixepoch') as text) as {name}")
            }
        }
    }
}

/// Returns the name of a view and its statement as SQLite stores it.
fn create(name: &str, columns: &[String], from: &str) -> (String, String) {
    (name.to_owned(), format!("CREATE VIEW {name} as select {} from {from}", columns.join(", ")))
}

impl<D: Decider> Tables<D> {
    /// Returns the statement of each view, by its name, in generation `number`.
    fn view_statements(&self, number: u32) -> BTreeMap<String, String> {
        let about = [
            ViewColumn::text("service", "service").sql(),
            // The only one that is not stored in the rows.
            format!("{number} as generation"),
            ViewColumn::text("schema_version", "schema").sql(),
            ViewColumn::text("position", "service || '@' || next").sql(),
            ViewColumn::time("last_record_at", "(select time_ms from records order by offset desc limit 1)").sql(),
        ];
        let own = self.views.iter().map(|SqlView { name, columns, from }| {
            let columns: Vec<_> = columns.iter().map(ViewColumn::sql).collect();
            create(name, &columns, from)
        });
        own.chain([create(ABOUT, &about, "meta")]).collect()
    }
}

/// Creates the views of generation `number`, replaces those with another text, and drops those that this program does not have.
pub(crate) async fn install<D: Decider>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    tables: &Tables<D>,
    number: u32,
) -> Result<(), StoreError> {
    let failed = |error| origin.error("making the views", error);
    let stored = AssertSqlSafe(format!("select name, sql from sqlite_schema where {IS_OURS}"));
    let stored = sqlx::query_as::<_, (String, String)>(stored).fetch_all(&mut *connection).await;
    let stored: BTreeMap<_, _> = stored.map_err(failed)?.into_iter().collect();
    let wanted = tables.view_statements(number);
    if stored == wanted {
        return Ok(());
    }
    let mut transaction = connection.begin_with("begin immediate").await.map_err(failed)?;
    let dropped = stored.keys().map(|name| format!("drop view {name}"));
    for text in dropped.chain(wanted.into_values()) {
        sqlx::query(AssertSqlSafe(text)).persistent(false).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, types::Value};

    use super::*;

    fn shown(column: ViewColumn, value: impl rusqlite::ToSql) -> Value {
        let connection = Connection::open_in_memory().unwrap();
        let text = format!("select {} from (select ? as value)", column.sql());
        connection.query_row(&text, [value], |row| row.get(0)).unwrap()
    }

    #[test]
    fn times_are_shown_to_the_millisecond() {
        let time = |ms: i64| shown(ViewColumn::time("at", "value"), ms);
        for ms in 0..1_000 {
            assert_eq!(time(1_767_225_599_000 + ms), Value::Text(format!("2025-12-31T23:59:59.{ms:03}Z")));
        }
        assert_eq!(time(-1), Value::Text("1969-12-31T23:59:59.999Z".to_owned()));
        assert_eq!(shown(ViewColumn::time("at", "value"), None::<i64>), Value::Null);
    }

    #[test]
    fn ids_are_shown_as_text() {
        let id = uuid::Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_00ab);
        let column = ViewColumn::id("id", "value");
        assert_eq!(shown(column, id.as_bytes().as_slice()), Value::Text(id.to_string()));
        assert_eq!(shown(column, None::<Vec<u8>>), Value::Null);
    }
}
