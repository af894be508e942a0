//! What clients ask for: each command with each of its values, now and then at their bounds and beyond what the rules allow.

use std::num::NonZeroI64;

use orderlog_core::{key::HashKey, reason::Reason};
use orderlog_domain::{
    billing,
    customers::{self, Address},
    inventory::{self, Reserve, StockLine},
    notifications::{self, OPERATIONS, Source},
    orders::{self, OrderLine},
    values::{
        Body, Channel, Currency, CustomerId, Email, Money, Name, NotificationId, OrderId, PaymentId, PaymentReference,
        Quantity, Recipient, ReservationName, Sku, Subject, TtlSeconds,
    },
};
use uuid::Uuid;

use crate::{chance::Chance, instance::SECRET};

const VALID: &str = "what clients here send is valid";
pub const BUSY_SKUS: [&str; 2] = ["apple", "bread"];
/// Hardly anybody receives this.
const RARE_SKU: &str = "cheese";
/// There are as many of these as the house holds.
const BULK_SKU: &str = "dates";
/// One spelling more than one person would have it: each line is one address.
const ADDRESSES: [&[&str]; 5] = [
    &["a@example.com", "A@Example.com", "a\u{200b}@example.com"],
    &["ren\u{e9}e@example.com", "rene\u{301}e@example.com", "REN\u{c9}E@example.com"],
    &["c@b\u{fc}cher.example", "c@xn--bcher-kva.example", "C@B\u{dc}CHER.example"],
    &["d@example.com"],
    &["e@example.com", "E@EXAMPLE.COM"],
];
const NAMES: [&str; 3] = ["Ada", "Somebody", "M\u{fc}ller & S\u{f6}hne"];
const CURRENCIES: [&str; 4] = ["EUR", "EUR", "JPY", "BHD"];

/// A placed order, as a client knows it.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub order_id: OrderId,
    /// Its total in minor units.
    pub total: i64,
    pub currency: Currency,
}

impl Placed {
    /// The order of this id that this command asks for.
    pub fn new(order_id: OrderId, command: &orders::Command) -> Option<Self> {
        let orders::Command::Place { currency, lines, .. } = command else { return None };
        let total = lines.iter().map(|line| line.unit_price.minor_units() * i64::from(line.quantity.get())).sum();
        Some(Self { order_id, total, currency: *currency })
    }

    /// One that nobody has placed.
    pub fn unheard_of(id: Uuid) -> Self {
        Self { order_id: OrderId(id), total: 5, currency: currency("EUR") }
    }
}

fn currency(code: &str) -> Currency {
    Currency::new(code).expect(VALID)
}

fn money(minor_units: i64) -> Money {
    Money::new(minor_units.clamp(0, Money::MAX)).expect(VALID)
}

fn units(n: u64) -> Quantity {
    Quantity::new(u32::try_from(n).unwrap_or(1)).expect(VALID)
}

fn sku(name: &str) -> Sku {
    Sku::new(name).expect(VALID)
}

