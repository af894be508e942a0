//! Orders and stock as aggregates of cqrs-es on PostgreSQL. What it promises is in the README.
//!
//! ```text
//! peer-cqrs-es HOST:PORT DATABASE_URL
//! ```

mod order;
mod stock;

use std::sync::Arc;

use chrono::Utc;
use cqrs_es::{Aggregate, AggregateError, persist::GenericQuery, persist::ViewRepository};
use order::{Line, Order, OrderCommand};
use poem::{
    EndpointExt, Error, IntoResponse, Route, Server,
    error::InternalServerError,
    get, handler,
    http::StatusCode,
    listener::TcpListener,
    post,
    web::{Data, Json, Path, WithStatus},
};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_aggregate_cqrs, postgres_cqrs};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use stock::{Stock, StockCommand};
use uuid::Uuid;

/// As orderlog has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the CRUD service has.
const N_CONNECTIONS: u32 = 32;
/// How often a command is tried again after somebody else was first, at most.
const N_TRIES_MAX: usize = 1_000;

/// The tables are those of postgres-es, and customers, which nothing here decides about.
const TABLES: &str = "
create table events (aggregate_type text not null, aggregate_id text not null, sequence bigint not null check (sequence >= 0),
  event_type text not null, event_version text not null, payload json not null, metadata json not null,
  primary key (aggregate_type, aggregate_id, sequence));
create table snapshots (aggregate_type text not null, aggregate_id text not null,
  last_sequence bigint not null check (last_sequence >= 0), current_snapshot bigint not null check (current_snapshot >= 0),
  payload json not null, primary key (aggregate_type, aggregate_id, last_sequence));
create table order_view (view_id text primary key, version bigint not null check (version >= 0), payload json not null);
create table customers (id uuid primary key, name text not null, email text not null unique);
";

type Orders = PostgresViewRepository<Order, Order>;

/// What requests work on.
struct Shop {
    pool: PgPool,
    orders: PostgresCqrs<Order>,
    stock: PostgresCqrs<Stock>,
    view: Arc<Orders>,
}

/// Execute a command, again while others are first.
async fn execute<A: Aggregate>(
    on: &PostgresCqrs<A>,
    id: &str,
    command: impl Fn() -> A::Command,
) -> Result<(), AggregateError<A::Error>> {
    for _ in 1..N_TRIES_MAX {
        match on.execute(id, command()).await {
            Err(AggregateError::AggregateConflict) => {}
            done => return done,
        }
    }
    on.execute(id, command()).await
}

/// A refusal is the caller's affair, anything else is not.
fn status<E: std::error::Error + Send + Sync + 'static>(error: AggregateError<E>) -> Error {
    match error {
        AggregateError::UserError(refusal) => Error::new(refusal, StatusCode::CONFLICT),
        other => InternalServerError(other),
    }
}

#[derive(Deserialize)]
struct NewCustomer {
    name: String,
    email: String,
}

#[handler]
async fn create_customer(
    shop: Data<&Arc<Shop>>,
    Json(new): Json<NewCustomer>,
) -> poem::Result<WithStatus<Json<Value>>> {
    let id = Uuid::now_v7();
    let insert = sqlx::query("insert into customers values ($1, $2, $3)").bind(id).bind(&new.name).bind(&new.email);
    insert.execute(&shop.pool).await.map_err(InternalServerError)?;
    Ok(Json(json!({"customer_id": id, "name": new.name, "email": new.email})).with_status(StatusCode::CREATED))
}

#[derive(Deserialize)]
struct Received {
    quantity: i64,
}

#[handler]
async fn receive(
    shop: Data<&Arc<Shop>>,
    Path(sku): Path<String>,
    received: Json<Received>,
) -> poem::Result<Json<Value>> {
    let quantity = received.quantity;
    execute(&shop.stock, &sku, || StockCommand::Receive { quantity }).await.map_err(status)?;
    Ok(Json(json!({"sku": sku, "received": quantity})))
}

#[derive(Deserialize)]
struct PlaceOrder {
    customer_id: Uuid,
    currency: String,
    lines: Vec<Line>,
}

