//! The customers service's rows and lists.

use orderlog_domain::customers::{CUSTOMERS, Customer, Customers, EMAIL_CLAIMS, Entity};

use crate::{
    error::StoreError,
    store::{List, Page, Paging, Store},
    tables::{Cell, Ledger, Table, Tables},
};

impl Tables for Customers {
    const SCHEMA: u32 = 1;
    const TABLES: &'static [Table<Entity>] = &[
        // No column and no index: ids are time-ordered, so the primary key is the order in which customers came.
        Table { kind: CUSTOMERS, columns: &[], cells: |_| vec![], indexes: &[], copied: false },
        Table { kind: EMAIL_CLAIMS, columns: &[], cells: |_| vec![], indexes: &[], copied: false },
    ];
    const LEDGERS: &'static [Ledger<Self>] = &[];
}

impl Store<Customers> {
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
