//! Notifications as they come, as server-sent events.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use orderlog_domain::{notifications::Notifications, values::Recipient};
use orderlog_service::replica::{Replica, State};
use poem::web::sse::Event;
use poem_openapi::{ApiResponse, payload::EventStream};
use tokio::sync::watch;

use super::Notification;

/// So many notifications are read at once.
const N_MAX: u32 = 100;
/// How often a comment is sent while nothing happens, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Notifications as they come.
#[derive(ApiResponse)]
pub enum Streamed {
    /// One event per notification, until the caller goes away: `id` is its sequence, `data` the notification as JSON.
    #[oai(status = 200)]
    Notifications(EventStream<BoxStream<'static, Notification>>),
}

/// Where a stream stands.
struct Position {
    replica: Replica<Notifications>,
    recipient: Recipient,
    committed: watch::Receiver<u64>,
    state: watch::Receiver<State>,
    stopping: watch::Receiver<bool>,
    /// The last sequence that was sent, or that the caller had before; none if everything is wanted.
    after: Option<u64>,
    read: VecDeque<Notification>,
}

/// The notifications of `recipient` behind `after`, or from now on, until the process is `stopping`.
pub fn of(
    replica: Replica<Notifications>,
    stopping: watch::Receiver<bool>,
    recipient: Recipient,
    after: Option<u64>,
) -> Streamed {
    let (committed, state) = (replica.committed(), replica.state());
    // Everything that is committed already has a lower sequence than this.
    let after = after.or_else(|| committed.borrow().checked_sub(1));
    let position = Position { replica, recipient, committed, state, stopping, after, read: VecDeque::new() };
    let events = futures_util::stream::unfold(position, |mut position| async move {
        let notification = position.next().await?;
        Some((notification, position))
    });
    let events = EventStream::new(events.boxed()).keep_alive(KEEP_ALIVE).to_event(event);
    Streamed::Notifications(events)
}

fn event(notification: Notification) -> Event {
    // Texts, numbers and times: it always has a JSON form, on one line.
    let data = serde_json::to_string(&notification).unwrap_or_default();
    Event::message(data).id(notification.sequence.to_string())
}

impl Position {
    /// The next notification; none when the process or the service stops, or its rows can't be read: the caller comes again
    /// with the last sequence it has.
    async fn next(&mut self) -> Option<Notification> {
        loop {
            if let Some(notification) = self.read.pop_front() {
                self.after = Some(notification.sequence);
                return Some(notification);
            }
            // Marked as seen before the rows are read, so that what is committed meanwhile wakes us.
            self.committed.borrow_and_update();
            let rows = self.replica.store().notifications_since(self.after, Some(&self.recipient), N_MAX).await;
            match rows {
                Ok(rows) if rows.is_empty() => {
                    tokio::select! {
                        changed = self.committed.changed() => changed.ok()?,
                        stopped = self.state.wait_for(|state| matches!(state, State::Stopped(_))) => {
                            drop(stopped);
                            return None;
                        }
                        stopping = self.stopping.wait_for(|stopping| *stopping) => {
                            drop(stopping);
                            return None;
                        }
                    }
                }
                Ok(rows) => self.read.extend(rows.iter().map(Notification::from)),
                Err(error) => {
                    tracing::warn!(service = "notifications", "a stream of notifications ends: {error}");
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::Example;

    use super::*;

    #[test]
    fn an_event_has_its_sequence_as_id_and_its_data_on_one_line() {
        let notification = Notification { body: "two\nlines".to_owned(), ..Notification::example() };
        let text = event(notification.clone()).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "id: 7"), "{text}");
        let data = lines[1].strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<Notification>(data).unwrap(), notification);
    }
}
