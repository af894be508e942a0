//! The customers service's rows and lists.

use orderlog_domain::{
    customers::{CUSTOMERS, Customer, Customers, EMAIL_CLAIMS, Entity},
    key::Key,
    values::CustomerId,
};

use crate::{
    error::StoreError,
    store::{List, Page, Paging, Store, document},
    tables::{Cell, Column, Index, Ledger, Table, Tables},
};

impl Tables for Customers {
    const SCHEMA: u32 = 1;
    const TABLES: &'static [Table<Entity>] = &[
        // Ids are time-ordered, so the primary key is the order in which customers came.
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
        Table { kind: EMAIL_CLAIMS, columns: &[], cells: |_| vec![], indexes: &[], copied: false },
    ];
    const LEDGERS: &'static [Ledger<Self>] = &[];
}

impl Store<Customers> {
    /// Customers who don't hold the canonical spelling of their address, by id, at most `limit` of those behind `after`.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn customers_without_canonical_key(
        &self,
        after: Option<CustomerId>,
        limit: u32,
    ) -> Result<Vec<Customer>, StoreError> {
        let list = List::new("select doc from customers", "key")
            .only("lacks_canonical_key = 1", [])
            .only_if("key > ?", after.map(|id| Cell::from(Key::of(id))));
        let entities = self.rows(list, limit, |origin, row| document::<Entity>(origin, row, 0)).await?;
        Ok(entities.iter().filter_map(Entity::as_customer).cloned().collect())
    }

    /// All customers, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a foreign cursor; else SQLite's.
    pub async fn customers(&self, paging: &Paging) -> Result<Page<Customer>, StoreError> {
        let before = paging.after.as_ref().map(|cursor| cursor.key()).transpose()?;
        let list = List::new("select key, doc from customers", "key desc").only_if("key < ?", before.map(Cell::from));
        Ok(self.page_by_key(list, paging.limit()).await?.filter_map(|entity| entity.as_customer().cloned()))
    }
}
