//! What HTTP and JSON alone allow: takes a `POST /orders`, answers what orderlog would answer, and does nothing else.
//!
//! ```text
//! orderlog-ceiling HOST:PORT
//! ```
//!
//! Deliberately absent: whatever is remembered, and checks of values.

use chrono::{DateTime, Utc};
use poem::{
    EndpointExt, IntoResponse, Response, Route, Server, get, handler,
    http::StatusCode,
    listener::TcpListener,
    post,
    web::{Json, WithStatus},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The program's allocator is that of orderlog.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A line of an order.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    customer_id: Uuid,
    currency: String,
    lines: Vec<Line>,
}

/// An order that was placed, or so it says.
#[derive(Serialize)]
struct PlacedOrder {
    order_id: Uuid,
    customer_id: Uuid,
    state: &'static str,
    payment: &'static str,
    currency: String,
    total: i64,
    lines: Vec<Line>,
    version: u64,
    created_at: DateTime<Utc>,
}

#[handler]
fn place_order(Json(order): Json<PlaceOrder>) -> WithStatus<Json<PlacedOrder>> {
    let PlaceOrder { customer_id, currency, lines } = order;
    let total = lines.iter().map(|line| line.quantity.saturating_mul(line.unit_price)).fold(0, i64::saturating_add);
    let placed = PlacedOrder {
        order_id: Uuid::now_v7(),
        customer_id,
        state: "placed",
        payment: "unpaid",
        currency,
        total,
        lines,
        version: 1,
        created_at: Utc::now(),
    };
    Json(placed).with_status(StatusCode::CREATED)
}

#[handler]
fn ready() -> Response {
    Response::builder().body("ready")
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let routes = Route::new().at("/orders", post(place_order)).at("/readyz", get(ready));
    Server::new(TcpListener::bind(address)).run(routes.boxed()).await
}
