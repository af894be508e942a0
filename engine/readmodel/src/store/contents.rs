//! Reads all rows into memory, for tests that compare them with the same journal folded in memory.

use std::{collections::BTreeMap, sync::Arc};

use orderlog_core::{
    decider::Decider,
    key::{Key, RecordId},
    machine::Head,
};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, TypeInfo, ValueRef, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Store, document, reader};
use crate::{
    error::StoreError,
    memory::Contents,
    tables::{Cell, Column},
};

impl<D: Decider> Store<D> {
    /// Returns all rows. For tests: there must be no concurrent writes, and all of it has to fit into memory.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the columns of an aggregate do not match its document, or if the rows can't be read.
    pub async fn contents(&self) -> Result<Contents<D>, StoreError> {
        let checkpoint = self.checkpoint().await?;
        let mut contents = Contents::new(self.tables());
        (contents.next, contents.genesis) = (checkpoint.next, checkpoint.genesis);
        contents.copied = checkpoint.copied.into_iter().map(|row| ((row.topic.clone(), row.part), row)).collect();
        contents.discarded = self.discarded().await?.into_iter().map(|row| (row.offset, row)).collect();
        contents.parked =
            self.parked(0, u32::MAX).await?.into_iter().map(|row| ((row.key, row.offset), row.reason)).collect();
        let from = &mut reader(&self.origin).await?;
        for row in self.all("select heads.key, heads.offset, id from heads join records using (offset)", from).await? {
            let last = RecordId(Uuid::from_bytes(self.origin.bytes(&row, 2)?));
            contents.heads.insert(self.origin.key(&row, 0)?, Head { last, offset: self.origin.count(&row, 1)? });
        }
        let records = "select offset, id, time_ms, about, verdict, digest from records order by offset";
        for row in self.all(records, from).await? {
            contents.records.push(self.record(&row)?);
        }
        for row in self.all("select offset, line, key from touched", from).await? {
            contents
                .touched
                .insert((self.origin.count(&row, 0)?, self.origin.get(&row, 1)?), self.origin.key(&row, 2)?);
        }
        self.read_tables(&mut contents, from).await?;
        self.read_ledgers(&mut contents, from).await?;
        Ok(contents)
    }

    async fn read_tables(&self, contents: &mut Contents<D>, from: &mut SqliteConnection) -> Result<(), StoreError> {
        for table in self.tables().tables {
            let text = format!("select key, version, offset, doc{} from {}", others(table.columns), table.kind);
            for row in self.all(&text, from).await? {
                let key: Key = self.origin.key(&row, 0)?;
                let entity: D::Entity = document(&self.origin, &row, 3)?;
                if self.cells(&row, 4)? != (table.cells)(&entity) {
                    return Err(self
                        .origin
                        .damaged(format!("the columns of {} {key:?} are not its document's", table.kind)));
                }
                let versioned = (self.origin.count(&row, 1)?, self.origin.count(&row, 2)?, Arc::new(entity));
                contents.entities.insert((table.kind, key), versioned);
            }
        }
        Ok(())
    }

    async fn read_ledgers(&self, contents: &mut Contents<D>, from: &mut SqliteConnection) -> Result<(), StoreError> {
        for ledger in self.tables().ledgers {
            let text = format!("select offset, line{} from {}", others(ledger.columns), ledger.name);
            let mut lines = BTreeMap::new();
            for row in self.all(&text, from).await? {
                let place = (self.origin.count(&row, 0)?, self.origin.get(&row, 1)?);
                lines.insert(place, self.cells(&row, 2)?);
            }
            contents.ledgers.insert(ledger.name, lines);
        }
        Ok(())
    }

    async fn all(&self, text: &str, from: &mut SqliteConnection) -> Result<Vec<SqliteRow>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(text.to_owned())).fetch_all(from).await;
        rows.map_err(|error| self.origin.error("reading all rows", error))
    }

    /// Returns the columns of a row, starting at `from`.
    fn cells(&self, row: &SqliteRow, from: usize) -> Result<Vec<Cell>, StoreError> {
        (from..row.len()).map(|column| self.cell(row, column)).collect()
    }

    fn cell(&self, row: &SqliteRow, column: usize) -> Result<Cell, StoreError> {
        let value = row.try_get_raw(column).map_err(|error| self.origin.error("reading a column", error))?;
        let name = value.type_info().name().to_owned();
        match name.as_str() {
            _ if value.is_null() => Ok(Cell::Null),
            "INTEGER" => self.origin.get(row, column).map(Cell::Integer),
            "TEXT" => self.origin.get(row, column).map(Cell::Text),
            "BLOB" => self.origin.get(row, column).map(Cell::Blob),
            other => Err(self.origin.damaged(format!("a column of type {other}"))),
        }
    }
}

fn others(columns: &[Column]) -> String {
    columns.iter().map(|column| format!(", {}", column.name)).collect()
}
