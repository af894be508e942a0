//! The core against the model of the arbitration rule: two replicas of one journal, appends delayed, reordered, refused,
//! lost and duplicated late, replicas that lag, commands pipelined over records in flight, reused idempotency keys.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::{
    decider::{Ref, View},
    header::Stored,
    public::Nothing,
};

mod appends;
mod copies;
mod days;
mod foreign;
mod kinds;
mod lending;
mod parked;
mod races;

/// A warehouse of a few shelves.
#[derive(Clone, Debug)]
enum Warehouse {}

#[derive(Clone, Debug, PartialEq)]
struct Take {
    command: u32,
    lines: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Taken {
    #[serde(deserialize_with = "known")]
    command: u32,
    lines: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("too little on shelf {0}")]
struct TooLittle(String);

const STOCK: i64 = 12;
/// What only a newer program can decode: commands from this number on.
const NEWER: u32 = 1_000_000;
/// So many units only a repaired program can fold.
const POISON: i64 = -99;

thread_local! {
    /// Whether the program is the newer, repaired one.
    static REPAIRED: Cell<bool> = const { Cell::new(false) };
}

fn known<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let command = u32::deserialize(deserializer)?;
    if command < NEWER || REPAIRED.get() {
        Ok(command)
    } else {
        Err(serde::de::Error::custom("unknown to this program"))
    }
}

fn shelf(name: &str) -> Ref {
    Ref::new("shelves", Key::named("shelf", name))
}

impl Decider for Warehouse {
    const JOURNAL: &'static str = "warehouse";
    type Command = Take;
    type Event = Taken;
    type Entity = i64;
    type Rejection = TooLittle;
    type Published = Nothing;
    type Heard = Nothing;

    fn decide(command: &Take, view: &View<'_, i64>, _: Millis) -> Result<Taken, TooLittle> {
        let on_shelf: Vec<_> =
            command.lines.keys().map(|name| view.get(&shelf(name)).copied().unwrap_or(STOCK)).collect();
        for ((name, units), on_shelf) in command.lines.iter().zip(on_shelf) {
            if *units > on_shelf {
                return Err(TooLittle(name.clone()));
            }
        }
        Ok(Taken { command: command.command, lines: command.lines.clone() })
    }

    fn target(command: &Take) -> Option<Ref> {
        Some(shelf(command.lines.keys().next()?))
    }

    fn kind(_: &Taken) -> &'static str {
        "taken"
    }

    fn touches(event: &Taken) -> Vec<Ref> {
        event.lines.keys().map(|name| shelf(name)).collect()
    }

    fn evolve(entity: Option<i64>, which: usize, event: &Taken, _: &At) -> i64 {
        let units = event.lines.values().nth(which).copied().unwrap_or_default();
        assert!(units != POISON || REPAIRED.get(), "a fold that can't be");
        entity.unwrap_or(STOCK) - units
    }
}

/// Rows in memory: what a store would do.
struct Rows<D: Decider> {
    heads: HashMap<Key, Head>,
    entities: HashMap<(Kind, Key), (u64, D::Entity)>,
    /// By which record each aggregate was changed last.
    changed_by: HashMap<(Kind, Key), u64>,
    /// What was folded and what it touches, in the order of the fold.
    happened: Vec<(u64, Vec<Ref>)>,
    parked: BTreeMap<(u64, Key), String>,
    discarded: BTreeMap<u64, DiscardedRow>,
    records: Vec<RecordRow>,
    checkpoint: Checkpoint,
}

impl<D: Decider> Rows<D> {
    fn new() -> Self {
        Self {
            heads: HashMap::new(),
            entities: HashMap::new(),
            changed_by: HashMap::new(),
            happened: Vec::new(),
            parked: BTreeMap::new(),
            discarded: BTreeMap::new(),
            records: Vec::new(),
            checkpoint: Checkpoint::default(),
        }
    }

    fn load(&self, wanted: Wanted) -> Loaded<D::Entity> {
        Loaded {
            wanted,
            head: self.heads.get(&wanted.key).copied(),
            entity: wanted.kind.and_then(|kind| self.entities.get(&(kind, wanted.key)).cloned()),
        }
    }

    fn set_aside(&self) -> SetAside {
        let id = |offset: &u64| self.records.iter().find(|record| record.offset == *offset).unwrap().id;
        let row = |((offset, key), reason): (&(u64, Key), &String)| {
            (ParkedRow { key: *key, offset: *offset, reason: reason.clone() }, id(offset))
        };
        let discarded = self.records.iter().filter(|record| record.verdict == Verdict::Discarded);
        SetAside {
            parked: self.parked.iter().map(row).collect(),
            discarded: discarded.map(|record| record.offset).collect(),
        }
    }

