//! The history of one order: its records, in the order of the log.

use chrono::{DateTime, Utc};
use orderlog_core::{decider::Decider, key::Key, machine::Verdict, words::count};
use orderlog_domain::orders::{DeclineReason, Event, Orders, Reaction};
use orderlog_http::prelude::*;
use orderlog_readmodel::{Cursor, Page, Paging};
use orderlog_runtime::replica::{Recorded, Replica};

use super::OrdersService;

/// A record in the history of an order.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct HistoryEntry {
    /// Its offset in the journal `orders`.
    pub offset: u64,
    /// When it was recorded.
    pub time: DateTime<Utc>,
    /// What happened, such as `order_placed`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in words for people. Later versions may reword it.
    pub summary: String,
    /// The order's version after this record.
    pub version: u64,
    /// The id (`ce_id`) of the public event that caused this record, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Uuid>,
    /// The id of the public event that started the chain of events, if it was not this record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Uuid>,
    /// The W3C `traceparent` of the request that led to this record, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl ListItem for HistoryEntry {
    fn list_name() -> String {
        "History".to_owned()
    }
}

/// A page of the records about `key`. Void records are not part of the history; unreadable ones are left out until they
/// are repaired.
///
/// # Errors
/// 400 for an invalid cursor; otherwise the error of the read.
pub async fn of(service: &Service<OrdersService>, key: &Key, paging: &Paging) -> ApiResult<Page<HistoryEntry>> {
    let after = paging.after.as_ref().map(|cursor| cursor.as_str().parse::<u64>()).transpose();
    let after = after.map_err(|_| ApiError::parameter("cursor", codes::INVALID_CURSOR, "not a cursor of this list"))?;
    let mut rows = service.rows().await?.history(key, after, paging.limit + 1).await?;
    let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| Cursor::new(row.offset.to_string()));
    let offsets: Vec<u64> = rows.iter().filter(|row| row.verdict == Verdict::Accepted).map(|row| row.offset).collect();
    let records = service.replica.log().fetch(&Replica::<Orders>::journal(), &offsets).await;
    let records = records.map_err(|error| ApiError::unavailable(codes::LOG_UNAVAILABLE, error.to_string()))?;
    let mut items = Vec::with_capacity(records.len());
    for record in &records {
        let recorded = Recorded::<Orders>::decode(record).map_err(|error| ApiError::internal(&error))?;
        items.extend(recorded.map(entry));
    }
    Ok(Page { items, next })
}

fn entry(recorded: Recorded<Orders>) -> HistoryEntry {
    let Recorded { offset, header, event } = recorded;
    HistoryEntry {
        offset,
        time: time(header.time_ms),
        kind: Orders::kind(&event).to_owned(),
        summary: summary(&event),
        version: event.version(),
        cause: header.origin.cause,
        correlation: header.origin.correlation,
        trace: header.origin.trace,
    }
}

fn summary(event: &Event) -> String {
    match event {
        Event::OrderPlaced(placed) => {
            let (lines, total) = (count(placed.lines.len(), "line"), placed.total.minor_units());
            format!("placed: {lines}, {total} minor units of {}", placed.currency)
        }
        Event::OrderConfirmed(_) => "confirmed: all of its stock is reserved".to_owned(),
        Event::OrderRejected(rejected) => {
            let shortages = rejected.rejection.shortages.iter();
            let short: Vec<String> = shortages
                .map(|short| format!("{} ({} requested, {} available)", short.sku, short.requested, short.available))
                .collect();
            format!("rejected: not enough of {}", short.join(", "))
        }
        Event::OrderCancelled(_) => "cancelled".to_owned(),
        Event::OrderFulfilled(fulfilled) => format!("fulfilled: {} shipped", count(fulfilled.lines.len(), "SKU")),
        Event::OrderMarkedPaid(_) => "paid in full".to_owned(),
        Event::OrderMarkedRefunded(_) => "refunded".to_owned(),
        Event::OrderUnchanged(unchanged) => format!("requested again when it already was {}", unchanged.state),
        Event::OrderReactionDeclined(declined) => {
            let news = match declined.reaction {
                Reaction::Confirm => "its stock",
                Reaction::Reject => "its shortage",
                Reaction::MarkPaid => "its payment",
                Reaction::MarkRefunded => "its refund",
            };
            match declined.because {
                DeclineReason::UnknownOrder => format!("ignored {news}: no such order was placed"),
                DeclineReason::StateIs(state) => format!("ignored {news}: the order was already {state}"),
                DeclineReason::PaymentIs(payment) => format!("ignored {news}: the order was already {payment}"),
            }
        }
    }
}
