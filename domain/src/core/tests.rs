//! The core against the model of the arbitration rule: two replicas of one journal, appends delayed, reordered, refused,
//! lost and duplicated late, replicas that lag, commands pipelined over records in flight, reused idempotency keys.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::decider::{Ref, View};

mod copies;
mod kinds;
mod parked;

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
    const KINDS: &'static [Kind] = &["shelves"];
    const REACTS_TO: &'static [&'static str] = &[];
    const COPIES: &'static [&'static str] = &[];
    type Command = Take;
    type Event = Taken;
    type Entity = i64;
    type Rejection = TooLittle;

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

    fn publish(_: &Taken) -> Vec<Public> {
        Vec::new()
    }

    fn react(_: &Public) -> Option<Take> {
        None
    }

    fn copy(_: &Public) -> Option<(Ref, u64, i64)> {
        None
    }

    fn awaits(_: &TooLittle) -> Option<Uuid> {
        None
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
        Self { core, rows, answers: Vec::new(), log: Log::new(), wants_ends: false, now: 0 }
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
            self.core.read(offset as u64, Some(header), value).unwrap();
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
fn a_record_right_behind_what_was_read_is_folded_from_memory() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 5)]), None);
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(_))));
    one.read(&log, 9);
    assert_eq!(one.left("a"), STOCK - 5, "the log's own copy is passed over");
}

#[test]
fn of_two_instances_racing_on_one_aggregate_exactly_one_wins_and_the_other_decides_again() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let (first, second) = (one.ask(take(1, &[("a", 8)]), None), two.ask(take(2, &[("a", 8)]), None));
    let (from_one, from_two) = (one.run(), two.run());
    land_for_both(&mut log, &mut one, &mut two, [&from_two[0], &from_one[0]]);
    assert!(matches!(two.outcome(second), Some(Outcome::Accepted(_))));
    assert!(one.wants_ends, "the loser now finds too little, but says so only after reading to the journal's end");
    one.core.ends(first, Ends { journal: 3, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(first), Some(Outcome::Rejected(TooLittle(name))) if name == "a"));
    assert_eq!(one.left("a"), 4);
}

#[test]
fn of_two_commands_that_saw_the_same_version_one_wins_and_the_other_is_told_the_newer_one() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let seen = |command, name: &str, versions| {
        let (command, origin) = (take(command, &[(name, 1)]), Origin::default());
        Request { command, stamp: None, versions: Some(versions), origin, deadline: Millis::MAX }
    };
    let told = one.core.ask(seen(1, "a", Versions::OneOf(vec![1])), 0);
    one.run();
    one.core.ends(told, Ends { journal: 1, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(told), Some(Outcome::OtherVersion(None))), "there is no such thing yet");
    let first = one.ask(take(2, &[("a", 1)]), None);
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.read(&log, 9);
    two.read(&log, 9);
    assert!(matches!(one.outcome(first), Some(Outcome::Accepted(_))));

    let versions = || Versions::OneOf(vec![1]);
    let (loser, winner) = (one.core.ask(seen(3, "a", versions()), 0), two.core.ask(seen(4, "a", versions()), 0));
    let (from_one, from_two) = (one.run(), two.run());
    land_for_both(&mut log, &mut one, &mut two, [&from_two[0], &from_one[0]]);
    assert!(matches!(two.outcome(winner), Some(Outcome::Accepted(_))));
    assert!(one.outcome(loser).is_none(), "a no is told only once the journal is read to its end");
    one.core.ends(loser, Ends { journal: 4, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(loser), Some(Outcome::OtherVersion(Some(2)))));
    // Whatever version it has, if it only exists; and what is ahead counts too.
    let any = one.core.ask(seen(5, "a", Versions::Any), 0);
    let pipelined = one.core.ask(seen(6, "a", Versions::OneOf(vec![3])), 0);
    let sent = one.run();
    assert_eq!(sent.len(), 2, "the second has seen what the first will make");
    for record in &sent {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    one.read(&log, 9);
    for ticket in [any, pipelined] {
        assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(_))));
    }
}

