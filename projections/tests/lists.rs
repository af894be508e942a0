//! The lists of each service, over rows as its core would give them.

use std::{collections::HashSet, error::Error, sync::Arc};

use orderlog_core::{
    decider::{At, Decider, Ref},
    key::Key,
    machine::{Changes, EntityRow, Happened},
    public,
    reason::Reason,
};
use orderlog_domain::{
    billing::{self, Invoice, InvoiceState},
    customers::{self, Customer},
    inventory::{
        self, Inventory, MovementCause, Reservation, ReservationId, ReservationState, StockAdjusted, StockItem,
        StockLevel, StockReceived, UnreceivedSku,
    },
    orders::{self, Order, OrderState, Payment, StrayOrder},
    values::{Channel, Currency, CustomerId, Email, Money, Name, OrderId, Quantity, ReservationName, Sku},
};
use orderlog_projections::{self as tables, orders::OrderFilter};
use orderlog_readmodel::{Cell, Cursor, Due, Pace, Page, Paging, Store, StoreError, Tables, Writer};
use tempfile::TempDir;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn Error>>;

struct Rows<D: Decider> {
    store: Store<D>,
    writer: Writer<D>,
    next: u64,
    _dir: TempDir,
}

impl<D: Decider> Rows<D> {
    async fn new(tables: &'static Tables<D>) -> Result<Self, Box<dyn Error>> {
        let dir = TempDir::new()?;
        let store = Store::open(dir.path(), tables).await?;
        let mut writer = store.writer().await?;
        store.create_indexes(&mut writer).await?;
        Ok(Self { store, writer, next: 0, _dir: dir })
    }

