//! `kill -9` at random moments under load, on the embedded log: every acknowledged command is there, none twice.
//!
//! Clients repeat each command with its idempotency key until they get an answer, as the documentation tells them to. What
//! they were told is then held against the journals, read here with a checker of its own: the arbitration rule, written
//! naively, over the records as they lie in the log.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use orderlog_domain::header::{HEADER, Header};
use orderlog_eventlog::{EventLog, Partition, embedded::EmbeddedLog};
use orderlog_tests::{
    deployment::{Embedded, SERVICES},
    eventually,
    http::Http,
    story::{Shop, text},
};
use serde_json::{Value, json};

const N_KILLS: usize = 50;
const N_CLIENTS: usize = 16;
const SKU: &str = "hot";

/// What clients were told, by idempotency key.
#[derive(Default)]
struct Told {
    orders: BTreeMap<String, String>,
    payments: BTreeMap<String, i64>,
    received: BTreeMap<String, i64>,
    n_repeated: u64,
}

fn random(below: u128) -> u128 {
    uuid::Uuid::new_v4().as_u128() % below
}

/// Ask until there is a definite answer: a 2xx, or a refusal. Server errors and broken connections are neither.
async fn insist(http: &Http, path: &str, body: &Value, told: &Mutex<Told>) -> (String, reqwest::StatusCode, Value) {
    let key = uuid::Uuid::new_v4().to_string();
    for attempt in 0.. {
        let answer = http.send(reqwest::Method::POST, path, &[("Idempotency-Key", &key)], Some(body)).await;
        match answer {
            Ok(answer) if !answer.status.is_server_error() => {
                if answer.header("Idempotent-Replayed").is_some() {
                    assert!(attempt > 0, "a new key can't have been used: {key}");
                    told.lock().unwrap().n_repeated += 1;
                }
                return (key, answer.status, answer.body);
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    unreachable!("it asks for ever")
}

async fn client(http: Http, customer: String, told: Arc<Mutex<Told>>, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        asked.fetch_add(1, Ordering::Relaxed);
        match random(4) {
            0 => {
                let (key, status, body) =
                    insist(&http, &format!("/stock/{SKU}/receive"), &json!({"quantity": 3}), &told).await;
                assert_eq!(status, 200, "{body}");
                told.lock().unwrap().received.insert(key, 3);
            }
            1 => {
                let order = told.lock().unwrap().orders.values().next_back().cloned();
                let Some(order_id) = order else { continue };
                let pay = json!({"order_id": order_id, "amount": 1, "currency": "EUR", "reference": "one cent"});
                let (key, status, body) = insist(&http, "/billing", &pay, &told).await;
                // Paid in full, void, or not yet heard of: a refusal, and nothing happened.
                assert!([201, 404, 409].contains(&status.as_u16()), "{status} {body}");
                if status == 201 {
                    told.lock().unwrap().payments.insert(key, 1);
                }
            }
            _ => {
                let line = json!([{"sku": SKU, "quantity": 1, "unit_price": 5}]);
                let order = json!({"customer_id": customer, "currency": "EUR", "lines": line});
                let (key, status, body) = insist(&http, "/orders", &order, &told).await;
                assert_eq!(status, 201, "{body}");
                told.lock().unwrap().orders.insert(key, text(&body, "order_id"));
            }
        }
    }
}

/// A journal, read naively: the events of its accepted records.
async fn accepted(log: &dyn EventLog, journal: &str) -> Vec<Value> {
    let partition = Partition::journal(journal);
    let end = log.ends(std::slice::from_ref(&partition)).await.unwrap()[0];
    let mut reading = log.read(vec![(partition, 0)]);
    let (mut heads, mut void, mut events) = (HashMap::new(), BTreeSet::new(), Vec::new());
    let mut next = 0;
    while next < end {
        for record in reading.next().await.expect("there is more").unwrap().records {
            assert_eq!(record.offset, next, "{journal} has a gap");
            next += 1;
            let header = Header::decode(record.header(HEADER).expect("a journal record has a header")).unwrap();
            let as_expected = header.expects.iter().all(|expect| heads.get(&expect.key).copied() == expect.last);
            if !as_expected || void.contains(&header.id) {
                void.insert(header.id);
                continue;
            }
            for expect in &header.expects {
                heads.insert(expect.key, header.id);
            }
            events.push(serde_json::from_slice(&record.value).unwrap());
        }
    }
    events
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter_map(|event| event.get(kind)).collect()
}

async fn check(data: &std::path::Path, told: &Told) {
    let log = EmbeddedLog::open(data).await.unwrap();
    let mut journals = BTreeMap::new();
    for service in SERVICES {
        journals.insert(service, accepted(log.as_ref(), service).await);
    }
    let placed: Vec<_> =
        of_kind(&journals["orders"], "OrderPlaced").iter().map(|event| text(event, "order_id")).collect();
    let distinct: BTreeSet<_> = placed.iter().collect();
    assert_eq!(distinct.len(), placed.len(), "an order was placed twice");
    let acknowledged: BTreeSet<_> = told.orders.values().collect();
    assert_eq!(acknowledged, distinct, "what was told and what is in the log differ");
    assert_eq!(acknowledged.len(), told.orders.len(), "two commands were told of one order");

    let received = of_kind(&journals["inventory"], "StockReceived").len();
    assert_eq!(received, told.received.len() + 1, "received once per command, and once at the beginning");
    let paid = of_kind(&journals["billing"], "PaymentRecorded").len();
    assert_eq!(paid, told.payments.len(), "paid once per command");
    let begun = of_kind(&journals["billing"], "InvoiceOpened").len();
    assert_eq!(begun, placed.len(), "every order has one invoice");
    let outcomes = ["OrderConfirmed", "OrderRejected"].map(|kind| of_kind(&journals["orders"], kind).len());
    assert_eq!(outcomes.iter().sum::<usize>(), placed.len(), "every order came to one end: {outcomes:?}");

    let reserved = of_kind(&journals["inventory"], "ReservationHeld").len();
    assert_eq!(reserved, outcomes[0], "every confirmed order has its units");
    assert!(reserved <= 3 * (told.received.len() + 1), "oversold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let mut deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    let customer = shop.customer("Ada").await;
    shop.receive(SKU, 3).await;
    let (told, stop) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..N_CLIENTS)
        .map(|_| {
            let (told, stop, asked) = (Arc::clone(&told), Arc::clone(&stop), Arc::clone(&asked));
            tokio::spawn(client(deployment.http(), customer.clone(), told, stop, asked))
        })
        .collect();
    for kill in 0..N_KILLS {
        // A kill counts only if it hits work: wait for some, then a random moment more.
        let before = asked.load(Ordering::Relaxed);
        eventually("clients are at work", async || (asked.load(Ordering::Relaxed) > before + 20).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(u64::try_from(random(150)).unwrap())).await;
        deployment.server().kill();
        deployment.restart().await;
        eprintln!("kill {}: {} commands so far", kill + 1, asked.load(Ordering::Relaxed));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // Every order comes to an end: nothing of the flow was lost on the way.
    let orders: Vec<_> = told.lock().unwrap().orders.values().cloned().collect();
    for order in &orders {
        eventually(&format!("order {order} comes to an end"), async || {
            let order = shop.orders.get(&format!("/orders/{order}")).await.expect(200);
            let invoice = shop.billing.get(&format!("/billing/{}", text(&order, "order_id"))).await;
            (order["state"] != "placed" && invoice.status == 200).then_some(())
        })
        .await;
    }
    assert!(deployment.stop().await);
    let told = std::mem::take(&mut *told.lock().unwrap());
    eprintln!("{} orders, {} payments, {} repeated answers", told.orders.len(), told.payments.len(), told.n_repeated);
    assert!(told.n_repeated > 0, "no kill hit a command between append and answer: the test proves too little");
    check(&deployment.rows(), &told).await;
}
