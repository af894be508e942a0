//! `serve --demo`: a short story, printed as it happens.

use std::time::{Duration, Instant};

use anyhow::Context;
use orderlog_server::output;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{Answer, Api, Sent};

/// Plays the story, and prints it.
pub async fn play(api: Api) -> anyhow::Result<()> {
    let story = Story::begin(api);
    let (beans, mugs) = (format!("beans-{}", story.tag), format!("mugs-{}", story.tag));
    let (ada, bob) = story.opening(&beans, &mugs).await?;
    story.bought(&ada, &beans, &mugs).await?;
    story.running_low(&bob, &mugs).await?;
    story.out_of_stock(&ada, &mugs).await?;
    story.overpaid_and_cancelled(&bob, &mugs).await?;
    story.read_back().await?;
    output::tell("\n  That was the demo. The services keep running: try them at /docs.\n");
    Ok(())
}

/// A story in progress.
struct Story {
    api: Api,
    tag: String,
    begun: Instant,
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
    fn begin(api: Api) -> Self {
        output::tell("  A story, played through the public HTTP API:\n");
        let tag = Uuid::new_v4().simple().to_string()[..6].to_owned();
        Self { api, tag, begun: Instant::now() }
    }

    fn tell(&self, service: &str, what: &str) {
        output::tell(&line(self.begun.elapsed(), service, what));
    }

    async fn opening(&self, beans: &str, mugs: &str) -> anyhow::Result<(String, String)> {
        let ada = self.customer("Ada").await?;
        let bob = self.customer("Bob").await?;
        self.receive(beans, 20).await?;
        self.receive(mugs, 5).await?;
        let threshold = json!({ "low_stock_threshold": 3 });
        self.api.put(&format!("/stock/{mugs}/threshold"), threshold).await?;
        self.tell("inventory", &format!("{mugs} count as low while fewer than 3 are available"));
        Ok((ada, bob))
    }

    async fn customer(&self, name: &str) -> anyhow::Result<String> {
        let email = format!("{}.{}@example.com", name.to_lowercase(), self.tag);
        let customer = self.api.post("/customers", json!({ "name": name, "email": email })).await?;
        self.tell("customers", &format!("{name} is a customer now"));
        Ok(customer.text("customer_id").to_owned())
    }

    async fn receive(&self, sku: &str, quantity: u32) -> anyhow::Result<()> {
        let stock = self.api.post(&format!("/stock/{sku}/receive"), json!({ "quantity": quantity })).await?;
        self.tell("inventory", &format!("{quantity} {sku} came in, {} are available", stock.body["available"]));
        Ok(())
    }

    /// Places an order and returns its id.
    async fn order(&self, name: &str, customer_id: &str, lines: &[(&str, u32, u32)]) -> anyhow::Result<String> {
        let wanted: Vec<String> = lines.iter().map(|(sku, quantity, _)| format!("{quantity} {sku}")).collect();
        let lines: Vec<Value> = lines
            .iter()
            .map(|(sku, quantity, price)| json!({ "sku": sku, "quantity": quantity, "unit_price": price }))
            .collect();
        let body = json!({ "customer_id": customer_id, "currency": "EUR", "lines": lines });
        let order = self.api.post("/orders", body).await?.body;
        let placed =
            format!("{name} orders {} for {}: {}", wanted.join(" and "), euros(&order["total"]), text(&order, "state"));
        self.tell("orders", &placed);
        Ok(text(&order, "order_id").to_owned())
    }

    /// Waits until an order has this state and payment status, and prints it.
    async fn order_becomes(&self, name: &str, id: &str, state: &str, payment: &str) -> anyhow::Result<Value> {
        let is_so = |answer: &Answer| answer.body["state"] == state && answer.body["payment"] == payment;
        let order = self.api.eventually(&format!("/orders/{id}"), is_so).await?;
        self.tell("orders", &format!("{name}'s order is {state} and {payment}"));
        Ok(order)
    }

    async fn pay(&self, name: &str, order_id: &str, amount: i64) -> anyhow::Result<()> {
        self.api.eventually(&format!("/billing/{order_id}"), |answer| answer.body["state"] == "open").await?;
        let body = json!({ "order_id": order_id, "amount": amount, "currency": "EUR", "reference": "demo" });
        let answer = self.api.send(Method::POST, "/billing", Some(body), Sent::default()).await?;
        let outcome = if answer.status == 201 {
            let (paid, due) = (euros(&answer.body["amount_paid"]), euros(&answer.body["amount_due"]));
            format!("{name} pays {}: {paid} of {due} are paid", euros(&amount.into()))
        } else {
            format!("{name} pays {}: refused, {}", euros(&amount.into()), text(&answer.body, "detail"))
        };
        self.tell("billing", &outcome);
        Ok(())
    }

