//! New notifications as server-sent events.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::ready, stream, stream::BoxStream};
use orderlog_domain::{notifications::Notifications, values::Recipient};
use orderlog_eventlog::ReadError;
use orderlog_projections::notifications;
use orderlog_readmodel::StoreError;
use orderlog_runtime::{
    marks,
    replica::{Replica, State},
};
use poem::{
    IntoResponse, Response,
    web::sse::{Event, SSE},
};
use poem_openapi::{
    ApiResponse,
    payload::{EventStream, Payload},
    registry::{MetaSchemaRef, Registry},
};
use tokio::sync::watch;

use super::{
    Notification,
    event_id::EventId,
    feed::{Feed, Sent, Subscription},
};

/// The number of notifications per query.
const N_READ_MAX: u32 = 100;
/// How often a comment is sent while nothing happens, so that no proxy takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long browsers wait before they reconnect, in milliseconds; otherwise several seconds.
const RECONNECT_MS: u64 = 500;
/// The pause before a log that does not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Notifications as they come.
#[derive(ApiResponse)]
pub enum Streamed {
    /// One event per notification, until the caller disconnects: `id` names its record, such as
    /// `notifications@1042.3f9ab2c41d5e6f70`, and `data` is the notification as JSON. A `reset` event means that the
    /// caller's last id is not from this log, because the log was restored from an older copy, or is not an id at all:
    /// reload the list. Resume from the `id` of the `reset` event. A `reconnect` event is the last one of a stream that
    /// the service ends, usually because its process stops: resume from its `id`, which browsers do by themselves.
    #[oai(status = 200)]
    Notifications(Events),
}

/// Server-sent events, which the contract declares as notifications.
pub struct Events(BoxStream<'static, Event>);

impl Payload for Events {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        <EventStream<BoxStream<'static, Notification>> as Payload>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <EventStream<BoxStream<'static, Notification>> as Payload>::register(registry);
    }
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        let retry = Event::retry(RECONNECT_MS);
        SSE::new(stream::once(ready(retry)).chain(self.0)).keep_alive(KEEP_ALIVE).into_response()
    }
}

/// Where a stream begins.
pub enum Begin {
    /// After this sequence; `None`: with the first notification.
    Behind(Option<u64>),
    /// After the event that the caller names; `None` if its id is not one of this journal.
    Claimed(Option<EventId>),
}

