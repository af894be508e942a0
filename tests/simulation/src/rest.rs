//! After healing: everything has to come to rest, and then to agree.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use orderlog_core::{decider::Millis, header::HEADER};
use orderlog_domain::inventory::{Inventory, ReservationState};
use orderlog_eventlog::{Partition, Record};
use orderlog_history::{Fault, History, PublicRecord, Row, SERVICES, fault};
use orderlog_readmodel::{Cell, Contents, MemoryRows};
use orderlog_runtime::replica::Replica;
use serde_json::{Value, json};

use crate::{
    instance::{DELIVERIES, Service, setup},
    life::Life,
    link::Link,
    rows::SimulatedRows,
    shop::Shop,
    world::{Faults, World},
};

/// How often is looked whether everything rests.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For so long nobody holds a lease: until everybody has heard of it.
const LEASES_REST: Duration = Duration::from_secs(4);
/// After so many looks it should.
const N_LOOKS_MAX: u32 = 400;

/// Nothing goes wrong any more.
pub async fn heal(shop: &Shop) {
    shop.world.note("nemesis", "heals everything");
    shop.world.set_faults(Faults::default());
    shop.healed.send_replace(true);
    // The rollout ends: what older programs have parked is folded now.
    for victim in shop.victims().iter().filter(|victim| victim.install_newest()) {
        victim.crash(1);
    }
    for life in shop.victims().iter().filter_map(|victim| victim.life()) {
        life.pause(false);
        life.set_skew(0);
    }
    // A background task that ran while its positions were lost keeps only later ones. The next holder of the lease starts over.
    let groups = || SERVICES.iter().map(|service| format!("orderlog.{service}")).chain([DELIVERIES.to_owned()]);
    // Twice: the first time it may be one who has not yet heard that it lost it.
    for _ in 0..2 {
        groups().for_each(|group| shop.world.log.drop_lease_holder(&group));
        tokio::time::sleep(LEASES_REST).await;
        groups().for_each(|group| shop.world.log.find_lease_holder(&group));
    }
}

/// Wait until nothing is left to do.
pub async fn come_to_rest(shop: &Shop, faults: &mut Vec<Fault>) {
    let mut before = None;
    let mut undone = String::new();
    for _ in 0..N_LOOKS_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
        let n_landed = shop.world.n_landed();
        match still_to_do(shop) {
            None if before == Some(n_landed) => return,
            None => before = Some(n_landed),
            Some(what) => {
                before = None;
                undone = what;
            }
        }
    }
    fault(faults, "everything comes to rest after healing", undone);
}

fn still_to_do(shop: &Shop) -> Option<String> {
    let ends = shop.world.log.all_ends();
    of_service(&shop.customers, &ends, &shop.world)
        .or_else(|| of_service(&shop.orders, &ends, &shop.world))
        .or_else(|| of_service(&shop.inventory, &ends, &shop.world))
        .or_else(|| of_service(&shop.billing, &ends, &shop.world))
        .or_else(|| of_service(&shop.notifications, &ends, &shop.world))
        .or_else(|| {
            let journal = Partition::journal("inventory");
            let end = ends.get(&journal).copied().unwrap_or_default();
            let position = shop.world.log.position(DELIVERIES, &journal).unwrap_or_default();
            (position < end).then(|| format!("{DELIVERIES} stands at {position} of {end}"))
        })
        .or_else(|| {
            let rows = &shop.inventory.0.first()?.rows;
            let now = shop.world.now_ms();
            let expires = rows.look(|rows| rows.entities.values().any(|(_, _, entity)| is_due(entity, now)));
            expires.then(|| "a reservation is still to expire".to_owned())
        })
}

fn is_due(entity: &orderlog_domain::inventory::Entity, now: Millis) -> bool {
    let due = entity.as_reservation().filter(|it| it.state == ReservationState::Held).and_then(|it| it.expires_at_ms);
    due.is_some_and(|due| due <= now)
}

fn of_service<D: Service>(
    instances: &crate::instance::Instances<D>,
    ends: &BTreeMap<Partition, u64>,
    world: &World,
) -> Option<String> {
    let end = |partition: &Partition| ends.get(partition).copied().unwrap_or_default();
    let journal = Partition::journal(D::JOURNAL);
    for instance in &instances.0 {
        let next = instance.rows.look(|rows| rows.next);
        if instance.running().is_none() || next < end(&journal) {
            return Some(format!("{} stands at {next} of {}", instance.name, end(&journal)));
        }
    }
    let read = ends.keys().filter(|it| **it == journal || D::REACTS_TO.contains(&it.topic.as_ref()));
    let group = format!("orderlog.{}", D::JOURNAL);
    let late = |it: &&Partition| world.log.position(&group, it).unwrap_or_default() < end(it);
    read.clone()
        .find(late)
        .map(|it| format!("{group} stands at {:?} of {it}, {}", world.log.position(&group, it), end(it)))
}

