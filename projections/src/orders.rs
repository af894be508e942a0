//! The read model of the orders service.

use std::iter;

use orderlog_core::decider::Millis;
use orderlog_domain::{
    orders::{Entity, KNOWN_CUSTOMERS, ORDERS, Order, OrderState, Orders, Payment},
    values::{Channel, CustomerId},
};

use orderlog_readmodel::{
    Cell, Column, Index, List, Page, Paging, Pending, SqlView, Store, StoreError, Table, Tables, ViewColumn,
};

pub static TABLES: Tables<Orders> = Tables {
    schema: 3,
    tables: &[
        Table {
            kind: ORDERS,
            columns: &[
                Column::new("customer_id", "blob"),
                // Null for a placeholder of an order that was never placed.
                Column::new("state", "text"),
                Column::new("payment", "text"),
                Column::new("created_ms", "integer"),
                // Null also if the order's channel was not specified.
                Column::new("channel", "text"),
            ],
            cells: order_cells,
            indexes: &[
                Index { name: "orders_by_customer", on: "(customer_id)" },
                Index { name: "orders_by_state", on: "(state)" },
                Index { name: "orders_by_creation", on: "(created_ms)" },
                Index { name: "orders_by_channel", on: "(channel) where channel is not null" },
                // Most orders are soon paid, so only the others are worth an index.
                Index { name: "orders_refunded", on: "(key) where payment = 'refunded'" },
                Index { name: "orders_unpaid", on: "(key) where payment = 'unpaid'" },
            ],
            copied: false,
        },
        Table { kind: KNOWN_CUSTOMERS, columns: &[], cells: |_| vec![], indexes: &[], copied: true },
    ],
    ledgers: &[],
    timers: &[],
    views: &[
        SqlView {
            name: "orders_view",
            columns: &[
                ViewColumn::id("order_id", "key"),
                ViewColumn::id("customer_id", "customer_id"),
                ViewColumn::text("state", "state"),
                ViewColumn::text("payment", "payment"),
                ViewColumn::text("channel", "channel"),
                ViewColumn::text("currency", "doc ->> '$.Order.currency'"),
                ViewColumn::number("total", "doc ->> '$.Order.total'"),
                ViewColumn::number("n_lines", "json_array_length(doc, '$.Order.lines')"),
                ViewColumn::text("rejected_for", "doc ->> '$.Order.rejection.reason'"),
                ViewColumn::number("version", "version"),
                ViewColumn::time("created_at", "created_ms"),
                ViewColumn::time("updated_at", "doc ->> '$.Order.updated_ms'"),
            ],
            from: "orders where state is not null",
        },
        SqlView {
            name: "order_lines_view",
            columns: &[
                ViewColumn::id("order_id", "orders.key"),
                ViewColumn::number("line", "line.key + 1"),
                ViewColumn::text("sku", "line.value ->> '$.sku'"),
                ViewColumn::number("quantity", "line.value ->> '$.quantity'"),
                ViewColumn::number("unit_price", "line.value ->> '$.unit_price'"),
                ViewColumn::number("amount", "(line.value ->> '$.quantity') * (line.value ->> '$.unit_price')"),
                ViewColumn::text("currency", "doc ->> '$.Order.currency'"),
            ],
            from: "orders join json_each(doc, '$.Order.lines') as line where state is not null",
        },
    ],
    pending: &[Pending { name: "orders", from: "orders where state = 'placed'", since: "created_ms" }],
};

fn order_cells(entity: &Entity) -> Vec<Cell> {
    match entity {
        Entity::Order(order) => {
            vec![
                Cell::from(order.customer_id.0),
                Cell::Name(order.state.as_str()),
                Cell::Name(order.payment.as_str()),
                Cell::Integer(order.created_ms),
                order.channel.as_ref().map_or(Cell::Null, |channel| Cell::Text(channel.as_str().to_owned())),
            ]
        }
        Entity::StrayOrder(_) | Entity::KnownCustomer(_) => vec![Cell::Null; 5],
    }
}

/// Filters orders. `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    pub customer_id: Option<CustomerId>,
    pub state: Option<OrderState>,
    pub payment: Option<Payment>,
    pub channel: Option<Channel>,
    /// From the first time (inclusive) to the second (exclusive), by creation.
    pub created_ms: (Option<Millis>, Option<Millis>),
    /// The default is newest first.
    pub oldest_first: bool,
}

/// A page of orders, sorted by id. If the filter has a creation time, they are sorted by creation instead, so that an index
/// finds the page even if few orders match.
pub async fn list(store: &Store<Orders>, filter: &OrderFilter, paging: &Paging) -> Result<Page<Order>, StoreError> {
    let after = paging.after.as_ref().map(|cursor| cursor.key()).transpose()?.map(Cell::from);
    let (from, to) = filter.created_ms;
    let is_by_time = from.or(to).is_some();
    let (order, behind) = match (is_by_time, filter.oldest_first) {
        (false, true) => ("key", "key > ?"),
        (false, false) => ("key desc", "key < ?"),
        (true, true) => ("created_ms, key", "(created_ms, key) > ((select created_ms from orders where key = ?), ?)"),
        (true, false) => {
            ("created_ms desc, key desc", "(created_ms, key) < ((select created_ms from orders where key = ?), ?)")
        }
    };
    let mut list = List::new("select key, doc from orders", order).only("state is not null", []);
    if let Some(after) = after {
        list = list.only(behind, iter::repeat_n(after, if is_by_time { 2 } else { 1 }));
    }
    list = list
        .only_if("customer_id = ?", filter.customer_id.map(|id| Cell::from(id.0)))
        .only_if("state = ?", filter.state.map(|state| Cell::Name(state.as_str())))
        .only_if("channel = ?", filter.channel.as_ref().map(|channel| Cell::Text(channel.as_str().to_owned())))
        .only_if("created_ms >= ?", from.map(Cell::Integer))
        .only_if("created_ms < ?", to.map(Cell::Integer));
    // A literal and not a parameter, so that SQLite can tell that a partial index contains all matching rows.
    list = match filter.payment {
        Some(Payment::Unpaid) => list.only("payment = 'unpaid'", []),
        Some(Payment::Paid) => list.only("payment = 'paid'", []),
        Some(Payment::Refunded) => list.only("payment = 'refunded'", []),
        None => list,
    };
    Ok(store.page_by_key(list, paging.limit()).await?.filter_map(Entity::into_order))
}
