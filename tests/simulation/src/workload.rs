//! What clients do: a little of everything, on few objects, so that they get in each other's way.

use std::sync::{Arc, Mutex, PoisonError};

use orderlog_core::{decider::Ref, machine::Versions};
use orderlog_domain::{
    billing::{Billing, Invoice},
    customers::{Customer, Customers},
    inventory::{self, Inventory, ReservationId, Reserve, StockItem},
    notifications::{self, Notification, Notifications},
    orders::{self, Order, Orders},
    values::{CustomerId, NotificationId, OrderId, Sku},
};
use uuid::Uuid;

use crate::{
    chance::Chance,
    client::{Client, Question},
    commands::{BUSY_SKUS, Placed, reservation_name},
    instance::Service,
    life::mint,
    meaning,
    shop::Shop,
    world::BEGIN_MS,
};

/// An idempotency key that was used: by which client, at which operation, and its text.
type UsedKey = (u64, String, String);

/// What clients have heard of.
#[derive(Default)]
pub struct Known {
    customers: Vec<CustomerId>,
    orders: Vec<Placed>,
    notifications: Vec<NotificationId>,
    reservations: Vec<Reserve>,
    keys: Vec<UsedKey>,
}

pub struct Workload {
    shop: Arc<Shop>,
    known: Mutex<Known>,
}

