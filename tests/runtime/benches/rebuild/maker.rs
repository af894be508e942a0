//! Making a journal of orders as a service would.

use bytes::Bytes;
use orderlog_core::{
    header::{CommandStamp, HEADER, Origin, Stored},
    key::HashKey,
    machine::{Appended, Checkpoint, Core, Loaded, Outcome, Outgoing, Request, Step},
};
use orderlog_domain::{
    customers::{self, public::CustomerChanged},
    orders::{Command, Entity, KnownCustomer, OrderLine, Orders},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};
use orderlog_eventlog::{EventLog, NewRecord};
use orderlog_runtime::now_ms;
use uuid::Uuid;

use super::{N_SLOTS, Result, SECRET};

/// Orders under way at once.
const N_ORDERS: usize = 2_000;
/// Makes a journal as a service would.
pub struct Maker {
    core: Core<Orders>,
    hash_key: HashKey,
    customer_id: CustomerId,
    n_keyed: u64,
    made: Vec<Outgoing>,
    n_appended: usize,
}

impl Maker {
    /// Of four records, `n_keyed` have an idempotency key.
    pub fn new(n_keyed: u64) -> Result<Self> {
        let hash_key = HashKey::from_secret(SECRET);
        let (writer, mint) = (Uuid::now_v7(), Box::new(Uuid::now_v7));
        let mut core = Core::new(Checkpoint::default(), writer, hash_key.fingerprint(), mint, N_SLOTS);
        let customer_id = CustomerId(Uuid::now_v7());
        let news = customers::Published::Created(CustomerChanged { customer_id, active: true, version: 1 });
        core.copy("customer.created", 0, (0, 0), &news.into());
        let genesis = core.genesis_record(Uuid::now_v7(), now_ms());
        core.read(0, Stored::Header(&genesis.header), &genesis.value)?;
        core.run(now_ms())?;
        Ok(Self { core, hash_key, customer_id, n_keyed, made: vec![genesis], n_appended: 0 })
    }

    /// Let the core do all it can. All that it ever forgot and wants to know again is the customer.
    fn run(&mut self) -> Result<Step<Orders>> {
        let mut done = self.core.run(now_ms())?;
        while !done.missing.is_empty() {
            let customer = KnownCustomer { customer_id: self.customer_id, active: true, version: 1 };
            let customer = |wanted| {
                let entity = Some((1, Entity::KnownCustomer(customer.clone())));
                Loaded { wanted, head: None, entity }
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
    fn orders(&mut self) -> Result<()> {
        let line = |sku: &str| -> Result<OrderLine> {
            Ok(OrderLine { sku: Sku::new(sku)?, quantity: Quantity::new(2)?, unit_price: Money::new(1890)? })
        };
        let (lines, currency) = (vec![line("espresso-beans-1kg")?, line("filter-paper-100")?], Currency::new("EUR")?);
        let ids: Vec<_> = (0..N_ORDERS).map(|_| OrderId(Uuid::now_v7())).collect();
        let customer_id = self.customer_id;
        let place = |&order_id: &OrderId| Command::Place {
            order_id,
            customer_id,
            currency,
            lines: lines.clone(),
            channel: None,
        };
        self.decide(ids.iter().map(place), self.n_keyed > 0)?;
        self.decide(ids.iter().map(|&order_id| Command::Confirm { order_id }), self.n_keyed > 1)?;
        self.decide(ids.iter().map(|&order_id| Command::MarkPaid { order_id, invoice_version: 2 }), self.n_keyed > 2)?;
        self.decide(ids.iter().map(|&order_id| Command::Fulfil { order_id }), self.n_keyed > 3)?;
        Ok(())
    }

    /// Append records until the journal has so many; the bytes that were appended.
    pub async fn fill(&mut self, log: &dyn EventLog, n_records: usize) -> Result<u64> {
        let mut bytes = 0;
        while self.n_appended < n_records {
            if self.made.is_empty() {
                self.orders()?;
            }
            let n = self.made.len().min(n_records - self.n_appended);
            let made: Vec<_> = self.made.drain(..n).collect();
            self.n_appended += n;
            bytes += made.iter().map(|record| (record.header.len() + record.value.len()) as u64).sum::<u64>();
            for result in log.append(made.into_iter().map(new_record).collect()).await {
                result?;
            }
        }
        Ok(bytes)
    }
}

fn new_record(record: Outgoing) -> NewRecord {
    NewRecord {
        topic: "orders".into(),
        partition: Some(0),
        key: Some(Bytes::copy_from_slice(record.about.as_bytes())),
        headers: vec![(HEADER.into(), record.header)],
        value: record.value,
    }
}
