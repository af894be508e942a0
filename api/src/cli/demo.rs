//! `serve --demo`: a short story through the public HTTP API, told as it happens.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

/// How long the services have to get ready, and every step to show its effect.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Plays the story against the services at `base`.
pub async fn play(base: String) -> anyhow::Result<()> {
    let client = Client::builder().timeout(Duration::from_secs(10)).no_proxy().build()?;
    // Every telling has SKUs and people of its own, so that it can be told again on the same log.
    let tag = Uuid::new_v4().simple().to_string()[..6].to_owned();
    let mut story = Story { client, base, begun: Instant::now() };
    story.until_ready().await?;
    story.begun = Instant::now();
    println!("  A short story (everything in it is named {tag}):\n");
    story.tell(&tag).await.context("the story can't go on")?;
    println!("\n  The end. Look around: {}/docs\n", story.base);
    Ok(())
}

struct Story {
    client: Client,
    base: String,
    begun: Instant,
}

impl Story {
    async fn tell(&self, tag: &str) -> anyhow::Result<()> {
        let ada = self.customer("Ada", tag).await?;
        let beans = format!("beans-{tag}");
        self.must(Method::POST, &format!("/stock/{beans}/receive"), json!({ "quantity": 10 })).await?;
        self.must(Method::PUT, &format!("/stock/{beans}/threshold"), json!({ "low_stock_threshold": 3 })).await?;
        self.say(&format!("10 units of {beans} come in; below 3 available units somebody wants to be told"));

        let first = self.order(&ada, &beans, 4).await?;
        self.becomes(&first, "confirmed", "unpaid").await?;
        self.pay(&first, 4 * 1890).await?;
        self.becomes(&first, "confirmed", "paid").await?;
        self.must(Method::POST, &format!("/orders/{first}/fulfil"), Value::Null).await?;
        self.say("the first order leaves the house");

        let greedy = self.order(&ada, &beans, 99).await?;
        let rejected = self.becomes(&greedy, "rejected", "unpaid").await?;
        self.say(&format!("nobody has that many: {}", rejected["rejection"]["shortages"]));

        let second = self.order(&ada, &beans, 4).await?;
        self.becomes(&second, "confirmed", "unpaid").await?;
        self.told("operations", &beans, "2 units are left: operations is told that stock is low").await?;

        self.pay(&second, 4 * 1890).await?;
        self.becomes(&second, "confirmed", "paid").await?;
        self.must(Method::POST, &format!("/orders/{second}/cancel"), Value::Null).await?;
        self.say("Ada changes her mind");
        self.becomes(&second, "cancelled", "refunded").await?;
        let stock = self.must(Method::GET, &format!("/stock/{beans}"), Value::Null).await?;
        self.say(&format!("{beans}: {} on hand, {} available", stock["on_hand"], stock["available"]));
        self.told(&ada, "", "Ada was told that her orders are paid").await
    }

    fn say(&self, what: &str) {
        println!("  {:>6} ms  {what}", self.begun.elapsed().as_millis());
    }

    async fn customer(&self, name: &str, tag: &str) -> anyhow::Result<String> {
        let email = format!("{}.{tag}@example.com", name.to_lowercase());
        let customer = self.must(Method::POST, "/customers", json!({ "name": name, "email": email })).await?;
        self.say(&format!("{name} becomes a customer"));
        text(&customer, "customer_id")
    }

    async fn order(&self, customer: &str, sku: &str, quantity: u32) -> anyhow::Result<String> {
        let lines = json!([{ "sku": sku, "quantity": quantity, "unit_price": 1890 }]);
        let order = json!({ "customer_id": customer, "currency": "EUR", "lines": lines });
        let order = self.must(Method::POST, "/orders", order).await?;
        self.say(&format!("an order for {quantity} units of {sku} is placed"));
        text(&order, "order_id")
    }

    /// Pays; billing may not have heard of the order yet.
    async fn pay(&self, order: &str, amount: i64) -> anyhow::Result<()> {
        let payment = json!({ "order_id": order, "amount": amount, "currency": "EUR", "reference": "demo" });
        let invoice = format!("/billing/{order}");
        self.eventually("there is an invoice", async || Ok(self.ask(Method::GET, &invoice, Value::Null).await?.0 == 200))
            .await?;
        self.must(Method::POST, "/billing", payment).await?;
        self.say(&format!("{amount} cents are paid"));
        Ok(())
    }

    /// Waits until an order is as it should become.
    async fn becomes(&self, order: &str, state: &str, payment: &str) -> anyhow::Result<Value> {
        let path = format!("/orders/{order}");
        let what = format!("the order becomes {state} and {payment}");
        let as_wanted = |order: &Value| order["state"] == state && order["payment"] == payment;
        self.eventually(&what, async || Ok(as_wanted(&self.must(Method::GET, &path, Value::Null).await?))).await?;
        self.say(&what);
        self.must(Method::GET, &path, Value::Null).await
    }

    /// Waits until somebody was told of something.
    async fn told(&self, recipient: &str, of: &str, what: &str) -> anyhow::Result<()> {
        let path = format!("/notifications?recipient={recipient}&limit=100");
        self.eventually(what, async || {
            let page = self.must(Method::GET, &path, Value::Null).await?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            Ok(items.iter().any(|item| item.to_string().contains(of)))
        })
        .await?;
        self.say(what);
        Ok(())
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let ready = async || Ok(self.ask(Method::GET, "/readyz", Value::Null).await?.0 == 200);
        self.eventually("the services are ready", ready).await
    }

    async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds().await? {
            if begun.elapsed() > PATIENCE {
                bail!("waited in vain until {what}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn must(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let (status, answer) = self.ask(method.clone(), path, body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} was answered with {status}: {}", answer["detail"]);
        }
        Ok(answer)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> anyhow::Result<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or(Value::Null)))
    }
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    answer[field].as_str().map(str::to_owned).with_context(|| format!("an answer has no {field}"))
}