impl Workload {
    /// A workload for this shop.
    pub fn new(shop: &Arc<Shop>) -> Arc<Self> {
        Arc::new(Self { shop: Arc::clone(shop), known: Mutex::default() })
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        self.shop.world.draw(draw)
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn mint(&self) -> Uuid {
        mint(&self.shop.world, BEGIN_MS + self.shop.world.elapsed_ms())
    }

    fn one_known<T: Clone>(&self, of: impl FnOnce(&Known) -> Vec<T>) -> Option<T> {
        let all = self.known(|known| of(known));
        // The newest are the busiest.
        let from = if self.draw(|chance| chance.of_1000(700)) { all.len().saturating_sub(3) } else { 0 };
        self.draw(|chance| chance.one_of(&all[from..]).cloned())
    }

    /// A key for most commands: mostly a new one, now and then one that this client has used at this operation, or that somebody has
    /// used anywhere.
    fn key<D: Service>(&self, client: &Client, command: &D::Command) -> Option<String> {
        let operation = D::meaning(command).map(|ask| meaning::operation(&ask)).unwrap_or_default();
        let draw = self.draw(|chance| chance.below(100));
        let used = self.known(|known| match draw {
            30..37 => {
                let is_here = |(by, at, _): &&UsedKey| *by == client.number && *at == operation;
                known.keys.iter().rfind(is_here).cloned()
            }
            37..42 => known.keys.last().cloned(),
            _ => None,
        });
        if draw < 30 {
            return None;
        }
        let text = used.map_or_else(|| format!("key {}", self.known(|known| known.keys.len())), |(_, _, text)| text);
        self.known(|known| known.keys.push((client.number, operation, text.clone())));
        Some(text)
    }

    /// Versions that few commands name: any, some, or the one that the client has just read.
    async fn versions<D: Service>(&self, client: &Client, command: &D::Command) -> Option<Versions> {
        match self.draw(|chance| chance.below(25)) {
            0 => Some(Versions::Any),
            1 => Some(Versions::OneOf(vec![self.draw(|chance| chance.between(1, 5))])),
            2 => {
                let Ref { kind, key, .. } = D::target(command)?;
                Some(Versions::OneOf(vec![client.read::<D>(kind, key).await?, 77]))
            }
            _ => None,
        }
    }

    /// One client, from its first command to its last.
    pub async fn client(self: Arc<Self>, number: u64, n_commands: u64) {
        let client = Client::new(&self.shop, number);
        if number == 1 {
            self.stock_up(&client).await;
        }
        for _ in 0..n_commands {
            self.one(&client).await;
            let pause = self.draw(|chance| if chance.of_1000(400) { chance.ms(0, 5) } else { chance.ms(5, 150) });
            tokio::time::sleep(pause).await;
        }
    }

    async fn stock_up(&self, client: &Client) {
        for sku in BUSY_SKUS.iter().filter_map(|sku| Sku::new(*sku).ok()) {
            let command = self.draw(|chance| chance.receive(sku.clone()));
            self.ask::<Inventory>(client, command).await;
            let command = inventory::Command::SetThreshold { sku, low_stock_threshold: 4 };
            self.ask::<Inventory>(client, command).await;
        }
        self.create_customer(client).await;
    }

    async fn ask<D: Service>(&self, client: &Client, command: D::Command) -> Option<Uuid> {
        let key = self.key::<D>(client, &command);
        let versions = self.versions::<D>(client, &command).await;
        let question = Question::<D> { command, key, versions };
        if question.key.is_some() && self.draw(|chance| chance.of_1000(150)) {
            // Twice at once, perhaps at two instances.
            let again = question.clone();
            let (one, other) = tokio::join!(client.ask_until_known(question), client.ask_until_known(again));
            return one.or(other).and_then(|executed| D::made(&executed.accepted.event));
        }
        let again = question.clone();
        let executed = client.ask_until_known(question).await;
        if again.key.is_some() && self.draw(|chance| chance.of_1000(80)) {
            client.ask(&again).await;
        }
        executed.and_then(|executed| D::made(&executed.accepted.event))
    }

    async fn one(&self, client: &Client) {
        match self.draw(|chance| chance.below(100)) {
            0..5 => self.create_customer(client).await,
            5..10 => self.change_customer(client).await,
            10..27 => self.place(client).await,
            27..35 => {
                let command = orders::Command::Cancel { order_id: self.order().order_id };
                self.ask::<Orders>(client, command).await;
            }
            35..43 => {
                let command = orders::Command::Fulfil { order_id: self.order().order_id };
                self.ask::<Orders>(client, command).await;
            }
            43..55 => {
                let order = self.order();
                self.ask::<Billing>(client, self.draw(|chance| chance.pay(order))).await;
            }
            55..60 => {
                let order = self.order();
                self.ask::<Billing>(client, self.draw(|chance| chance.refund(order.order_id))).await;
            }
            60..65 => {
                let command = self.draw(|chance| {
                    let sku = chance.sku();
                    chance.receive(sku)
                });
                self.ask::<Inventory>(client, command).await;
            }
            65..69 => {
                self.ask::<Inventory>(client, self.draw(Chance::adjust)).await;
            }
            69..71 => {
                self.ask::<Inventory>(client, self.draw(Chance::set_threshold)).await;
            }
            71..80 => self.reserve(client).await,
            80..84 => self.release(client).await,
            84..86 => self.notify(client).await,
            86..88 => self.mark_read(client).await,
            _ => self.read(client).await,
        }
    }

    async fn create_customer(&self, client: &Client) {
        let id = self.ask::<Customers>(client, self.draw(Chance::create_customer)).await;
        self.known(|known| known.customers.extend(id.map(CustomerId)));
    }

    async fn change_customer(&self, client: &Client) {
        let Some(customer_id) = self.one_known(|known| known.customers.clone()) else { return };
        self.ask::<Customers>(client, self.draw(|chance| chance.change_customer(customer_id))).await;
    }

    async fn place(&self, client: &Client) {
        let strange = self.draw(|chance| chance.of_1000(50));
        let known = if strange { None } else { self.one_known(|known| known.customers.clone()) };
        let customer_id = known.unwrap_or_else(|| CustomerId(self.mint()));
        let command = self.draw(|chance| chance.place(customer_id));
        if let Some(id) = self.ask::<Orders>(client, command.clone()).await {
            self.known(|known| known.orders.extend(Placed::new(OrderId(id), &command)));
        }
    }

    fn order(&self) -> Placed {
        self.one_known(|known| known.orders.clone()).unwrap_or_else(|| Placed::unheard_of(self.mint()))
    }

    async fn reserve(&self, client: &Client) {
        let known = self.one_known(|known| known.reservations.clone()).filter(|_| self.draw(|it| it.of_1000(150)));
        let is_repeated = self.draw(|chance| chance.of_1000(500));
        let asking = match known {
            Some(same) if is_repeated => same,
            known => {
                let name = known.map(|it| it.name.as_str().to_owned());
                let name = name.unwrap_or_else(|| format!("r{}", self.known(|known| known.reservations.len())));
                let order = self.one_known(|known| known.orders.clone()).filter(|_| self.draw(|it| it.of_1000(300)));
                self.draw(|chance| chance.reserve(&name, order.map(|order| order.order_id)))
            }
        };
        self.known(|known| known.reservations.push(asking.clone()));
        self.ask::<Inventory>(client, inventory::Command::Reserve(asking)).await;
    }

    async fn release(&self, client: &Client) {
        let known = self.one_known(|known| known.reservations.clone());
        let name = match self.draw(|chance| chance.below(20)) {
            // An order's own reservation is nobody's to release.
            0 => reservation_name(&self.order().order_id.to_string()),
            1 => reservation_name("unheard-of"),
            _ => known.map_or_else(|| reservation_name("unheard-of"), |known| known.name),
        };
        self.ask::<Inventory>(client, inventory::Command::Release { name }).await;
    }

    async fn notify(&self, client: &Client) {
        let customer = self.one_known(|known| known.customers.clone());
        let id = self.ask::<Notifications>(client, self.draw(|chance| chance.notify(customer))).await;
        self.known(|known| known.notifications.extend(id.map(NotificationId)));
    }

    async fn mark_read(&self, client: &Client) {
        let known = self.one_known(|known| known.notifications.clone());
        let notification_id = known.unwrap_or_else(|| NotificationId(self.mint()));
        self.ask::<Notifications>(client, notifications::Command::MarkRead { notification_id }).await;
    }

    async fn read(&self, client: &Client) {
        match self.draw(|chance| chance.below(6)) {
            0 => {
                if let Some(id) = self.one_known(|known| known.customers.clone()) {
                    self.look::<Customers>(client, Customer::aggregate(id)).await;
                }
            }
            1 => self.look::<Orders>(client, Order::aggregate(self.order().order_id)).await,
            2 => {
                let sku = self.draw(Chance::sku);
                self.look::<Inventory>(client, StockItem::aggregate(&sku)).await;
            }
            3 => self.look::<Billing>(client, Invoice::aggregate(self.order().order_id)).await,
            4 => {
                if let Some(known) = self.one_known(|known| known.reservations.clone()) {
                    self.look::<Inventory>(client, ReservationId::Caller(known.name).aggregate()).await;
                }
            }
            _ => {
                if let Some(id) = self.one_known(|known| known.notifications.clone()) {
                    self.look::<Notifications>(client, Notification::aggregate(id)).await;
                }
            }
        }
    }

    async fn look<D: Service>(&self, client: &Client, object: Ref) {
        client.read::<D>(object.kind, object.key).await;
    }
}
