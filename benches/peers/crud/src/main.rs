//! A plain CRUD service: each request is one transaction on PostgreSQL, with row locks. What it promises is in the README.
//!
//! ```text
//! peer-crud HOST:PORT DATABASE_URL
//! ```

mod place;

use poem::{
    EndpointExt, Error, IntoResponse, Route, Server,
    error::InternalServerError,
    get, handler,
    http::StatusCode,
    listener::TcpListener,
    post,
    web::{Data, Json, Path, WithStatus},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgPool, Row, postgres::PgPoolOptions};
use uuid::Uuid;

/// As orderlog has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Beyond this PostgreSQL only has more processes that wait for the same two cores.
const N_CONNECTIONS: u32 = 32;

const TABLES: &str = "
create table customers (id uuid primary key, name text not null, email text not null unique, active boolean not null);
create table stock (sku text primary key, on_hand bigint not null, reserved bigint not null default 0,
  check (reserved between 0 and on_hand));
create table orders (id uuid primary key, customer_id uuid not null references customers, currency text not null,
  total bigint not null, state text not null, payment text not null, version bigint not null, created_at timestamptz not null);
create table order_lines (order_id uuid not null references orders, position int not null, sku text not null,
  quantity bigint not null, unit_price bigint not null, primary key (order_id, position));
create table invoices (order_id uuid primary key references orders, amount bigint not null, paid bigint not null default 0);
create table notifications (id uuid primary key, recipient text not null, subject text not null, body text not null);
";

/// A failure of the database is nobody's fault outside.
fn broken(error: sqlx::Error) -> Error {
    InternalServerError(error)
}

fn refused(status: StatusCode, why: &'static str) -> Error {
    Error::from_string(why, status)
}

#[derive(Deserialize)]
struct NewCustomer {
    name: String,
    email: String,
}

#[handler]
async fn create_customer(pool: Data<&PgPool>, Json(new): Json<NewCustomer>) -> poem::Result<WithStatus<Json<Value>>> {
    let id = Uuid::now_v7();
    let insert =
        sqlx::query("insert into customers values ($1, $2, $3, true)").bind(id).bind(&new.name).bind(&new.email);
    insert.execute(pool.0).await.map_err(broken)?;
    let customer = json!({"customer_id": id, "name": new.name, "email": new.email, "active": true});
    Ok(Json(customer).with_status(StatusCode::CREATED))
}

#[derive(Deserialize)]
struct Received {
    quantity: i64,
}

#[handler]
async fn receive(pool: Data<&PgPool>, Path(sku): Path<String>, received: Json<Received>) -> poem::Result<Json<Value>> {
    let text = "insert into stock values ($1, $2) on conflict (sku) do update set on_hand = stock.on_hand + excluded.on_hand \
                returning on_hand, reserved";
    let row = sqlx::query(text).bind(&sku).bind(received.quantity).fetch_one(pool.0).await.map_err(broken)?;
    Ok(Json(json!({"sku": sku, "on_hand": row.get::<i64, _>(0), "reserved": row.get::<i64, _>(1)})))
}

#[handler]
async fn get_order(pool: Data<&PgPool>, Path(id): Path<Uuid>) -> poem::Result<Json<Value>> {
    let text = "select customer_id, currency, total, state, payment, version, created_at from orders where id = $1";
    let row = sqlx::query(text).bind(id).fetch_optional(pool.0).await.map_err(broken)?;
    let row = row.ok_or_else(|| refused(StatusCode::NOT_FOUND, "there is no such order"))?;
    let text = "select sku, quantity, unit_price from order_lines where order_id = $1 order by position";
    let lines = sqlx::query(text).bind(id).fetch_all(pool.0).await.map_err(broken)?;
    let line = |line: &sqlx::postgres::PgRow| json!({"sku": line.get::<String, _>(0), "quantity": line.get::<i64, _>(1), "unit_price": line.get::<i64, _>(2)});
    Ok(Json(json!({
        "order_id": id, "customer_id": row.get::<Uuid, _>(0), "currency": row.get::<String, _>(1),
        "total": row.get::<i64, _>(2), "state": row.get::<String, _>(3), "payment": row.get::<String, _>(4),
        "version": row.get::<i64, _>(5), "created_at": row.get::<chrono::DateTime<chrono::Utc>, _>(6),
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
    })))
}

#[derive(Deserialize)]
struct Payment {
    order_id: Uuid,
    amount: i64,
}

/// The invoice's row is locked first, so that payments of one order come one after the other.
#[handler]
async fn pay(pool: Data<&PgPool>, Json(payment): Json<Payment>) -> poem::Result<WithStatus<Json<Value>>> {
    let Payment { order_id, amount } = payment;
    let mut work = pool.begin().await.map_err(broken)?;
    let invoice = sqlx::query("select amount, paid from invoices where order_id = $1 for update").bind(order_id);
    let invoice = invoice.fetch_optional(&mut *work).await.map_err(broken)?;
    let invoice = invoice.ok_or_else(|| refused(StatusCode::NOT_FOUND, "there is no such order"))?;
    let (due, paid) = (invoice.get::<i64, _>(0), invoice.get::<i64, _>(1) + amount);
    if paid > due {
        return Err(refused(StatusCode::CONFLICT, "that is more than is open"));
    }
    let update = sqlx::query("update invoices set paid = $2 where order_id = $1").bind(order_id).bind(paid);
    update.execute(&mut *work).await.map_err(broken)?;
    if paid == due {
        let text = "update orders set payment = 'paid', version = version + 1 where id = $1 returning customer_id";
        let row = sqlx::query(text).bind(order_id).fetch_one(&mut *work).await.map_err(broken)?;
        let text = "insert into notifications values ($1, $2, 'Order paid', $3)";
        let insert = sqlx::query(text).bind(Uuid::now_v7()).bind(row.get::<Uuid, _>(0).to_string());
        insert
            .bind(format!("We received {amount} for your order {order_id}."))
            .execute(&mut *work)
            .await
            .map_err(broken)?;
    }
    work.commit().await.map_err(broken)?;
    Ok(Json(json!({"order_id": order_id, "amount": amount, "paid": paid == due})).with_status(StatusCode::CREATED))
}

#[handler]
fn ready() -> &'static str {
    "ready"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, database] = &arguments[..] else { return Err("peer-crud HOST:PORT DATABASE_URL".into()) };
    let pool =
        PgPoolOptions::new().max_connections(N_CONNECTIONS).min_connections(N_CONNECTIONS).connect(database).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let routes = Route::new()
        .at("/customers", post(create_customer))
        .at("/stock/:sku/receive", post(receive))
        .at("/orders", post(place::place_order))
        .at("/orders/:id", get(get_order))
        .at("/billing", post(pay))
        .at("/readyz", get(ready));
    Server::new(TcpListener::bind(address)).run(routes.data(pool)).await?;
    Ok(())
}
