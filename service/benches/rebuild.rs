//! How fast rows are rebuilt from a journal of orders.
//!
//! ```text
//! cargo bench -p orderlog-service --bench rebuild -- [RECORDS] [KEYED]
//! ```
//!
//! RECORDS (500000) are written by the real core: orders that are placed, confirmed, paid and fulfilled, 2,000 of them at a
//! time. Of these four records KEYED (1) have an idempotency key; in production it is three, since reactions have one too. Then
//! a replica starts without rows, and the clock runs until it takes commands: every record read, arbitrated and folded, its
//! rows, verdict and digest written, and all indexes made. With KAFKA=host:port set the same is done from that broker.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use orderlog_domain::{
    core::{Appended, Checkpoint, Core, Loaded, Outcome, Outgoing, Request, Step},
    header::{CommandStamp, HEADER, Origin},
    key::HashKey,
    orders::{Command, Entity, KnownCustomer, Orders},
    public::{CustomerChanged, OrderLine, Public},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};
use orderlog_eventlog::{
    EventLog, NewRecord, Partition,
    embedded::EmbeddedLog,
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_projections::Store;
use orderlog_service::{
    assembly, now_ms,
    replica::{Replica, Setup},
};
use uuid::Uuid;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Orders under way at once.
const N_ORDERS: usize = 2_000;
/// More keys than are under way, so that nothing ever has to be loaded while the journal is made.
const N_SLOTS: usize = 100_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Makes a journal as a service would.
struct Maker {
    core: Core<Orders>,
    hash_key: HashKey,
    customer_id: CustomerId,
    n_keyed: u64,
    made: Vec<Outgoing>,
}

impl Maker {
    fn new(n_keyed: u64) -> Result<Self> {
        let hash_key = HashKey::from_secret("bench");
        let (writer, mint) = (Uuid::now_v7(), Box::new(Uuid::now_v7));
        let mut core = Core::new(Checkpoint::default(), writer, hash_key.fingerprint(), mint, N_SLOTS);
        let customer_id = CustomerId(Uuid::now_v7());
        let news = Public::CustomerCreated(CustomerChanged { customer_id, active: true, version: 1 });
        core.copy("customer.created", 0, 0, &news);
        let genesis = core.genesis_record(Uuid::now_v7(), now_ms());
        core.read(0, Some(&genesis.header), &genesis.value)?;
        core.run(now_ms())?;
        Ok(Self { core, hash_key, customer_id, n_keyed, made: vec![genesis] })
    }

    /// Let the core do all it can. All that it ever forgot and wants to know again is the customer.
    fn run(&mut self) -> Result<Step<Orders>> {
        let mut done = self.core.run(now_ms())?;
        while !done.missing.is_empty() {
            let customer = KnownCustomer { customer_id: self.customer_id, active: true, version: 1 };
            let customer = |wanted| {
                let entity = Some((1, Entity::KnownCustomer(customer.clone())));
                Loaded { wanted, head: None, entity, parked: false }
            };
            self.core.provide(done.missing.drain(..).map(customer));
            let next = self.core.run(now_ms())?;
            done.appends.extend(next.appends);
            done.answers.extend(next.answers);
            done.missing = next.missing;
        }
        Ok(done)
    }

    /// Have all commands decided, as if the log acknowledged each at once.
    fn decide(&mut self, commands: impl Iterator<Item = Command>, has_key: bool) -> Result<()> {
        for command in commands {
            let stamp = has_key.then(|| CommandStamp {
                key: self.hash_key.idempotency("bench", "", &Uuid::now_v7().to_string()),
                fingerprint: [0; 16],
            });
            self.core.ask(
                Request { command, stamp, versions: None, origin: Origin::default(), deadline: i64::MAX },
                now_ms(),
            );
        }
        let appends = self.run()?.appends;
        for (offset, record) in (self.core.next()..).zip(&appends) {
            self.core.appended(record.id, Appended::At(offset), now_ms());
        }
        let answers = self.run()?.answers;
        assert_eq!((appends.len(), answers.len()), (N_ORDERS, N_ORDERS));
        assert!(answers.iter().all(|(_, outcome)| matches!(outcome, Outcome::Accepted(_))), "every command happens");
        self.made.extend(appends);
        if let Some((change_set, _)) = self.core.take_changes() {
            self.core.written(change_set);
        }
        Ok(())
    }

    /// Some orders, from placed to fulfilled.
    fn orders(&mut self) -> Result<Vec<Outgoing>> {
        let line = |sku: &str| -> Result<OrderLine> {
            Ok(OrderLine { sku: Sku::new(sku)?, quantity: Quantity::new(2)?, unit_price: Money::new(1890)? })
        };
        let (lines, currency) = (vec![line("espresso-beans-1kg")?, line("filter-paper-100")?], Currency::new("EUR")?);
        let ids: Vec<_> = (0..N_ORDERS).map(|_| OrderId(Uuid::now_v7())).collect();
        let customer_id = self.customer_id;
        let place = |&order_id: &OrderId| Command::Place { order_id, customer_id, currency, lines: lines.clone() };
        self.decide(ids.iter().map(place), self.n_keyed > 0)?;
        self.decide(ids.iter().map(|&order_id| Command::Confirm { order_id }), self.n_keyed > 1)?;
        self.decide(ids.iter().map(|&order_id| Command::MarkPaid { order_id, invoice_version: 2 }), self.n_keyed > 2)?;
        self.decide(ids.iter().map(|&order_id| Command::Fulfil { order_id }), self.n_keyed > 3)?;
        Ok(std::mem::take(&mut self.made))
    }
}

/// Fill the journal with so many records; their bytes.
async fn fill(log: &dyn EventLog, n_records: usize, n_keyed: u64) -> Result<u64> {
    let mut maker = Maker::new(n_keyed)?;
    let (mut left, mut bytes) = (n_records, 0);
    while left > 0 {
        let mut made = maker.orders()?;
        made.truncate(left);
        left -= made.len();
        bytes += made.iter().map(|record| (record.header.len() + record.value.len()) as u64).sum::<u64>();
        let records = made.into_iter().map(|record| NewRecord {
            topic: "orders".into(),
            partition: Some(0),
            key: Some(Bytes::copy_from_slice(record.about.as_bytes())),
            headers: vec![(HEADER.into(), record.header)],
            value: record.value,
        });
        for result in log.append(records.collect()).await {
            result?;
        }
    }
    Ok(bytes)
}

/// How long a replica without rows takes until it takes commands.
async fn rebuild(log: Arc<dyn EventLog>) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(Store::<Orders>::open(folder.path()).await?);
    let hash_key = HashKey::from_secret("bench");
    let began = Instant::now();
    let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: N_SLOTS };
    Replica::<Orders>::start(setup, store).await?.ready().await?;
    Ok(began.elapsed())
}