#[test]
fn a_pipelined_pair_behind_a_foreign_record_dies_together_and_is_decided_again() {
    let mut log = Log::new();
    let (mut one, mut two) = (Instance::started(1, &mut log), Instance::started(2, &mut log));
    let tickets = [one.ask(take(1, &[("a", 3)]), None), one.ask(take(2, &[("a", 3), ("b", 1)]), None)];
    two.ask(take(3, &[("a", 1)]), None);
    let (pair, foreign) = (one.run(), two.run());
    assert_eq!(pair.len(), 2, "the second is pipelined over the first");
    for record in [&foreign[0], &pair[0], &pair[1]] {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    let again = one.read(&log, 9);
    assert!(tickets.iter().all(|ticket| one.outcome(*ticket).is_none()));
    assert_eq!(again.len(), 2, "both are decided again, at once");
    for record in &again {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), 0);
    }
    one.run();
    assert!(tickets.iter().all(|ticket| matches!(one.outcome(*ticket), Some(Outcome::Accepted(_)))));
    assert_eq!((one.left("a"), one.left("b")), (STOCK - 7, STOCK - 1));
}

#[test]
fn a_late_copy_of_a_void_record_stays_void() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.ask(take(1, &[("a", 1)]), None);
    one.ask(take(2, &[("a", 1)]), None);
    let pair = one.run();
    // The second overtakes the first, and comes once more when the first has landed.
    for record in [&pair[1], &pair[0], &pair[1]] {
        land(&mut log, record);
    }
    one.read(&log, 9);
    let verdicts: Vec<_> = one.rows.records.iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Void, Verdict::Accepted, Verdict::Void]);
    let mut late = Instance::started(3, &mut log);
    late.run();
    assert_eq!(late.rows.records, one.rows.records, "a replica that starts later sees the same");
}

#[test]
fn an_append_with_unknown_outcome_is_made_again_with_the_same_record() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, 0);
    assert!(one.run().is_empty());
    one.now = APPEND_AGAIN_MS;
    let again = one.run();
    assert_eq!(again.iter().map(|record| record.id).collect::<Vec<_>>(), [sent[0].id]);
    // Both copies land; a refusal of the second attempt would have proved nothing either.
    land(&mut log, &sent[0]);
    let offset = land(&mut log, &again[0]);
    one.core.appended(again[0].id, Appended::At(offset), one.now);
    one.read(&log, 9);
    assert!(matches!(one.outcome(ticket), Some(Outcome::Accepted(accepted)) if accepted.at.offset == 1));
    assert_eq!(one.left("a"), STOCK - 1);
}

#[test]
fn what_is_folded_is_loaded_before_it_says_no_while_something_is_in_flight() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let mut happens = |one: &mut Instance, command: Take| {
        one.ask(command, None);
        let sent = one.run();
        let offset = land(&mut log, &sent[0]);
        one.core.appended(sent[0].id, Appended::At(offset), 0);
        one.run();
    };
    happens(&mut one, take(1, &[("a", -8)]));
    assert_eq!(one.left("a"), STOCK + 8);
    one.ask(take(2, &[("a", 15)]), None);
    assert_eq!(one.run().len(), 1, "it flies");
    // Other shelves push this one out of memory.
    for (command, name) in (3..).zip(["b", "c", "d", "e"]) {
        happens(&mut one, take(command, &[(name, 1)]));
    }
    let ticket = one.ask(take(9, &[("a", 14)]), None);
    one.run();
    one.core.ends(ticket, Ends { journal: log.len() as u64, copied: Vec::new() });
    one.run();
    assert!(one.outcome(ticket).is_none(), "only the record in flight says no, and it has no verdict");
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_holds_nothing_up() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    one.now = 3_600_000;
    let (command, deadline) = (take(1, &[("a", 5)]), one.now + 10 * APPEND_AGAIN_MS);
    let ticket =
        one.core.ask(Request { command, stamp: None, versions: None, origin: Origin::default(), deadline }, one.now);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, one.now);
    one.now = 0;
    assert!(one.run().is_empty());
    one.now = APPEND_AGAIN_MS;
    assert_eq!(one.run()[0].id, sent[0].id, "it is appended again as soon as if the clock had gone on");
    one.core.appended(sent[0].id, Appended::Unknown, one.now);
    one.now = 10 * APPEND_AGAIN_MS;
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Unknown)), "and its caller waits no longer either");
}

