//! The published contract of the HTTP API, as OpenAPI 3.1 and 3.0: what the framework generates from the routes, made right.
//!
//! [`correct`]: bounds of integers that come as fractions, times of examples in another form than answers have,
//! headers that all operations take. [`failures`]: which failures an operation can have, and their codes.
//! [`texts`]: what texts look like. [`examples`]: those that are missing. [`requests`]: refused unknown fields. [`tidy`]: what both
//! forms are without. [`portable`]: forms of schemas that every generator of clients understands. [`modern`]: 3.1 out of the framework's 3.0. [`classic`]: what 3.0 does not have. Checked in under `openapi/` and compared by a test;
//! `tests/contracts` has linters look at them.

mod classic;
mod correct;
mod examples;
mod failures;
mod modern;
mod portable;
mod requests;
mod schemas;
mod texts;
mod tidy;

use std::marker::PhantomData;

use clap::ValueEnum;
use poem_openapi::{
    ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject,
    registry::{MetaApi, Registry},
};
use serde_json::Value;

use crate::{
    billing::BillingApi,
    customers::CustomersApi,
    inventory::InventoryApi,
    names::ServiceName,
    notifications::NotificationsApi,
    operations::{Operation, Operations},
    orders::OrdersApi,
    service::mounted::RouteTable,
};

const SUMMARY: &str = "Customers, orders, stock, payments and notifications on an append-only log.";

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

/// Which version of OpenAPI a document is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// 3.1, whose schemas are JSON Schema.
    #[value(name = "3.1")]
    Modern,
    /// 3.0, for generators that reject 3.1.
    #[value(name = "3.0")]
    Classic,
}

/// The routes of `T`, to be described without a service behind them.
struct Described<T>(PhantomData<fn() -> T>);

impl<T: OpenApi> OpenApi for Described<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut RouteTable) {}
}

fn generated<T: OpenApi>(title: String) -> Value {
    let service = OpenApiService::new(Described::<T>(PhantomData), title, env!("CARGO_PKG_VERSION"))
        .summary(SUMMARY)
        .description(DESCRIPTION)
        .contact(ContactObject::new().name("The maintainers of orderlog"))
        .license(LicenseObject::new("MIT OR Apache-2.0"))
        .server(ServerObject::new("/").description("this process"));
    serde_json::from_str(&service.spec()).expect("the framework writes JSON")
}

/// One service, as the framework says it.
fn raw(service: ServiceName) -> Value {
    let title = format!("orderlog: {service}");
    match service {
        ServiceName::Customers => generated::<CustomersApi>(title),
        ServiceName::Orders => generated::<OrdersApi>(title),
        ServiceName::Inventory => generated::<InventoryApi>(title),
        ServiceName::Billing => generated::<BillingApi>(title),
        ServiceName::Notifications => generated::<NotificationsApi>(title),
    }
}

/// The operations of all services.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    let all = [
        CustomersApi::OPERATIONS,
        OrdersApi::OPERATIONS,
        InventoryApi::OPERATIONS,
        BillingApi::OPERATIONS,
        NotificationsApi::OPERATIONS,
    ];
    all.into_iter().flatten()
}

/// As it is published.
fn finished(mut document: Value, form: Form) -> Value {
    failures::members(&mut document);
    correct::all(&mut document);
    texts::all(&mut document);
    failures::all(&mut document);
    examples::all(&mut document);
    requests::all(&mut document);
    tidy::all(&mut document);
    portable::all(&mut document);
    match form {
        Form::Modern => modern::all(&mut document),
        Form::Classic => classic::all(&mut document),
    }
    document
}

/// The OpenAPI document of one service.
pub fn of_service(service: ServiceName, form: Form) -> Value {
    finished(raw(service), form)
}

/// The OpenAPI document of several services in one.
pub fn of_services(services: &[ServiceName], form: Form) -> Value {
    let mut documents = services.iter().map(|service| raw(*service));
    let mut all = documents.next().unwrap_or_default();
    for document in documents {
        correct::merge(&mut all, document);
    }
    all["info"]["title"] = "orderlog".into();
    correct::in_the_order_of(services, &mut all);
    finished(all, form)
}

/// A document as text.
pub fn to_text(document: &Value) -> String {
    format!("{document:#}\n")
}