async fn measure(name: &str, log: Arc<dyn EventLog>, n_records: usize, n_keyed: u64) -> Result<()> {
    log.prepare(&assembly::topics()).await?;
    let bytes = fill(log.as_ref(), n_records, n_keyed).await?;
    let end = log.ends(&[Partition::journal("orders")]).await?[0];
    assert_eq!(end, n_records as u64);
    let took = rebuild(log).await?.as_secs_f64();
    let (per_second, megabytes) = (n_records as f64 / took, bytes as f64 / 1e6);
    println!(
        "{name:<9} {n_records} records ({megabytes:.0} MB) in {took:.2} s: {per_second:.0} records/s, {:.0} MB/s",
        megabytes / took
    );
    Ok(())
}

fn argument(number: usize, otherwise: u64) -> Result<u64> {
    // Cargo adds options of its own.
    let given = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).nth(number);
    Ok(given.map_or(Ok(otherwise), |text| text.parse())?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let (n_records, n_keyed) = (usize::try_from(argument(0, 500_000)?)?, argument(1, 1)?);
    let folder = tempfile::tempdir()?;
    measure("embedded", EmbeddedLog::open(folder.path()).await?, n_records, n_keyed).await?;
    if let Ok(brokers) = std::env::var("KAFKA") {
        let topic_prefix = format!("bench{}.", Uuid::now_v7().simple());
        let log = KafkaLog::connect(KafkaConfig { topic_prefix, ..KafkaConfig::new(brokers) })?;
        measure("kafka", log, n_records, n_keyed).await?;
    }
    Ok(())
}
