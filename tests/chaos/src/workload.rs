//! What clients do: a little of everything, on few objects, so that they get in each other's way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use orderlog_domain::{
    billing::Invoice,
    customers::Customer,
    inventory::StockItem,
    orders::Order,
    values::{CustomerId, OrderId, Sku},
};
use orderlog_history::{Address, Ask, OrderLine, Units};
use orderlog_tests::{PATIENCE, http::Http};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    book::Book,
    client::{Client, Question, Shop},
};

/// The SKUs that everybody wants.
pub const SKUS: [&str; 4] = ["apple", "bread", "cheese", "dates"];
/// So many e-mail addresses there are.
const N_EMAILS: u32 = 60;
/// All prices and payments are in this.
const CURRENCY: &str = "EUR";

/// Work that a fault counts as having hit: so many answers after the last one.
const N_ANSWERS: u64 = 30;
/// A fault comes so soon after those, at most.
const PAUSE_MS: u64 = 200;

pub struct Load {
    /// What they were told.
    pub book: Arc<Book>,
    clients: JoinSet<()>,
}

impl Load {
    /// So many clients begin, and draw what they ask from this seed.
    pub fn begin(shop: impl IntoIterator<Item = (&'static str, Vec<Http>)>, n_clients: u64, seed: u64) -> Self {
        let (book, mut clients): (Arc<Book>, _) = (Arc::default(), JoinSet::new());
        let shop: Shop = Arc::new(shop.into_iter().collect());
        for number in 1..=n_clients {
            clients.spawn(work(Client::new(Arc::clone(&shop), Arc::clone(&book), (number, seed))));
        }
        Self { book, clients }
    }

    /// A fault counts only if it hits work: wait for some, then a random moment more.
    pub async fn is_under_way(&self, chance: &mut fastrand::Rng) {
        let before = self.book.n_answered();
        let until = Instant::now() + PATIENCE;
        while self.book.n_answered() < before + N_ANSWERS && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.u64(..PAUSE_MS))).await;
    }

    /// Have them end, each with what it is at.
    ///
    /// # Errors
    /// If one of them has panicked.
    pub async fn end(mut self) -> Result<Arc<Book>> {
        self.book.end();
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client")?;
        }
        Ok(self.book)
    }
}

/// A client, from its first command until all are to end.
async fn work(mut client: Client) {
    if client.number == 1 {
        for sku in SKUS {
            receive(&mut client, sku, 40).await;
            threshold(&mut client, sku).await;
        }
    }
    while !client.book.is_to_end() {
        one(&mut client).await;
    }
}

async fn one(client: &mut Client) {
    match client.chance.u32(..100) {
        0..6 => create_customer(client).await,
        6..8 => change_customer(client).await,
        8..30 => place(client).await,
        30..36 => on_order(client, "cancel", |order| Ask::Cancel { order }).await,
        36..44 => on_order(client, "fulfil", |order| Ask::Fulfil { order }).await,
        44..56 => pay(client).await,
        56..59 => refund(client).await,
        59..66 => {
            let (sku, quantity) = (sku(client), client.chance.u32(1..30));
            receive(client, sku, quantity).await;
        }
        66..68 => adjust(client).await,
        68..76 => reserve(client).await,
        76..80 => release(client).await,
        80..82 => notify(client).await,
        82..84 => mark_read(client).await,
        _ => read(client).await,
    }
}

/// Ask it, mostly with a key; now and then again after it was answered.
async fn ask(
    client: &mut Client,
    service: &'static str,
    (method, path, body): (Method, String, Option<Value>),
    meaning: Ask,
) -> Option<Value> {
    let key = (client.chance.u32(..10) < 8).then(|| Uuid::from_u128(client.chance.u128(..)).to_string());
    let question = Question { service, method, path, body, ask: meaning, key };
    let answer = client.ask(&question).await;
    if question.key.is_some() && client.chance.u32(..12) == 0 {
        client.ask(&question).await;
    }
    answer.map(|answer| answer.body)
}

fn post(path: impl Into<String>, body: Value) -> (Method, String, Option<Value>) {
    (Method::POST, path.into(), Some(body))
}

