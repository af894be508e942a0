//! New notifications for all streams: one query per commit, however many streams there are, and none without streams.
//!
//! Each stream has a short queue. If it is read too slowly, the queue is closed and the stream reads what it missed
//! with a query.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use orderlog_domain::{notifications::Notifications, values::Recipient};
use orderlog_projections::notifications::{self, Notified};
use orderlog_readmodel::StoreError;
use orderlog_runtime::replica::Replica;
use tokio::sync::{mpsc, watch};

use super::{Notification, event_id::EventId};

/// The most notifications that one query reads.
const N_READ_MAX: u32 = 500;
/// The most notifications that wait for one stream.
const N_QUEUED_MAX: usize = 64;

/// A notification as streams send it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: EventId,
    /// The notification as JSON, on one line.
    pub data: String,
}

impl From<&Notified> for Sent {
    fn from(Notified { notification, record }: &Notified) -> Self {
        let id = EventId::new(notification.sequence, Some(*record));
        // Texts, numbers and times can always be serialized.
        let data = serde_json::to_string(&Notification::from(notification)).unwrap_or_default();
        Self { id, data }
    }
}

/// Passes new notifications to streams.
pub struct Feed {
    replica: Replica<Notifications>,
    subscribers: Mutex<Subscribers>,
}

/// The streams, and how far they have been served.
#[derive(Default)]
struct Subscribers {
    /// Every notification with a lower sequence was passed to the current subscribers.
    next: u64,
    queues: HashMap<Recipient, Vec<mpsc::Sender<Arc<Sent>>>>,
}

impl Subscribers {
    /// Passes on notifications in ascending order, which include all new ones below `next`.
    fn hand_out(&mut self, notified: &[Notified], next: u64) {
        for it in notified.iter().filter(|it| it.notification.sequence >= self.next) {
            if let Some(queues) = self.queues.get_mut(&it.notification.recipient) {
                let sent = Arc::new(Sent::from(it));
                // This closes a full queue: its stream then reads by itself.
                queues.retain(|queue| queue.try_send(Arc::clone(&sent)).is_ok());
            }
        }
        self.next = self.next.max(next);
        self.queues.retain(|_, queues| !queues.is_empty());
    }
}

impl Feed {
    /// Starts a feed of everything that the replica commits from now on, for as long as the feed is kept.
    pub fn start(replica: Replica<Notifications>) -> Arc<Self> {
        let committed = replica.committed();
        let feed = Arc::new(Self { replica, subscribers: Mutex::default() });
        tokio::spawn(follow(Arc::downgrade(&feed), committed));
        feed
    }

    /// The replica that the feed follows.
    pub fn replica(&self) -> &Replica<Notifications> {
        &self.replica
    }

