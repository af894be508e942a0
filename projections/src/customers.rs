//! The read model of the customers service.

use orderlog_core::key::Key;
use orderlog_domain::{
    customers::{CUSTOMERS, Customer, Customers, EMAIL_CLAIMS, Entity},
    values::CustomerId,
};

use orderlog_readmodel::{
    Cell, Column, Index, List, Page, Paging, SqlView, Store, StoreError, Table, Tables, ViewColumn,
};

pub static TABLES: Tables<Customers> = Tables {
    schema: 1,
    tables: &[
        // Ids are time-ordered, so the primary key sorts customers by creation.
        Table {
            kind: CUSTOMERS,
            columns: &[Column::new("lacks_canonical_key", "integer not null")],
            cells: |entity| vec![Cell::from(entity.as_customer().is_some_and(Customer::lacks_canonical_key))],
            indexes: &[Index {
                name: "customers_without_canonical_key",
                on: "(lacks_canonical_key) where lacks_canonical_key = 1",
            }],
            copied: false,
        },
        Table::of(EMAIL_CLAIMS),
    ],
    ledgers: &[],
    timers: &[],
    views: &[SqlView {
        name: "customers_view",
        columns: &[
            ViewColumn::id("customer_id", "key"),
            ViewColumn::number("active", "doc ->> '$.Customer.active'"),
            ViewColumn::number("version", "version"),
            ViewColumn::time("created_at", "doc ->> '$.Customer.created_ms'"),
            ViewColumn::time("updated_at", "doc ->> '$.Customer.updated_ms'"),
        ],
        from: "customers",
    }],
    pending: &[],
};

/// Customers after `after` who don't hold the canonical spelling of their address, by id, at most `limit`.
pub async fn without_canonical_key(
    store: &Store<Customers>,
    after: Option<CustomerId>,
    limit: u32,
) -> Result<Vec<Customer>, StoreError> {
    let list = List::new("select doc from customers", "key")
        .only("lacks_canonical_key = 1", [])
        .only_if("key > ?", after.map(|id| Cell::from(Key::of(id))));
    let entities = store.rows(list, limit, |row| row.document::<Entity>(0)).await?;
    Ok(entities.iter().filter_map(Entity::as_customer).cloned().collect())
}

/// All customers, newest first.
pub async fn list(store: &Store<Customers>, paging: &Paging) -> Result<Page<Customer>, StoreError> {
    Ok(store.newest(CUSTOMERS, paging).await?.filter_map(Entity::into_customer))
}
