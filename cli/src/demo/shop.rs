//! `serve --demo N`: a shop with N orders, then one about every second.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use orderlog_server::output::{self, Progress};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api::{Answer, Api, Sent},
    plan::{Fate, Person, Plan, Product, Step},
};

/// How many steps are in progress.
const N_AT_ONCE: usize = 48;
/// The time between orders once the shop has got its number of them.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the answer to an order may wait for its stock.
const SETTLED: Sent<'_> = Sent { after: None, prefer: Some("wait=10") };

/// Plays a shop with this many orders, and then goes on until it is dropped.
pub async fn play(api: &Api, n_orders: u32) -> anyhow::Result<()> {
    let mut plan = Plan::new(n_orders);
    let shop = Shop::open(api, &plan).await?;
    let mut progress = Progress::begin();
    let mut n_placed = 0;
    let steps = plan.by_ref().scan(0, |n_planned, step| {
        *n_planned += u32::from(matches!(step, Step::Purchase { .. }));
        (*n_planned <= n_orders).then_some(step)
    });
    let mut done = stream::iter(steps).map(|step| shop.execute(step)).buffer_unordered(N_AT_ONCE);
    while let Some(n) = done.try_next().await? {
        n_placed += n;
        progress.show(|it| {
            format!("  {n_placed} of {n_orders} orders, {:.0} a second", f64::from(n_placed) / it.seconds())
        });
    }
    drop(done);
    let took = Duration::from_secs_f64(progress.seconds());
    drop(progress);
    shop.read_some().await?;
    let orders = output::amounts::count(n_orders, "order");
    output::tell(&format!("  {orders} in {}. From now on, about one a second.\n", output::amounts::duration(took)));
    for step in plan {
        tokio::time::sleep(PAUSE).await;
        if let Err(error) = shop.execute(step).await {
            output::tell(&format!("  The demo goes on after a failure: {error:#}"));
        }
    }
    Ok(())
}

/// A shop in operation.
struct Shop<'a> {
    api: &'a Api,
    /// The ids of the plan's people.
    customers: Vec<String>,
    products: Vec<Product>,
}

impl<'a> Shop<'a> {
    /// Registers the customers and stocks the products.
    async fn open(api: &'a Api, plan: &Plan) -> anyhow::Result<Self> {
        let (n_customers, n_products) = (plan.people.len(), plan.products.len());
        output::tell(&format!(
            "  A shop with {n_customers} customers and {n_products} products, through the public HTTP API\n"
        ));
        // New addresses for each run on the same data.
        let run = &Uuid::new_v4().simple().to_string()[..6];
        let customers: Vec<_> = plan.people.iter().map(|person| register(api, person, run)).collect();
        let customers = stream::iter(customers).buffered(N_AT_ONCE).try_collect().await?;
        let stocked: Vec<_> = plan.products.iter().map(|product| stock(api, product)).collect();
        let mut stocked = stream::iter(stocked).buffer_unordered(N_AT_ONCE);
        while stocked.try_next().await?.is_some() {}
        Ok(Self { api, customers, products: plan.products.clone() })
    }

    /// Executes a step, and returns the number of orders that it placed.
    async fn execute(&self, step: Step) -> anyhow::Result<u32> {
        match step {
            Step::Delivery { product } => {
                deliver(self.api, &self.products[product]).await?;
                Ok(0)
            }
            Step::Purchase { customer, lines, channel, fate } => {
                let lines: Vec<_> = lines.iter().map(|(product, quantity)| self.line(*product, *quantity)).collect();
                let customer_id = &self.customers[customer];
                let body = json!({ "customer_id": customer_id, "currency": "EUR", "channel": channel, "lines": lines });
                let placed = self.api.send(Method::POST, "/orders", Some(body), SETTLED).await?.ok()?;
                // One that can't be supplied is rejected, and one that is still undecided is left alone.
                if placed.text("state") == "confirmed" {
                    Order::new(self.api, &placed).meet(fate).await?;
                }
                Ok(1)
            }
        }
    }

    fn line(&self, product: usize, quantity: u32) -> Value {
        let Product { sku, price, .. } = &self.products[product];
        json!({ "sku": sku, "quantity": quantity, "unit_price": price })
    }

