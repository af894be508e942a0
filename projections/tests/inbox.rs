//! One suite for the inbox over SQLite and over real Redis (`REDIS=redis://127.0.0.1:6379`), then what only Redis can do:
//! lose its data, answers and connections.

use std::{
    error::Error,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use orderlog_core::{
    key::RecordId,
    machine::{Changes, Digest, EntityRow, RecordRow, Verdict},
};
use orderlog_domain::{
    notifications::{Entity, Notification, Notifications},
    values::{Body, NotificationId, Recipient, Subject},
};
use orderlog_projections::{Applied, Inbox, InboxError, RedisInbox};
use orderlog_readmodel::{Cursor, Pace, Paging, Store, StoreError, Writer};
use tempfile::TempDir;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn Error>>;

const LOG: Uuid = Uuid::from_u128(1);

/// Where the Redis for tests is. There is no default: a test that quietly tests nothing is worse than one that fails.
fn redis_url() -> String {
    std::env::var("REDIS").expect("set REDIS to a Redis these tests may use, such as redis://127.0.0.1:6379")
}

/// A prefix of its own for each test.
fn prefix() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

fn recipient(name: &str) -> Recipient {
    Recipient::new(name).expect("a token")
}

fn notification(sequence: u64, whose: &str) -> Notification {
    Notification {
        notification_id: NotificationId(Uuid::from_u64_pair(9, sequence)),
        recipient: recipient(whose),
        subject: Subject::new(format!("subject {sequence}")).expect("a text"),
        body: Body::new("böse Zeichen: \" \\ \n {}").expect("a text"),
        read: false,
        version: 1,
        created_ms: 1000 + sequence.cast_signed(),
        read_ms: None,
        sequence,
    }
}

/// The record that a row follows from.
fn record(row: &EntityRow<Entity>, verdict: Verdict) -> RecordRow {
    RecordRow {
        offset: row.offset,
        id: RecordId(Uuid::from_u64_pair(8, row.offset)),
        time_ms: 1000 + row.offset.cast_signed(),
        about: row.aggregate.key,
        verdict,
        digest: Digest::default(),
    }
}

/// The rows, and the inbox that follows them.
struct Subjects {
    store: Store<Notifications>,
    writer: Writer<Notifications>,
    next: u64,
    redis: Option<RedisInbox>,
    _dir: TempDir,
}

impl Subjects {
    async fn sqlite() -> Result<Self, Box<dyn Error>> {
        let dir = TempDir::new()?;
        let store = Store::open(dir.path(), &orderlog_projections::notifications::TABLES).await?;
        let writer = store.writer().await?;
        Ok(Self { store, writer, next: 0, redis: None, _dir: dir })
    }

    async fn redis() -> Result<Self, Box<dyn Error>> {
        let redis = RedisInbox::new(&redis_url().into(), &prefix(), LOG)?;
        Ok(Self { redis: Some(redis), ..Self::sqlite().await? })
    }

    fn inbox(&self) -> &dyn Inbox {
        self.redis.as_ref().map_or(&self.store as &dyn Inbox, |redis| redis)
    }

    /// One record per notification; it is written, and followed.
    async fn tell(&mut self, notifications: Vec<Notification>) -> Outcome {
        let entities = (self.next..).zip(notifications).map(|(offset, notification)| EntityRow {
            aggregate: Notification::aggregate(notification.notification_id),
            version: notification.version,
            offset,
            entity: Arc::new(Entity::Notification(notification)),
        });
        let entities: Vec<_> = entities.collect();
        let records = entities.iter().map(|row| record(row, Verdict::Accepted)).collect();
        self.next += entities.len() as u64;
        let changes = Changes { entities, records, ..Changes::nothing(self.next) };
        self.store.write(&mut self.writer, &changes, Pace::Steady).await?;
        self.follow().await
    }

    /// Makes the next `count` notifications, with the record's offset as sequence.
    async fn make(&mut self, count: u64, whose: &str) -> Outcome {
        let made = (self.next..self.next + count).map(|sequence| notification(sequence, whose)).collect();
        self.tell(made).await
    }

    async fn read(&mut self, sequence: u64, whose: &str) -> Outcome {
        let before = notification(sequence, whose);
        self.tell(vec![Notification { read: true, read_ms: Some(5), version: 2, ..before }]).await
    }

    async fn follow(&self) -> Outcome {
        if let Some(redis) = &self.redis {
            assert_eq!(redis.follow(&self.store).await?, self.next);
        }
        Ok(())
    }

    async fn sequences(&self, whose: &str, unread_only: bool) -> Result<Vec<u64>, InboxError> {
        let page = self.inbox().page(&recipient(whose), unread_only, &Paging::first(1000)).await?;
        Ok(page.page.items.iter().map(|notification| notification.sequence).collect())
    }
}

async fn an_unknown_recipient_has_an_empty_inbox(subjects: Subjects) -> Outcome {
    let page = subjects.inbox().page(&recipient("nobody"), false, &Paging::first(10)).await?;
    assert_eq!((page.page.items, page.page.next, page.unread, page.position), (vec![], None, 0, 0));
    assert_eq!(subjects.inbox().since(None, None, 10).await?, []);
    assert_eq!(subjects.inbox().position().await?, 0);
    Ok(())
}

async fn notifications_come_newest_first_and_as_they_are(mut subjects: Subjects) -> Outcome {
    subjects.make(3, "ada").await?;
    subjects.make(1, "bob").await?;
    let page = subjects.inbox().page(&recipient("ada"), false, &Paging::first(10)).await?;
    assert_eq!(page.page.items, [notification(2, "ada"), notification(1, "ada"), notification(0, "ada")]);
    assert_eq!((page.page.next, page.unread, page.position), (None, 3, 4));
    assert_eq!(subjects.inbox().position().await?, 4);
    Ok(())
}

async fn what_was_read_counts_no_more(mut subjects: Subjects) -> Outcome {
    subjects.make(3, "ada").await?;
    subjects.read(1, "ada").await?;
    assert_eq!(subjects.sequences("ada", false).await?, [2, 1, 0]);
    assert_eq!(subjects.sequences("ada", true).await?, [2, 0]);
    for unread_only in [false, true] {
        let page = subjects.inbox().page(&recipient("ada"), unread_only, &Paging::first(1)).await?;
        assert_eq!(page.unread, 2, "the count is of all pages");
    }
    let page = subjects.inbox().page(&recipient("ada"), false, &Paging::first(2)).await?;
    assert_eq!((page.page.items[1].read, page.page.items[1].read_ms), (true, Some(5)));
    Ok(())
}

async fn pages_neither_repeat_nor_hide_when_news_comes_between(mut subjects: Subjects) -> Outcome {
    subjects.make(5, "ada").await?;
    let mut paging = Paging::first(2);
    let mut seen = Vec::new();
    loop {
        let page = subjects.inbox().page(&recipient("ada"), false, &paging).await?.page;
        seen.extend(page.items.iter().map(|notification| notification.sequence));
        subjects.make(1, "ada").await?;
        paging.after = page.next;
        if paging.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [4, 3, 2, 1, 0]);
    Ok(())
}

async fn a_foreign_cursor_is_refused(subjects: Subjects) -> Outcome {
    for wrong in ["", "x", "1.2", "+inf"] {
        let paging = Paging { after: Some(Cursor::new(wrong)), limit: 2 };
        let refused = subjects.inbox().page(&recipient("ada"), false, &paging).await;
        assert!(matches!(refused, Err(InboxError::Store(StoreError::Cursor))), "{wrong}: {refused:?}");
    }
    Ok(())
}

async fn a_stream_resumes_behind_any_sequence(mut subjects: Subjects) -> Outcome {
    subjects.make(2, "ada").await?;
    subjects.make(2, "bob").await?;
    subjects.read(0, "ada").await?;
    let since = async |after, whose: Option<&str>, limit| {
        let whose = whose.map(recipient);
        let found = subjects.inbox().since(after, whose.as_ref(), limit).await?;
        Ok::<_, InboxError>(found.iter().map(|notification| notification.sequence).collect::<Vec<_>>())
    };
    assert_eq!(since(None, None, 10).await?, [0, 1, 2, 3], "each once, also one that was read since");
    assert_eq!(since(Some(0), None, 2).await?, [1, 2]);
    assert_eq!(since(Some(0), Some("bob"), 10).await?, [2, 3]);
    assert!(since(Some(3), None, 10).await?.is_empty());
    Ok(())
}

async fn lists_work_with_and_without_indexes(mut subjects: Subjects) -> Outcome {
    subjects.make(3, "ada").await?;
    subjects.store.create_indexes(&mut subjects.writer).await?;
    subjects.make(3, "ada").await?;
    subjects.read(0, "ada").await?;
    assert_eq!(subjects.sequences("ada", true).await?, [5, 4, 3, 2, 1]);
    Ok(())
}

macro_rules! suite {
    ($($property:ident),+ $(,)?) => {
        mod over_sqlite { $(#[tokio::test] async fn $property() -> super::Outcome {
            super::$property(super::Subjects::sqlite().await?).await
        })+ }
        mod over_redis { $(#[tokio::test] async fn $property() -> super::Outcome {
            super::$property(super::Subjects::redis().await?).await
        })+ }
    };
}

