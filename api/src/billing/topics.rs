//! The fields of this service's public events.

use orderlog_http::service::contract::{TopicContract, payload::object};

use crate::orders::topics::{ORDER_KEY, currency, money, order};

/// What the events of `topic` say.
pub fn of(topic: &str) -> TopicContract {
    let (summary, amounts) = match topic {
        "order.paid" => ("An order is paid in full.", vec![("amount", money("What was paid in all."))]),
        "payment.refunded" => {
            let amounts = vec![
                ("amount", money("What was given back this time.")),
                ("amount_paid", money("What was paid in all.")),
                ("amount_refunded", money("What was given back in all.")),
            ];
            ("Money was given back.", amounts)
        }
        _ => return TopicContract::default(),
    };
    let payload = object([order(), vec![currency()], amounts].concat(), &[]);
    TopicContract { summary, key: ORDER_KEY, payload }
}