    /// Waits for a recipient's notification whose subject begins so and that is about `about`, and prints it.
    async fn notified(&self, whom: &str, recipient: &str, subject: &str, about: &str) -> anyhow::Result<()> {
        let is_it = |item: &&Value| text(item, "subject").starts_with(subject) && item.to_string().contains(about);
        let find = |list: &Value| list["items"].as_array().and_then(|items| items.iter().find(is_it).cloned());
        let path = format!("/notifications?recipient={recipient}&limit=100");
        let list = self.api.eventually(&path, |answer| find(&answer.body).is_some()).await?;
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
        self.notified("Ada is notified", ada, "Order paid", &order).await?;
        self.api.press(&format!("/orders/{order}/fulfil"), Sent::default()).await?;
        self.order_becomes("Ada", &order, "fulfilled", "paid").await?;
        let left = self.api.eventually(&format!("/stock/{beans}"), |answer| answer.body["on_hand"] == 18).await?;
        self.tell("inventory", &format!("2 {beans} are shipped, {} are on hand", left["on_hand"]));
        Ok(())
    }

    async fn running_low(&self, bob: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Bob", bob, &[(mugs, 2, 1_250)]).await?;
        self.order_becomes("Bob", &order, "confirmed", "unpaid").await?;
        self.notified("operations are notified", "operations", "Low stock", mugs).await
    }

    async fn out_of_stock(&self, ada: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Ada", ada, &[(mugs, 10, 1_250)]).await?;
        let rejected = self.order_becomes("Ada", &order, "rejected", "unpaid").await?;
        let short = &rejected["rejection"]["shortages"][0];
        let (requested, available) = (&short["requested"], &short["available"]);
        self.tell("inventory", &format!("{requested} {mugs} were requested, {available} are available"));
        self.api.eventually(&format!("/billing/{order}"), |answer| answer.body["state"] == "void").await?;
        self.tell("billing", "nothing is to be paid for it: its invoice is void");
        Ok(())
    }

    async fn overpaid_and_cancelled(&self, bob: &str, mugs: &str) -> anyhow::Result<()> {
        let order = self.order("Bob", bob, &[(mugs, 1, 1_250)]).await?;
        self.order_becomes("Bob", &order, "confirmed", "unpaid").await?;
        self.pay("Bob", &order, 12_500).await?;
        self.notified("operations are notified", "operations", "Overpayment refused", &order).await?;
        self.pay("Bob", &order, 1_250).await?;
        self.order_becomes("Bob", &order, "confirmed", "paid").await?;
        self.api.press(&format!("/orders/{order}/cancel"), Sent::default()).await?;
        let invoice =
            self.api.eventually(&format!("/billing/{order}"), |answer| answer.body["state"] == "refunded").await?;
        self.tell("billing", &format!("{} go back to Bob", euros(&invoice["amount_refunded"])));
        self.order_becomes("Bob", &order, "cancelled", "refunded").await?;
        self.receive(mugs, 10).await?;
        self.notified("operations are notified", "operations", "Stock recovered", mugs).await
    }

    async fn read_back(&self) -> anyhow::Result<()> {
        let path = "/notifications?recipient=operations&unread=true&limit=100";
        let list = self.api.get(path).await?.ok()?.body;
        let of_story = |item: &&Value| item.to_string().contains(&self.tag);
        let low = list["items"].as_array().into_iter().flatten().rfind(of_story);
        let low = low.context("operations got no notification")?;
        self.api.press(&format!("/notifications/{}/read", text(low, "notification_id")), Sent::default()).await?;
        let unread = self.api.get(path).await?.ok()?.body["unread_count"].clone();
        let read = format!("operations read \"{}\"; {unread} more are unread", text(low, "subject"));
        self.tell("notifications", &read);
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
    fn cents_are_printed_as_euros() {
        assert_eq!(euros(&json!(5030)), "50.30 EUR");
        assert_eq!(euros(&json!(5)), "0.05 EUR");
    }
}
