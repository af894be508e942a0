//! The fields of this service's public events.

use orderlog_http::service::contract::{TopicContract, payload::object};

use crate::orders::topics::{ORDER_KEY, currency, money, order};

/// The contract of `topic`.
pub fn of(topic: &str) -> TopicContract {
    let (summary, amounts) = match topic {
        "order.paid" => ("An order was paid in full.", vec![("amount", money("The total amount paid."))]),
        "payment.refunded" => {
            let amounts = vec![
                ("amount", money("The amount of this refund.")),
                ("amount_paid", money("The total amount paid.")),
                ("amount_refunded", money("The total amount refunded.")),
            ];
            ("A payment was refunded.", amounts)
        }
        _ => return TopicContract::default(),
    };
    let payload = object([order(), vec![currency()], amounts].concat(), &[]);
    TopicContract { summary, key: ORDER_KEY, payload }
}
