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
    i64: { "type": "integer" },
    u32: { "type": "integer", "minimum": 0 },
    u64: { "type": "integer", "minimum": 0 },
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

/// An object with these fields, each described by its own words and those of its type.
pub fn object(members: Vec<Member>) -> Value {
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
    json!({ "type": "object", "required": required, "properties": properties })
}

/// One of these words.
pub fn one_of(words: &[impl Serialize]) -> Value {
    json!({ "type": "string", "enum": words })
}

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
        payload["properties"]["version"] = json!({ "type": "integer", "minimum": 1, "description": version });
        Self { topic, summary, key: format!("The event's `{subject}`."), payload }
    }
}
