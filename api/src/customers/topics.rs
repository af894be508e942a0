//! The fields of this service's public events.

use orderlog_http::service::contract::{
    TopicContract,
    payload::{id, object, version},
};
use serde_json::json;

/// The contract of `topic`.
pub fn of(topic: &str) -> TopicContract {
    let summary = match topic {
        "customer.created" => "A customer was created.",
        "customer.updated" => "A customer was changed or deactivated.",
        _ => return TopicContract::default(),
    };
    let payload = object(vec![id("customer_id"), ("active", json!({ "type": "boolean" })), version()], &[]);
    TopicContract { summary, key: "The customer's id.", payload }
}