#[test]
fn a_refused_append_takes_its_successors_with_it_and_all_are_decided_again() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let tickets = [one.ask(take(1, &[("a", 1)]), None), one.ask(take(2, &[("a", 2)]), None)];
    let pair = one.run();
    one.core.appended(pair[0].id, Appended::Refused, 0);
    assert!(one.run().is_empty(), "the key is blocked until the second is settled");
    let offset = land(&mut log, &pair[1]);
    one.core.appended(pair[1].id, Appended::At(offset), 0);
    let mut again = one.read(&log, 9);
    assert_eq!(again.len(), 1, "the first rests, the second need not");
    one.now = APPEND_AGAIN_MS;
    again.extend(one.run());
    for record in &again {
        let offset = land(&mut log, record);
        one.core.appended(record.id, Appended::At(offset), one.now);
    }
    one.run();
    assert!(tickets.iter().all(|ticket| matches!(one.outcome(*ticket), Some(Outcome::Accepted(_)))));
    assert_eq!(one.left("a"), STOCK - 3);
}

#[test]
fn a_refused_append_rests_before_it_is_decided_again_and_delays_nobody_else() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let refused = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Refused, 0);
    assert!(one.run().is_empty(), "it rests");
    let other = one.ask(take(2, &[("a", 2)]), None);
    let sent = one.run();
    assert_eq!(sent.len(), 1, "on the very same shelf");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.now = APPEND_AGAIN_MS - 1;
    assert!(one.run().is_empty(), "that something happened does not wake it");
    assert!(matches!(one.outcome(other), Some(Outcome::Accepted(_))));
    one.now = APPEND_AGAIN_MS;
    let sent = one.run();
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), one.now);
    one.run();
    assert!(matches!(one.outcome(refused), Some(Outcome::Accepted(_))));
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
fn a_record_that_is_too_large_is_the_end_of_its_command_and_holds_up_nothing() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let large = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::TooLarge, 0);
    let other = one.ask(take(2, &[("a", 2)]), None);
    let sent = one.run();
    assert!(matches!(one.outcome(large), Some(Outcome::TooLarge)));
    assert_eq!(sent.len(), 1, "the key takes the next command at once, and nothing is tried again");
    let offset = land(&mut log, &sent[0]);
    one.core.appended(sent[0].id, Appended::At(offset), 0);
    one.run();
    assert!(matches!(one.outcome(other), Some(Outcome::Accepted(_))));
    assert_eq!(one.left("a"), STOCK - 2);
}

#[test]
fn that_a_record_is_too_large_now_proves_nothing_about_an_attempt_in_doubt() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let ticket = one.ask(take(1, &[("a", 1)]), None);
    let sent = one.run();
    one.core.appended(sent[0].id, Appended::Unknown, 0);
    one.now = APPEND_AGAIN_MS;
    assert_eq!(one.run().len(), 1);
    one.core.appended(sent[0].id, Appended::TooLarge, one.now);
    one.run();
    assert!(one.outcome(ticket).is_none(), "the first attempt may have landed");
    land(&mut log, &sent[0]);
    one.read(&log, 9);
    assert_eq!(one.left("a"), STOCK - 1);
}