    fn write(&mut self, changes: Changes<D>, digest: &Digest) {
        self.heads.extend(changes.heads);
        for row in &changes.entities {
            self.changed_by.insert((row.aggregate.kind, row.aggregate.key), row.offset);
        }
        let entities = changes.entities.into_iter();
        self.entities.extend(
            entities
                .map(|row| ((row.aggregate.kind, row.aggregate.key), (row.version, Arc::unwrap_or_clone(row.entity)))),
        );
        self.records.extend(changes.records);
        for (offset, verdict) in changes.verdicts {
            self.records.iter_mut().find(|record| record.offset == offset).unwrap().verdict = verdict;
        }
        self.happened.extend(changes.happened.into_iter().map(|it| (it.at.offset, it.touched)));
        self.parked.retain(|(offset, _), _| !changes.unparked.contains(offset));
        self.parked.extend(changes.parked.into_iter().map(|row| ((row.offset, row.key), row.reason)));
        for row in changes.discarded {
            self.discarded.entry(row.offset).or_insert(row);
        }
        let Changes { next, genesis, copied, .. } = changes;
        let last = self.records.last().map(|record| (*record, Digest::default()));
        self.checkpoint = Checkpoint { next, digest: *digest, genesis, last, copied };
    }
}

/// One instance of a service: the core and what is around it.
struct InstanceOf<D: Decider> {
    core: Core<D>,
    rows: Rows<D>,
    answers: Vec<(Ticket, Outcome<D>, u64)>,
    /// What it has seen of the log.
    log: Log,
    wants_ends: bool,
    /// How many keys it had to load.
    n_loaded: usize,
    now: Millis,
}

type Log = Vec<(Bytes, Bytes)>;

/// One instance of the warehouse.
type Instance = InstanceOf<Warehouse>;

impl<D: Decider> InstanceOf<D> {
    fn new(name: u8) -> Self {
        Self::on(Rows::new(), name)
    }

    /// Goes on from these rows.
    fn on(rows: Rows<D>, name: u8) -> Self {
        let mut n = 0;
        let mint = move || {
            n += 1;
            Uuid::from_u128(u128::from(name) << 64 | n)
        };
        let writer = Uuid::from_u128(name.into());
        // One slot at a time: forgetting and loading are part of what is tested.
        let mut core = Core::new(rows.checkpoint.clone(), writer, "fingerprint".into(), Box::new(mint), 1);
        core.recall(rows.set_aside());
        Self { core, rows, answers: Vec::new(), log: Log::new(), wants_ends: false, n_loaded: 0, now: 0 }
    }

    fn started(name: u8, log: &mut Log) -> Self {
        let mut instance = Self::new(name);
        if log.is_empty() {
            let genesis = instance.core.genesis_record(Uuid::nil(), 0);
            log.push((genesis.header, genesis.value));
        }
        instance.read(log, usize::MAX);
        instance
    }

    fn ask(&mut self, command: D::Command, key: Option<u8>) -> Ticket {
        let stamp = key.map(|key| CommandStamp { key: Key::from_bytes([key; 16]), fingerprint: [0; 16] });
        let deadline = Millis::MAX;
        self.core.ask(Request { command, stamp, versions: None, origin: Origin::default(), deadline }, self.now)
    }

    fn read(&mut self, log: &Log, most: usize) -> Vec<Outgoing> {
        self.try_to_read(log, most).unwrap()
    }

    fn try_to_read(&mut self, log: &Log, most: usize) -> Result<Vec<Outgoing>, Stop> {
        self.log.extend(log.iter().skip(self.log.len()).cloned());
        let next = self.core.next() + self.core.n_queued() as u64;
        for (offset, (header, value)) in log.iter().enumerate().skip(next as usize).take(most) {
            self.core.read(offset as u64, Stored::Header(header), value).unwrap();
        }
        self.try_to_run()
    }

    fn run(&mut self) -> Vec<Outgoing> {
        self.try_to_run().unwrap()
    }

    fn try_to_run(&mut self) -> Result<Vec<Outgoing>, Stop> {
        let mut appends = Vec::new();
        loop {
            let step = self.core.run(self.now)?;
            appends.extend(step.appends);
            let at = self.core.next();
            self.answers.extend(step.answers.into_iter().map(|(ticket, outcome)| (ticket, outcome, at)));
            self.wants_ends |= step.wants_ends;
            if step.missing.is_empty() && step.records.is_empty() {
                break;
            }
            self.n_loaded += step.missing.len();
            let loaded: Vec<_> = step.missing.into_iter().map(|wanted| self.rows.load(wanted)).collect();
            self.core.provide(loaded);
            let record = |offset: u64| (offset, self.log.get(offset as usize).cloned());
            self.core.provide_records(step.records.into_iter().map(record));
        }
        self.write();
        Ok(appends)
    }

