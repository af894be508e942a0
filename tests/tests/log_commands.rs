//! `orderlog log` as its operator meets it, on a running server and on a stopped one.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use orderlog_core::{
    header::{Expect, HEADER, Header, Origin},
    key::{Key, RecordId},
};
use orderlog_eventlog::{EventLog, NewRecord, embedded::EmbeddedLog};
use orderlog_tests::{
    deployment::{Embedded, orderlog},
    eventually,
    story::{self, Shop},
};
use serde_json::Value;
use uuid::Uuid;

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn any_topic_is_replayed_from_any_point() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;

    let running = orderlog(&["log", "replay", "orders"], &data).await.ended_with(0);
    let all = lines(&running.stdout);
    assert!(all.iter().zip(0..).all(|(record, offset)| record["offset"] == offset), "every record, in order");
    assert_eq!((&all[0]["type"], &all[0]["verdict"]), (&"genesis".into(), &"accepted".into()));
    let placed = orderlog(&["log", "replay", "orders", "--type", "order_placed"], &data).await.ended_with(0);
    let placed = lines(&placed.stdout);
    assert!(placed.len() > 3 && placed.iter().all(|record| record["value"]["OrderPlaced"].is_object()));

    let order = placed[0]["key"].as_str().unwrap();
    let about = orderlog(&["log", "replay", "orders", "--key", order], &data).await.ended_with(0);
    assert_eq!(lines(&about.stdout)[0], placed[0]);
    let some = orderlog(&["log", "replay", "orders", "--from", "orders@3", "--to", "5"], &data).await.ended_with(0);
    let offsets: Vec<_> = lines(&some.stdout).iter().map(|record| record["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [3, 4]);
    let later = orderlog(&["log", "replay", "orders", "--from", "2100-01-01T00:00:00Z"], &data).await.ended_with(0);
    assert_eq!(later.stdout, "");
    let public = orderlog(&["log", "replay", "low.stock", "--table"], &data).await.ended_with(0);
    assert!(public.stdout.contains("low.stock@0") && public.stdout.contains("widget-a"), "{public:?}");

    let beyond = orderlog(&["log", "replay", "orders", "--from", "1000000"], &data).await.ended_with(5);
    assert!(beyond.stderr.contains("it holds 0 to"), "it says what there is: {beyond:?}");
    let unknown = orderlog(&["log", "replay", "nothing"], &data).await.ended_with(5);
    assert!(unknown.stderr.contains("nothing does not exist"), "{unknown:?}");
    orderlog(&["log", "replay", "orders", "--from", "yesterday"], &data).await.ended_with(2);

    assert!(deployment.stop().await);
    std::fs::rename(data.join("hash.key"), data.join("elsewhere.key")).unwrap();
    let stopped = orderlog(&["log", "replay", "orders"], &data).await.ended_with(0);
    assert_eq!(lines(&stopped.stdout), all, "the same, from the files");
    assert!(!data.join("hash.key").exists(), "whoever only reads makes no secret");
    assert!(!data.join("log.sqlite-wal").exists(), "the log is one file");
}

#[tokio::test]
async fn records_that_this_program_can_not_read_are_found_before_it_is_deployed() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    let clean = orderlog(&["log", "lint"], &data).await.ended_with(0);
    assert!(clean.stdout.contains("orders") && clean.stdout.contains("0 that this program can't read"), "{clean:?}");
    assert!(deployment.stop().await);

    // As a newer program would write it.
    let log = EmbeddedLog::open(&data).await.unwrap();
    let key = Key::of(Uuid::now_v7());
    let header = Header {
        id: RecordId(Uuid::now_v7()),
        time_ms: 0,
        writer: Uuid::nil(),
        kind: "order_gift_wrapped".to_owned(),
        expects: vec![Expect { key, last: None }],
        command: None,
        origin: Origin::default(),
    };
    let record = NewRecord {
        topic: "orders".into(),
        partition: Some(0),
        key: Some(String::from(key).into()),
        headers: vec![(HEADER.into(), header.encode().into())],
        value: r#"{"OrderGiftWrapped":{}}"#.into(),
    };
    let offset = log.append(vec![record]).await.remove(0).unwrap().offset;
    drop(log);

    // The folder is free once the log's writer has ended.
    let found = eventually("the log can be opened", async || {
        let said = orderlog(&["log", "lint", "orders"], &data).await;
        (said.code != 4).then_some(said)
    });
    let found = found.await.ended_with(3);
    assert!(found.stdout.contains(&format!("orders@{offset}: order_gift_wrapped")), "{found:?}");
    let parked = orderlog(&["parked", "list"], &data).await.ended_with(0);
    assert!(parked.stdout.starts_with(&format!("orders@{offset}  ")), "the rows go on without it: {parked:?}");
    let json = orderlog(&["log", "lint", "orders", "--json"], &data).await.ended_with(3);
    assert_eq!(json.json()[0]["unreadable"][0]["offset"], offset);

    // What is parked does not keep the rest from going on.
    deployment.restart_unready().await;
    let shop = Shop::from(&deployment);
    let customer = shop.customer("Eve").await;
    shop.order(&customer, &[("widget-a", 1)]).await;
    let running = orderlog(&["parked", "list", "orders", "--json"], &data).await.ended_with(0);
    assert_eq!(running.json()["offset"], offset);
}