#[test]
fn a_record_that_is_always_refused_is_tried_now_and_then_until_its_time_is_up() {
    let mut log = Log::new();
    let mut one = Instance::started(1, &mut log);
    let command = take(1, &[("a", 1)]);
    let deadline = 5 * APPEND_AGAIN_MS;
    let ticket = one.core.ask(Request { command, stamp: None, versions: None, origin: Origin::default(), deadline }, 0);
    let mut n_attempts = 0;
    while one.outcome(ticket).is_none() {
        for record in one.run() {
            n_attempts += 1;
            one.core.appended(record.id, Appended::Refused, one.now);
        }
        one.now += 1;
    }
    assert_eq!(n_attempts, 5);
    assert!(matches!(one.outcome(ticket), Some(Outcome::Expired)), "nothing was written");
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
        one.core.read(1, Some(&Bytes::from_static(&[9])), &Bytes::new()),
        Err(Stop::Header { offset: 1, .. })
    ));
    assert!(matches!(one.core.read(1, None, &Bytes::new()), Err(Stop::Header { offset: 1, .. })));
    let mut other = Core::<Warehouse>::new(Checkpoint::default(), Uuid::nil(), "other".into(), Box::new(Uuid::nil), 1);
    other.read(0, Some(&log[0].0), &log[0].1).unwrap();
    assert!(matches!(other.run(0), Err(Stop::OtherHashKey { .. })));
}

/// A record on its way: when it arrives, and who waits for word of it.
struct Message {
    arrives: u32,
    record: Outgoing,
    sender: Option<usize>,
}

/// What one random day brings.
struct Day {
    chance: proptest::test_runner::TestRng,
    log: Log,
    instances: [Instance; 2],
    network: Vec<Message>,
    asked: HashMap<(usize, Ticket), (Take, u64)>,
}

impl Day {
    fn below(&mut self, n: u32) -> u32 {
        self.chance.next_u32() % n
    }

    fn ask(&mut self) {
        let command = u32::try_from(self.asked.len()).unwrap();
        let mut lines = BTreeMap::new();
        for _ in 0..=self.below(3) {
            lines.insert(["a", "b", "c", "d"][self.below(4) as usize].to_owned(), i64::from(1 + self.below(2)));
        }
        let (who, key) = (self.below(2) as usize, self.below(70) as u8 + 1);
        let command = Take { command, lines };
        let ticket = self.instances[who].ask(command.clone(), Some(key));
        self.asked.insert((who, ticket), (command, self.log.len() as u64));
    }

    fn send(&mut self, who: usize, records: Vec<Outgoing>) {
        for record in records {
            let fate = self.below(20);
            if fate == 0 {
                self.instances[who].core.appended(record.id, Appended::Refused, self.instances[who].now);
                continue;
            }
            if fate == 1 {
                // Lost or landed, nobody is told.
                self.instances[who].core.appended(record.id, Appended::Unknown, self.instances[who].now);
            }
            let late = self.below(21);
            if self.below(5) == 0 {
                self.network.push(Message { arrives: late, record: record.clone(), sender: None });
            }
            let arrives = self.below(6);
            if fate != 1 || self.below(2) == 0 {
                self.network.push(Message { arrives, record, sender: (fate != 1).then_some(who) });
            }
        }
    }

    fn deliver(&mut self) {
        for message in &mut self.network {
            message.arrives = message.arrives.saturating_sub(1);
        }
        let arrived: Vec<_> = self.network.extract_if(.., |message| message.arrives == 0).collect();
        for Message { record, sender, .. } in arrived {
            let offset = land(&mut self.log, &record);
            if let Some(who) = sender {
                let now = self.instances[who].now;
                self.instances[who].core.appended(record.id, Appended::At(offset), now);
            }
        }
    }