suite!(
    an_unknown_recipient_has_an_empty_inbox,
    notifications_come_newest_first_and_as_they_are,
    what_was_read_counts_no_more,
    pages_neither_repeat_nor_hide_when_news_comes_between,
    a_foreign_cursor_is_refused,
    a_stream_resumes_behind_any_sequence,
    lists_work_with_and_without_indexes,
);

/// Every inbox of both, compared.
async fn assert_equal(redis: &RedisInbox, store: &Store<Notifications>) -> Outcome {
    assert_eq!(redis.since(None, None, 1_000_000).await?, store.since(None, None, 1_000_000).await?);
    for whose in ["ada", "bob"] {
        for unread_only in [false, true] {
            let paging = Paging::first(1000);
            let whose = recipient(whose);
            assert_eq!(
                redis.page(&whose, unread_only, &paging).await?,
                store.page(&whose, unread_only, &paging).await?
            );
        }
    }
    Ok(())
}

async fn command(words: &[&str]) -> Result<redis::Value, Box<dyn Error>> {
    let mut connection = redis::Client::open(redis_url())?.get_multiplexed_async_connection().await?;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    Ok(command.query_async(&mut connection).await?)
}

/// Every key of a prefix.
async fn keys(prefix: &str) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(redis::from_redis_value(command(&["keys", &format!("{{orderlog:{prefix}}}:*")]).await?)?)
}

