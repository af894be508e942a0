//! The positions of groups, in a separate file so that storing one never waits for the log's fsync.

use std::{collections::HashMap, path::Path, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, QueryBuilder, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use super::{
    file,
    history::{self, Sharing},
    wal::{self, Wal},
};
use crate::{Lease, LeaseError, Partition, Position, position};

/// The positions of every group.
#[derive(Clone)]
pub(super) struct Positions {
    // A single connection, so that SQLite never reports a busy database. All statements are short.
    pool: SqlitePool,
}

impl Positions {
    pub(super) async fn open(file: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power failure may lose the last positions, which only repeats work.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .thread_name(|_| "log-positions".into())
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::query(
            "create table if not exists positions (consumers text not null, topic text not null, \
             partition integer not null, position integer not null, marks text not null default '', \
             primary key (consumers, topic, partition)) strict, without rowid",
        )
        .execute(&pool)
        .await?;
        // Files of older versions have no marks.
        let has_marks: bool =
            sqlx::query_scalar("select count(*) from pragma_table_info('positions') where name = 'marks'")
                .fetch_one(&pool)
                .await?;
        if !has_marks {
            sqlx::query("alter table positions add column marks text not null default ''").execute(&pool).await?;
        }
        Ok(Self { pool })
    }

    /// Deletes all positions if one of them is beyond the end of its topic: the log is then older than the positions, so none of
    /// them can be trusted. Returns whether they were deleted.
    pub(super) async fn forget_if_ahead(&self, end: impl Fn(&str) -> u64) -> Result<bool, sqlx::Error> {
        let kept: Vec<(String, i64)> =
            sqlx::query_as("select topic, max(position) from positions group by topic").fetch_all(&self.pool).await?;
        let is_ahead = kept.iter().any(|(topic, position)| position.cast_unsigned() > end(topic));
        if is_ahead {
            sqlx::query("delete from positions").execute(&self.pool).await?;
        }
        Ok(is_ahead)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn get(&self, group: &str, partition: &Partition) -> Result<Option<Position>, sqlx::Error> {
        let text = "select position, marks from positions where consumers = ? and topic = ? and partition = ?";
        let kept: Option<(i64, String)> = sqlx::query_as(text)
            .bind(group)
            .bind(partition.topic.as_ref())
            .bind(partition.index)
            .fetch_optional(&self.pool)
            .await?;
        let position = |(next, marks): (i64, String)| {
            let next = u64::try_from(next).map_err(|negative| sqlx::Error::Decode(negative.into()))?;
            Ok(Position { next, marks: position::from_text(&marks) })
        };
        kept.map(position).transpose()
    }

    /// Uses one atomic statement instead of a transaction. If SQLite rolls back by itself, as on a full disk, sqlx still considers
    /// the transaction open and can't begin another one on that connection.
    async fn put(&self, group: &str, positions: &[(Partition, Position)]) -> Result<(), sqlx::Error> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(positions.len());
        for (partition, position) in positions {
            let next = i64::try_from(position.next).map_err(|full| sqlx::Error::Encode(full.into()))?;
            rows.push((partition, next, position::to_text(&position.marks)));
        }
        let mut insert = QueryBuilder::new("insert into positions (consumers, topic, partition, position, marks) ");
        insert.push_values(rows, |mut row, (partition, next, marks)| {
            row.push_bind(group).push_bind(partition.topic.as_ref()).push_bind(partition.index);
            row.push_bind(next).push_bind(marks);
        });
        insert.push(
            " on conflict (consumers, topic, partition) do update set position = excluded.position, marks = excluded.marks",
        );
        insert.build().persistent(false).execute(&self.pool).await.map(drop)
    }
}

/// The positions of every group, read from a file that no process writes.
#[derive(Default)]
pub(super) struct Kept(HashMap<(String, Partition), Position>);

impl Kept {
    /// Reads `file` without changing it. Returns no positions if [`Positions::forget_if_ahead`] would delete them.
    ///
    /// # Errors
    /// The reason why the file can't be read.
    pub(super) fn read(file: &Path, end: impl Fn(&str) -> u64) -> Result<Self, String> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let kept = Self::select(file).map_err(|error| format!("{} can't be read: {error}", file.display()))?;
        let is_ahead = kept.0.iter().any(|((_, partition), position)| position.next > end(&partition.topic));
        Ok(if is_ahead { Self::default() } else { kept })
    }

    fn select(file: &Path) -> rusqlite::Result<Self> {
        // The write-ahead log is not checked for damage: losing positions only repeats work.
        let wal = if file::is_empty(&wal::beside(file)) { Wal::Empty } else { Wal::Commits };
        let sharing = Sharing::beside(wal);
        let connection = history::open(file, sharing)?;
        let marks = if connection.column_exists(None, "positions", "marks")? { "marks" } else { "''" };
        let text = format!("select consumers, topic, partition, position, {marks} from positions");
        let mut select = connection.prepare(&text)?;
        let rows = select.query_map([], |row| {
            let partition = Partition::new(row.get::<_, String>(1)?, row.get(2)?);
            let marks = position::from_text(&row.get::<_, String>(4)?);
            let next: i64 = row.get(3)?;
            let next = u64::try_from(next).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(3, next))?;
            Ok(((row.get(0)?, partition), Position { next, marks }))
        })?;
        rows.collect::<rusqlite::Result<_>>().map(Self)
    }

    pub(super) fn of(&self, group: &str, partition: &Partition) -> Option<Position> {
        self.0.get(&(group.to_owned(), partition.clone())).cloned()
    }
}

/// A lease that is always held: there is only one process.
pub(super) struct EmbeddedLease {
    group: String,
    positions: Positions,
    held: watch::Sender<bool>,
}

impl EmbeddedLease {
    pub(super) fn new(group: &str, positions: Positions) -> Self {
        Self { group: group.into(), positions, held: watch::Sender::new(true) }
    }
}

#[async_trait]
impl Lease for EmbeddedLease {
    fn held(&self) -> watch::Receiver<bool> {
        self.held.subscribe()
    }

    /// Always `None`: no other process can have this log open.
    async fn holder(&self) -> Result<Option<String>, LeaseError> {
        Ok(None)
    }

    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        let mut kept = Vec::with_capacity(partitions.len());
        for partition in partitions {
            kept.push(self.positions.get(&self.group, partition).await.map_err(unavailable)?);
        }
        Ok(kept)
    }

    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError> {
        self.positions.put(&self.group, positions).await.map_err(unavailable)
    }
}

fn unavailable(error: sqlx::Error) -> LeaseError {
    LeaseError::Unavailable { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn positions_are_kept_again_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let positions = Positions::open(&folder.path().join("positions.sqlite")).await.unwrap();
        let at = |partition: u32| Partition::new("orders", partition);
        positions.put("group", &[(at(0), 1.into())]).await.unwrap();
        sqlx::query("pragma max_page_count = 3").execute(&positions.pool).await.unwrap();
        let many: Vec<_> = (0..2_000).map(|partition| (at(partition), 2.into())).collect();
        let full = positions.put("group", &many).await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        assert_eq!(positions.get("group", &at(0)).await.unwrap(), Some(1.into()), "all or nothing");
        sqlx::query("pragma max_page_count = 10000").execute(&positions.pool).await.unwrap();
        positions.put("group", &[(at(0), 3.into()), (at(1), 4.into())]).await.unwrap();
        assert_eq!(positions.get("group", &at(0)).await.unwrap(), Some(3.into()));
    }
}
