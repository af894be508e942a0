//! The read model of the notifications service.

use orderlog_core::key::RecordId;
use orderlog_domain::{
    notifications::{Entity, NOTIFICATIONS, Notification, Notifications},
    values::Recipient,
};

use orderlog_readmodel::{
    Cell, Column, Cursor, Index, List, Page, Paging, SqlView, Store, StoreError, Table, Tables, ViewColumn,
};

pub static TABLES: Tables<Notifications> = Tables {
    // Schema 2 stores recipients that are UUIDs in lower case.
    schema: 2,
    tables: &[Table {
        kind: NOTIFICATIONS,
        // Null for a placeholder of a notification without content.
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
            // Lets a second sink find what it has not seen.
            Index { name: "notifications_by_offset", on: "(offset)" },
        ],
        copied: false,
    }],
    ledgers: &[],
    timers: &[],
    views: &[SqlView {
        name: "notifications_view",
        columns: &[
            ViewColumn::id("notification_id", "key"),
            ViewColumn::text("recipient", "recipient"),
            ViewColumn::number("read", "not unread"),
            ViewColumn::number("version", "version"),
            ViewColumn::time("created_at", "doc ->> '$.Notification.created_ms'"),
            ViewColumn::time("read_at", "doc ->> '$.Notification.read_ms'"),
        ],
        from: "notifications where recipient is not null",
    }],
    pending: &[],
};

/// The current state of a notification, and the record that created it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// Its `sequence` is the record's offset.
    pub notification: Notification,
    pub record: RecordId,
}

/// A page of a recipient's notifications, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    pub page: Page<Notification>,
    /// The number of unread notifications of the recipient, on all pages.
    pub unread: u64,
    /// Every record of the journal below this offset is reflected. Shows whether an inbox lags behind an earlier response
    /// to the caller.
    pub position: u64,
}

/// What a second sink has not seen yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// Every notification last changed by a record from the requested offset up to, but excluding, `to`. Unordered.
    pub(crate) notifications: Vec<Notification>,
    /// The offset to continue from.
    pub(crate) to: u64,
}

/// A page of a recipient's notifications, newest first, with the number of unread ones, in one snapshot.
pub async fn inbox(
    store: &Store<Notifications>,
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
    let mut moment = store.moment().await?;
    let rows = moment
        .rows(list, limit + 1, |row| Ok((Cursor::of_numbers(&[row.number(0)?]), row.document::<Entity>(1)?)))
        .await?;
    let counts = moment.rows(count, 1, |row| Ok((row.count(0)?, row.count(1)?))).await?;
    let (unread, position) = counts.first().copied().unwrap_or_default();
    let page = Page::cut(rows, limit).filter_map(Entity::into_notification);
    Ok(InboxPage { page, unread, position })
}

/// Notifications whose sequence is above `after`, ascending, at most `limit`. Of one recipient, or of all if `None`.
pub async fn since(
    store: &Store<Notifications>,
    after: Option<u64>,
    recipient: Option<&Recipient>,
    limit: u32,
) -> Result<Vec<Notified>, StoreError> {
    let select = "select doc, id from notifications join records on records.offset = notifications.sequence";
    let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let list = List::new(select, "sequence")
        .only("sequence > ?", [Cell::Integer(after)])
        .only_if("recipient = ?", recipient.map(|recipient| Cell::Text(recipient.as_str().to_owned())));
    let rows = store.rows(list, limit, |row| Ok((row.document::<Entity>(0)?, RecordId(row.uuid(1)?)))).await?;
    let notified = rows.into_iter().filter_map(|(entity, record)| {
        entity.as_notification().cloned().map(|notification| Notified { notification, record })
    });
    Ok(notified.collect())
}

/// The notifications changed by records from offset `from` on, at most `limit`.
pub(crate) async fn news(store: &Store<Notifications>, from: u64, limit: u32) -> Result<News, StoreError> {
    let list = List::new("select offset, doc from notifications", "offset")
        .only("offset >= ?", [Cell::Integer(from.cast_signed())]);
    let mut moment = store.moment().await?;
    let mut rows =
        moment.rows(list, limit.saturating_add(1), |row| Ok((row.count(0)?, row.document::<Entity>(1)?))).await?;
    let mut to = moment.next().await?;
    if rows.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
        // Leave the last record to the next call, since more of its changes may not fit. One record changes one
        // notification, so something always remains.
        to = rows.last().map_or(to, |(offset, _)| *offset);
        rows.retain(|(offset, _)| *offset < to);
    }
    let notifications = rows.iter().filter_map(|(_, entity)| entity.as_notification()).cloned().collect();
    Ok(News { notifications, to })
}