fn id_of(document: Option<Value>, field: &str) -> Option<String> {
    document?[field].as_str().map(str::to_owned)
}

fn sku(client: &mut Client) -> &'static str {
    SKUS[client.chance.usize(..SKUS.len())]
}

/// One that is known, mostly a new one, or one that nobody has heard of.
fn order(client: &mut Client) -> (String, i64) {
    let strange = (client.chance.u32(..40) == 0).then(|| (Uuid::from_u128(client.chance.u128(..)).to_string(), 5));
    strange.or_else(|| recent(client, |known| known.orders.clone())).unwrap_or_else(|| (Uuid::nil().to_string(), 5))
}

fn recent<T: Clone>(client: &mut Client, of: impl FnOnce(&crate::book::Known) -> Vec<T>) -> Option<T> {
    let all = client.book.known(|known| of(known));
    let from = if client.chance.u32(..10) < 7 { all.len().saturating_sub(12) } else { 0 };
    client.chance.choice(&all[from..]).cloned()
}

fn address(client: &Client, email: &str) -> Address {
    Address { text: email.to_owned(), key: client.hash_key.unique("email", email), canonical_key: None }
}

async fn create_customer(client: &mut Client) {
    let email = format!("c{}@example.com", client.chance.u32(..N_EMAILS));
    let meaning = Ask::CreateCustomer { name: "Somebody".to_owned(), email: address(client, &email) };
    let body = json!({ "name": "Somebody", "email": email });
    let answer = ask(client, "customers", post("/customers", body), meaning).await;
    if let Some(id) = id_of(answer, "customer_id") {
        client.book.known(|known| known.customers.push(id));
    }
}

async fn change_customer(client: &mut Client) {
    let Some(id) = recent(client, |known| known.customers.clone()) else { return };
    if client.chance.u32(..10) < 2 {
        let how = (Method::POST, format!("/customers/{id}/deactivate"), None);
        ask(client, "customers", how, Ask::Deactivate { customer: id }).await;
        return;
    }
    let email = format!("c{}@example.com", client.chance.u32(..N_EMAILS));
    let meaning = Ask::UpdateCustomer { customer: id.clone(), name: None, email: Some(address(client, &email)) };
    let how = (Method::PATCH, format!("/customers/{id}"), Some(json!({ "email": email })));
    ask(client, "customers", how, meaning).await;
}

async fn place(client: &mut Client) {
    let Some(customer) = recent(client, |known| known.customers.clone()) else { return };
    let lines: Vec<_> = (0..client.chance.u32(1..3))
        .map(|_| OrderLine {
            sku: sku(client).to_owned(),
            quantity: client.chance.i64(1..4),
            unit_price: client.chance.i64(1..9),
        })
        .collect();
    let body = json!({ "customer_id": customer, "currency": CURRENCY, "lines": lines });
    let meaning = Ask::Place { customer, currency: CURRENCY.to_owned(), lines, channel: None };
    let answer = ask(client, "orders", post("/orders", body), meaning).await;
    let total = answer.as_ref().and_then(|order| order["total"].as_i64()).unwrap_or(5);
    if let Some(id) = id_of(answer, "order_id") {
        client.book.known(|known| known.orders.push((id, total)));
    }
}

async fn on_order(client: &mut Client, verb: &str, meaning: fn(String) -> Ask) {
    let (id, _) = order(client);
    ask(client, "orders", (Method::POST, format!("/orders/{id}/{verb}"), None), meaning(id)).await;
}

async fn pay(client: &mut Client) {
    let (id, total) = order(client);
    let amount = if client.chance.u32(..10) < 3 { client.chance.i64(1..9) } else { total.max(1) };
    let body = json!({ "order_id": id, "amount": amount, "currency": CURRENCY, "reference": "bank" });
    let (currency, reference) = (CURRENCY.to_owned(), "bank".to_owned());
    ask(client, "billing", post("/billing", body), Ask::Pay { order: id, amount, currency, reference }).await;
}

async fn refund(client: &mut Client) {
    let (id, _) = order(client);
    let amount = client.chance.bool().then(|| client.chance.i64(1..5));
    let body = amount.map_or_else(|| json!({}), |amount| json!({ "amount": amount }));
    let how = post(format!("/billing/{id}/refund"), body);
    ask(client, "billing", how, Ask::Refund { order: id, amount, reason: None }).await;
}

