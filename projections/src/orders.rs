//! The orders service's rows and lists.

use orderlog_domain::{
    decider::Millis,
    orders::{Entity, KNOWN_CUSTOMERS, ORDERS, Order, OrderState, Orders, Payment},
    values::CustomerId,
};

use crate::{
    error::StoreError,
    store::{List, Page, Paging, Store},
    tables::{Cell, Column, Index, Ledger, Table, Tables},
};

impl Tables for Orders {
    const SCHEMA: u32 = 3;
    const TABLES: &'static [Table<Entity>] = &[
        Table {
            kind: ORDERS,
            columns: &[
                Column::new("customer_id", "blob"),
                // Null where no order was placed, only heard of.
                Column::new("state", "text"),
                Column::new("payment", "text"),
                Column::new("created_ms", "integer"),
            ],
            cells: order_cells,
            indexes: &[
                Index { name: "orders_by_customer", on: "(customer_id)" },
                Index { name: "orders_by_state", on: "(state)" },
                // Most orders are soon paid: only the others are worth an index.
                Index { name: "orders_refunded", on: "(key) where payment = 'refunded'" },
                Index { name: "orders_unpaid", on: "(key) where payment = 'unpaid'" },
            ],
            copied: false,
        },
        Table { kind: KNOWN_CUSTOMERS, columns: &[], cells: |_| vec![], indexes: &[], copied: true },
    ];
    const LEDGERS: &'static [Ledger<Self>] = &[];
}

fn order_cells(entity: &Entity) -> Vec<Cell> {
    match entity {
        Entity::Order(order) => {
            vec![
                Cell::from(order.customer_id.0),
                Cell::Name(order.state.as_str()),
                Cell::Name(order.payment.as_str()),
                Cell::Integer(order.created_ms),
            ]
        }
        Entity::StrayOrder(_) | Entity::KnownCustomer(_) => vec![Cell::Null; 4],
    }
}

/// Which orders. What is none does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this customer.
    pub customer_id: Option<CustomerId>,
    /// That have come this far.
    pub state: Option<OrderState>,
    /// Whose payment stands like this.
    pub payment: Option<Payment>,
    /// Placed from the first time on, and before the second.
    pub created_ms: (Option<Millis>, Option<Millis>),
    /// The newest are first, unless this is said.
    pub oldest_first: bool,
}

/// An order's id is made when its request comes, and the order is placed when that is decided: not later than this. So ids, which
/// tell when they were made, lead to the times of orders.
const DECIDED_IN_MS: Millis = 15 * 60 * 1_000;

/// The first id that is made at this time.
fn first_key(ms: Millis) -> Cell {
    let ms = ms.clamp(0, (1 << 48) - 1);
    Cell::Blob(((ms.unsigned_abs() << 16).to_be_bytes().into_iter().chain([0; 8])).collect())
}

impl Store<Orders> {
    /// Orders, one page.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a foreign cursor; else SQLite's.
    pub async fn orders(&self, filter: &OrderFilter, paging: &Paging) -> Result<Page<Order>, StoreError> {
        let after = paging.after.as_ref().map(|cursor| cursor.key()).transpose()?.map(Cell::from);
        let (order, behind) = if filter.oldest_first { ("key", "key > ?") } else { ("key desc", "key < ?") };
        let (from, to) = filter.created_ms;
        let mut list = List::new("select key, doc from orders", order)
            .only("state is not null", [])
            .only_if("customer_id = ?", filter.customer_id.map(|id| Cell::from(id.0)))
            .only_if("state = ?", filter.state.map(|state| Cell::Name(state.as_str())))
            .only_if("key >= ?", from.map(|from| first_key(from - DECIDED_IN_MS)))
            .only_if("created_ms >= ?", from.map(Cell::Integer))
            .only_if("key < ?", to.map(first_key))
            .only_if("created_ms < ?", to.map(Cell::Integer))
            .only_if(behind, after);
        // As text, not as a value: only so does SQLite see that a partial index holds all rows that are asked for.
        list = match filter.payment {
            Some(Payment::Unpaid) => list.only("payment = 'unpaid'", []),
            Some(Payment::Paid) => list.only("payment = 'paid'", []),
            Some(Payment::Refunded) => list.only("payment = 'refunded'", []),
            None => list,
        };
        Ok(self.page_by_key(list, paging.limit()).await?.filter_map(|entity| entity.as_order().cloned()))
    }
}