/// Placed, stock set aside line by line, then confirmed; or what was set aside is released and it is rejected.
#[handler]
async fn place_order(shop: Data<&Arc<Shop>>, Json(asked): Json<PlaceOrder>) -> poem::Result<WithStatus<Json<Value>>> {
    let PlaceOrder { customer_id, currency, lines } = asked;
    let known = sqlx::query_scalar::<_, i32>("select 1 from customers where id = $1").bind(customer_id);
    if known.fetch_optional(&shop.pool).await.map_err(InternalServerError)?.is_none() {
        return Err(Error::from_string("there is no such customer", StatusCode::NOT_FOUND));
    }
    let order_id = Uuid::now_v7();
    let total = lines.iter().map(|line| line.quantity * line.unit_price).sum();
    let order = Order { order_id, customer_id, currency, total, lines, created_at: Utc::now(), ..Order::default() };
    let id = order_id.to_string();
    execute(&shop.orders, &id, || OrderCommand::Place(order.clone())).await.map_err(status)?;
    for (n_reserved, Line { sku, quantity, .. }) in order.lines.iter().enumerate() {
        let quantity = *quantity;
        if let Err(error) = execute(&shop.stock, sku, || StockCommand::Reserve { quantity }).await {
            for Line { sku, quantity, .. } in &order.lines[..n_reserved] {
                let quantity = *quantity;
                execute(&shop.stock, sku, || StockCommand::Release { quantity }).await.map_err(status)?;
            }
            execute(&shop.orders, &id, || OrderCommand::Reject).await.map_err(status)?;
            return Err(status(error));
        }
    }
    execute(&shop.orders, &id, || OrderCommand::Confirm).await.map_err(status)?;
    let Order { customer_id, currency, total, lines, created_at, .. } = order;
    let placed = json!({
        "order_id": order_id, "customer_id": customer_id, "state": "confirmed", "payment": "unpaid", "currency": currency,
        "total": total, "lines": lines, "version": 2, "created_at": created_at,
    });
    Ok(Json(placed).with_status(StatusCode::CREATED))
}

#[handler]
async fn get_order(shop: Data<&Arc<Shop>>, Path(id): Path<Uuid>) -> poem::Result<Json<Order>> {
    let order = shop.view.load(&id.to_string()).await.map_err(InternalServerError)?;
    order.map(Json).ok_or_else(|| Error::from_string("there is no such order", StatusCode::NOT_FOUND))
}

#[derive(Deserialize)]
struct Payment {
    order_id: Uuid,
    amount: i64,
}

#[handler]
async fn pay(shop: Data<&Arc<Shop>>, Json(payment): Json<Payment>) -> poem::Result<WithStatus<Json<Value>>> {
    let Payment { order_id, amount } = payment;
    execute(&shop.orders, &order_id.to_string(), || OrderCommand::Pay { amount }).await.map_err(status)?;
    Ok(Json(json!({"order_id": order_id, "amount": amount})).with_status(StatusCode::CREATED))
}

#[handler]
fn ready() -> &'static str {
    "ready"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, database] = &arguments[..] else { return Err("peer-cqrs-es HOST:PORT DATABASE_URL".into()) };
    let pool =
        PgPoolOptions::new().max_connections(N_CONNECTIONS).min_connections(N_CONNECTIONS).connect(database).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let view = Arc::new(Orders::new("order_view", pool.clone()));
    let told = GenericQuery::<Orders, Order, Order>::new(Arc::clone(&view));
    let orders = postgres_cqrs(pool.clone(), vec![Box::new(told)], ());
    // An order has three events; a SKU has as many as it has orders, so it is loaded from a snapshot that is always current.
    let stock = postgres_aggregate_cqrs(pool.clone(), vec![], ());
    let shop = Arc::new(Shop { pool, orders, stock, view });
    let routes = Route::new()
        .at("/customers", post(create_customer))
        .at("/stock/:sku/receive", post(receive))
        .at("/orders", post(place_order))
        .at("/orders/:id", get(get_order))
        .at("/billing", post(pay))
        .at("/readyz", get(ready));
    Server::new(TcpListener::bind(address)).run(routes.data(shop)).await?;
    Ok(())
}