    fn step(&mut self, most: u32) {
        self.deliver();
        for who in 0..2 {
            let most = self.below(most) as usize;
            if std::mem::take(&mut self.instances[who].wants_ends) {
                let ends = Ends { journal: self.log.len() as u64, copied: Vec::new() };
                let up_to = self.instances[who].core.last_ticket();
                self.instances[who].core.ends(up_to, ends);
            }
            self.instances[who].now += 50;
            let log = std::mem::take(&mut self.log);
            let sent = self.instances[who].read(&log, most);
            self.log = log;
            self.send(who, sent);
        }
    }

    fn check(&self) {
        let [one, two] = &self.instances;
        assert_eq!(one.rows.records, two.rows.records, "replicas differ");
        assert_eq!(one.core.digest(), two.core.digest());
        let mut accepted: HashMap<u32, u64> = HashMap::new();
        let mut left: Vec<BTreeMap<String, i64>> = vec![BTreeMap::new()];
        for (record, (_, value)) in one.rows.records.iter().zip(&self.log).skip(1) {
            let mut now = left.last().unwrap().clone();
            if record.verdict == Verdict::Accepted {
                let taken: Taken = serde_json::from_slice(value).unwrap();
                assert_eq!(accepted.insert(taken.command, record.offset), None, "accepted twice");
                for (name, units) in taken.lines {
                    let shelf = now.entry(name).or_insert(STOCK);
                    *shelf -= units;
                    assert!(*shelf >= 0, "oversold");
                }
            }
            left.push(now);
        }
        for (who, instance) in self.instances.iter().enumerate() {
            for (ticket, outcome, at) in &instance.answers {
                let (command, asked) = &self.asked[&(who, *ticket)];
                let is_in_log = accepted.contains_key(&command.command);
                match outcome {
                    Outcome::Accepted(yes) => {
                        assert_eq!(accepted.get(&command.command), Some(&yes.at.offset), "untrue yes")
                    }
                    Outcome::Repeated { .. } => {}
                    Outcome::Rejected(TooLittle(_)) => {
                        assert!(!is_in_log, "a no that happened");
                        let short = |left: &BTreeMap<String, i64>| {
                            command.lines.iter().any(|(name, units)| left.get(name).copied().unwrap_or(STOCK) < *units)
                        };
                        let from = (asked.saturating_sub(1)) as usize;
                        assert!(left[from..*at as usize].iter().any(short), "a no that was never true");
                    }
                    Outcome::OtherVersion(_)
                    | Outcome::Parked
                    | Outcome::Discarded
                    | Outcome::TooLarge
                    | Outcome::KeyInUse
                    | Outcome::Expired
                    | Outcome::Unknown => panic!("{outcome:?}"),
                }
            }
            assert_eq!(instance.core.n_in_flight(), 0);
        }
        let answered: usize = self.instances.iter().map(|instance| instance.answers.len()).sum();
        assert_eq!(answered, self.asked.len(), "every command is answered once");
    }
}

fn random_day(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let chance = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    let mut log = Log::new();
    let instances = [Instance::started(1, &mut log), Instance::started(2, &mut log)];
    let mut day = Day { chance, log, instances, network: Vec::new(), asked: HashMap::new() };
    for _ in 0..300 {
        if day.asked.len() < 60 && day.below(2) == 0 {
            day.ask();
        }
        day.step(4);
    }
    let is_done = |day: &Day| {
        let settled = |instance: &Instance| {
            instance.core.n_pending() == 0
                && instance.core.n_in_flight() == 0
                && instance.core.next() == day.log.len() as u64
        };
        day.network.is_empty() && day.instances.iter().all(settled)
    };
    for _ in 0..5_000 {
        if is_done(&day) {
            return day.check();
        }
        day.step(20);
    }
    panic!("seed {seed}: it does not come to rest");
}

#[test]
fn on_any_day_nothing_is_oversold_doubled_or_told_untruly() {
    for seed in 0..400 {
        if let Err(panic) = std::panic::catch_unwind(|| random_day(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