/// The rows of all instances, and of one that begins from nothing, are alike. Those of the first become part of the history.
async fn agree<D: Service>(shop: &Shop, history: &mut History, faults: &mut Vec<Fault>) {
    let instances = &D::of(shop).0;
    let rebuilt = rebuild::<D>(&shop.world).await;
    for instance in instances {
        let difference = instance.rows.look(|live| rebuilt.look(|rebuilt| live.difference(rebuilt)));
        if let Some(difference) = difference {
            fault(faults, "live rows are rebuilt rows", format!("{}: {difference}", instance.name));
        }
    }
    let Some(first) = instances.first() else { return };
    let ends = shop.world.log.all_ends();
    for instance in instances {
        // Facts copied from others may be newer than those of an instance that has just begun.
        let copied = |rows: &Contents<D>| {
            rows.entities.iter().filter(|(_, it)| it.1 == 0).map(|(at, it)| (*at, it.clone())).collect::<Vec<_>>()
        };
        if instance.rows.look(copied) != first.rows.look(copied) {
            fault(faults, "copied facts are alike", &instance.name);
        }
        for (partition, end) in ends.iter().filter(|(partition, _)| D::COPIES.contains(&partition.topic.as_ref())) {
            let place = (partition.topic.to_string(), partition.index);
            let next = instance.rows.look(|rows| rows.copied.get(&place).map_or(0, |row| row.next));
            if next != *end {
                fault(
                    faults,
                    "all facts are copied",
                    format!("{} has {partition} up to {next} of {end}", instance.name),
                );
            }
        }
    }
    let service = D::JOURNAL.to_owned();
    first.rows.look(|rows| {
        let documents = rows.entities.iter().map(|((kind, key), (_, _, entity))| Row {
            kind: (*kind).to_owned(),
            key: *key,
            doc: serde_json::to_value(&**entity).unwrap_or_default(),
        });
        history.rows.insert(service.clone(), documents.collect());
        let heads = rows.heads.iter().map(|(key, head)| (*key, (head.last.0, head.offset)));
        history.heads.insert(service.clone(), heads.collect());
        let lines = rows.ledgers.iter().flat_map(|(name, lines)| lines.iter().map(move |(at, line)| (*name, at, line)));
        let lines = lines.map(|(name, at, line)| ((name.to_owned(), at.0, at.1), line.iter().map(cell).collect()));
        history.ledgers.insert(service, lines.collect());
    });
}

/// A column of a ledger as JSON. Documents are JSON in it.
fn cell(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => json!(number),
        Cell::Text(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Cell::Name(name) => json!(name),
        Cell::Blob(bytes) => json!(bytes),
    }
}

async fn rebuild<D: Service>(world: &Arc<World>) -> MemoryRows<D> {
    let life = Life::begin(world, &format!("{}.rebuilt", D::JOURNAL));
    let rows = MemoryRows::new(D::TABLES);
    let simulated = Arc::new(SimulatedRows::new(rows.clone(), Arc::clone(&life)));
    if let Ok(replica) = Replica::start(setup(&life, Link::new(Arc::clone(&life))), simulated).await {
        let end = world.log.all_ends().get(&Partition::journal(D::JOURNAL)).copied().unwrap_or_default();
        let mut committed = replica.committed();
        let done = committed.wait_for(|committed| *committed >= end);
        drop(tokio::time::timeout(Duration::from_secs(20), done).await);
    }
    life.kill();
    rows
}

/// Everything there is to check.
///
/// `healthy_ms` is when everything had come to rest for the first time, if it has.
pub async fn history(shop: &Shop, healthy_ms: Option<i64>, faults: &mut Vec<Fault>) -> History {
    let rested_ms = Some(shop.world.now_ms());
    let mut history = History { lines: shop.world.all_lines(), healthy_ms, rested_ms, ..History::default() };
    for (partition, records) in shop.world.log.contents() {
        let landed = |record: &Record| shop.world.landed_before(&partition, record.offset);
        let topic = partition.topic.to_string();
        if SERVICES.contains(&partition.topic.as_ref()) {
            let kept = |record: Record| orderlog_history::Record {
                offset: record.offset,
                landed: landed(&record),
                taken_ms: Some(record.time_ms),
                key: record.key.clone(),
                header: record.header(HEADER).cloned().unwrap_or_else(Bytes::new),
                value: record.value,
            };
            history.journals.entry(topic).or_default().extend(records.into_iter().map(kept));
        } else {
            let kept = |record: Record| PublicRecord {
                partition: partition.index,
                offset: record.offset,
                landed: landed(&record),
                taken_ms: Some(record.time_ms),
                key: record.key,
                headers: record.headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect(),
                value: record.value,
            };
            history.topics.entry(topic).or_default().extend(records.into_iter().map(kept));
        }
    }
    agree::<orderlog_domain::customers::Customers>(shop, &mut history, faults).await;
    agree::<orderlog_domain::orders::Orders>(shop, &mut history, faults).await;
    agree::<Inventory>(shop, &mut history, faults).await;
    agree::<orderlog_domain::billing::Billing>(shop, &mut history, faults).await;
    agree::<orderlog_domain::notifications::Notifications>(shop, &mut history, faults).await;
    history
}
