//! `serve --demo`: a short story through the public HTTP API of this process, printed as it happens.
//!
//! It creates new customers and SKUs each time, so it can be repeated on the same data.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use orderlog_http::{auth::Token, names::ServiceName, params::CommandHeaders, tls};
use orderlog_server::{output, registry::Registry};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// How long to wait for anything that follows automatically.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to check for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Plays the story with these services at `url`, and prints it.
pub async fn play(registry: &Registry, url: String, key: Token) -> anyhow::Result<()> {
    let story = Story::begin(url, key)?;
    story.ready(registry).await?;
    let (beans, mugs) = (format!("beans-{}", story.tag), format!("mugs-{}", story.tag));
    let (ada, bob) = story.opening(&beans, &mugs).await?;
    story.bought(&ada, &beans, &mugs).await?;
    story.running_low(&bob, &mugs).await?;
    story.out_of_stock(&ada, &mugs).await?;
    story.overpaid_and_cancelled(&bob, &mugs).await?;
    story.read_back().await?;
    output::tell("\n  That was the demo. The services go on: try them at /docs.\n");
    Ok(())
}

/// A story in progress.
struct Story {
    client: reqwest::Client,
    url: String,
    key: Token,
    tag: String,
    begun: Instant,
}

/// A response: its status and its JSON.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn ok(self) -> anyhow::Result<Value> {
        ensure!((200..300).contains(&self.status), "it was answered with {}: {}", self.status, self.body);
        Ok(self.body)
    }
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_default()
}

