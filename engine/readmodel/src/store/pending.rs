//! Counts objects that wait for an outcome.

use orderlog_core::decider::{Decider, Millis};
use sqlx::AssertSqlSafe;

use super::Store;
use crate::error::StoreError;

/// The most objects of a kind that are counted, since they are counted often.
const N_COUNTED_MAX: u32 = 100_000;

impl<D: Decider> Store<D> {
    /// Returns how many objects of each kind in [`pending`](crate::Tables::pending) have waited since each of these times, up to 100,000.
    pub async fn pending(&self, since_ms: &[Millis]) -> Result<Vec<(&'static str, Vec<u64>)>, StoreError> {
        let counts = vec!["count(*) filter (where since <= ?)"; since_ms.len()].join(", ");
        let mut found = Vec::new();
        for kind in self.tables().pending {
            let of_kind = format!("select {} as since from {} limit {N_COUNTED_MAX}", kind.since, kind.from);
            let query = sqlx::query(AssertSqlSafe(format!("select {counts} from ({of_kind})")));
            let row = since_ms.iter().fold(query, |query, since| query.bind(since)).fetch_one(&self.lists).await;
            let row = row.map_err(|error| self.origin.error("counting what is pending", error))?;
            let counted = (0..since_ms.len()).map(|column| self.origin.count(&row, column));
            found.push((kind.name, counted.collect::<Result<_, _>>()?));
        }
        Ok(found)
    }
}