/// The notifications of `recipient` from `begin` on, until the process is `stopping`.
pub fn of(feed: Arc<Feed>, mut stopping: watch::Receiver<bool>, recipient: Recipient, begin: Begin) -> Streamed {
    let mut state = feed.replica().state();
    let reading = Reading { feed, recipient, begin: Some(begin), last: None, read: VecDeque::new(), live: None };
    let ended = async move {
        tokio::select! {
            biased;
            _ = state.wait_for(|state| matches!(state, State::Stopped(_))) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    };
    let ended = ended.boxed().shared();
    let events = stream::unfold(Some(reading), move |reading| {
        let ended = ended.clone();
        async move {
            let mut reading = reading?;
            let next = tokio::select! {
                biased;
                () = ended => None,
                next = reading.next() => Some(next),
            };
            match next {
                Some(Ok(event)) => Some((event, Some(reading))),
                Some(Err(error)) => {
                    tracing::warn!(service = "notifications", "a stream of notifications ends: {error}");
                    Some((reading.reconnect(), None))
                }
                None => Some((reading.reconnect(), None)),
            }
        }
    });
    Streamed::Notifications(Events(events.boxed()))
}

/// The state of a stream.
struct Reading {
    feed: Arc<Feed>,
    recipient: Recipient,
    begin: Option<Begin>,
    /// The last event sent or already received by the caller; `None` to send everything.
    last: Option<EventId>,
    /// Read by a query and not yet sent.
    read: VecDeque<Sent>,
    /// Everything after `read`, once that has caught up.
    live: Option<Subscription>,
}

impl Reading {
    async fn next(&mut self) -> Result<Event, StoreError> {
        if let Some(begin) = self.begin.take()
            && let Some(reset) = self.begin(begin).await?
        {
            return Ok(reset);
        }
        loop {
            if let Some(sent) = self.read.pop_front() {
                return Ok(self.send(&sent));
            }
            match &mut self.live {
                None => self.catch_up().await?,
                Some(live) => match live.next().await {
                    Some(sent) if self.last.is_some_and(|last| sent.id.sequence <= last.sequence) => {}
                    Some(sent) => return Ok(self.send(&sent)),
                    None => self.live = None,
                },
            }
        }
    }

    /// The last event of a stream that ends, with the id from which another one continues. It has data because browsers drop
    /// events without.
    fn reconnect(&self) -> Event {
        let event = Event::message(r#"{"reason":"the service ends this stream: reconnect with this id"}"#)
            .event_type("reconnect");
        match self.last {
            Some(last) => event.id(last.to_string()),
            None => event,
        }
    }

    fn send(&mut self, Sent { id, data }: &Sent) -> Event {
        self.last = Some(*id);
        Event::message(data.clone()).id(id.to_string())
    }

    /// Reads the next notifications from the read model. Once that has no more, the feed delivers the rest.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        // Before reading, so that nothing is missed in between.
        let live = self.feed.subscribe(&self.recipient);
        let store = self.feed.replica().store();
        let after = self.last.map(|last| last.sequence);
        let notified = notifications::since(&store, after, Some(&self.recipient), N_READ_MAX).await?;
        let is_all = u32::try_from(notified.len()).is_ok_and(|n| n < N_READ_MAX);
        self.live = is_all.then_some(live);
        self.read.extend(notified.iter().map(Sent::from));
        Ok(())
    }

    /// Begins once the read model contains what the journal held at the start. Returns an event if the caller must
    /// reload the list first.
    async fn begin(&mut self, begin: Begin) -> Result<Option<Event>, StoreError> {
        let replica = self.feed.replica();
        is_ready(replica).await;
        match begin {
            Begin::Behind(after) => self.last = after.map(|sequence| EventId { sequence, print: None }),
            Begin::Claimed(Some(id)) if is_known(replica, id).await? => self.last = Some(id),
            Begin::Claimed(_) => {
                let newest = newest(replica).await?;
                self.last = Some(newest);
                return Ok(Some(reset(newest)));
            }
        }
        Ok(None)
    }
}

/// Waits until the replica is ready; forever if it has stopped, since then the stream is about to end.
async fn is_ready(replica: &Replica<Notifications>) {
    if replica.ready().await.is_err() {
        std::future::pending().await
    }
}

/// Whether the journal contains the record that this id names. Waits if the read model lags or the log does not answer.
async fn is_known(replica: &Replica<Notifications>, id: EventId) -> Result<bool, StoreError> {
    while *replica.committed().borrow() <= id.sequence {
        match end(replica).await {
            Ok(end) if end <= id.sequence => return Ok(false),
            // Another instance has sent it.
            Ok(_) => replica.has_committed(id.sequence + 1).await,
            Err(error) => {
                tracing::debug!(service = "notifications", "a stream waits for the log: {error}");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
        is_ready(replica).await;
    }
    let Some(print) = id.print else { return Ok(true) };
    Ok(replica.store().record_id(id.sequence).await?.map(marks::print_of_id) == Some(print))
}

/// The end of the journal.
pub async fn end(replica: &Replica<Notifications>) -> Result<u64, ReadError> {
    let ends = replica.log().ends(&[Replica::<Notifications>::journal()]).await?;
    Ok(ends.first().copied().unwrap_or(0))
}

/// The id of the newest record in the read model.
async fn newest(replica: &Replica<Notifications>) -> Result<EventId, StoreError> {
    let sequence = replica.committed().borrow().saturating_sub(1);
    Ok(EventId::new(sequence, replica.store().record_id(sequence).await?))
}

/// Tells the caller to reload the list. It has data because browsers drop events without.
fn reset(newest: EventId) -> Event {
    let data = r#"{"reason":"the last event id is not one of this log: reload the list"}"#;
    Event::message(data).event_type("reset").id(newest.to_string())
}

#[cfg(test)]
mod tests;
