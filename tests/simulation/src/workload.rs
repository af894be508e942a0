//! What clients do: a little of everything, on few objects, so that they get in each other's way.

use std::{
    num::NonZeroI64,
    sync::{Arc, Mutex, PoisonError},
};

use orderlog_domain::{
    billing::{self, Billing, Invoice},
    core::Versions,
    customers::{self, Customer, Customers},
    inventory::{self, Inventory, Reserve, StockItem},
    key::{HashKey, Key},
    notifications::{self, Notification, Notifications, Source},
    orders::{self, Order, Orders},
    public::{OrderLine, StockLine},
    values::{
        Body, Currency, CustomerId, Email, Money, Name, NotificationId, OrderId, PaymentId, PaymentReference, Quantity,
        Reason, Recipient, ReservationName, Sku, Subject, TtlSeconds,
    },
};
use orderlog_history::Ask;
use uuid::Uuid;

use crate::{
    chance::Chance,
    client::{Client, Question},
    instance::{SECRET, Service},
    life::mint,
    shop::Shop,
    world::BEGIN_MS,
};

const SKUS: [&str; 3] = ["apple", "bread", "cheese"];
const EMAILS: [&str; 5] = ["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"];
const VALID: &str = "what clients here send is valid";

/// What clients have heard of.
#[derive(Default)]
pub struct Known {
    customers: Vec<CustomerId>,
    orders: Vec<(OrderId, i64)>,
    notifications: Vec<NotificationId>,
    reservations: Vec<String>,
    n_keys: u64,
}