/// Commands are drawn from chance.
impl Chance {
    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        self.one_of(all).copied().unwrap_or_default()
    }

    /// A text of the least or the most characters now and then.
    fn text(&mut self, usual: &str, n_max: usize) -> String {
        match self.below(20) {
            0 => "x".to_owned(),
            1 => "\u{e4}".repeat(n_max),
            2 => format!("{usual} {}", self.below(5)),
            _ => usual.to_owned(),
        }
    }

    /// Any SKU, mostly a busy one.
    pub fn sku(&mut self) -> Sku {
        match self.below(100) {
            0..5 => sku(RARE_SKU),
            5..9 => sku(BULK_SKU),
            _ => sku(self.pick(&BUSY_SKUS)),
        }
    }

    /// So many units; of what there is in bulk perhaps as many as can be.
    fn quantity(&mut self, of: &Sku, most: u64) -> Quantity {
        if of.as_str() == BULK_SKU && self.of_1000(300) {
            return units(Quantity::MAX.into());
        }
        units(self.between(1, most))
    }

    fn name(&mut self) -> Name {
        let usual = self.pick(&NAMES);
        Name::new(self.text(usual, 200)).expect(VALID)
    }

    fn address(&mut self) -> Address {
        let spellings = self.one_of(&ADDRESSES).copied().unwrap_or_default();
        let email = Email::new(self.pick(spellings)).expect(VALID);
        Address::new(email, &HashKey::from_secret(SECRET))
    }

    fn reason(&mut self) -> Reason {
        Reason::new(self.text("counted", 200)).expect(VALID)
    }

    /// A customer with some name and some address.
    pub fn create_customer(&mut self) -> customers::Command {
        let (name, address) = (self.name(), self.address());
        customers::Command::Create { customer_id: CustomerId(Uuid::nil()), name, address }
    }

    /// Another name, another address, both, or none of a customer any more.
    pub fn change_customer(&mut self, customer_id: CustomerId) -> customers::Command {
        let (name, address) = match self.below(10) {
            0..2 => return customers::Command::Deactivate { customer_id },
            2..4 => (Some(self.name()), None),
            4..8 => (None, Some(self.address())),
            _ => (Some(self.name()), Some(self.address())),
        };
        customers::Command::Update { customer_id, name, address }
    }

    /// An order of a few lines.
    pub fn place(&mut self, customer_id: CustomerId) -> orders::Command {
        let n_lines = match self.below(100) {
            0 => 0,
            1 => 101,
            2..10 => 3,
            _ => self.between(1, 2),
        };
        let lines = (0..n_lines).map(|_| self.order_line()).collect();
        let currency = currency(self.pick(&CURRENCIES));
        let channel = (self.below(4) == 0).then(|| Channel::new(self.pick(&["web", "store-7"])).expect("it is one"));
        orders::Command::Place { order_id: OrderId(Uuid::nil()), customer_id, currency, lines, channel }
    }

    fn order_line(&mut self) -> OrderLine {
        let price = match self.below(100) {
            0 => Money::MAX,
            1..6 => 0,
            _ => self.between(1, 9).cast_signed(),
        };
        let sku = self.sku();
        let quantity = self.quantity(&sku, 4);
        OrderLine { sku, quantity, unit_price: money(price) }
    }

    /// All that is due, part of it, or more; perhaps in another currency.
    pub fn pay(&mut self, order: Placed) -> billing::Command {
        let amount = match self.below(100) {
            0..30 => self.between(1, 9).cast_signed(),
            30 => Money::MAX,
            _ => order.total.max(1),
        };
        let other = self.of_1000(60);
        billing::Command::RecordPayment {
            payment_id: PaymentId(Uuid::nil()),
            order_id: order.order_id,
            amount: money(amount),
            currency: if other { currency("USD") } else { order.currency },
            reference: PaymentReference::new(self.text("bank", 100)).expect(VALID),
        }
    }

    /// All that is left, or part of it; perhaps with a reason.
    pub fn refund(&mut self, order_id: OrderId) -> billing::Command {
        let amount = self.of_1000(500).then(|| money(self.between(1, 5).cast_signed()));
        let reason = self.of_1000(500).then(|| self.reason());
        billing::Command::Refund { order_id, amount, reason }
    }

    /// Goods of this SKU.
    pub fn receive(&mut self, sku: Sku) -> inventory::Command {
        let quantity = self.quantity(&sku, 12);
        inventory::Command::Receive { sku, quantity }
    }

    /// A correction of a few units; in bulk up to what the house holds.
    pub fn adjust(&mut self) -> inventory::Command {
        let sku = self.sku();
        let usual = self.between(1, 4).cast_signed();
        let units = if sku.as_str() == BULK_SKU && self.of_1000(500) { 999_999_000 + usual } else { usual };
        let delta = if self.of_1000(600) { -units } else { units };
        let delta = NonZeroI64::new(delta).unwrap_or(NonZeroI64::MIN);
        inventory::Command::Adjust { sku, delta, reason: self.reason() }
    }

    /// A low threshold, none, or one that is never reached.
    pub fn set_threshold(&mut self) -> inventory::Command {
        let units = if self.of_1000(50) { 1_000_000 } else { self.below(7) };
        let low_stock_threshold = u32::try_from(units).unwrap_or_default();
        inventory::Command::SetThreshold { sku: self.sku(), low_stock_threshold }
    }

    /// A reservation of a few lines, most of which expire soon.
    pub fn reserve(&mut self, name: &str, order_id: Option<OrderId>) -> Reserve {
        let n_lines = match self.below(100) {
            0 => 0,
            1 => 101,
            2..10 => 3,
            _ => self.between(1, 2),
        };
        let line = |n: u64| {
            let sku = if n_lines > 100 { sku(&format!("s{n}")) } else { self.sku() };
            let quantity = self.quantity(&sku, 4);
            StockLine { sku, quantity }
        };
        let lines = (0..n_lines).map(line).collect();
        let ttl_seconds = match self.below(100) {
            0..18 => None,
            18..20 => Some(TtlSeconds::MAX),
            _ => Some(u32::try_from(self.between(1, 3)).unwrap_or(1)),
        };
        let ttl_seconds = ttl_seconds.map(|seconds| TtlSeconds::new(seconds).expect(VALID));
        Reserve { name: reservation_name(name), lines, ttl_seconds, order_id }
    }

    /// A message to a role or to a customer.
    pub fn notify(&mut self, customer: Option<CustomerId>) -> notifications::Command {
        let customer = customer.filter(|_| self.of_1000(500)).map(|id| id.to_string());
        let customer = customer.map(|id| if self.of_1000(500) { id.to_uppercase() } else { id });
        let recipient = customer.unwrap_or_else(|| OPERATIONS.to_owned());
        notifications::Command::Notify {
            notification_id: NotificationId(Uuid::nil()),
            source: Source::Caller,
            recipient: Recipient::new(&*recipient).expect(VALID),
            recipient_as_given: recipient,
            subject: Subject::new(self.text("Hello", 200)).expect(VALID),
            body: Body::new(self.text("from\na client", 10_000)).expect(VALID),
        }
    }
}

/// The name of a reservation.
pub fn reservation_name(name: &str) -> ReservationName {
    ReservationName::new(name).expect(VALID)
}