    /// Subscribes: every notification for `recipient` that is committed from now on arrives, until the queue is closed.
    /// The read model contains everything committed before.
    pub fn subscribe(self: &Arc<Self>, recipient: &Recipient) -> Subscription {
        let (sender, queue) = mpsc::channel(N_QUEUED_MAX);
        let mut subscribers = self.subscribers();
        if subscribers.queues.is_empty() {
            subscribers.next = *self.replica.committed().borrow();
        }
        subscribers.queues.entry(recipient.clone()).or_default().push(sender);
        drop(subscribers);
        Subscription { feed: Arc::downgrade(self), recipient: recipient.clone(), queue }
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on everything committed below `committed`.
    async fn hand_out(&self, committed: u64) -> Result<(), StoreError> {
        loop {
            let next = {
                let subscribers = self.subscribers();
                if subscribers.queues.is_empty() || subscribers.next >= committed {
                    return Ok(());
                }
                subscribers.next
            };
            let mut notified =
                notifications::since(&self.replica.store(), next.checked_sub(1), None, N_READ_MAX).await?;
            let is_full = u32::try_from(notified.len()).is_ok_and(|n| n == N_READ_MAX);
            // What is committed meanwhile comes with the next commit.
            notified.retain(|it| it.notification.sequence < committed);
            let last = notified.last().filter(|_| is_full).map(|last| last.notification.sequence + 1);
            self.subscribers().hand_out(&notified, last.unwrap_or(committed));
        }
    }
}

async fn follow(feed: Weak<Feed>, mut committed: watch::Receiver<u64>) {
    while committed.changed().await.is_ok() {
        let Some(feed) = feed.upgrade() else { return };
        let up_to = *committed.borrow_and_update();
        if let Err(error) = feed.hand_out(up_to).await {
            tracing::warn!(service = "notifications", "streams read new notifications by themselves: {error}");
            feed.subscribers().queues.clear();
        }
    }
}

/// A stream's subscription.
pub struct Subscription {
    feed: Weak<Feed>,
    recipient: Recipient,
    queue: mpsc::Receiver<Arc<Sent>>,
}

impl Subscription {
    /// The next notification; `None` once the queue was full, or the read model could not be read.
    pub async fn next(&mut self) -> Option<Arc<Sent>> {
        self.queue.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        let Some(feed) = self.feed.upgrade() else { return };
        let mut subscribers = feed.subscribers();
        if let Some(queues) = subscribers.queues.get_mut(&self.recipient) {
            queues.retain(|queue| !queue.is_closed());
            if queues.is_empty() {
                subscribers.queues.remove(&self.recipient);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use orderlog_core::key::RecordId;
    use orderlog_domain::{
        notifications,
        values::{Body, NotificationId, Subject},
    };
    use uuid::Uuid;

    use super::*;

    fn recipient(name: &str) -> Recipient {
        Recipient::new(name).unwrap()
    }

    fn notified(sequence: u64, name: &str) -> Notified {
        let notification = notifications::Notification {
            notification_id: NotificationId(Uuid::from_u128(sequence.into())),
            recipient: recipient(name),
            subject: Subject::new("a subject").unwrap(),
            body: Body::new("a body").unwrap(),
            read: false,
            version: 1,
            created_ms: 0,
            read_ms: None,
            sequence,
        };
        Notified { notification, record: RecordId(Uuid::nil()) }
    }

    fn joined(subscribers: &mut Subscribers, name: &str) -> mpsc::Receiver<Arc<Sent>> {
        let (sender, queue) = mpsc::channel(N_QUEUED_MAX);
        subscribers.queues.entry(recipient(name)).or_default().push(sender);
        queue
    }

    fn sequences(queue: &mut mpsc::Receiver<Arc<Sent>>) -> Vec<u64> {
        std::iter::from_fn(|| queue.try_recv().ok()).map(|sent| sent.id.sequence).collect()
    }

    #[test]
    fn each_stream_gets_what_is_for_its_recipient_once() {
        let mut subscribers = Subscribers { next: 5, ..Subscribers::default() };
        let (mut one, mut two, mut other) =
            (joined(&mut subscribers, "a"), joined(&mut subscribers, "a"), joined(&mut subscribers, "b"));
        subscribers.hand_out(&[notified(4, "a"), notified(5, "a"), notified(6, "b"), notified(7, "c")], 8);
        // The same was read once more, by a query that began before.
        subscribers.hand_out(&[notified(5, "a"), notified(9, "a")], 10);
        assert_eq!(sequences(&mut one), [5, 9]);
        assert_eq!(sequences(&mut two), [5, 9]);
        assert_eq!(sequences(&mut other), [6]);
        assert_eq!(subscribers.next, 10);
    }

    #[test]
    fn a_stream_that_is_not_read_is_cut_off_after_what_fits_and_holds_up_nobody() {
        let mut subscribers = Subscribers::default();
        let (mut slow, mut quick) = (joined(&mut subscribers, "a"), joined(&mut subscribers, "a"));
        let mut received = Vec::new();
        for sequence in 0..200 {
            subscribers.hand_out(&[notified(sequence, "a")], sequence + 1);
            received.extend(sequences(&mut quick));
        }
        assert_eq!(received, Vec::from_iter(0..200));
        assert_eq!(sequences(&mut slow), Vec::from_iter(0..64));
        assert!(slow.is_closed(), "it is to read by itself from there");
        drop(quick);
        subscribers.hand_out(&[notified(200, "a")], 201);
        assert!(subscribers.queues.is_empty(), "nobody is left to be served");
    }
}