    fn write(&mut self) {
        if let Some((change_set, changes)) = self.core.take_changes() {
            self.rows.write(changes, self.core.digest());
            self.core.written(change_set);
        }
    }

    fn outcome(&self, ticket: Ticket) -> Option<&Outcome<D>> {
        self.answers.iter().find(|(answered, _, _)| *answered == ticket).map(|(_, outcome, _)| outcome)
    }
}

impl Instance {
    fn left(&self, name: &str) -> i64 {
        self.rows.entities.get(&("shelves", shelf(name).key)).map_or(STOCK, |(_, left)| *left)
    }
}

fn take(command: u32, lines: &[(&str, i64)]) -> Take {
    Take { command, lines: lines.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect() }
}

fn land(log: &mut Log, record: &Outgoing) -> u64 {
    log.push((record.header.clone(), record.value.clone()));
    log.len() as u64 - 1
}

/// Both are told where the records landed, and read them.
fn land_for_both(log: &mut Log, one: &mut Instance, two: &mut Instance, records: [&Outgoing; 2]) {
    for record in records {
        let offset = land(log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
        two.core.appended(record.id, Appended::At(offset), 0);
    }
    one.read(log, 9);
    two.read(log, 9);
}

#[test]
fn a_command_is_answered_when_it_is_acknowledged_and_read_back() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 5)]), None);
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.read(&log, 9);
    assert!(one.outcome(ticket).is_none(), "read back, but not acknowledged");
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(accepted)) if accepted.at.offset == 1));
    assert_eq!(one.left("a"), STOCK - 5);
}

#[test]
fn a_core_reports_what_is_under_way_and_what_is_to_be_written() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    assert_eq!(one.core.genesis().map(|genesis| genesis.journal.as_str()), Some("warehouse"));
    let under_way = |one: &Instance| (one.core.n_pending(), one.core.n_in_flight(), one.core.n_queued());
    let to_write = |one: &Instance| (one.core.is_changed(), one.core.n_unwritten());
    assert_eq!((under_way(&one), to_write(&one)), ((0, 0, 0), (false, 0)));

    one.ask(take(1, &[("a", 1)]), None);
    let last = one.ask(take(2, &[("b", 1)]), None);
    assert_eq!((one.core.last_ticket(), under_way(&one)), (last, (2, 0, 0)));
    let sent = one.core.run(0).unwrap().appends;
    assert_eq!((sent.len(), under_way(&one)), (2, (2, 2, 0)));
    for record in &sent {
        let offset = land(&mut log, record);
        one.core.read(offset, Stored::Header(&record.header), &record.value).unwrap();
    }
    assert_eq!((under_way(&one), to_write(&one)), ((2, 2, 2), (false, 0)));
    one.core.run(0).unwrap();
    assert_eq!((under_way(&one), to_write(&one)), ((2, 0, 0), (true, 2)), "read back, but not acknowledged");

    let gathered = one.core.change_set();
    let (taken, _) = one.core.take_changes().unwrap();
    assert_eq!((taken, one.core.change_set()), (gathered, gathered + 1));
    assert_eq!(to_write(&one), (false, 0));
    assert!(one.core.take_changes().is_none(), "there is nothing more to write");
}

#[test]
fn a_record_right_behind_what_was_read_is_folded_from_memory() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 5)]), None);
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(_))));
    let (header, value) = &log[offset as usize];
    one.core.read(offset, Stored::Header(header), value).unwrap();
    assert_eq!((one.core.n_queued(), one.left("a")), (0, STOCK - 5), "the log's own copy is passed over");
}

#[test]
fn a_journal_that_begins_with_anything_but_its_genesis_is_not_read() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 1)]), None);
    let headless = vec![(one.run()[0].header.clone(), Bytes::from_static(b"{\"command\":1,\"lines\":{\"a\":1}}"))];
    let stopped = Instance::new(2).try_to_read(&headless, 9).unwrap_err();
    assert_eq!(stopped, Stop::NoGenesis { journal: "warehouse", offset: 0 });
}

#[test]
fn what_the_log_holds_is_folded_even_under_the_id_of_an_own_record() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 5)]), None);
    let sent = one.run();
    let other = serde_json::to_vec(&Taken { command: 1, lines: take(1, &[("a", 3)]).lines }).unwrap();
    log.push((sent[0].header.clone(), other.into()));
    one.read(&log, 9);
    assert_eq!(one.left("a"), STOCK - 3, "as in every other replica");
}

