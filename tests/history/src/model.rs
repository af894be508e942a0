//! What each service is, naively: maps that change by what events say, and complain about an event that can't have happened.
//!
//! A model also answers commands: by the event that a command leads to, with every field, or by each refusal that is true. So it says
//! twice what happens, once from the request and once from the event, and [`replay`](crate::replay) holds the two against each other.

pub mod billing;
pub mod customers;
pub mod inventory;
pub mod notifications;
pub mod orders;

use orderlog_core::key::Key;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    ask::{Ask, Refusal},
    history::Ledgers,
};

/// Where a record is, and its time by its writer's clock.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub offset: u64,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
}

/// How a command is answered: by an event's name and its fields, or by every refusal that is true.
pub type Answer = Result<(&'static str, Value), Vec<Refusal>>;

/// A row: its table and its document, with every field.
pub type Document = (&'static str, Value);

pub trait Model: Default {
    /// Tables that hold copies of another service's facts; [`flow`](crate::flow) has those.
    const COPIES: &'static [&'static str] = &[];

    /// An accepted event.
    ///
    /// # Errors
    /// Which promise is broken by it.
    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str>;

    /// How this command is answered now, at `now_ms`. `minted` is the id of what it makes.
    fn answer(&self, ask: &Ask, minted: &str, now_ms: i64) -> Answer;

    /// The object whose version an `If-Match` names; `None` if the command makes it.
    fn target(ask: &Ask) -> Option<Key>;

    /// The keys of all rows.
    fn keys(&self) -> Vec<Key>;

    /// The row with this key.
    fn row(&self, key: Key) -> Option<Document>;

    /// The lines of its ledgers.
    fn ledgers(&self) -> Ledgers {
        Ledgers::new()
    }
}

/// The promise that versions count.
pub const GAPLESS: &str = "versions are gapless";

pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text that may be missing.
pub fn optional_text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

/// A number; 0 if there is none.
pub fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}

/// A list; empty if there is none.
pub fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// The key of what has this id; that of nothing, if it is no id.
pub fn id_key(id: &str) -> Key {
    Key::of(Uuid::try_parse(id).unwrap_or_default())
}

/// The same JSON without the members that are `null`: they mean that there is none.
pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().filter(|(_, it)| !it.is_null()).map(|(name, it)| (name.clone(), without_nulls(it))).collect()
        }
        Value::Array(all) => all.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The next version, if that is what the event says.
///
/// # Errors
/// [`GAPLESS`].
pub fn counted(version: &mut i64, event: &Value) -> Result<(), &'static str> {
    *version += 1;
    if number(event, "version") == *version { Ok(()) } else { Err(GAPLESS) }
}

/// `Ok` if it holds.
///
/// # Errors
/// The promise, if it does not.
pub fn holds(it: bool, promise: &'static str) -> Result<(), &'static str> {
    if it { Ok(()) } else { Err(promise) }
}