/// All clients together.
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

    /// A key for most commands.
    fn key(&self) -> Option<Key> {
        if !self.draw(|chance| chance.of_1000(700)) {
            return None;
        }
        let n = self.known(|known| {
            known.n_keys += 1;
            known.n_keys
        });
        Some(HashKey::from_secret(SECRET).idempotency("client", "operation", &format!("key {n}")))
    }

    fn versions(&self) -> Option<Versions> {
        self.draw(|chance| match chance.below(20) {
            0 => Some(Versions::Any),
            1 => Some(Versions::OneOf(vec![chance.between(1, 5)])),
            _ => None,
        })
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
        for sku in &SKUS[..2] {
            self.receive(client, sku).await;
            let command =
                inventory::Command::SetThreshold { sku: Sku::new(*sku).expect(VALID), low_stock_threshold: 4 };
            self.ask::<Inventory>(client, command, Ask::SetThreshold((*sku).to_owned())).await;
        }
        self.create_customer(client).await;
    }

    async fn ask<D: Service>(&self, client: &Client, command: D::Command, ask: Ask) -> Option<Uuid> {
        let question = Question::<D> { command, ask, key: self.key(), versions: self.versions() };
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
            5..9 => self.change_customer(client).await,
            9..27 => self.place(client).await,
            27..35 => self.cancel(client).await,
            35..43 => self.fulfil(client).await,
            43..55 => self.pay(client).await,
            55..60 => self.refund(client).await,
            60..65 => {
                let sku = self.sku();
                self.receive(client, &sku).await;
            }
            65..69 => self.adjust(client).await,
            69..79 => self.reserve(client).await,
            79..84 => self.release(client).await,
            84..86 => self.notify(client).await,
            86..88 => self.mark_read(client).await,
            _ => self.read(client).await,
        }
    }

    fn sku(&self) -> String {
        let at = self.draw(|chance| if chance.of_1000(50) { 2 } else { chance.below(2) });
        SKUS[usize::try_from(at).unwrap_or_default()].to_owned()
    }

    fn quantity(&self, most: u64) -> Quantity {
        let units = self.draw(|chance| chance.between(1, most));
        Quantity::new(u32::try_from(units).unwrap_or(1)).expect(VALID)
    }

    async fn create_customer(&self, client: &Client) {
        let customer_id = CustomerId(self.mint());
        let email = self.draw(|chance| *chance.one_of(&EMAILS).unwrap_or(&EMAILS[0]));
        let address = customers::Address::new(Email::new(email).expect(VALID), &HashKey::from_secret(SECRET));
        let (name, key) = (Name::new("Somebody").expect(VALID), String::from(address.email_key));
        let command = customers::Command::Create { customer_id, name, address };
        if let Some(id) = self.ask::<Customers>(client, command, Ask::CreateCustomer(key)).await {
            self.known(|known| known.customers.push(CustomerId(id)));
        }
    }

    async fn change_customer(&self, client: &Client) {
        let Some(customer_id) = self.one_known(|known| known.customers.clone()) else { return };
        let id = customer_id.0.to_string();
        if self.draw(|chance| chance.of_1000(300)) {
            let command = customers::Command::Deactivate { customer_id };
            self.ask::<Customers>(client, command, Ask::Deactivate(id)).await;
            return;
        }
        let email = self.draw(|chance| *chance.one_of(&EMAILS).unwrap_or(&EMAILS[0]));
        let address = customers::Address::new(Email::new(email).expect(VALID), &HashKey::from_secret(SECRET));
        let key = String::from(address.email_key);
        let command = customers::Command::Update { customer_id, name: None, address: Some(address) };
        self.ask::<Customers>(client, command, Ask::ChangeEmail(id, key)).await;
    }

    async fn place(&self, client: &Client) {
        let strange = self.draw(|chance| chance.of_1000(50));
        let known = if strange { None } else { self.one_known(|known| known.customers.clone()) };
        let customer_id = known.unwrap_or_else(|| CustomerId(self.mint()));
        let n_lines = self.draw(|chance| chance.between(1, 2));
        let lines: Vec<_> = (0..n_lines).map(|_| self.order_line()).collect();
        let total = lines.iter().map(|line| line.unit_price.minor_units() * i64::from(line.quantity.get())).sum();
        let order_id = OrderId(self.mint());
        let currency = Currency::new("EUR").expect(VALID);
        let command = orders::Command::Place { order_id, customer_id, currency, lines };
        if let Some(id) = self.ask::<Orders>(client, command, Ask::Place(customer_id.0.to_string())).await {
            self.known(|known| known.orders.push((OrderId(id), total)));
        }
    }

    fn order_line(&self) -> OrderLine {
        let price = self.draw(|chance| if chance.of_1000(50) { 0 } else { chance.between(1, 9) });
        let unit_price = Money::new(price.cast_signed()).expect(VALID);
        OrderLine { sku: Sku::new(self.sku()).expect(VALID), quantity: self.quantity(4), unit_price }
    }

    fn order(&self) -> (OrderId, i64) {
        let known = self.one_known(|known| known.orders.clone());
        known.unwrap_or_else(|| (OrderId(self.mint()), 5))
    }

    async fn cancel(&self, client: &Client) {
        let (order_id, _) = self.order();
        self.ask::<Orders>(client, orders::Command::Cancel { order_id }, Ask::Cancel(order_id.0.to_string())).await;
    }

    async fn fulfil(&self, client: &Client) {
        let (order_id, _) = self.order();
        self.ask::<Orders>(client, orders::Command::Fulfil { order_id }, Ask::Fulfil(order_id.0.to_string())).await;
    }

    async fn pay(&self, client: &Client) {
        let (order_id, total) = self.order();
        let part = self.draw(|chance| chance.of_1000(300));
        let amount = if part { self.draw(|chance| chance.between(1, 9)).cast_signed() } else { total.max(1) };
        let command = billing::Command::RecordPayment {
            payment_id: PaymentId(self.mint()),
            order_id,
            amount: Money::new(amount).expect(VALID),
            currency: Currency::new("EUR").expect(VALID),
            reference: PaymentReference::new("bank").expect(VALID),
        };
        self.ask::<Billing>(client, command, Ask::Pay(order_id.0.to_string(), amount)).await;
    }

    async fn refund(&self, client: &Client) {
        let (order_id, _) = self.order();
        let amount = self.draw(|chance| chance.of_1000(500).then(|| chance.between(1, 5).cast_signed()));
        let money = amount.map(|amount| Money::new(amount).expect(VALID));
        let command = billing::Command::Refund { order_id, amount: money, reason: None };
        self.ask::<Billing>(client, command, Ask::Refund(order_id.0.to_string(), amount)).await;
    }

    async fn receive(&self, client: &Client, sku: &str) {
        let command = inventory::Command::Receive { sku: Sku::new(sku).expect(VALID), quantity: self.quantity(12) };
        self.ask::<Inventory>(client, command, Ask::Receive(sku.to_owned())).await;
    }

    async fn adjust(&self, client: &Client) {
        let sku = self.sku();
        let units = self.draw(|chance| chance.between(1, 4)).cast_signed();
        let delta = if self.draw(|chance| chance.of_1000(700)) { -units } else { units };
        let command = inventory::Command::Adjust {
            sku: Sku::new(&*sku).expect(VALID),
            delta: NonZeroI64::new(delta).unwrap_or(NonZeroI64::MIN),
            reason: Reason::new("counted").expect(VALID),
        };
        self.ask::<Inventory>(client, command, Ask::Adjust(sku, delta)).await;
    }

    async fn reserve(&self, client: &Client) {
        let known = self.one_known(|known| known.reservations.clone()).filter(|_| self.draw(|it| it.of_1000(100)));
        let name = known.unwrap_or_else(|| format!("r{}", self.known(|known| known.reservations.len())));
        self.known(|known| known.reservations.push(name.clone()));
        let n_lines = self.draw(|chance| chance.between(1, 2));
        let lines: Vec<_> = (0..n_lines)
            .map(|_| StockLine { sku: Sku::new(self.sku()).expect(VALID), quantity: self.quantity(4) })
            .collect();
        let asked = lines.iter().map(|line| (line.sku.as_str().to_owned(), i64::from(line.quantity.get()))).collect();
        let ttl_seconds =
            self.draw(|chance| chance.of_1000(800).then(|| TtlSeconds::new(chance.between(1, 3) as u32).expect(VALID)));
        let asking = Reserve { name: ReservationName::new(&*name).expect(VALID), lines, ttl_seconds, order_id: None };
        self.ask::<Inventory>(client, inventory::Command::Reserve(asking), Ask::Reserve(name, asked)).await;
    }

    async fn release(&self, client: &Client) {
        let known = self.one_known(|known| known.reservations.clone());
        let name = known.unwrap_or_else(|| "unheard-of".to_owned());
        let command = inventory::Command::Release { name: ReservationName::new(&*name).expect(VALID) };
        self.ask::<Inventory>(client, command, Ask::Release(name)).await;
    }

    async fn notify(&self, client: &Client) {
        let notification_id = NotificationId(self.mint());
        let command = notifications::Command::Notify {
            notification_id,
            source: Source::Caller,
            recipient: Recipient::new("operations").expect(VALID),
            recipient_as_given: "operations".to_owned(),
            subject: Subject::new("Hello").expect(VALID),
            body: Body::new("from a client").expect(VALID),
        };
        if let Some(id) = self.ask::<Notifications>(client, command, Ask::Notify).await {
            self.known(|known| known.notifications.push(NotificationId(id)));
        }
    }

    async fn mark_read(&self, client: &Client) {
        let known = self.one_known(|known| known.notifications.clone());
        let notification_id = known.unwrap_or_else(|| NotificationId(self.mint()));
        let command = notifications::Command::MarkRead { notification_id };
        self.ask::<Notifications>(client, command, Ask::MarkRead(notification_id.0.to_string())).await;
    }

    async fn read(&self, client: &Client) {
        match self.draw(|chance| chance.below(5)) {
            0 => {
                if let Some(id) = self.one_known(|known| known.customers.clone()) {
                    let object = Customer::aggregate(id);
                    client.read::<Customers>(object.kind, object.key).await;
                }
            }
            1 => {
                let object = Order::aggregate(self.order().0);
                client.read::<Orders>(object.kind, object.key).await;
            }
            2 => {
                let object = StockItem::aggregate(&Sku::new(self.sku()).expect(VALID));
                client.read::<Inventory>(object.kind, object.key).await;
            }
            3 => {
                let object = Invoice::aggregate(self.order().0);
                client.read::<Billing>(object.kind, object.key).await;
            }
            _ => {
                if let Some(id) = self.one_known(|known| known.notifications.clone()) {
                    let object = Notification::aggregate(id);
                    client.read::<Notifications>(object.kind, object.key).await;
                }
            }
        }
    }
}