#[test]
fn who_repeats_a_command_that_is_under_way_waits_for_it_and_is_told_so_when_the_time_is_up() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let stamp = Some(CommandStamp { key: Key::named("command", "k"), fingerprint: [7; 16] });
    let ask = |one: &mut Instance, deadline| {
        let command = take(1, &[("a", 5)]);
        one.core.ask(Request { command, stamp, versions: None, origin: Origin::default(), deadline }, one.now)
    };
    let first = ask(&mut one, 100);
    let sent = one.run();
    let impatient = ask(&mut one, 50);
    let patient = ask(&mut one, 1_000);
    assert!(one.run().is_empty());
    one.now = 60;
    one.run();
    assert!(matches!(one.outcome(impatient), Some(Outcome::KeyInUse)));
    one.now = 110;
    one.run();
    assert!(matches!(one.outcome(first), Some(Outcome::Unknown)));
    assert!(one.outcome(patient).is_none(), "it waits for that outcome");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), one.now);
    one.run();
    assert!(matches!(one.outcome(patient), Some(Outcome::Repeated { offset: 1 })));
    assert_eq!(one.left("a"), STOCK - 5, "it was done once");
}

#[test]
fn an_idempotency_key_is_answered_from_the_record_that_used_it() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let first = one.ask(take(1, &[("a", 1)]), Some(7));
    let second = one.ask(take(1, &[("a", 1)]), Some(7));
    let sent = one.run();
    assert_eq!(sent.len(), 1, "the second waits for the first");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    one.run();
    assert!(matches!(one.outcome(first), Some(Outcome::Accepted(_))));
    assert!(matches!(one.outcome(second), Some(Outcome::Repeated { offset: 1 })));
}

#[test]
fn time_that_is_up_tells_nothing_written_from_perhaps_written() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ask = |one: &mut Instance, units| {
        let command = take(1, &[("a", units)]);
        one.core.ask(Request { command, stamp: None, versions: None, origin: Origin::default(), deadline: 10 }, 0)
    };
    let (flying, refused) = (ask(&mut one, 1), ask(&mut one, 99));
    let sent = one.run();
    one.now = 10;
    one.run();
    assert!(matches!(one.outcome(flying), Some(Outcome::Unknown)));
    assert!(matches!(one.outcome(refused), Some(Outcome::Expired)), "a no that could not be read fresh is no answer");
    land(&mut log, &sent[0]);
    one.read(&log, 9);
    assert_eq!(one.answers.len(), 2, "it happened after all, and nobody is told twice");
    assert_eq!(one.left("a"), STOCK - 1);
}

#[test]
fn a_record_that_cannot_be_folded_parks_its_keys_and_nothing_else() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let record = |id: u128, name: &str, last: Option<u128>, value: &[u8]| {
        let expects = vec![crate::header::Expect {
            key: shelf(name).key,
            last: last.map(|last| RecordId(Uuid::from_u128(last))),
        }];
        let (id, writer) = (RecordId(Uuid::from_u128(id)), Uuid::nil());
        let header = crate::header::Header {
            id,
            time_ms: 0,
            writer,
            kind: "taken".into(),
            expects,
            command: None,
            origin: Origin::default(),
        };
        (Bytes::from(header.encode()), Bytes::copy_from_slice(value))
    };
    log.push(record(91, "a", None, b"rubbish"));
    log.push(record(92, "a", Some(91), br#"{"command":1,"lines":{"a":1}}"#));
    log.push(record(93, "b", None, format!(r#"{{"command":1,"lines":{{"b":{POISON}}}}}"#).as_bytes()));
    one.read(&log, 9);
    let verdicts: Vec<_> = one.rows.records.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Parked, Verdict::Parked, Verdict::Parked]);
    let (parked, free) = (one.ask(take(1, &[("a", 1)]), None), one.ask(take(2, &[("c", 1)]), None));
    assert_eq!(one.run().len(), 1);
    assert!(matches!(one.outcome(parked), Some(Outcome::Parked)));
    assert!(one.outcome(free).is_none());
}

#[test]
fn a_journal_that_cannot_be_read_stops_the_core() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    assert!(matches!(
        one.core.read(1, Stored::Header(&Bytes::from_static(&[9])), &Bytes::new()),
        Err(Stop::Header { offset: 1, .. })
    ));
    assert!(matches!(one.core.read(1, Stored::Missing, &Bytes::new()), Err(Stop::Header { offset: 1, .. })));
    let mut other = Core::<Warehouse>::new(Checkpoint::default(), Uuid::nil(), "other".into(), Box::new(Uuid::nil), 1);
    other.read(0, Stored::Header(&log[0].0), &log[0].1).unwrap();
    assert!(matches!(other.run(0), Err(Stop::OtherHashKey { .. })));
}
