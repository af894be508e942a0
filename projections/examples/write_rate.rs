//! How fast rows are written and loaded: the records of orders that are placed, confirmed and paid, as a rebuild gives them.
//!
//! `cargo run --release -p orderlog-projections --example write_rate [records] [records per transaction]`

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{
    collections::HashMap,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_core::{
    key::{HashKey, Key, RecordId},
    machine::{Changes, Digest, EntityRow, Head, RecordRow, Verdict, Wanted, chain},
};
use orderlog_domain::{
    orders::{Entity, ORDERS, Order, OrderLine, OrderState, Orders, Payment},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};
use orderlog_readmodel::{Pace, Store};
use uuid::Uuid;

/// Orders between the records of one order: about what is in flight at once.
const IN_FLIGHT: u64 = 2000;

fn order(number: u64, step: u64) -> Result<Order, Box<dyn Error>> {
    let price = Money::new(1999)?;
    let lines = (0..2).map(|line| {
        let sku = Sku::new(format!("SKU-{}", (number * 7 + line) % 500))?;
        Ok::<_, Box<dyn Error>>(OrderLine { sku, quantity: Quantity::new(2)?, unit_price: price })
    });
    Ok(Order {
        order_id: OrderId(id(number)),
        customer_id: CustomerId(id(number % 10_000)),
        currency: Currency::new("EUR")?,
        lines: lines.collect::<Result<_, _>>()?,
        total: Money::new(4 * 1999)?,
        channel: None,
        state: if step == 0 { OrderState::Placed } else { OrderState::Confirmed },
        payment: if step < 2 { Payment::Unpaid } else { Payment::Paid },
        rejection: None,
        version: step + 1,
        created_ms: 0,
        updated_ms: 0,
    })
}

/// A UUIDv7 of its own millisecond.
fn id(number: u64) -> Uuid {
    let mut random = [0; 10];
    random.copy_from_slice(&blake3::hash(&number.to_be_bytes()).as_bytes()[..10]);
    uuid::Builder::from_unix_timestamp_millis(1_790_000_000_000 + number, &random).into_uuid()
}

/// The order and the step that the record at `offset` is about: of every window of orders first all are placed, then all
/// confirmed, then all paid.
fn about(offset: u64) -> (u64, u64) {
    let (window, inside) = (offset / (3 * IN_FLIGHT), offset % (3 * IN_FLIGHT));
    (window * IN_FLIGHT + inside % IN_FLIGHT, inside / IN_FLIGHT)
}

fn changes(from: u64, to: u64, digest: &mut Digest, secret: &HashKey) -> Result<Changes<Orders>, Box<dyn Error>> {
    let mut entities: HashMap<Key, EntityRow<Entity>> = HashMap::new();
    let mut heads = HashMap::new();
    let mut records = Vec::new();
    for offset in from..to {
        let (number, step) = about(offset);
        let order = order(number, step)?;
        let aggregate = Order::aggregate(order.order_id);
        let record = RecordId(id(1 << 40 | offset));
        *digest = chain(digest, offset, &[0; 150], &[0; 250]);
        let head = Head { last: record, offset };
        heads.insert(aggregate.key, head);
        // The key of the caller's request, or of the event that was reacted to.
        heads.insert(secret.idempotency("", "", &offset.to_string()), head);
        let (time_ms, verdict) = (0, Verdict::Accepted);
        records.push(RecordRow { offset, id: record, time_ms, about: aggregate.key, verdict, digest: *digest });
        entities.insert(
            aggregate.key,
            EntityRow { aggregate, version: step + 1, offset, entity: Arc::new(Entity::Order(order)) },
        );
    }
    let (heads, entities) = (heads.into_iter().collect(), entities.into_values().collect());
    // Orders have no ledger, so events make no rows.
    Ok(Changes { heads, entities, records, ..Changes::nothing(to) })
}

fn argument(number: usize, otherwise: u64) -> Result<u64, Box<dyn Error>> {
    Ok(std::env::args().nth(number).map_or(Ok(otherwise), |text| text.parse())?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (records, batch) = (argument(1, 500_000)?, argument(2, 5000)?);
    let dir = tempfile::TempDir::new()?;
    let store = Store::open(dir.path(), &orderlog_projections::orders::TABLES).await?;
    let mut writer = store.writer().await?;
    let secret = HashKey::from_secret("example");
    let (mut digest, mut spent, mut rows) = (Digest::default(), Duration::ZERO, 0);
    for from in (0..records).step_by(usize::try_from(batch)?) {
        let changes = changes(from, records.min(from + batch), &mut digest, &secret)?;
        rows += changes.heads.len() + changes.entities.len() + changes.records.len();
        let began = Instant::now();
        store.write(&mut writer, &changes, Pace::Steady).await?;
        spent += began.elapsed();
    }
    let per_second = |count: f64| count / spent.as_secs_f64();
    println!("{records} records, {batch} per transaction: {:.1} s", spent.as_secs_f64());
    println!("{:.0} records/s, {:.0} rows/s", per_second(records as f64), per_second(rows as f64));

    let began = Instant::now();
    store.create_indexes(&mut writer).await?;
    println!("indexes: {:.2} s", began.elapsed().as_secs_f64());

    for count in [1, 100, 5000] {
        let rounds = 20_000 / count + 10;
        let began = Instant::now();
        for round in 0..rounds {
            let number = |key: u64| (round * 7919 + key * 104_729) % (records / 3).max(1);
            let wanted: Vec<Wanted> =
                (0..count).map(|key| Wanted { key: Key::of(id(number(key))), kind: Some(ORDERS) }).collect();
            store.load(&wanted).await?;
        }
        let spent = began.elapsed().as_secs_f64();
        println!(
            "load of {count}: {:.0} us, {:.0} keys/s",
            spent * 1e6 / rounds as f64,
            (rounds * count) as f64 / spent
        );
    }
    Ok(())
}