    async fn write(&mut self, entities: Vec<(Ref, D::Entity)>, events: Vec<D::Event>) -> Outcome {
        let happened: Vec<_> = (self.next..)
            .zip(events)
            .map(|(offset, event)| Happened {
                at: At { offset, time_ms: 1000 + offset.cast_signed() },
                touched: D::touches(&event),
                event: Arc::new(event),
            })
            .collect();
        self.next += happened.len().max(1) as u64;
        let row =
            |(aggregate, entity)| EntityRow { aggregate, version: 1, offset: self.next - 1, entity: Arc::new(entity) };
        let entities = entities.into_iter().map(row).collect();
        let changes = Changes { entities, happened, ..Changes::nothing(self.next) };
        Ok(self.store.write(&mut self.writer, &changes, Pace::Steady).await?)
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// All pages, each of two rows, and that none is longer.
async fn all<T>(mut page: impl AsyncFnMut(&Paging) -> Result<Page<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    let (mut paging, mut found) = (Paging::first(2), Vec::new());
    loop {
        let Page { items, next } = page(&paging).await?;
        assert!(items.len() <= 2);
        found.extend(items);
        match next {
            Some(_) => paging.after = next,
            None => return Ok(found),
        }
    }
}

fn names_a_table_for_each_kind<D: Decider>(Tables { tables, ledgers, timers, .. }: &Tables<D>) {
    let indexes = tables.iter().flat_map(|table| table.indexes).chain(ledgers.iter().flat_map(|it| it.indexes));
    let names: Vec<&str> = indexes.map(|index| index.name).collect();
    assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "{}", D::JOURNAL);
    for timer in *timers {
        let table = tables.iter().find(|table| table.kind == timer.kind).expect("a timer is of a table");
        assert!(table.columns.iter().any(|column| column.name == timer.column), "{}: {}", D::JOURNAL, timer.column);
    }
    let mut consumed = D::REACTS_TO.iter().chain(D::COPIES);
    assert!(
        consumed.all(|topic| public::is_of::<D::Heard>(topic)),
        "{} consumes only what it has types for",
        D::JOURNAL
    );
    let copies = tables.iter().any(|table| table.copied);
    assert_eq!(copies, !D::COPIES.is_empty(), "{}", D::JOURNAL);
}

#[test]
fn every_kind_has_a_table() {
    names_a_table_for_each_kind(&tables::customers::TABLES);
    names_a_table_for_each_kind(&tables::orders::TABLES);
    names_a_table_for_each_kind(&tables::inventory::TABLES);
    names_a_table_for_each_kind(&tables::billing::TABLES);
    names_a_table_for_each_kind(&tables::notifications::TABLES);
}

#[test]
fn the_column_of_a_timer_has_the_time_at_which_its_command_is_due() -> Outcome {
    let tables = &tables::inventory::TABLES;
    for timer in tables.timers {
        let table = tables.of(timer.kind)?;
        let column = table.columns.iter().position(|column| column.name == timer.column).ok_or("no such column")?;
        let (held, ended) = (ReservationState::Held, ReservationState::Released);
        for (state, expires_at_ms) in [(held, None), (held, Some(7_000)), (ended, Some(7_000))] {
            let entity = inventory::Entity::Reservation(Reservation {
                id: ReservationId::Caller(ReservationName::new("cart")?),
                order_id: None,
                lines: vec![],
                state,
                ttl_seconds: None,
                expires_at_ms,
                version: 1,
                created_ms: 1,
                updated_ms: 1,
            });
            let due = (timer.due)(&entity).map_or(Cell::Null, |due| Cell::Integer(due.at_ms));
            assert_eq!((table.cells)(&entity)[column], due, "{state}, {expires_at_ms:?}");
        }
    }
    Ok(())
}

fn customer(number: u128) -> Result<(Ref, customers::Entity), Box<dyn Error>> {
    let customer = Customer {
        customer_id: CustomerId(id(number)),
        name: Name::new("Ada")?,
        email: Email::new("ada@example.com")?,
        email_key: Key::GENESIS,
        canonical_key: None,
        active: true,
        version: 1,
        created_ms: 1,
        updated_ms: 1,
    };
    Ok((Customer::aggregate(customer.customer_id), customers::Entity::Customer(customer)))
}

#[tokio::test]
async fn customers_who_lack_the_canonical_spelling_of_their_address_are_found() -> Outcome {
    let mut rows = Rows::new(&tables::customers::TABLES).await?;
    let spelled = |number: u128, email: &str, canonical_key| {
        let (aggregate, entity) = customer(number)?;
        let email = Email::new(email)?;
        let customers::Entity::Customer(customer) = entity else { return Ok((aggregate, entity)) };
        Ok::<_, Box<dyn Error>>((aggregate, customers::Entity::Customer(Customer { email, canonical_key, ..customer })))
    };
    let all = vec![
        spelled(1, "ada@example.com", None)?,
        spelled(2, "e\u{301}@example.com", None)?,
        spelled(3, "e\u{301}@example.com", Some(Key::GENESIS))?,
        spelled(4, "\u{ff41}@example.com", None)?,
    ];
    rows.write(all, vec![]).await?;
    let found = async |after: Option<u128>, limit| -> Result<Vec<u128>, StoreError> {
        let found =
            tables::customers::without_canonical_key(&rows.store, after.map(|n| CustomerId(id(n))), limit).await?;
        Ok(found.iter().map(|customer| customer.customer_id.0.as_u128()).collect())
    };
    let ids = [2, 4].map(|n| id(n).as_u128());
    assert_eq!(found(None, 10).await?, ids);
    assert_eq!(found(None, 1).await?, ids[..1]);
    assert_eq!(found(Some(2), 10).await?, ids[1..]);
    Ok(())
}

#[tokio::test]
async fn customers_come_newest_first() -> Outcome {
    let mut rows = Rows::new(&tables::customers::TABLES).await?;
    rows.write((1..=5).map(customer).collect::<Result<_, _>>()?, vec![]).await?;
    let found = all(async |paging| tables::customers::list(&rows.store, paging).await).await?;
    assert_eq!(found.iter().map(|it| it.customer_id.0.as_u128()).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let foreign = Paging { after: Some(Cursor::new("1.2")), limit: 2 };
    assert!(matches!(tables::customers::list(&rows.store, &foreign).await, Err(StoreError::Cursor)));
    Ok(())
}

fn order(
    number: u128,
    whose: u128,
    state: OrderState,
    payment: Payment,
) -> Result<(Ref, orders::Entity), Box<dyn Error>> {
    let order = Order {
        order_id: OrderId(id(number)),
        customer_id: CustomerId(id(whose)),
        currency: Currency::new("EUR")?,
        lines: vec![],
        total: Money::new(5)?,
        channel: if number == 4 { None } else { Some(Channel::new(if whose == 7 { "web" } else { "store-7" })?) },
        state,
        payment,
        rejection: None,
        version: 1,
        created_ms: 1,
        updated_ms: 1,
    };
    Ok((Order::aggregate(order.order_id), orders::Entity::Order(order)))
}

#[tokio::test]
async fn orders_are_filtered_by_customer_state_and_payment() -> Outcome {
    let mut rows = Rows::new(&tables::orders::TABLES).await?;
    let stray = StrayOrder { order_id: OrderId(id(99)), version: 1 };
    let entities = vec![
        order(1, 7, OrderState::Placed, Payment::Unpaid)?,
        order(2, 7, OrderState::Confirmed, Payment::Paid)?,
        order(3, 8, OrderState::Confirmed, Payment::Unpaid)?,
        order(4, 7, OrderState::Cancelled, Payment::Refunded)?,
        order(5, 7, OrderState::Confirmed, Payment::Paid)?,
        (Order::aggregate(stray.order_id), orders::Entity::StrayOrder(stray)),
    ];
    rows.write(entities, vec![]).await?;
    let found = async |filter: OrderFilter| {
        let orders = all(async |paging| tables::orders::list(&rows.store, &filter, paging).await).await?;
        Ok::<_, StoreError>(orders.iter().map(|order| order.order_id.0.as_u128()).collect::<Vec<_>>())
    };
    let any = OrderFilter::default();
    let (customer_id, state) = (Some(CustomerId(id(7))), Some(OrderState::Confirmed));
    assert_eq!(found(any.clone()).await?, [5, 4, 3, 2, 1], "what is no order is not listed");
    assert_eq!(found(OrderFilter { customer_id, ..any.clone() }).await?, [5, 4, 2, 1]);
    assert_eq!(found(OrderFilter { state, ..any.clone() }).await?, [5, 3, 2]);
    assert_eq!(found(OrderFilter { customer_id, state, ..any.clone() }).await?, [5, 2]);
    assert_eq!(found(OrderFilter { payment: Some(Payment::Unpaid), ..any.clone() }).await?, [3, 1]);
    assert_eq!(found(OrderFilter { payment: Some(Payment::Paid), ..any.clone() }).await?, [5, 2]);
    assert_eq!(found(OrderFilter { state, payment: Some(Payment::Refunded), ..any.clone() }).await?, [0_u128; 0]);
    assert_eq!(found(OrderFilter { payment: Some(Payment::Refunded), ..any.clone() }).await?, [4]);
    let web = Some(Channel::new("web")?);
    assert_eq!(found(OrderFilter { channel: web.clone(), ..any.clone() }).await?, [5, 2, 1]);
    assert_eq!(found(OrderFilter { channel: web, state, ..any.clone() }).await?, [5, 2]);
    assert_eq!(found(OrderFilter { channel: Some(Channel::new("phone")?), ..any }).await?, [0_u128; 0]);
    Ok(())
}

#[tokio::test]
async fn orders_are_found_by_the_time_at_which_they_were_placed() -> Outcome {
    let mut rows = Rows::new(&tables::orders::TABLES).await?;
    // By when their ids were made, which is not when they were placed: a clock may even have been hours ahead.
    let placed = [(1_000_000, 1_000_000), (1_000_001, 1_000_500), (8_200_002, 1_000_400), (9_000_000, 9_000_000)];
    let number = |made_ms: i64| (u128::from(made_ms.unsigned_abs()) << 80) | 7;
    let mut entities = Vec::new();
    for (made_ms, created_ms) in placed {
        let (aggregate, entity) = order(number(made_ms), 7, OrderState::Placed, Payment::Unpaid)?;
        let orders::Entity::Order(order) = entity else { unreachable!("it is an order") };
        entities.push((aggregate, orders::Entity::Order(Order { created_ms, ..order })));
    }
    rows.write(entities, vec![]).await?;
    let found = async |created_ms, oldest_first| {
        let filter = OrderFilter { created_ms, oldest_first, ..OrderFilter::default() };
        let orders = all(async |paging| tables::orders::list(&rows.store, &filter, paging).await).await?;
        Ok::<_, StoreError>(orders.iter().map(|order| order.created_ms).collect::<Vec<_>>())
    };
    assert_eq!(found((None, None), false).await?, [9_000_000, 1_000_400, 1_000_500, 1_000_000]);
    assert_eq!(found((None, None), true).await?, [1_000_000, 1_000_500, 1_000_400, 9_000_000]);
    assert_eq!(found((Some(1_000_400), None), true).await?, [1_000_400, 1_000_500, 9_000_000]);
    assert_eq!(found((None, Some(9_000_000)), false).await?, [1_000_500, 1_000_400, 1_000_000]);
    assert_eq!(found((Some(1_000_001), Some(1_000_500)), false).await?, [1_000_400]);
    assert_eq!(found((None, Some(1_000_000)), false).await?, [0; 0]);
    assert_eq!(found((Some(9_000_001), Some(i64::MAX)), false).await?, [0; 0]);
    assert_eq!(found((Some(-1), Some(-1)), false).await?, [0; 0]);
    Ok(())
}

fn stock(name: &str, on_hand: u32) -> Result<(Ref, inventory::Entity), Box<dyn Error>> {
    let level = StockLevel { on_hand, reserved: 0, low_stock_threshold: 5 };
    let item = StockItem { sku: Sku::new(name)?, level, version: 1, updated_ms: 1 };
    Ok((Ref::new(inventory::STOCK, Key::named("sku", name)), inventory::Entity::Stock(item)))
}

#[tokio::test]
async fn stock_is_listed_by_sku_and_may_be_only_the_low() -> Outcome {
    let mut rows = Rows::new(&tables::inventory::TABLES).await?;
    let unreceived = inventory::Entity::Unreceived(UnreceivedSku { sku: Sku::new("zzz")?, version: 1 });
    let entities = vec![
        stock("b", 9)?,
        stock("a", 1)?,
        stock("d", 5)?,
        stock("c", 4)?,
        (Ref::new(inventory::STOCK, Key::named("sku", "zzz")), unreceived),
    ];
    rows.write(entities, vec![]).await?;
    let found = async |low_only| {
        let items = all(async |paging| tables::inventory::stock(&rows.store, low_only, paging).await).await?;
        Ok::<_, StoreError>(items.iter().map(|item| item.sku.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(found(false).await?, ["a", "b", "c", "d"], "what nobody received does not exist");
    assert_eq!(found(true).await?, ["a", "c"]);
    Ok(())
}

#[tokio::test]
async fn movements_of_a_sku_come_newest_first() -> Outcome {
    let mut rows = Rows::new(&tables::inventory::TABLES).await?;
    let level = |on_hand| StockLevel { on_hand, reserved: 0, low_stock_threshold: 0 };
    let received = |name: &str, before, after| {
        Ok::<_, Box<dyn Error>>(inventory::Event::StockReceived(StockReceived {
            sku: Sku::new(name)?,
            quantity: Quantity::new(after - before)?,
            before: level(before),
            after: level(after),
            version: 1,
        }))
    };
    let adjusted = inventory::Event::StockAdjusted(StockAdjusted {
        sku: Sku::new("a")?,
        delta: -2,
        reason: Reason::new("broken")?,
        before: level(9),
        after: level(7),
        version: 3,
    });
    let events = vec![received("a", 0, 4)?, received("b", 0, 1)?, received("a", 4, 9)?, adjusted.clone()];
    rows.write(vec![], events).await?;
    let sku = Sku::new("a")?;
    let found = all(async |paging| tables::inventory::movements(&rows.store, &sku, paging).await).await?;
    assert_eq!(found.iter().map(|row| (row.offset, row.movement.delta)).collect::<Vec<_>>(), [(3, -2), (2, 5), (0, 4)]);
    assert_eq!((found[0].time_ms, found[0].movement.cause), (1003, MovementCause::Adjusted));
    assert_eq!(vec![found[0].movement.clone()], inventory::movements(&adjusted), "as the domain tells it");
    Ok(())
}

#[tokio::test]
async fn only_held_reservations_expire_and_the_longest_overdue_first() -> Outcome {
    let mut rows = Rows::new(&tables::inventory::TABLES).await?;
    let reservation = |name: &str, state, expires_at_ms| {
        let id = ReservationId::Caller(ReservationName::new(name)?);
        let aggregate = id.aggregate();
        let reservation = Reservation {
            id,
            order_id: None,
            lines: vec![],
            state,
            ttl_seconds: None,
            expires_at_ms,
            version: 7,
            created_ms: 1,
            updated_ms: 1,
        };
        Ok::<_, Box<dyn Error>>((aggregate, inventory::Entity::Reservation(reservation)))
    };
    let entities = vec![
        reservation("late", ReservationState::Held, Some(300))?,
        reservation("soon", ReservationState::Held, Some(200))?,
        reservation("never", ReservationState::Held, None)?,
        reservation("ended", ReservationState::Released, Some(100))?,
    ];
    rows.write(entities, vec![]).await?;
    let due = async |now, limit| {
        let found = rows.store.due(&tables::inventory::TABLES.timers[0], now, limit).await?;
        let name = |(key, due): &(Key, Due<Inventory>)| match &due.command {
            inventory::Command::Expire { reservation } if reservation.aggregate().key == *key && due.version == 7 => {
                reservation.to_string()
            }
            other => panic!("{other:?} at {}", due.version),
        };
        Ok::<_, StoreError>(found.iter().map(name).collect::<Vec<_>>())
    };
    assert_eq!(due(199, 10).await?, [""; 0]);
    assert_eq!(due(200, 10).await?, ["soon"]);
    assert_eq!(due(300, 10).await?, ["soon", "late"]);
    assert_eq!(due(300, 1).await?, ["soon"]);
    Ok(())
}

#[tokio::test]
async fn invoices_are_filtered_by_state_and_customer() -> Outcome {
    let mut rows = Rows::new(&tables::billing::TABLES).await?;
    let invoice = |number: u128, state| {
        let invoice = Invoice {
            order_id: OrderId(id(number)),
            customer_id: CustomerId(id(number % 2)),
            currency: None,
            state,
            amount_due: Money::ZERO,
            amount_paid: Money::ZERO,
            amount_refunded: Money::ZERO,
            payments: vec![],
            refunds: vec![],
            version: 1,
            created_ms: 1,
            updated_ms: 1,
        };
        (Invoice::aggregate(invoice.order_id), billing::Entity::Invoice(invoice))
    };
    let states = [InvoiceState::Open, InvoiceState::Paid, InvoiceState::Open, InvoiceState::Void];
    rows.write((1..).zip(states).map(|(number, state)| invoice(number, state)).collect(), vec![]).await?;
    let found = async |state, customer: Option<u128>| {
        let customer = customer.map(|number| CustomerId(id(number)));
        let invoices = all(async |paging| tables::billing::list(&rows.store, state, customer, paging).await).await?;
        Ok::<_, StoreError>(invoices.iter().map(|invoice| invoice.order_id.0.as_u128()).collect::<Vec<_>>())
    };
    assert_eq!(found(None, None).await?, [4, 3, 2, 1]);
    assert_eq!(found(Some(InvoiceState::Open), None).await?, [3, 1]);
    assert_eq!(found(None, Some(0)).await?, [4, 2]);
    assert_eq!(found(Some(InvoiceState::Open), Some(0)).await?, [0_u128; 0]);
    Ok(())
}
