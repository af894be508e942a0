//! What clients ask and what they are answered.

use orderlog_core::key::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A command with every value of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// `POST /customers`.
    CreateCustomer { name: String, email: Address },
    /// `PATCH /customers/{customer}`.
    UpdateCustomer {
        customer: String,
        /// The new name; `None` keeps the old one.
        name: Option<String>,
        /// The new address; `None` keeps the old one.
        email: Option<Address>,
    },
    /// `POST /customers/{customer}/deactivate`.
    Deactivate { customer: String },
    /// `POST /orders`.
    Place {
        customer: String,
        /// ISO 4217 code of the prices.
        currency: String,
        /// As ordered; SKUs may repeat.
        lines: Vec<OrderLine>,
        /// Where it came from, if that was said.
        channel: Option<String>,
    },
    /// `POST /orders/{order}/cancel`.
    Cancel { order: String },
    /// `POST /orders/{order}/fulfil`.
    Fulfil { order: String },
    /// `POST /stock/{sku}/receive`.
    Receive {
        sku: String,
        /// Units, at least 1.
        quantity: i64,
    },
    /// `POST /stock/{sku}/adjust`.
    Adjust {
        sku: String,
        /// Units, not 0.
        delta: i64,
        reason: String,
    },
    /// `PUT /stock/{sku}/threshold`.
    SetThreshold {
        sku: String,
        /// Units; 0 means that stock is never low.
        threshold: i64,
    },
    /// `POST /stock/reserve`.
    Reserve {
        name: String,
        /// What to set aside; SKUs may repeat.
        lines: Vec<Units>,
        /// After how many seconds it expires.
        ttl_seconds: Option<i64>,
        /// The id of an order, as a label.
        order: Option<String>,
    },
    /// `POST /stock/reservations/{name}/release`.
    Release { name: String },
    /// `POST /billing`.
    Pay {
        order: String,
        /// Minor units.
        amount: i64,
        /// ISO 4217 code of the amount.
        currency: String,
        reference: String,
    },
    /// `POST /billing/{order}/refund`.
    Refund {
        order: String,
        /// Minor units; `None` for all that is left.
        amount: Option<i64>,
        reason: Option<String>,
    },
    /// `POST /notify`.
    Notify {
        /// The recipient, as the client spelled it.
        recipient: String,
        subject: String,
        body: String,
    },
    /// `POST /notifications/{notification}/read`.
    MarkRead { notification: String },
}

/// An e-mail address with the keys under which events and read models name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address, as the client spelled it.
    pub text: String,
    /// The key of the spelling in lower case.
    pub key: Key,
    /// The key of the canonical spelling, if that is another one.
    pub canonical_key: Option<Key>,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: String,
    /// Units, at least 1.
    pub quantity: i64,
    /// Minor units, for each.
    pub unit_price: i64,
}

/// Units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    pub sku: String,
    /// How many, at least 1.
    pub quantity: i64,
}

impl Ask {
    /// Where the event that comes of it has the id that was minted for it, as a JSON pointer; `None` if none is.
    pub const fn minted_at(&self) -> Option<&'static str> {
        match self {
            Self::CreateCustomer { .. } => Some("/customer/customer_id"),
            Self::Place { .. } => Some("/order_id"),
            Self::Pay { .. } => Some("/payment_id"),
            Self::Notify { .. } => Some("/notification_id"),
            Self::UpdateCustomer { .. }
            | Self::Deactivate { .. }
            | Self::Cancel { .. }
            | Self::Fulfil { .. }
            | Self::Receive { .. }
            | Self::Adjust { .. }
            | Self::SetThreshold { .. }
            | Self::Reserve { .. }
            | Self::Release { .. }
            | Self::Refund { .. }
            | Self::MarkRead { .. } => None,
        }
    }

    /// Whether an idempotency key takes the two for one command: their values are the same. The lines of a reservation may come in
    /// another order or divided otherwise.
    pub fn is_repeated_by(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Reserve { name, lines, ttl_seconds, order },
                Self::Reserve { name: name2, lines: lines2, ttl_seconds: ttl2, order: order2 },
            ) => (name, ttl_seconds, order, added_up(lines)) == (name2, ttl2, order2, added_up(lines2)),
            (one, other) => one == other,
        }
    }
}

/// The units of each SKU, sorted by SKU.
pub fn added_up(lines: &[Units]) -> Vec<Units> {
    let mut sums = std::collections::BTreeMap::<&str, i64>::new();
    for line in lines {
        *sums.entry(&line.sku).or_default() += line.quantity;
    }
    sums.into_iter().map(|(sku, quantity)| Units { sku: sku.to_owned(), quantity }).collect()
}

/// The versions that an `If-Match` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfMatch {
    /// `*`: any, but the object has to exist.
    Any,
    OneOf(Vec<u64>),
}

impl IfMatch {
    /// Whether an object of this version, or one that does not exist, matches.
    pub fn allows(&self, version: Option<u64>) -> bool {
        match (self, version) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(versions), Some(version)) => versions.contains(&version),
        }
    }
}

/// Why the rules refuse a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// As in the contracts: `unknown_order`, `overpayment`, ...
    pub code: String,
    /// What it names, such as `shortages`; `null` if that is not known.
    #[serde(default)]
    pub facts: Value,
}

impl Refusal {
    /// A refusal that names these facts.
    pub fn new(code: &str, facts: Value) -> Self {
        Self { code: code.to_owned(), facts }
    }
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened, and is at this offset.
    Acknowledged {
        /// Of the record in the journal of the service.
        offset: u64,
        /// An earlier attempt with the same key wrote it.
        replayed: bool,
        /// The event that the answer was made of, if it is known.
        #[serde(default)]
        event: Option<Value>,
    },
    /// The rules say no. Nothing was written.
    Refused(Refusal),
    /// The object has another version than `If-Match` names, or does not exist. Nothing was written.
    OtherVersion(Option<u64>),
    /// The idempotency key was used for another command. Nothing was written.
    KeyReused,
    /// Nothing was written, for a reason that is none of the rules: no time, a parked record.
    NotDone,
    /// It may or may not have happened. Also what was never answered.
    Unknown,
}

/// One attempt of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Unique; the trace of the record that it leads to.
    pub id: Uuid,
    pub client: u64,
    /// The service that was asked.
    pub service: String,
    /// The instance that was asked, from its start to its end, if it is known.
    #[serde(default)]
    pub instance: Option<Uuid>,
    pub ask: Ask,
    /// The id that was minted for it, if it is known.
    #[serde(default)]
    pub minted: Option<Uuid>,
    /// Caller, operation and idempotency key, if it had one.
    pub key: Option<String>,
    /// Its `If-Match`.
    #[serde(default)]
    pub if_match: Option<IfMatch>,
    /// How many records were in all logs together when it was asked, if that is known.
    pub asked: Option<u64>,
    /// The same when it was answered.
    pub answered: Option<u64>,
    /// The earliest and the latest time that the clock of the instance showed in between, if that is known.
    #[serde(default)]
    pub clock: Option<[i64; 2]>,
    /// What it was answered.
    pub outcome: Outcome,
}
