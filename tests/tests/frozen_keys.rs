//! Texts and ids that are hashed into journals are compared for ever: a program that hashed another text would do what was done already
//! once more. They are written out here, so that no renaming or moving of code can change them unnoticed.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{collections::HashMap, path::Path};

use orderlog_core::{
    header::{CommandStamp, Header},
    key::{HashKey, Key},
};
use orderlog_tests::{
    deployment::{Embedded, SERVICES},
    poison::Journal,
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::{Value, json};
const SECRET: &str = "frozen";

/// What was asked with an idempotency key: the key, and both texts that are hashed.
struct Asked {
    key: String,
    operation: String,
    command: String,
}

/// Asks, and writes down what has to be hashed for it.
struct Caller<'a> {
    shop: &'a Shop,
    asked: Vec<Asked>,
}

impl Caller<'_> {
    /// The operation is the method and the path, with ids in it, and the command is this text.
    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>, command: impl ToString) -> Value {
        let (key, operation) = (format!("key-{}", self.asked.len()), format!("{method} {path}"));
        let headers = [("Idempotency-Key", key.as_str())];
        let answer = self.shop.orders.send(method, path, &headers, body.as_ref()).await.unwrap();
        assert!(answer.status.is_success(), "{operation}: {answer:?}");
        self.asked.push(Asked { key, operation, command: command.to_string() });
        answer.body
    }

    async fn post(&mut self, path: &str, body: Value, command: impl ToString) -> Value {
        self.ask(Method::POST, path, Some(body), command).await
    }

    async fn post_nothing(&mut self, path: &str, command: impl ToString) {
        self.ask(Method::POST, path, None, command).await;
    }
}

/// Every operation that takes a key, once.
async fn every_command(caller: &mut Caller<'_>) {
    let new = json!({"name": "Ada", "email": "ada@example.com"});
    let ada = text(&caller.post("/customers", new, json!(["create", "Ada", "ada@example.com"])).await, "customer_id");
    let (renamed, path) = (json!(["update", ada, "Countess", null]), format!("/customers/{ada}"));
    caller.ask(Method::PATCH, &path, Some(json!({"name": "Countess"})), renamed).await;
    caller.post("/stock/tea/receive", json!({"quantity": 9}), "receive tea 9").await;
    let counted = json!({"delta": -1, "reason": "counted"});
    caller.post("/stock/tea/adjust", counted, "adjust tea -1 counted").await;
    let threshold = json!({"low_stock_threshold": 2});
    caller.ask(Method::PUT, "/stock/tea/threshold", Some(threshold), "threshold tea 2").await;
    let reserve = json!({"reservation_id": "r", "ttl_seconds": 900, "lines": [{"sku": "tea", "quantity": 1}]});
    caller.post("/stock/reserve", reserve, "reserve r 900 - tea=1").await;
    caller.post_nothing("/stock/reservations/r/release", "release r").await;

    let paid = place(caller, &ada).await;
    let payment = json!({"order_id": paid, "amount": 250, "currency": "EUR", "reference": "bank"});
    caller.post("/billing", payment, json!(["pay", paid, 250, "EUR", "bank"])).await;
    caller.shop.order_becomes(&paid, "confirmed", "paid").await;
    caller.post_nothing(&format!("/orders/{paid}/fulfil"), json!(["fulfil", paid])).await;
    let path = format!("/billing/{paid}/refund");
    caller.post(&path, json!({"amount": 50, "reason": "broken"}), json!(["refund", paid, 50, "broken"])).await;
    let cancelled = place(caller, &ada).await;
    caller.post_nothing(&format!("/orders/{cancelled}/cancel"), json!(["cancel", cancelled])).await;

    let note = json!({"recipient": "desk", "subject": "Hello", "body": "You"});
    let note = caller.post("/notify", note, json!(["notify", "caller", "desk", "Hello", "You"])).await;
    let note = text(&note, "notification_id");
    caller.post_nothing(&format!("/notifications/{note}/read"), json!(["read", note])).await;
    caller.post_nothing(&format!("/customers/{ada}/deactivate"), json!(["deactivate", ada])).await;
}

async fn place(caller: &mut Caller<'_>, customer: &str) -> String {
    let line = json!({"sku": "tea", "quantity": 1, "unit_price": 250});
    let order = json!({"customer_id": customer, "currency": "EUR", "lines": [line]});
    let command = json!(["place", customer, "EUR", [["tea", 1, 250]]]);
    text(&caller.post("/orders", order, command).await, "order_id")
}

/// The headers of a stopped server's journals.
async fn headers(data: &Path) -> Vec<(&'static str, u64, Header)> {
    let mut all = Vec::new();
    for service in SERVICES {
        let journal = Journal::of_stopped(service, data).await;
        all.extend(journal.headers().await.into_iter().map(|(offset, header)| (service, offset, header)));
        journal.close().await;
    }
    all
}

#[tokio::test]
async fn a_repeated_command_is_recognised_by_the_same_texts_for_ever() {
    let mut deployment = Embedded::start_with(&["--hash-key", SECRET]).await;
    let shop = Shop::from(&deployment);
    let mut caller = Caller { shop: &shop, asked: Vec::new() };
    every_command(&mut caller).await;
    let asked = caller.asked;
    assert!(deployment.stop().await);
    let stamps: HashMap<Key, CommandStamp> = headers(&deployment.rows())
        .await
        .into_iter()
        .filter_map(|(_, _, header)| header.command.map(|stamp| (stamp.key, stamp)))
        .collect();
    let hash_key = HashKey::from_secret(SECRET);
    for Asked { key, operation, command } in asked {
        let stamp = stamps.get(&hash_key.idempotency("anonymous", &operation, &key));
        let stamp = stamp.unwrap_or_else(|| panic!("the key of {operation} is hashed with other texts"));
        assert_eq!(stamp.fingerprint, hash_key.command_fingerprint(&command), "{operation} {command}");
    }
}

#[tokio::test]
async fn what_follows_from_an_event_or_a_clock_is_recognised_by_the_same_names_for_ever() {
    let mut deployment = Embedded::start_with(&["--hash-key", SECRET]).await;
    let shop = Shop::from(&deployment);
    shop.receive("tea", 9).await;
    let reserve = json!({"reservation_id": "short", "ttl_seconds": 1, "lines": [{"sku": "tea", "quantity": 1}]});
    shop.inventory.post("/stock/reserve", reserve).await.expect(201);
    let ada = shop.customer("Ada").await;
    let order = shop.order(&ada, &[("tea", 1)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.stock_becomes("tea", 9, 1).await;
    assert!(deployment.stop().await);
    let headers = headers(&deployment.rows()).await;
    let of_kind = |wanted: &str| headers.iter().find(|(_, _, header)| header.kind == wanted).unwrap().2.clone();

    let expired = of_kind("reservation_expired").command.unwrap();
    let reservation = String::from(Key::named("reservation", "short"));
    assert_eq!(expired.key, Key::named("expiry", &format!("{reservation}/1")));
    let reactions: Vec<_> = headers.iter().filter(|(_, _, header)| header.origin.cause.is_some()).collect();
    assert!(reactions.len() >= 3, "stock is set aside, an invoice is opened, the order is confirmed: {reactions:?}");
    for (service, offset, header) in reactions {
        let cause = header.origin.cause.unwrap();
        let stamp = header.command.unwrap();
        assert_eq!(stamp.key, Key::named("reaction", &cause.to_string()), "{service}@{offset}");
        assert_eq!(stamp.fingerprint, [0; 16], "{service}@{offset}");
    }
}
