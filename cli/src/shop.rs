//! The list of the shop's services.

#[cfg(test)]
mod tests;

use futures_util::FutureExt;
use orderlog_api::{
    billing::BillingService, customers::CustomersService, inventory::InventoryService,
    notifications::NotificationsService, orders::OrdersService, values,
};
use orderlog_domain::{paths::EXAMPLE_ORDER, values::Currency};
use orderlog_server::registry::{About, Registry, Vocabulary};

use crate::demo;

/// The shop, in the order in which an order flows through its services.
pub static SHOP: Registry = Registry {
    about: ABOUT,
    codes: values::codes::ALL,
    services: &[&CustomersService, &OrdersService, &InventoryService, &BillingService, &NotificationsService],
    demo: Some(|registry, url, key, size| demo::play(registry, url, key, size).boxed()),
};

const ABOUT: About = About {
    name: "orderlog",
    summary: "Customers, orders, stock, payments and notifications on an append-only log.",
    description: DESCRIPTION,
    example_id: EXAMPLE_ORDER,
    commit: option_env!("ORDERLOG_COMMIT"),
    program: "An order backend whose only source of truth is an append-only log",
    usage: "Without a command, all five services run on the embedded log.",
    vocabularies: &[Vocabulary { pattern: "^[A-Z]{3}$", words: || Currency::codes().collect() }],
    demanded_keys: "Reject orders, and commands that move stock or money, that have no `Idempotency-Key`: \
        `POST /orders`, `POST /billing`, refunds, and every command under `/stock`",
    owner: "customer",
};

const DESCRIPTION: &str = "\
An order backend whose only source of truth is an append-only log. Every response to a command gives the position of its record \
(`Orderlog-Position`), and every command can be retried safely with an `Idempotency-Key`. \
Failures are `application/problem+json` with a stable `code`; \
`/problems` explains each.\n\n\
Money is an integer in minor units (cents) with an ISO 4217 code beside it. In a body an integer may be written as `2`, `2.0` or `2e0`; \
`1.5` is rejected. Ids are UUIDv7, times RFC 3339 in UTC. The ids of \
customers, orders and notifications in the examples don't exist; the page at `/docs` sends the newest existing ids instead, so \
create a customer first.\n\n\
Callers send a key (`olk_...`), or a token (JWT) of the issuer that the deployment trusts, as `Authorization: Bearer ...`. A \
server that listens only on the local machine and has no keys yet requires none. A key or token may be bound to a customer: \
other customers' objects are then 404.";
