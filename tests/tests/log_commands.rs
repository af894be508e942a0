//! `orderlog log` as its operator meets it, on a running server and on a stopped one.

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
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn any_topic_is_replayed_from_any_point() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;

    let running = orderlog(&["log", "replay", "orders"], &data).await.ended_with(0);
    let all = running.json_lines();
    assert!(all.iter().zip(0..).all(|(record, offset)| record["offset"] == offset), "every record, in order");
    assert_eq!((&all[0]["type"], &all[0]["verdict"]), (&"genesis".into(), &"accepted".into()));
    let placed = orderlog(&["log", "replay", "orders", "--type", "order_placed"], &data).await.ended_with(0);
    let placed = placed.json_lines();
    assert!(placed.len() > 3 && placed.iter().all(|record| record["value"]["OrderPlaced"].is_object()));

    let order = placed[0]["key"].as_str().unwrap();
    let about = orderlog(&["log", "replay", "orders", "--key", order], &data).await.ended_with(0);
    assert_eq!(about.json_lines()[0], placed[0]);
    let some = orderlog(&["log", "replay", "orders", "--from", "orders@3", "--to", "5"], &data).await.ended_with(0);
    let offsets: Vec<_> = some.json_lines().iter().map(|record| record["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [3, 4]);
    for (filter, told) in [
        (&["--from", "2100-01-01"][..], String::new()),
        (&["--type", "order_plcaed"], "; did you mean `order_placed`?".to_owned()),
        (&["--key", &order[..20]], format!("; did you mean `{order}`?")),
        (&["--to", "1d", "--type", "genesis"], String::new()),
    ] {
        let nothing = orderlog(&[&["log", "replay", "orders"], filter].concat(), &data).await.ended_with(0);
        let told = format!("nothing matches: looked at {} records of orders{told}\n", all.len());
        assert_eq!((&*nothing.stdout, &nothing.stderr), ("", &told));
    }
    let recent = orderlog(&["log", "replay", "orders", "--from", "1h"], &data).await.ended_with(0);
    assert_eq!(recent.json_lines(), all);
    let public = orderlog(&["log", "replay", "low.stock", "--table"], &data).await.ended_with(0);
    assert!(public.stdout.contains("low.stock@0") && public.stdout.contains("widget-a"), "{public:?}");

    let beyond = orderlog(&["log", "replay", "orders", "--from", "1000000"], &data).await.ended_with(5);
    assert!(beyond.stderr.contains("it holds 0 to"), "it says what there is: {beyond:?}");
    orderlog(&["log", "replay", "orders", "--from", "yesterday"], &data).await.ended_with(2);
    let topics = orderlog(&["log", "topics", "--json"], &data).await.ended_with(0).json_lines();
    let of = |topic: &str| topics.iter().find(|it| it["topic"] == topic).unwrap().clone();
    assert_eq!((&of("orders")["kind"], &of("orders")["n_records"]), (&json!("journal"), &json!(all.len())));
    assert_eq!(of("orders")["first_time_ms"], all[0]["time_ms"]);
    assert_eq!(of("orders")["last_time_ms"], all[all.len() - 1]["time_ms"]);
    assert!(of("low.stock")["bytes"].as_u64() > Some(100), "{topics:?}");
    let table = orderlog(&["log", "topics"], &data).await.ended_with(0);
    assert!(table.stdout.starts_with("topic ") && table.stdout.lines().count() == topics.len() + 1, "{table:?}");

    assert!(deployment.stop().await);
    for (topic, told) in [
        ("ordesr", "ordesr does not exist; did you mean `orders`?"),
        ("nothing", "does not exist; `orderlog log topics` lists all"),
    ] {
        let unknown = orderlog(&["log", "replay", topic], &data).await.ended_with(5);
        assert!(unknown.stderr.contains(told), "{unknown:?}");
    }
    let failed = orderlog(&["log", "replay", "orders", "--json", "--from", "1000000"], &data).await.ended_with(5);
    let error: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap();
    assert!(error["exit_code"] == 5 && error["error"].as_str().unwrap().contains("it holds 0 to"), "{error}");
    assert_eq!(orderlog(&["log", "topics", "--json"], &data).await.ended_with(0).json_lines(), topics);
    std::fs::rename(data.join("hash.key"), data.join("elsewhere.key")).unwrap();
    let stopped = orderlog(&["log", "replay", "orders"], &data).await.ended_with(0);
    assert_eq!(stopped.json_lines(), all, "the same, from the files");
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
    assert_eq!(json.json()["unreadable"][0]["offset"], offset);

    // What is parked does not keep the rest from going on.
    deployment.restart().await;
    let shop = Shop::from(&deployment);
    let customer = shop.customer("Eve").await;
    shop.order(&customer, &[("widget-a", 1)]).await;
    let running = orderlog(&["parked", "list", "orders", "--json"], &data).await.ended_with(0);
    assert_eq!(running.json()["offset"], offset);
}
