//! An order is placed, its stock reserved and its invoice opened, in one transaction.

use chrono::Utc;
use poem::{
    IntoResponse, handler,
    http::StatusCode,
    web::{Data, Json, WithStatus},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{broken, refused};

#[derive(Deserialize, Serialize)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: i64,
}

#[derive(Deserialize)]
pub struct PlaceOrder {
    customer_id: Uuid,
    currency: String,
    lines: Vec<Line>,
}

/// Stock is locked by its update, in the order of SKUs so that no two orders wait for each other, and as late as can be: the lock
/// lasts until the commit is on the disk.
#[handler]
pub async fn place_order(pool: Data<&PgPool>, Json(order): Json<PlaceOrder>) -> poem::Result<WithStatus<Json<Value>>> {
    let PlaceOrder { customer_id, currency, lines } = order;
    let (id, created_at) = (Uuid::now_v7(), Utc::now());
    let total: i64 = lines.iter().map(|line| line.quantity * line.unit_price).sum();
    let mut work = pool.begin().await.map_err(broken)?;
    let active = sqlx::query_scalar("select active from customers where id = $1").bind(customer_id);
    let active: Option<bool> = active.fetch_optional(&mut *work).await.map_err(broken)?;
    if active != Some(true) {
        return Err(refused(StatusCode::NOT_FOUND, "there is no such customer"));
    }
    let text = "insert into orders values ($1, $2, $3, $4, 'confirmed', 'unpaid', 1, $5)";
    let insert = sqlx::query(text).bind(id).bind(customer_id).bind(&currency).bind(total).bind(created_at);
    insert.execute(&mut *work).await.map_err(broken)?;
    let text = "insert into order_lines select $1, n, sku, quantity, price \
                from unnest($2::text[], $3::bigint[], $4::bigint[]) with ordinality as t(sku, quantity, price, n)";
    let skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
    let quantities: Vec<i64> = lines.iter().map(|line| line.quantity).collect();
    let prices: Vec<i64> = lines.iter().map(|line| line.unit_price).collect();
    let insert = sqlx::query(text).bind(id).bind(skus).bind(quantities).bind(prices);
    insert.execute(&mut *work).await.map_err(broken)?;
    let insert = sqlx::query("insert into invoices values ($1, $2)").bind(id).bind(total);
    insert.execute(&mut *work).await.map_err(broken)?;
    let mut by_sku: Vec<&Line> = lines.iter().collect();
    by_sku.sort_by(|a, b| a.sku.cmp(&b.sku));
    for line in by_sku {
        let text = "update stock set reserved = reserved + $2 where sku = $1 and on_hand - reserved >= $2";
        let update = sqlx::query(text).bind(&line.sku).bind(line.quantity);
        if update.execute(&mut *work).await.map_err(broken)?.rows_affected() == 0 {
            return Err(refused(StatusCode::CONFLICT, "there is not enough stock"));
        }
    }
    work.commit().await.map_err(broken)?;
    let placed = json!({
        "order_id": id, "customer_id": customer_id, "state": "confirmed", "payment": "unpaid", "currency": currency,
        "total": total, "lines": lines, "version": 1, "created_at": created_at,
    });
    Ok(Json(placed).with_status(StatusCode::CREATED))
}
