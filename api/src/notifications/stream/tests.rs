use std::time::Duration;

use orderlog_core::{header::Origin, key::HashKey};
use orderlog_domain::{
    notifications::{Command, Source},
    values::{Body, NotificationId, Subject},
};
use orderlog_eventlog::{EventLog, simulated::SimulatedLog};
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    environment::Machine,
    now_ms,
    replica::{Reach, Setup},
};
use poem_openapi::types::Example;
use uuid::Uuid;

use super::*;

/// An instance of the service that folds no record at or above a limit.
struct Instance {
    feed: Arc<Feed>,
    limit: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    _rows: tempfile::TempDir,
}

impl Instance {
    async fn start(log: &Arc<dyn EventLog>, limit: u64) -> Self {
        let rows = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(rows.path(), &orderlog_projections::notifications::TABLES).await.unwrap());
        let (log, hash_key) = (Arc::clone(log), HashKey::from_secret("test"));
        let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 100, environment: Arc::new(Machine) };
        let limit = watch::Sender::new(limit);
        let replica =
            Replica::start_up_to(setup, store, Reach { target: u64::MAX, limit: limit.subscribe() }).await.unwrap();
        Self { feed: Feed::start(replica), limit, stopping: watch::Sender::new(false), _rows: rows }
    }

    async fn ready(log: &Arc<dyn EventLog>) -> Self {
        let instance = Self::start(log, u64::MAX).await;
        instance.feed.replica().ready().await.unwrap();
        instance
    }

    async fn notify(&self, subject: &str) -> u64 {
        let command = Command::Notify {
            notification_id: NotificationId(Uuid::now_v7()),
            source: Source::Caller,
            recipient: operations(),
            recipient_as_given: "operations".to_owned(),
            subject: Subject::new(subject).unwrap(),
            body: Body::new("a body").unwrap(),
        };
        let made = self.feed.replica().execute(command, None, Origin::default(), now_ms() + 30_000).await.unwrap();
        self.feed.replica().has_committed(made.accepted.at.offset + 1).await;
        made.accepted.at.offset
    }

    fn stream(&self, begin: Begin) -> BoxStream<'static, Event> {
        let Streamed::Notifications(Events(events)) =
            of(Arc::clone(&self.feed), self.stopping.subscribe(), operations(), begin);
        events
    }
}

fn operations() -> Recipient {
    Recipient::new("operations").unwrap()
}

async fn log() -> Arc<dyn EventLog> {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    log
}

/// What comes next: `reset` or the subject of a notification, and the id.
async fn next(events: &mut BoxStream<'static, Event>) -> (String, EventId) {
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("in time").expect("no end");
    let Event::Message { id, event, data } = event else { panic!("{event:?}") };
    let what = if event.is_empty() { serde_json::from_str::<Notification>(&data).unwrap().subject } else { event };
    (what, id.parse().unwrap())
}

async fn nothing_comes(events: &mut BoxStream<'static, Event>) {
    let next = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn while_the_service_catches_up_a_stream_waits_and_misses_nothing() {
    let log = log().await;
    let writer = Instance::ready(&log).await;
    let first = writer.notify("first").await;
    writer.notify("second").await;
    let late = Instance::start(&log, 1).await;
    let claim = |id| Begin::Claimed(Some(EventId { sequence: id, print: None }));
    let (mut one, mut all, mut beyond) = (late.stream(claim(first)), late.stream(claim(0)), late.stream(claim(99)));
    nothing_comes(&mut one).await;
    nothing_comes(&mut beyond).await;
    late.limit.send_replace(u64::MAX);
    assert_eq!(next(&mut one).await.0, "second");
    assert_eq!(next(&mut all).await.0, "first");
    assert_eq!(next(&mut beyond).await.0, "reset", "what this instance has not read is not what the log does not hold");
    let third = writer.notify("third").await;
    assert_eq!(next(&mut one).await.0, "third");
    assert_eq!(next(&mut beyond).await, ("third".to_owned(), EventId::new(third, id_of(&writer, third).await)));
}

async fn id_of(instance: &Instance, sequence: u64) -> Option<orderlog_core::key::RecordId> {
    instance.feed.replica().store().record_id(sequence).await.unwrap()
}

#[tokio::test]
async fn an_id_that_the_journal_does_not_hold_resets_the_stream_which_goes_on_from_there() {
    let log = log().await;
    let instance = Instance::ready(&log).await;
    let first = instance.notify("first").await;
    let last = instance.notify("second").await;
    let newest = EventId::new(last, id_of(&instance, last).await);
    let claims = [
        None,
        // Another record stands there.
        Some(EventId { sequence: first, print: newest.print }),
        Some(EventId { sequence: last + 1, print: None }),
        Some(EventId { sequence: 1 << 63, print: None }),
        Some(EventId { sequence: u64::MAX, print: Some(0) }),
    ];
    let mut streams: Vec<_> = claims.map(|claim| instance.stream(Begin::Claimed(claim))).into();
    for events in &mut streams {
        assert_eq!(next(events).await, ("reset".to_owned(), newest));
    }
    let mut known = instance.stream(Begin::Claimed(Some(newest)));
    nothing_comes(&mut known).await;
    streams.push(known);
    streams.push(instance.stream(Begin::Claimed(Some(EventId { print: None, ..newest }))));
    instance.notify("third").await;
    for events in &mut streams {
        assert_eq!(next(events).await.0, "third");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_for_long_misses_nothing() {
    let log = log().await;
    let instance = Instance::ready(&log).await;
    let mut events = instance.stream(Begin::Behind(None));
    instance.notify("0").await;
    assert_eq!(next(&mut events).await.0, "0");
    nothing_comes(&mut events).await;
    // More than wait for a stream, and more than one query reads.
    for n in 1..250 {
        instance.notify(&n.to_string()).await;
    }
    for n in 1..250 {
        assert_eq!(next(&mut events).await.0, n.to_string());
    }
    nothing_comes(&mut events).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_process_and_says_from_where_to_continue() {
    let log = log().await;
    let instance = Instance::ready(&log).await;
    let before = instance.notify("before").await;
    let (mut idle, mut read) = (instance.stream(Begin::Behind(Some(before))), instance.stream(Begin::Behind(None)));
    let (_, sent) = next(&mut read).await;
    nothing_comes(&mut idle).await;
    instance.stopping.send_replace(true);
    for (events, last) in [(&mut idle, EventId { sequence: before, print: None }), (&mut read, sent)] {
        assert_eq!(next(events).await, ("reconnect".to_owned(), last));
        assert!(events.next().await.is_none());
    }
}

#[test]
fn a_reset_has_an_id_and_data_for_browsers_to_take_it() {
    let text = reset(EventId { sequence: 7, print: Some(1) }).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["id: notifications@7.0000000000000001", "event: reset"], "{text}");
    assert!(lines[2].starts_with("data: {"), "{text}");
}

#[test]
fn the_data_of_an_event_is_on_one_line() {
    let notification = Notification { body: "two\nlines".to_owned(), ..Notification::example() };
    let data = serde_json::to_string(&notification).unwrap();
    let text = Event::message(data).id("7").to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "id: 7"), "{text}");
    let data = lines[1].strip_prefix("data: ").unwrap();
    assert_eq!(serde_json::from_str::<Notification>(data).unwrap(), notification);
}