/// What FLUSHALL does, but only to this test's keys: other tests use the same Redis.
async fn lose_everything(prefix: &str) -> Outcome {
    let keys = keys(prefix).await?;
    assert!(!keys.is_empty());
    let words: Vec<&str> = std::iter::once("del").chain(keys.iter().map(String::as_str)).collect();
    command(&words).await?;
    Ok(())
}

async fn with_prefix(prefix: &str) -> Result<(Subjects, RedisInbox), Box<dyn Error>> {
    let mut subjects = Subjects::sqlite().await?;
    let redis = RedisInbox::new(&redis_url().into(), prefix, LOG)?;
    subjects.make(1200, "ada").await?;
    subjects.make(10, "bob").await?;
    subjects.read(7, "ada").await?;
    redis.follow(&subjects.store).await?;
    Ok((subjects, redis))
}

#[tokio::test]
async fn redis_that_lost_everything_is_filled_again_and_equal() -> Outcome {
    let prefix = prefix();
    let (mut subjects, redis) = with_prefix(&prefix).await?;
    assert_equal(&redis, &subjects.store).await?;
    lose_everything(&prefix).await?;
    assert_eq!(redis.page(&recipient("ada"), false, &Paging::first(10)).await?.position, 0, "the loss shows");
    subjects.make(1, "bob").await?;
    redis.follow(&subjects.store).await?;
    assert_equal(&redis, &subjects.store).await?;
    Ok(())
}

