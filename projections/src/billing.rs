//! The read model of the billing service.

use orderlog_domain::{
    billing::{Billing, Entity, INVOICES, Invoice, InvoiceState},
    values::CustomerId,
};

use orderlog_readmodel::{Cell, Column, Index, List, Page, Paging, Store, StoreError, Table, Tables};

pub static TABLES: Tables<Billing> = Tables {
    schema: 2,
    tables: &[Table {
        kind: INVOICES,
        columns: &[Column::new("state", "text not null"), Column::new("customer_id", "blob not null")],
        cells: |entity| match entity {
            Entity::Invoice(invoice) => vec![Cell::Name(invoice.state.as_str()), Cell::from(invoice.customer_id.0)],
        },
        indexes: &[
            Index { name: "invoices_by_state", on: "(state)" },
            Index { name: "invoices_by_customer", on: "(customer_id)" },
        ],
        copied: false,
    }],
    ledgers: &[],
    timers: &[],
};

/// Invoices, newest orders first, filtered by state and customer if given.
///
/// # Errors
/// [`StoreError::Cursor`] for an invalid cursor, or an error of SQLite.
pub async fn list(
    store: &Store<Billing>,
    state: Option<InvoiceState>,
    customer: Option<CustomerId>,
    paging: &Paging,
) -> Result<Page<Invoice>, StoreError> {
    let before = paging.after.as_ref().map(|cursor| cursor.key()).transpose()?;
    let list = List::new("select key, doc from invoices", "key desc")
        .only_if("state = ?", state.map(|state| Cell::Name(state.as_str())))
        .only_if("customer_id = ?", customer.map(|id| Cell::from(id.0)))
        .only_if("key < ?", before.map(Cell::from));
    Ok(store.page_by_key(list, paging.limit()).await?.filter_map(Entity::into_invoice))
}