async fn receive(client: &mut Client, sku: &'static str, quantity: u32) {
    let how = post(format!("/stock/{sku}/receive"), json!({ "quantity": quantity }));
    ask(client, "inventory", how, Ask::Receive { sku: sku.to_owned(), quantity: quantity.into() }).await;
}

async fn threshold(client: &mut Client, sku: &'static str) {
    let how = (Method::PUT, format!("/stock/{sku}/threshold"), Some(json!({ "low_stock_threshold": 8 })));
    ask(client, "inventory", how, Ask::SetThreshold { sku: sku.to_owned(), threshold: 8 }).await;
}

async fn adjust(client: &mut Client) {
    let (sku, units) = (sku(client), client.chance.i64(1..4));
    let delta = if client.chance.bool() { units } else { -units };
    let how = post(format!("/stock/{sku}/adjust"), json!({ "delta": delta, "reason": "counted" }));
    ask(client, "inventory", how, Ask::Adjust { sku: sku.to_owned(), delta, reason: "counted".to_owned() }).await;
}

async fn reserve(client: &mut Client) {
    let again = client.chance.u32(..10) == 0;
    let known = recent(client, |known| known.reservations.clone()).filter(|_| again);
    let name = known.unwrap_or_else(|| format!("r{:x}", client.chance.u64(..)));
    client.book.known(|known| known.reservations.push(name.clone()));
    let lines: Vec<_> = (0..client.chance.u32(1..3))
        .map(|_| Units { sku: sku(client).to_owned(), quantity: client.chance.i64(1..4) })
        .collect();
    let mut body = json!({ "reservation_id": name, "lines": lines });
    let ttl_seconds = (client.chance.u32(..10) < 8).then(|| client.chance.i64(1..4));
    if let Some(seconds) = ttl_seconds {
        body["ttl_seconds"] = json!(seconds);
    }
    let meaning = Ask::Reserve { name, lines, ttl_seconds, order: None };
    ask(client, "inventory", post("/stock/reserve", body), meaning).await;
}

async fn release(client: &mut Client) {
    let name = recent(client, |known| known.reservations.clone()).unwrap_or_else(|| "unheard-of".to_owned());
    let how = (Method::POST, format!("/stock/reservations/{name}/release"), None);
    ask(client, "inventory", how, Ask::Release { name }).await;
}

async fn notify(client: &mut Client) {
    let [recipient, subject, text] = ["operations", "Hello", "from a client"].map(str::to_owned);
    let body = json!({ "recipient": recipient, "subject": subject, "body": text });
    let meaning = Ask::Notify { recipient, subject, body: text };
    let answer = ask(client, "notifications", post("/notify", body), meaning).await;
    if let Some(id) = id_of(answer, "notification_id") {
        client.book.known(|known| known.notifications.push(id));
    }
}

async fn mark_read(client: &mut Client) {
    let Some(id) = recent(client, |known| known.notifications.clone()) else { return };
    let how = (Method::POST, format!("/notifications/{id}/read"), None);
    ask(client, "notifications", how, Ask::MarkRead { notification: id }).await;
}

async fn read(client: &mut Client) {
    match client.chance.u32(..4) {
        0 => {
            if let Some(id) = recent(client, |known| known.customers.clone()) {
                let object = Customer::aggregate(CustomerId(id.parse().unwrap_or_default()));
                client.read("customers", &format!("/customers/{id}"), object.key).await;
            }
        }
        1 => {
            let (id, _) = order(client);
            let object = Order::aggregate(OrderId(id.parse().unwrap_or_default()));
            client.read("orders", &format!("/orders/{id}"), object.key).await;
        }
        2 => {
            let sku = sku(client);
            let object = StockItem::aggregate(&Sku::new(sku).expect("the SKUs here are valid"));
            client.read("inventory", &format!("/stock/{sku}"), object.key).await;
        }
        _ => {
            let (id, _) = order(client);
            let object = Invoice::aggregate(OrderId(id.parse().unwrap_or_default()));
            client.read("billing", &format!("/billing/{id}"), object.key).await;
        }
    }
}
