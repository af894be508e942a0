//! The read model of the billing service.

use orderlog_domain::{
    billing::{Billing, Entity, INVOICES, Invoice, InvoiceState},
    values::CustomerId,
};

use orderlog_readmodel::{
    Cell, Column, Index, List, Page, Paging, SqlView, Store, StoreError, Table, Tables, ViewColumn,
};

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
    views: &[
        SqlView {
            name: "invoices_view",
            columns: &[
                ViewColumn::id("order_id", "key"),
                ViewColumn::id("customer_id", "customer_id"),
                ViewColumn::text("state", "state"),
                ViewColumn::text("currency", "doc ->> '$.Invoice.currency'"),
                ViewColumn::number("amount_due", "doc ->> '$.Invoice.amount_due'"),
                ViewColumn::number("amount_paid", "doc ->> '$.Invoice.amount_paid'"),
                ViewColumn::number("amount_refunded", "doc ->> '$.Invoice.amount_refunded'"),
                ViewColumn::number("version", "version"),
                ViewColumn::time("created_at", "doc ->> '$.Invoice.created_ms'"),
                ViewColumn::time("updated_at", "doc ->> '$.Invoice.updated_ms'"),
            ],
            from: "invoices",
        },
        SqlView {
            name: "payments_view",
            columns: &[
                ViewColumn::text("payment_id", "payment.value ->> '$.payment_id'"),
                ViewColumn::id("order_id", "invoices.key"),
                ViewColumn::id("customer_id", "customer_id"),
                ViewColumn::text("currency", "doc ->> '$.Invoice.currency'"),
                ViewColumn::number("amount", "payment.value ->> '$.amount'"),
                ViewColumn::time("paid_at", "payment.value ->> '$.at_ms'"),
            ],
            from: "invoices join json_each(doc, '$.Invoice.payments') as payment",
        },
        SqlView {
            name: "refunds_view",
            columns: &[
                ViewColumn::id("order_id", "invoices.key"),
                ViewColumn::id("customer_id", "customer_id"),
                ViewColumn::text("currency", "doc ->> '$.Invoice.currency'"),
                ViewColumn::number("amount", "refund.value ->> '$.amount'"),
                ViewColumn::text("cause", "refund.value ->> '$.cause'"),
                ViewColumn::time("refunded_at", "refund.value ->> '$.at_ms'"),
            ],
            from: "invoices join json_each(doc, '$.Invoice.refunds') as refund",
        },
    ],
    pending: &[],
};

/// Invoices, newest orders first, filtered by state and customer if given.
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
