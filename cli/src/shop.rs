//! The services of the shop: the one list of them.

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
    demo: Some(|registry, url, key| demo::play(registry, url, key).boxed()),
};

const ABOUT: About = About {
    name: "orderlog",
    summary: "Customers, orders, stock, payments and notifications on an append-only log.",
    description: DESCRIPTION,
    example_id: EXAMPLE_ORDER,
    program: "An order backend whose only truth is an append-only log",
    usage: "Without a command all five services are served on the embedded log.",
    vocabularies: &[Vocabulary { pattern: "^[A-Z]{3}$", words: || Currency::codes().collect() }],
    demanded_keys: "Refuse commands that move stock or money, and orders, if they come without an `Idempotency-Key`: \
        `POST /orders`, `POST /billing`, refunds, and every command under `/stock`",
};

const DESCRIPTION: &str = "\
An order backend whose only truth is an append-only log. Every answer to a command says where its record stands \
(`Orderlog-Position`), and every command can be repeated safely with an `Idempotency-Key`. \
Failures are `application/problem+json` with a stable `code`; \
`/problems` explains each.\n\n\
Money is an integer in minor units (cents) with an ISO 4217 code beside it. In a body an integer may be written as `2`, `2.0` or `2e0`; \
`1.5` is refused. Ids are UUIDv7, times RFC 3339 in UTC. The ids of \
customers, orders and notifications in the examples belong to nobody; the page at `/docs` sends the newest one's instead, so \
create a customer first.\n\n\
Callers send a key (`olk_...`), or a token (JWT) of the issuer that the deployment believes, as `Authorization: Bearer ...`. A \
server that listens to its own machine only, and has no keys yet, needs none. A key or token may be bound to a customer: what is \
not that customer's is then 404.";
