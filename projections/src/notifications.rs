//! The notifications service's rows and lists.

use orderlog_domain::{
    key::RecordId,
    notifications::{Entity, NOTIFICATIONS, Notification, Notifications},
    values::Recipient,
};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::{
    error::StoreError,
    inbox::InboxPage,
    store::{Cursor, List, Origin, Page, Paging, Store, document},
    tables::{Cell, Column, Index, Ledger, Table, Tables},
};

impl Tables for Notifications {
    // 2: recipients that are UUIDs are in lower case.
    const SCHEMA: u32 = 2;
    const TABLES: &'static [Table<Entity>] = &[Table {
        kind: NOTIFICATIONS,
        // Null where only the place of a notification is kept.
        columns: &[
            Column::new("recipient", "text"),
            Column::new("sequence", "integer"),
            Column::new("unread", "integer"),
        ],
        cells: |entity| match entity {
            Entity::Notification(notification) => vec![
                Cell::Text(notification.recipient.as_str().to_owned()),
                Cell::Integer(notification.sequence.cast_signed()),
                Cell::from(!notification.read),
            ],
            Entity::StrayNotification(_) => vec![Cell::Null, Cell::Null, Cell::Null],
        },
        indexes: &[
            Index { name: "notifications_by_recipient", on: "(recipient, sequence)" },
            Index { name: "notifications_unread", on: "(recipient, sequence) where unread = 1" },
            Index { name: "notifications_by_sequence", on: "(sequence)" },
            // By which a second sink finds what it has not seen.
            Index { name: "notifications_by_offset", on: "(offset)" },
        ],
        copied: false,
    }];
    const LEDGERS: &'static [Ledger<Self>] = &[];
}

/// A notification as it is now, and the record that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// Its `sequence` is the record's offset.
    pub notification: Notification,
    /// The record's id.
    pub record: RecordId,
}

/// What a second sink has not seen yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// Every notification that a record from the asked offset up to `to` changed last, in no order.
    pub(crate) notifications: Vec<Notification>,
    /// The first offset that is not among them.
    pub(crate) to: u64,
}

impl Store<Notifications> {
    /// A page of a recipient's notifications, newest first, and how many are unread; all as of one moment.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a foreign cursor; else SQLite's.
    pub async fn inbox(
        &self,
        recipient: &Recipient,
        unread_only: bool,
        paging: &Paging,
    ) -> Result<InboxPage, StoreError> {
        let whose = || Cell::Text(recipient.as_str().to_owned());
        let before = paging.after.as_ref().map(|cursor| cursor.numbers::<1>()).transpose()?;
        let mut list = List::new("select sequence, doc from notifications", "sequence desc")
            .only("recipient = ?", [whose()])
            .only_if("sequence < ?", before.map(|[sequence]| Cell::Integer(sequence)));
        if unread_only {
            list = list.only("unread = 1", []);
        }
        let limit = paging.limit();
        let count = List::new("select count(*), (select next from meta) from notifications", "1")
            .only("recipient = ?", [whose()])
            .only("unread = 1", []);
        let mut moment = self.moment().await?;
        let rows = moment
            .rows(list, limit + 1, |origin, row| {
                let sequence: i64 = origin.get(row, 0)?;
                Ok((Cursor::of_numbers(&[sequence]), document::<Entity>(origin, row, 1)?))
            })
            .await?;
        let counts = moment.rows(count, 1, |origin, row| Ok((origin.count(row, 0)?, origin.count(row, 1)?))).await?;
        let (unread, position) = counts.first().copied().unwrap_or_default();
        let page = Page::cut(rows, limit).filter_map(|entity| entity.as_notification().cloned());
        Ok(InboxPage { page, unread, position })
    }

    /// Notifications whose sequence is above `after`, ascending, at most `limit`; of one recipient, or of all.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn notified_since(
        &self,
        after: Option<u64>,
        recipient: Option<&Recipient>,
        limit: u32,
    ) -> Result<Vec<Notified>, StoreError> {
        let select = "select doc, id from notifications join records on records.offset = notifications.sequence";
        let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let list = List::new(select, "sequence")
            .only("sequence > ?", [Cell::Integer(after)])
            .only_if("recipient = ?", recipient.map(|recipient| Cell::Text(recipient.as_str().to_owned())));
        let read = |origin: &Origin, row: &SqliteRow| {
            Ok((document::<Entity>(origin, row, 0)?, RecordId(Uuid::from_bytes(origin.bytes(row, 1)?))))
        };
        let rows = self.rows(list, limit, read).await?;
        let notified = rows.into_iter().filter_map(|(entity, record)| {
            entity.as_notification().cloned().map(|notification| Notified { notification, record })
        });
        Ok(notified.collect())
    }

    /// What records from offset `from` on changed, about `limit` notifications at a time.
    pub(crate) async fn news(&self, from: u64, limit: u32) -> Result<News, StoreError> {
        let list = List::new("select offset, doc from notifications", "offset")
            .only("offset >= ?", [Cell::Integer(from.cast_signed())]);
        let mut moment = self.moment().await?;
        let mut rows = moment
            .rows(list, limit.saturating_add(1), |origin, row| {
                Ok((origin.count(row, 0)?, document::<Entity>(origin, row, 1)?))
            })
            .await?;
        let mut to = moment.next().await?;
        if rows.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            // The last record may have changed more than fits: it is left to the next call. One record changes one
            // notification, so something always stays.
            to = rows.last().map_or(to, |(offset, _)| *offset);
            rows.retain(|(offset, _)| *offset < to);
        }
        let notifications = rows.iter().filter_map(|(_, entity)| entity.as_notification()).cloned().collect();
        Ok(News { notifications, to })
    }
}