    /// Operations read the newest of their notifications.
    async fn read_some(&self) -> anyhow::Result<()> {
        let list = self.api.get("/notifications?recipient=operations&unread=true&limit=5").await?.ok()?;
        for notification in list.body["items"].as_array().into_iter().flatten() {
            let id = notification["notification_id"].as_str().unwrap_or_default();
            self.api.press(&format!("/notifications/{id}/read"), Sent::default()).await?;
        }
        Ok(())
    }
}

async fn register(api: &Api, person: &Person, run: &str) -> anyhow::Result<String> {
    let email = format!("{}.{run}@{}", person.mailbox, person.domain);
    let customer = api.post("/customers", json!({ "name": person.name, "email": email })).await?;
    Ok(customer.text("customer_id").to_owned())
}

async fn deliver(api: &Api, product: &Product) -> anyhow::Result<Answer> {
    api.post(&format!("/stock/{}/receive", product.sku), json!({ "quantity": product.delivery })).await
}

async fn stock(api: &Api, product: &Product) -> anyhow::Result<Answer> {
    deliver(api, product).await?;
    let threshold = json!({ "low_stock_threshold": product.threshold });
    api.put(&format!("/stock/{}/threshold", product.sku), threshold).await
}

/// An order whose stock is reserved.
struct Order<'a> {
    api: &'a Api,
    id: &'a str,
    total: i64,
    /// The position of the newest answer, which the next command has to follow.
    after: Option<String>,
}

impl<'a> Order<'a> {
    fn new(api: &'a Api, placed: &'a Answer) -> Self {
        let total = placed.body["total"].as_i64().unwrap_or_default();
        Self { api, id: placed.text("order_id"), total, after: placed.position.clone() }
    }

    async fn meet(mut self, fate: Fate) -> anyhow::Result<()> {
        // A part of the price that is neither nothing nor all of it.
        let part = self.total / 3;
        match fate {
            Fate::Unpaid => {}
            Fate::PartlyPaid => self.pay(part).await?,
            Fate::Paid => self.pay(self.total).await?,
            Fate::Cancelled => self.turn("cancel").await?,
            Fate::CancelledPaid => {
                self.pay(self.total).await?;
                self.turn("cancel").await?;
            }
            Fate::Fulfilled => {
                self.pay(self.total).await?;
                self.turn("fulfil").await?;
            }
            Fate::PaidInParts => {
                self.pay(part).await?;
                self.pay(self.total - part).await?;
                self.turn("fulfil").await?;
            }
            Fate::Overpaid => {
                self.overpay().await?;
                self.pay(self.total).await?;
                self.turn("fulfil").await?;
            }
            Fate::Refunded => {
                self.pay(self.total).await?;
                self.turn("fulfil").await?;
                self.refund(part).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, path: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let sent = Sent { after: self.after.as_deref(), prefer: None };
        let answer = self.api.send(Method::POST, path, body, sent).await?;
        self.after = answer.position.clone().or(self.after.take());
        Ok(answer)
    }

    async fn expect(&mut self, path: &str, body: Option<Value>) -> anyhow::Result<()> {
        self.send(path, body).await?.ok().with_context(|| format!("POST {path}")).map(drop)
    }

    fn payment(&self, amount: i64) -> Value {
        json!({ "order_id": self.id, "amount": amount, "currency": "EUR", "reference": "bank transfer" })
    }

    async fn pay(&mut self, amount: i64) -> anyhow::Result<()> {
        self.expect("/billing", Some(self.payment(amount))).await
    }

    async fn overpay(&mut self) -> anyhow::Result<()> {
        let answer = self.send("/billing", Some(self.payment(self.total * 10))).await?;
        ensure!(answer.text("code") == "overpayment", "POST /billing of too much is not refused: {}", answer.body);
        Ok(())
    }

    async fn refund(&mut self, amount: i64) -> anyhow::Result<()> {
        let body = json!({ "amount": amount, "reason": "arrived damaged" });
        self.expect(&format!("/billing/{}/refund", self.id), Some(body)).await
    }

    /// Cancels or ships the order.
    async fn turn(&mut self, verb: &str) -> anyhow::Result<()> {
        self.expect(&format!("/orders/{}/{verb}", self.id), None).await
    }
}