fn euros(cents: &Value) -> String {
    let cents = cents.as_i64().unwrap_or_default();
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

/// Formats a line of the timeline.
fn line(after: Duration, service: &str, what: &str) -> String {
    format!("  {:>7.3} s  {service:<14} {what}", after.as_secs_f64())
}

impl Story {
    fn begin(url: String, key: Token) -> anyhow::Result<Self> {
        // The process calls itself, so no proxy is needed.
        let client = tls::client(None, [])?.timeout(PATIENCE).build();
        let client = client.context("no HTTP client can be made")?;
        let tag = Uuid::new_v4().simple().to_string()[..6].to_owned();
        Ok(Self { client, url, key, tag, begun: Instant::now() })
    }

    fn tell(&self, service: &str, what: &str) {
        output::tell(&line(self.begun.elapsed(), service, what));
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let told = format!("{method} {path}");
        let is_command = method != Method::GET;
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(self.key.expose());
        if let Some(body) = &body {
            request = request.json(body);
        }
        if is_command {
            request = request.header(CommandHeaders::KEY, Uuid::new_v4().to_string());
        }
        let response = request.send().await.with_context(|| format!("{told} was not answered"))?;
        let status = response.status().as_u16();
        let body = response.json().await.with_context(|| format!("{told} was answered without JSON"))?;
        Ok(Answer { status, body })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self.send(Method::POST, path, Some(body)).await?;
        answer.ok().with_context(|| format!("POST {path}"))
    }

    /// POST without a body.
    async fn press(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::POST, path, None).await?.ok().with_context(|| format!("POST {path}"))
    }

    /// The document at `path`, once it is as wanted.
    async fn eventually(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await?;
            if is_wanted(&answer) {
                return Ok(answer.body);
            }
            if Instant::now() >= deadline {
                bail!("GET {path} still answers {}: {}", answer.status, answer.body);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ready(&self, registry: &Registry) -> anyhow::Result<()> {
        let readiness = self.eventually("/readyz", |answer| answer.status == 200).await?;
        let here = |service: &ServiceName| readiness["services"].get(service.as_str()).is_some();
        ensure!(registry.names().iter().all(here), "the demo needs all five services in one process");
        output::tell("  A story, told through the public HTTP API:\n");
        Ok(())
    }

    async fn opening(&self, beans: &str, mugs: &str) -> anyhow::Result<(String, String)> {
        let ada = self.customer("Ada").await?;
        let bob = self.customer("Bob").await?;
        self.receive(beans, 20).await?;
        self.receive(mugs, 5).await?;
        let threshold = json!({ "low_stock_threshold": 3 });
        self.send(Method::PUT, &format!("/stock/{mugs}/threshold"), Some(threshold)).await?.ok()?;
        self.tell("inventory", &format!("{mugs} count as low while fewer than 3 are available"));
        Ok((ada, bob))
    }

    async fn customer(&self, name: &str) -> anyhow::Result<String> {
        let email = format!("{}.{}@example.com", name.to_lowercase(), self.tag);
        let customer = self.post("/customers", json!({ "name": name, "email": email })).await?;
        self.tell("customers", &format!("{name} is a customer now"));
        Ok(text(&customer, "customer_id").to_owned())
    }

    async fn receive(&self, sku: &str, quantity: u32) -> anyhow::Result<()> {
        let stock = self.post(&format!("/stock/{sku}/receive"), json!({ "quantity": quantity })).await?;
        self.tell("inventory", &format!("{quantity} {sku} came in, {} are available", stock["available"]));
        Ok(())
    }

    async fn order(&self, name: &str, customer_id: &str, lines: &[(&str, u32, u32)]) -> anyhow::Result<String> {
        let wanted: Vec<String> = lines.iter().map(|(sku, quantity, _)| format!("{quantity} {sku}")).collect();
        let lines: Vec<Value> = lines
            .iter()
            .map(|(sku, quantity, price)| json!({ "sku": sku, "quantity": quantity, "unit_price": price }))
            .collect();
        let body = json!({ "customer_id": customer_id, "currency": "EUR", "lines": lines });
        let order = self.post("/orders", body).await?;
        let told =
            format!("{name} orders {} for {}: {}", wanted.join(" and "), euros(&order["total"]), text(&order, "state"));
        self.tell("orders", &told);
        Ok(text(&order, "order_id").to_owned())
    }

    /// Waits until an order has this state and payment status, and prints it.
    async fn order_becomes(&self, name: &str, id: &str, state: &str, payment: &str) -> anyhow::Result<Value> {
        let is_so = |answer: &Answer| answer.body["state"] == state && answer.body["payment"] == payment;
        let order = self.eventually(&format!("/orders/{id}"), is_so).await?;
        self.tell("orders", &format!("{name}'s order is {state} and {payment}"));
        Ok(order)
    }

    async fn pay(&self, name: &str, order_id: &str, amount: i64) -> anyhow::Result<()> {
        self.eventually(&format!("/billing/{order_id}"), |answer| answer.body["state"] == "open").await?;
        let body = json!({ "order_id": order_id, "amount": amount, "currency": "EUR", "reference": "demo" });
        let answer = self.send(Method::POST, "/billing", Some(body)).await?;
        let told = if answer.status == 201 {
            let (paid, due) = (euros(&answer.body["amount_paid"]), euros(&answer.body["amount_due"]));
            format!("{name} pays {}: {paid} of {due} are paid", euros(&amount.into()))
        } else {
            format!("{name} pays {}, which is refused: {}", euros(&amount.into()), text(&answer.body, "detail"))
        };
        self.tell("billing", &told);
        Ok(())
    }

    /// Waits for a recipient's notification whose subject begins so and that is about `about`, and prints it.
    async fn told(&self, whom: &str, recipient: &str, subject: &str, about: &str) -> anyhow::Result<()> {
        let is_it = |item: &&Value| text(item, "subject").starts_with(subject) && item.to_string().contains(about);
        let find = |list: &Value| list["items"].as_array().and_then(|items| items.iter().find(is_it).cloned());
        let path = format!("/notifications?recipient={recipient}&limit=100");
        let list = self.eventually(&path, |answer| find(&answer.body).is_some()).await?;
        let found = find(&list).unwrap_or_default();
        self.tell("notifications", &format!("{whom}: \"{}\"", text(&found, "subject")));
        Ok(())
    }

    async fn bought(&self, ada: &str, beans: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Ada", ada, &[(beans, 2, 1_890), (mugs, 1, 1_250)]).await?;
        self.order_becomes("Ada", &order, "confirmed", "unpaid").await?;
        self.pay("Ada", &order, 3_000).await?;
        self.pay("Ada", &order, 2_030).await?;
        self.order_becomes("Ada", &order, "confirmed", "paid").await?;
        self.told("Ada is told", ada, "Order paid", &order).await?;
        self.press(&format!("/orders/{order}/fulfil")).await?;
        self.order_becomes("Ada", &order, "fulfilled", "paid").await?;
        let left = self.eventually(&format!("/stock/{beans}"), |answer| answer.body["on_hand"] == 18).await?;
        self.tell("inventory", &format!("2 {beans} left the house, {} are on hand", left["on_hand"]));
        Ok(())
    }

    async fn running_low(&self, bob: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Bob", bob, &[(mugs, 2, 1_250)]).await?;
        self.order_becomes("Bob", &order, "confirmed", "unpaid").await?;
        self.told("operations are told", "operations", "Low stock", mugs).await
    }

    async fn out_of_stock(&self, ada: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Ada", ada, &[(mugs, 10, 1_250)]).await?;
        let rejected = self.order_becomes("Ada", &order, "rejected", "unpaid").await?;
        let short = &rejected["rejection"]["shortages"][0];
        let (requested, available) = (&short["requested"], &short["available"]);
        self.tell("inventory", &format!("{requested} {mugs} were requested, {available} are available"));
        self.eventually(&format!("/billing/{order}"), |answer| answer.body["state"] == "void").await?;
        self.tell("billing", "nothing is to be paid for it: its invoice is void");
        Ok(())
    }

    async fn overpaid_and_cancelled(&self, bob: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Bob", bob, &[(mugs, 1, 1_250)]).await?;
        self.order_becomes("Bob", &order, "confirmed", "unpaid").await?;
        self.pay("Bob", &order, 12_500).await?;
        self.told("operations are told", "operations", "Overpayment refused", &order).await?;
        self.pay("Bob", &order, 1_250).await?;
        self.order_becomes("Bob", &order, "confirmed", "paid").await?;
        self.press(&format!("/orders/{order}/cancel")).await?;
        let invoice =
            self.eventually(&format!("/billing/{order}"), |answer| answer.body["state"] == "refunded").await?;
        self.tell("billing", &format!("{} go back to Bob", euros(&invoice["amount_refunded"])));
        self.order_becomes("Bob", &order, "cancelled", "refunded").await?;
        self.receive(mugs, 10).await?;
        self.told("operations are told", "operations", "Stock recovered", mugs).await
    }

    async fn read_back(&self) -> anyhow::Result<()> {
        let path = "/notifications?recipient=operations&unread=true&limit=100";
        let list = self.get(path).await?.ok()?;
        let of_story = |item: &&Value| item.to_string().contains(&self.tag);
        let low = list["items"].as_array().into_iter().flatten().rfind(of_story);
        let low = low.context("operations were told nothing")?;
        self.press(&format!("/notifications/{}/read", text(low, "notification_id"))).await?;
        let unread = self.get(path).await?.ok()?["unread_count"].clone();
        let told = format!("operations read \"{}\"; {unread} more are unread", text(low, "subject"));
        self.tell("notifications", &told);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_timeline_are_aligned() {
        let one = line(Duration::from_millis(7), "orders", "x");
        let other = line(Duration::from_millis(12_345), "notifications", "x");
        assert_eq!(one, "    0.007 s  orders         x");
        assert_eq!(one.find('x'), other.find('x'));
    }

    #[test]
    fn cents_are_told_as_euros() {
        assert_eq!(euros(&json!(5030)), "50.30 EUR");
        assert_eq!(euros(&json!(5)), "0.05 EUR");
    }
}