#[tokio::test]
async fn redis_whose_offset_alone_was_lost_is_filled_again_without_leftovers() -> Outcome {
    let prefix = prefix();
    let (subjects, redis) = with_prefix(&prefix).await?;
    let before = keys(&prefix).await?.len();
    command(&["del", &format!("{{orderlog:{prefix}}}:state")]).await?;
    redis.follow(&subjects.store).await?;
    assert_equal(&redis, &subjects.store).await?;
    assert_eq!(keys(&prefix).await?.len(), before);
    Ok(())
}

#[tokio::test]
async fn redis_that_lost_a_part_is_filled_again_once_the_part_is_read() -> Outcome {
    let prefix = prefix();
    let (subjects, redis) = with_prefix(&prefix).await?;
    let keys = keys(&prefix).await?;
    let docs = keys.iter().find(|key| key.ends_with(":docs")).expect("there are documents");
    command(&["hdel", docs, &notification(3, "ada").notification_id.0.simple().to_string()]).await?;
    let _torn = redis.since(None, None, 10).await?;
    redis.follow(&subjects.store).await?;
    assert_equal(&redis, &subjects.store).await?;
    Ok(())
}

#[tokio::test]
async fn another_history_replaces_what_redis_holds() -> Outcome {
    let prefix = prefix();
    let (_, old) = with_prefix(&prefix).await?;
    let mut subjects = Subjects::sqlite().await?;
    subjects.make(3, "bob").await?;
    let redis = RedisInbox::new(&redis_url().into(), &prefix, Uuid::from_u128(2))?;
    assert_eq!(redis.position().await?, 0);
    redis.follow(&subjects.store).await?;
    assert_equal(&redis, &subjects.store).await?;
    let late = old.apply(1211, 1212, &[notification(1211, "ada")]).await?;
    assert_eq!(late, Applied::Behind { stored: 0 });
    assert_equal(&redis, &subjects.store).await?;
    Ok(())
}

#[tokio::test]
async fn an_inbox_that_an_earlier_version_kept_is_filled_anew() -> Outcome {
    let prefix = prefix();
    let (subjects, redis) = with_prefix(&prefix).await?;
    let log = LOG.simple().to_string();
    command(&["hset", &format!("{{orderlog:{prefix}}}:state"), "log", &log, "run", "earlier", "next", "1000"]).await?;
    assert_eq!(redis.position().await?, 0, "recipients were spelled otherwise there");
    redis.follow(&subjects.store).await?;
    assert_equal(&redis, &subjects.store).await
}

#[tokio::test]
async fn redis_learns_of_what_was_parked_when_later_things_were_told() -> Outcome {
    let mut subjects = Subjects::redis().await?;
    let parked = notification(0, "ada");
    let row = EntityRow {
        aggregate: Notification::aggregate(parked.notification_id),
        version: 1,
        offset: 0,
        entity: Arc::new(Entity::Notification(parked)),
    };
    subjects.next = 1;
    let changes = Changes { records: vec![record(&row, Verdict::Parked)], ..Changes::nothing(1) };
    subjects.store.write(&mut subjects.writer, &changes, Pace::Steady).await?;
    subjects.make(3, "ada").await?;
    let verdicts = vec![(0, Verdict::Accepted)];
    let changes = Changes { entities: vec![row], verdicts, ..Changes::nothing(subjects.next) };
    subjects.store.write(&mut subjects.writer, &changes, Pace::Steady).await?;
    subjects.follow().await?;
    assert_eq!(subjects.sequences("ada", false).await?, [3, 2, 1, 0]);
    assert_equal(subjects.redis.as_ref().expect("there is one"), &subjects.store).await
}

#[tokio::test]
async fn redis_can_be_filled_anew_at_any_time() -> Outcome {
    let prefix = prefix();
    let (subjects, redis) = with_prefix(&prefix).await?;
    assert_eq!(redis.rebuild_from_store(&subjects.store).await?, subjects.next);
    assert_equal(&redis, &subjects.store).await?;
    Ok(())
}

#[tokio::test]
async fn an_apply_repeated_doubles_nothing() -> Outcome {
    let redis = RedisInbox::new(&redis_url().into(), &prefix(), LOG)?;
    let first = [notification(0, "ada"), notification(1, "ada")];
    assert_eq!(redis.apply(0, 2, &first).await?, Applied::Now);
    assert_eq!(redis.apply(0, 2, &first).await?, Applied::AlreadyThere);
    let page = redis.page(&recipient("ada"), false, &Paging::first(10)).await?;
    assert_eq!((page.page.items.len(), page.unread, page.position), (2, 2, 2));
    Ok(())
}

