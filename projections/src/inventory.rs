//! The read model of the inventory service.

use orderlog_core::{decider::Millis, reason::Reason};
use orderlog_domain::{
    inventory::{
        self, Command, Entity, Inventory, Movement, MovementCause, RESERVATIONS, Reservation, ReservationId,
        ReservationState, STOCK, StockItem, StockLevel,
    },
    planted::Bug,
    values::Sku,
};
use serde::{Deserialize, Serialize};

use orderlog_readmodel::{
    Cell, Column, Cursor, Due, Index, Ledger, List, Page, Paging, SqlView, Store, StoreError, Table, Tables, Timer,
    ViewColumn,
};

pub static TABLES: Tables<Inventory> = Tables {
    schema: 1,
    tables: &[
        Table {
            kind: STOCK,
            // Null for a SKU that has never been received: it is hidden from callers.
            columns: &[Column::new("sku", "text"), Column::new("low", "integer")],
            cells: stock_cells,
            indexes: &[
                Index { name: "stock_by_sku", on: "(sku) where sku is not null" },
                Index { name: "stock_low", on: "(sku) where low = 1" },
            ],
            copied: false,
        },
        Table {
            kind: RESERVATIONS,
            // When a held reservation expires. Null for one that never does, or is not held.
            columns: &[Column::new("due_ms", "integer")],
            cells: reservation_cells,
            indexes: &[Index { name: "reservations_due", on: "(due_ms) where due_ms is not null" }],
            copied: false,
        },
    ],
    ledgers: &[Ledger {
        name: "movements",
        columns: &[
            Column::new("sku", "text not null"),
            Column::new("time_ms", "integer not null"),
            Column::new("doc", "text not null"),
        ],
        lines: |at, event| {
            inventory::movements(event).into_iter().map(|movement| movement_cells(at.time_ms, movement)).collect()
        },
        indexes: &[Index { name: "movements_by_sku", on: "(sku)" }],
    }],
    timers: &[Timer { name: "expiry", kind: RESERVATIONS, column: "due_ms", due: expiry }],
    views: &[
        SqlView {
            name: "stock_view",
            columns: &[
                ViewColumn::text("sku", "sku"),
                ViewColumn::number("on_hand", "doc ->> '$.Stock.level.on_hand'"),
                ViewColumn::number("reserved", "doc ->> '$.Stock.level.reserved'"),
                ViewColumn::number(
                    "available",
                    "(doc ->> '$.Stock.level.on_hand') - (doc ->> '$.Stock.level.reserved')",
                ),
                ViewColumn::number("low_stock_threshold", "doc ->> '$.Stock.level.low_stock_threshold'"),
                ViewColumn::number("low", "low"),
                ViewColumn::number("version", "version"),
                ViewColumn::time("updated_at", "doc ->> '$.Stock.updated_ms'"),
            ],
            from: "stock where sku is not null",
        },
        SqlView {
            name: "movements_view",
            columns: &[
                ViewColumn::text("record", "'inventory@' || offset"),
                ViewColumn::number("line", "line + 1"),
                ViewColumn::text("sku", "sku"),
                ViewColumn::text("cause", "doc ->> '$.cause'"),
                ViewColumn::number("delta", "doc ->> '$.delta'"),
                ViewColumn::number("on_hand_delta", "(doc ->> '$.after.on_hand') - (doc ->> '$.before.on_hand')"),
                ViewColumn::number("on_hand", "doc ->> '$.after.on_hand'"),
                ViewColumn::number("reserved", "doc ->> '$.after.reserved'"),
                ViewColumn::text("order_id", "doc ->> '$.reservation.order'"),
                ViewColumn::time("moved_at", "time_ms"),
            ],
            from: "movements",
        },
    ],
    pending: &[],
};

fn stock_cells(entity: &Entity) -> Vec<Cell> {
    match entity {
        Entity::Stock(item) => vec![Cell::Text(item.sku.as_str().to_owned()), Cell::from(item.level.is_low())],
        Entity::Unreceived(_) | Entity::Reservation(_) => vec![Cell::Null, Cell::Null],
    }
}

fn reservation_cells(entity: &Entity) -> Vec<Cell> {
    vec![expiry(entity).map_or(Cell::Null, |due| Cell::Integer(due.at_ms))]
}

fn expiry(entity: &Entity) -> Option<Due<Inventory>> {
    let held = entity.as_reservation().filter(|reservation| reservation.state == ReservationState::Held)?;
    let Reservation { id, version, .. } = held;
    let early_ms = if Bug::ExpireEarly.is_loose() { 1_000 } else { 0 };
    let command = Command::Expire { reservation: id.clone() };
    Some(Due { at_ms: held.expires_at_ms? - early_ms, version: *version, command })
}

/// The stored form of a movement. Written and read only here, so it may change with [`Tables::schema`].
#[derive(Serialize, Deserialize)]
struct MovementDoc {
    cause: MovementCause,
    delta: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservationId>,
    before: StockLevel,
    after: StockLevel,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

fn movement_cells(time_ms: Millis, movement: Movement) -> Vec<Cell> {
    let Movement { sku, cause, delta, reservation, before, after, version, reason } = movement;
    let doc = MovementDoc { cause, delta, reservation, before, after, version, reason };
    let doc = serde_json::to_string(&doc).expect("a struct of numbers and texts has a JSON form");
    vec![Cell::Text(sku.into()), Cell::Integer(time_ms), Cell::Text(doc)]
}

/// A movement of a SKU, with its record and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovementRow {
    /// The record that moved it.
    pub offset: u64,
    pub time_ms: Millis,
    pub movement: Movement,
}

/// The SKUs that were ever received, by name. With `low_only`, those in low stock.
pub async fn stock(store: &Store<Inventory>, low_only: bool, paging: &Paging) -> Result<Page<StockItem>, StoreError> {
    let behind = paging.after.as_ref().map(|sku| Cell::Text(sku.as_str().to_owned()));
    let list = List::new("select sku, doc from stock", "sku").only_if("sku > ?", behind);
    let list = list.only(if low_only { "low = 1" } else { "sku is not null" }, []);
    let limit = paging.limit();
    let rows = store.rows(list, limit + 1, |row| Ok((Cursor::new(row.text(0)?), row.document::<Entity>(1)?))).await?;
    Ok(Page::cut(rows, limit).filter_map(Entity::into_stock))
}

/// The movements of a SKU, newest first.
pub async fn movements(store: &Store<Inventory>, sku: &Sku, paging: &Paging) -> Result<Page<MovementRow>, StoreError> {
    let mut list = List::new("select offset, line, time_ms, doc from movements", "offset desc, line desc")
        .only("sku = ?", [Cell::Text(sku.as_str().to_owned())]);
    if let Some(cursor) = &paging.after {
        list = list.only("(offset, line) < (?, ?)", cursor.numbers::<2>()?.map(Cell::Integer));
    }
    let limit = paging.limit();
    let rows = store
        .rows(list, limit + 1, |row| {
            let (offset, line) = (row.count(0)?, row.number(1)?);
            let doc = row.document(3)?;
            let MovementDoc { cause, delta, reservation, before, after, version, reason } = doc;
            let sku = sku.clone();
            let movement = Movement { sku, cause, delta, reservation, before, after, version, reason };
            let row = MovementRow { offset, time_ms: row.number(2)?, movement };
            Ok((Cursor::of_numbers(&[offset.cast_signed(), line]), row))
        })
        .await?;
    Ok(Page::cut(rows, limit))
}
