//! JSON schemas of public events, derived from their types for the published contract.

pub use orderlog_macros::Schema;
pub use serde_json::{Value, json};

use serde::Serialize;
use serde_json::Map;
use uuid::Uuid;

/// A type with a JSON schema. Derived for structs, and for enums without data.
pub trait Schema {
    /// Whether a field of this type may be absent.
    const IS_OPTIONAL: bool = false;

    fn schema() -> Value;

    /// The schema of a value that is there.
    fn present() -> Value {
        Self::schema()
    }
}

/// A field of an object.
pub struct Member {
    pub name: &'static str,
    /// Empty if the schema says it all.
    pub description: &'static str,
    pub schema: Value,
    pub is_required: bool,
}

/// Declares the schemas of types that are not derived.
#[macro_export]
macro_rules! schemas {
    ($($type:ty: $schema:tt),+ $(,)?) => {
        $(impl $crate::schema::Schema for $type {
            fn schema() -> $crate::schema::Value {
                $crate::schema::json!($schema)
            }
        })+
    };
}

schemas! {
    bool: { "type": "boolean" },
    i64: { "type": "integer", "format": "int64" },
    u32: { "type": "integer", "minimum": 0 },
    u64: { "type": "integer", "format": "int64", "minimum": 0 },
    String: { "type": "string" },
    Uuid: { "type": "string", "format": "uuid" },
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: Schema> Schema for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn schema() -> Value {
        let mut schema = T::schema();
        schema["type"] = json!([schema["type"], "null"]);
        schema
    }

    fn present() -> Value {
        T::schema()
    }
}

/// An object with these fields, each described by its own words and those of its type. Generators of code name its type by `title`.
pub fn object(title: &str, members: Vec<Member>) -> Value {
    let required: Vec<_> = members.iter().filter(|member| member.is_required).map(|member| member.name).collect();
    let mut properties = Map::new();
    for Member { name, description, mut schema, .. } in members {
        let of_type = schema["description"].as_str().unwrap_or_default();
        let words = format!("{description} {of_type}").trim().to_owned();
        if !words.is_empty() {
            schema["description"] = words.into();
        }
        properties.insert(name.to_owned(), schema);
    }
    json!({ "title": title, "type": "object", "required": required, "properties": properties })
}

/// One of these words.
pub fn one_of(title: &str, words: &[impl Serialize]) -> Value {
    json!({ "title": title, "type": "string", "enum": words })
}

/// The version of every schema. A topic whose events can't be read by today's rules any more would get another one.
pub const VERSION: u32 = 1;

/// A public topic in the published contract.
pub struct TopicContract {
    pub topic: &'static str,
    /// A sentence that says what its events report.
    pub summary: String,
    /// What the key of its records is.
    pub key: String,
    /// The JSON schema of its events.
    pub payload: Value,
}

impl TopicContract {
    /// The contract of a topic with events of type `E`, by its documentation and the field that identifies the subject.
    pub fn of<E: Schema>(topic: &'static str, documentation: &[&str], subject: &str) -> Self {
        let summary = documentation.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let mut payload = E::schema();
        let version = "Incremented by every change to the event's subject.";
        payload["properties"]["version"] =
            json!({ "type": "integer", "format": "int64", "minimum": 1, "description": version });
        payload["title"] = pascal(topic).into();
        payload["description"] = summary.clone().into();
        Self { topic, summary, key: format!("The event's `{subject}`."), payload }
    }

    /// The name of its events in code: `OrderCreated` for the topic `order.created`.
    pub fn name(&self) -> String {
        pascal(self.topic)
    }

    /// The JSON Schema of its events as a document of its own, found at [`path_of`] its topic.
    pub fn document(&self) -> Value {
        let mut document = self.payload.clone();
        document["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        document["$id"] = path_of(self.topic).into();
        document
    }
}

/// The path of the JSON Schema of a topic's events on every server: `/schemas/order.created/1`.
pub fn path_of(topic: &str) -> String {
    format!("/schemas/{topic}/{VERSION}")
}

/// Turns `order.created` into `OrderCreated`.
fn pascal(topic: &str) -> String {
    let capitalised = topic.split('.').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    capitalised.collect()
}