#[tokio::test]
async fn an_apply_out_of_order_changes_nothing_and_says_where_to_go_on() -> Outcome {
    let redis = RedisInbox::new(&redis_url().into(), &prefix(), LOG)?;
    assert_eq!(redis.apply(0, 1, &[notification(0, "ada")]).await?, Applied::Now);
    assert_eq!(redis.apply(2, 3, &[notification(2, "ada")]).await?, Applied::Behind { stored: 1 });
    assert_eq!(redis.apply(0, 3, &[notification(2, "ada")]).await?, Applied::Behind { stored: 1 }, "an overlap too");
    assert_eq!(redis.since(None, None, 10).await?, [notification(0, "ada")]);
    Ok(())
}

#[tokio::test]
async fn two_instances_that_follow_at_once_end_up_equal_to_the_rows() -> Outcome {
    let prefix = prefix();
    let (mut subjects, one) = with_prefix(&prefix).await?;
    let other = RedisInbox::new(&redis_url().into(), &prefix, LOG)?;
    for round in 0..20 {
        subjects.make(37, "bob").await?;
        subjects.read(round, "ada").await?;
        if round == 10 {
            lose_everything(&prefix).await?;
        }
        let (one, other) = tokio::join!(one.follow(&subjects.store), other.follow(&subjects.store));
        assert_eq!((one?, other?), (subjects.next, subjects.next));
    }
    assert_equal(&other, &subjects.store).await?;
    Ok(())
}

/// Stands between a client and Redis. Once armed, the next script reaches Redis, but its answer does not come back.
struct Proxy {
    address: String,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    fn start() -> Result<Self, Box<dyn Error>> {
        let url = redis_url();
        let target = url.trim_start_matches("redis://").split('/').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("redis://{}", listener.local_addr()?);
        let armed = Arc::new(AtomicBool::new(false));
        let trigger = armed.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { return };
                let lost = Arc::new(AtomicBool::new(false));
                let (up, down) = ((client.try_clone(), server.try_clone()), (server, client));
                let (trigger, forget) = (trigger.clone(), lost.clone());
                if let (Ok(from), Ok(to)) = up {
                    thread::spawn(move || {
                        pump(from, to, |bytes| {
                            if bytes.windows(7).any(|word| word == b"EVALSHA") && trigger.swap(false, Ordering::SeqCst)
                            {
                                forget.store(true, Ordering::SeqCst);
                            }
                            true
                        });
                    });
                    thread::spawn(move || pump(down.0, down.1, |_| !lost.load(Ordering::SeqCst)));
                }
            }
        });
        Ok(Self { address, armed })
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !pass(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[tokio::test]
async fn an_apply_whose_answer_is_lost_is_settled_by_reading_the_offset() -> Outcome {
    let proxy = Proxy::start()?;
    let redis = RedisInbox::new(&proxy.address.clone().into(), &prefix(), LOG)?;
    assert_eq!(redis.apply(0, 1, &[notification(0, "ada")]).await?, Applied::Now);
    proxy.armed.store(true, Ordering::SeqCst);
    assert_eq!(redis.apply(1, 2, &[notification(1, "ada")]).await?, Applied::Now);
    assert!(!proxy.armed.load(Ordering::SeqCst), "the answer was lost");
    assert_eq!(redis.page(&recipient("ada"), false, &Paging::first(10)).await?.unread, 2);
    Ok(())
}

#[tokio::test]
async fn redis_that_can_not_be_reached_is_an_error_in_time() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("redis://{}", listener.local_addr()?);
    let began = std::time::Instant::now();
    let failed = RedisInbox::new(&silent.into(), "p", LOG)?.position().await;
    assert!(matches!(failed, Err(InboxError::Late { .. } | InboxError::Redis(_))), "{failed:?}");
    assert!(began.elapsed().as_secs() < 4);
    Ok(())
}
