//! What could not be folded: discarded by an operator, folded by a repaired program, and the same in every replay.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    header::{Expect, Header, Stored},
    reason::Reason,
};

/// Whether the program is the repaired one from here on, on this thread.
fn repaired(is_it: bool) {
    REPAIRED.set(is_it);
}

fn reason() -> Reason {
    Reason::new("nobody can read it").unwrap()
}

/// A journal whose records are written by somebody else.
struct Journal {
    log: Log,
    last: BTreeMap<String, RecordId>,
}

impl Journal {
    /// With its first record.
    fn new() -> Self {
        let mut log = Log::new();
        Instance::started(9, &mut log);
        Self { log, last: BTreeMap::new() }
    }

    /// A record about these shelves that is accepted. Where it stands.
    fn put(&mut self, names: &[&str], command: u32, units: i64) -> u64 {
        self.put_with(names, command, units, None)
    }

    fn put_with(&mut self, names: &[&str], command: u32, units: i64, stamp: Option<CommandStamp>) -> u64 {
        let (header, value) = self.record(names, command, units, stamp);
        for name in names {
            self.last.insert((*name).to_owned(), header.id);
        }
        self.land(&header, value)
    }

    /// A record that saw something else than there is. Where it stands.
    fn put_void(&mut self, names: &[&str]) -> u64 {
        let (mut header, value) = self.record(names, 1, 1, None);
        header.expects[0].last = Some(RecordId(Uuid::from_u128(1 << 100)));
        self.land(&header, value)
    }

    fn record(&self, names: &[&str], command: u32, units: i64, stamp: Option<CommandStamp>) -> (Header, String) {
        let id = RecordId(Uuid::from_u128(1 << 90 | self.log.len() as u128));
        let last = |name: &&str| Expect { key: shelf(name).key, last: self.last.get(*name).copied() };
        let mut expects: Vec<_> = names.iter().map(last).collect();
        expects.extend(stamp.map(|stamp| Expect { key: stamp.key, last: None }));
        let (time_ms, kind, origin) = (self.log.len() as Millis, "taken".to_owned(), Origin::default());
        let header = Header { id, time_ms, writer: Uuid::nil(), kind, expects, command: stamp, origin };
        let lines: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), units)).collect();
        (header, serde_json::json!({ "command": command, "lines": lines }).to_string())
    }

    fn land(&mut self, header: &Header, value: String) -> u64 {
        self.log.push((header.encode().into(), value.into()));
        self.log.len() as u64 - 1
    }

    /// What an operator at this instance does. Where the discard stands.
    fn discard(&mut self, at: &mut Instance, offset: u64) -> u64 {
        let wanted = at.core.named_by_discard(offset).unwrap();
        let loaded: Vec<_> = wanted.into_iter().map(|wanted| at.rows.load(wanted)).collect();
        at.core.provide(loaded);
        let record = at.core.discard_record(offset, reason(), 7).unwrap();
        let header = Header::decode(&record.header).unwrap();
        for (name, last) in &mut self.last {
            if header.expects.iter().any(|expect| expect.key == shelf(name).key) {
                *last = record.id;
            }
        }
        land(&mut self.log, &record)
    }

    /// An instance that has read all of it, so many records at a time. Where a discard makes it, it starts over.
    fn replayed(&self, name: u8, most: usize) -> Instance {
        let mut discarded = Vec::new();
        loop {
            let mut instance = Instance::new(name);
            instance.core.recall(SetAside { parked: Vec::new(), discarded: discarded.clone() });
            match self.read_all(&mut instance, most) {
                Err(Stop::Discarded { offset, .. }) if !discarded.contains(&offset) => discarded.push(offset),
                outcome => {
                    outcome.unwrap();
                    return instance;
                }
            }
        }
    }

    fn read_all(&self, instance: &mut Instance, most: usize) -> Result<(), Stop> {
        while instance.core.next() < self.log.len() as u64 {
            instance.try_to_read(&self.log, most)?;
        }
        Ok(())
    }

    /// An instance on the rows of another one, which folds what it can of what that has parked.
    fn retried(&self, rows: Rows<Warehouse>) -> Instance {
        // With ids of its own.
        let name = 10 + u8::try_from(self.log.len()).unwrap();
        let mut instance = Instance::on(rows, name);
        instance.log.clone_from(&self.log);
        instance.core.retry();
        instance.run();
        instance
    }
}

fn verdicts(instance: &Instance) -> Vec<Verdict> {
    instance.rows.records.iter().skip(1).map(|record| record.verdict).collect()
}

/// Every row is the same; and of each shelf, what was folded was folded in order.
fn assert_same(one: &Instance, other: &Instance) {
    assert!(one.rows.records == other.rows.records, "{:?}\n{:?}", verdicts(one), verdicts(other));
    assert_eq!(one.rows.heads, other.rows.heads);
    assert_eq!(one.rows.entities, other.rows.entities);
    assert_eq!(one.rows.changed_by, other.rows.changed_by);
    assert_eq!(one.rows.parked, other.rows.parked);
    assert_eq!(one.rows.discarded, other.rows.discarded);
    assert_eq!(one.rows.checkpoint, other.rows.checkpoint);
    let happened = |instance: &Instance| instance.rows.happened.iter().cloned().collect::<BTreeMap<_, _>>();
    assert_eq!(happened(one), happened(other));
    for instance in [one, other] {
        let mut last: HashMap<Key, u64> = HashMap::new();
        for (offset, touched) in &instance.rows.happened {
            for aggregate in touched {
                assert!(last.insert(aggregate.key, *offset).is_none_or(|last| last < *offset), "out of order");
            }
        }
    }
}

#[test]
fn what_stands_behind_a_discarded_record_is_folded_in_order() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    journal.put(&["a", "b"], 1, 2);
    journal.put(&["b"], 2, 3);
    let free = journal.put(&["c"], 3, 4);
    let mut one = journal.replayed(1, 1);
    use Verdict::{Accepted, Discarded, Parked};
    assert_eq!(verdicts(&one), [Parked, Parked, Parked, Accepted]);
    assert_eq!((one.left("b"), one.left("c")), (STOCK, STOCK - 4));

    let by = journal.discard(&mut one, poison);
    journal.put(&["b"], 4, 1);
    one.read(&journal.log, 1);
    assert_eq!(verdicts(&one), [Discarded, Accepted, Accepted, Accepted, Accepted]);
    assert_eq!((one.left("a"), one.left("b")), (STOCK - 2, STOCK - 5));
    let b = ("shelves", shelf("b").key);
    assert_eq!((one.rows.entities[&b].0, one.rows.changed_by[&b]), (2, 3), "as if nothing had been parked");
    let row = DiscardedRow { offset: poison, by, time_ms: 7, reason: reason().as_str().to_owned() };
    assert_eq!(one.rows.discarded[&poison], row);
    assert!(one.rows.parked.is_empty());
    one.read(&journal.log, 9);
    assert_eq!(one.left("b"), STOCK - 6, "and commands go on");
    assert_eq!(free, 4);
    assert_same(&one, &journal.replayed(2, usize::MAX));
}

#[test]
fn a_program_that_can_read_a_discarded_record_starts_over_without_it() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a", "b"], NEWER, 1);
    journal.put(&["b"], 1, 2);
    let mut one = journal.replayed(1, 1);
    let by = journal.discard(&mut one, poison);
    one.read(&journal.log, 9);
    repaired(true);
    let mut knowing = Instance::new(2);
    knowing.read(&journal.log, 3);
    assert_eq!(knowing.left("a"), STOCK - 1, "it is folded where it stands");
    let stopped = knowing.try_to_read(&journal.log, 9).unwrap_err();
    assert_eq!(stopped, Stop::Discarded { journal: "warehouse", offset: poison, by });
    assert_same(&one, &journal.replayed(3, 2));
    repaired(false);
}

#[test]
fn one_that_stands_behind_another_is_left_out_of_the_sequence() {
    let mut journal = Journal::new();
    let first = journal.put(&["a"], NEWER, 1);
    let second = journal.put(&["a", "b"], 1, 1);
    journal.put(&["b"], 2, 2);
    let mut one = journal.replayed(1, 1);
    journal.discard(&mut one, second);
    one.read(&journal.log, 9);
    use Verdict::{Accepted, Discarded, Parked};
    assert_eq!(verdicts(&one), [Parked, Discarded, Accepted, Accepted], "nothing holds `b` any more");
    assert_same(&one, &journal.replayed(2, 2));
    journal.discard(&mut one, first);
    one.read(&journal.log, 9);
    assert_eq!(one.core.n_parked(), 0);
    assert_same(&one, &journal.replayed(3, 2));
}

#[test]
fn what_can_not_be_folded_itself_stays_with_all_that_stands_behind_it() {
    let mut journal = Journal::new();
    let first = journal.put(&["a"], NEWER, 1);
    let second = journal.put(&["a", "b"], 1, POISON);
    journal.put(&["b"], 1, 1);
    journal.put(&["a"], 2, 1);
    let mut one = journal.replayed(1, 1);
    journal.discard(&mut one, first);
    one.read(&journal.log, 9);
    use Verdict::{Accepted, Discarded, Parked};
    assert_eq!(verdicts(&one), [Discarded, Parked, Parked, Parked, Accepted]);
    let reasons: BTreeSet<_> = one.rows.parked.range((second, Key::GENESIS)..(second + 1, Key::GENESIS)).collect();
    assert!(reasons.iter().all(|(_, reason)| *reason == "folding it panicked"), "its own reason: {reasons:?}");
    assert_same(&one, &journal.replayed(2, usize::MAX));
}

#[test]
fn a_discard_is_void_if_somebody_wrote_on_the_keys_meanwhile() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    let mut one = journal.replayed(1, 1);
    let mut other = Journal { log: journal.log.clone(), last: journal.last.clone() };
    // Made before the other's record, and appended behind it.
    other.discard(&mut one, poison);
    journal.put(&["a"], 1, 1);
    journal.log.push(other.log.pop().unwrap());
    one.read(&journal.log, 9);
    assert_eq!(verdicts(&one), [Verdict::Parked, Verdict::Parked, Verdict::Void]);
    assert_same(&one, &journal.replayed(2, 1));
}

#[test]
fn of_two_discards_made_at_once_the_first_counts() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    journal.put(&["a"], 1, 1);
    let mut one = journal.replayed(1, 1);
    let mut two = journal.replayed(2, 1);
    let mut elsewhere = Journal { log: journal.log.clone(), last: journal.last.clone() };
    let first = journal.discard(&mut one, poison);
    elsewhere.discard(&mut two, poison);
    journal.log.push(elsewhere.log.pop().unwrap());
    one.read(&journal.log, 9);
    two.read(&journal.log, 9);
    use Verdict::{Accepted, Discarded, Void};
    assert_eq!(verdicts(&one), [Discarded, Accepted, Accepted, Void]);
    assert_eq!(one.rows.discarded[&poison].by, first);
    assert_same(&one, &two);
    assert_same(&one, &journal.replayed(3, usize::MAX));
}

#[test]
fn a_record_that_is_discarded_twice_is_so_by_the_first() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    let mut one = journal.replayed(1, 1);
    let first = journal.discard(&mut one, poison);
    let id = Header::decode(&journal.log[poison as usize].0).unwrap().id.0;
    let (mut header, _) = journal.record(&["a"], 1, 1, None);
    header.kind = DISCARD.to_owned();
    journal.last.insert("a".to_owned(), header.id);
    let again = Discard { offset: poison, record: id, reason: Reason::new("to be sure").unwrap() };
    journal.land(&header, serde_json::to_string(&again).unwrap());
    one.read(&journal.log, 9);
    assert_eq!(verdicts(&one), [Verdict::Discarded, Verdict::Accepted, Verdict::Accepted]);
    assert_eq!((one.rows.discarded.len(), one.rows.discarded[&poison].by), (1, first));
    assert_same(&one, &journal.replayed(2, usize::MAX));
    repaired(true);
    assert_same(&one, &journal.replayed(3, 1));
    repaired(false);
}

#[test]
fn only_what_is_parked_can_be_discarded_and_only_once() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    let good = journal.put(&["b"], 1, 1);
    let mut one = journal.replayed(1, 1);
    let cannot = |one: &Instance, offset| one.core.named_by_discard(offset).unwrap_err();
    assert!(matches!(cannot(&one, good), CannotDiscard::NotParked { offset: 2, .. }));
    assert!(matches!(cannot(&one, 99), CannotDiscard::NotParked { .. }));
    journal.discard(&mut one, poison);
    one.read(&journal.log, 9);
    assert!(matches!(cannot(&one, poison), CannotDiscard::Already { .. }));
    assert_eq!(one.core.discarded().collect::<Vec<_>>(), [poison]);
    let restarted = Instance::on(one.rows, 2);
    assert!(matches!(cannot(&restarted, poison), CannotDiscard::Already { .. }));
}

#[test]
fn a_discard_that_names_wrongly_discards_nothing() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a", "b"], NEWER, 1);
    let good = journal.put(&["c"], 1, 1);
    let void = journal.put_void(&["d"]);
    let discard = |journal: &mut Journal, names: &[&str], offset: u64, of: u64| {
        let (mut header, _) = journal.record(names, 1, 1, None);
        header.kind = DISCARD.to_owned();
        for name in names {
            journal.last.insert((*name).to_owned(), header.id);
        }
        let record = Header::decode(&journal.log[of as usize].0).unwrap().id.0;
        let value = serde_json::to_string(&Discard { offset, record, reason: reason() }).unwrap();
        journal.land(&header, value)
    };
    discard(&mut journal, &["a"], poison, poison);
    discard(&mut journal, &["a", "b"], poison, good);
    discard(&mut journal, &["a", "b", "c"], good, poison);
    discard(&mut journal, &["d"], void, void);
    discard(&mut journal, &["d"], 99, void);
    discard(&mut journal, &["d"], 0, 0);
    let one = journal.replayed(1, 1);
    use Verdict::{Accepted, Parked, Void};
    assert_eq!(verdicts(&one), [Parked, Accepted, Void, Accepted, Accepted, Accepted, Accepted, Accepted, Accepted]);
    assert!(one.rows.discarded.is_empty());
    assert_same(&one, &journal.replayed(2, usize::MAX));
    repaired(true);
    assert!(journal.replayed(3, 2).rows.discarded.is_empty(), "nor for a program that can read it");
    repaired(false);
}

#[test]
fn a_repaired_program_folds_what_is_parked_as_a_replay_would() {
    let mut journal = Journal::new();
    journal.put(&["a", "b"], NEWER, 1);
    journal.put(&["b"], 1, POISON);
    journal.put(&["b", "c"], 2, 2);
    let one = journal.replayed(1, 1);
    assert_eq!(one.core.n_parked(), 3);
    repaired(true);
    let retried = journal.retried(one.rows);
    assert_eq!((retried.core.n_parked(), retried.left("c")), (0, STOCK - 2));
    assert_same(&retried, &journal.replayed(2, usize::MAX));
    repaired(false);
    assert_eq!(journal.retried(journal.replayed(3, 1).rows).core.n_parked(), 3, "another one leaves it as it is");
}

#[test]
fn a_program_that_passes_for_an_older_one_parks_what_it_does_not_know_and_writes_none_of_it() {
    let mut journal = Journal::new();
    journal.put(&["a"], 1, 2);
    let mut older = Instance::new(1);
    older.core = older.core.without(&["taken"]);
    journal.read_all(&mut older, 9).unwrap();
    let asked = [take(2, &[("a", 1)]), take(3, &[("b", 1)])].map(|command| older.ask(command, None));
    assert!(older.run().is_empty());
    assert!(asked.iter().all(|ticket| matches!(older.outcome(*ticket), Some(Outcome::Parked))));
    assert_eq!(verdicts(&older), [Verdict::Parked]);
    assert_same(&journal.retried(older.rows), &journal.replayed(2, 9));
}

#[test]
fn rows_never_show_half_of_what_a_discard_does() {
    let mut journal = Journal::new();
    let poison = journal.put(&["a"], NEWER, 1);
    journal.put(&["a"], 1, 1);
    let mut one = journal.replayed(1, 1);
    let by = journal.discard(&mut one, poison);
    let (header, value) = &journal.log[by as usize];
    one.core.read(by, Stored::Header(header), value).unwrap();
    let mut step = one.core.run(0).unwrap();
    while step.records.is_empty() {
        let loaded: Vec<_> = step.missing.into_iter().map(|wanted| one.rows.load(wanted)).collect();
        one.core.provide(loaded);
        step = one.core.run(0).unwrap();
    }
    assert_eq!(step.records, [2], "the discard is folded, what stood behind is asked for");
    assert!(one.core.take_changes().is_none());
    one.log.clone_from(&journal.log);
    one.core.provide_records([(2, Some(journal.log[2].clone()))]);
    one.run();
    assert_eq!(verdicts(&one), [Verdict::Discarded, Verdict::Accepted, Verdict::Accepted]);
}

#[test]
fn a_shelf_with_a_parked_record_is_answered_for_by_neither_yes_nor_no() {
    let mut journal = Journal::new();
    journal.put(&["a"], NEWER, -100);
    let mut one = journal.replayed(1, 1);
    for units in [1, STOCK + 1] {
        let ticket = one.ask(take(1, &[("a", units)]), None);
        one.core.ends(ticket, Ends { journal: 2, copied: Vec::new() });
        one.run();
        assert!(matches!(one.outcome(ticket), Some(Outcome::Parked)), "{units} units");
    }
}

#[test]
fn a_discard_needs_only_heads_and_what_follows_it_loads_the_states() {
    let mut journal = Journal::new();
    journal.put(&["a"], 1, 5);
    let poison = journal.put(&["a"], NEWER, 1);
    let mut restarted = Instance::on(journal.replayed(1, 9).rows, 2);
    restarted.log.clone_from(&journal.log);
    journal.discard(&mut restarted, poison);
    journal.put(&["a"], 2, 1);
    restarted.read(&journal.log, 9);
    assert_eq!(restarted.left("a"), STOCK - 6);
}

#[test]
fn records_are_counted_by_their_verdict() {
    let mut journal = Journal::new();
    let discarded = journal.put(&["a"], NEWER, 1);
    journal.put(&["b"], NEWER, 1);
    let mut one = Instance::new(1);
    one.core.recall(SetAside { parked: Vec::new(), discarded: vec![discarded] });
    one.read(&journal.log, 9);
    // The first record of the journal is accepted too.
    let before = Tally { accepted: 1, void: 0, parked: 1, discarded: 1, foreign: 0, lost_races: 0 };
    assert_eq!(one.core.tally(), before);
    journal.put_void(&["c"]);
    journal.put(&["d"], 1, 1);
    journal.put(&["b"], 1, 1);
    one.read(&journal.log, 9);
    let since = Tally { accepted: 1, void: 1, parked: 1, discarded: 0, foreign: 0, lost_races: 0 };
    assert_eq!(one.core.tally().since(before), since);
    let many = Tally { accepted: 10, void: 9, parked: 8, discarded: 7, foreign: 7, lost_races: 6 };
    let few = Tally { accepted: 5, void: 4, parked: 3, discarded: 2, foreign: 2, lost_races: 1 };
    assert_eq!(many.since(few), Tally { accepted: 5, void: 5, parked: 5, discarded: 5, foreign: 5, lost_races: 5 });
}

#[test]
fn an_idempotency_key_tells_that_its_record_is_parked_or_discarded() {
    let mut journal = Journal::new();
    let stamp = |key: u8| Some(CommandStamp { key: Key::from_bytes([key; 16]), fingerprint: [0; 16] });
    let poison = journal.put_with(&["a"], NEWER, 1, stamp(7));
    journal.put_with(&["a"], 1, 1, stamp(8));
    let mut one = journal.replayed(1, 1);
    let tickets = [7, 8].map(|key| one.ask(take(1, &[("c", 1)]), Some(key)));
    one.run();
    assert!(tickets.iter().all(|ticket| matches!(one.outcome(*ticket), Some(Outcome::Parked))));
    journal.discard(&mut one, poison);
    one.read(&journal.log, 9);
    let tickets = [7, 8].map(|key| one.ask(take(1, &[("c", 1)]), Some(key)));
    one.run();
    assert!(matches!(one.outcome(tickets[0]), Some(Outcome::Discarded)));
    assert!(matches!(one.outcome(tickets[1]), Some(Outcome::Repeated { offset: 2 })));
}

/// A random journal with poison and void records in it, and discards of whatever is parked. At the end there may be things
/// parked.
fn random_journal(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut chance = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    let mut below = |n: u32| chance.next_u32() % n;
    let mut journal = Journal::new();
    let mut live = journal.replayed(1, 1);
    for _ in 0..40 {
        let names: BTreeSet<_> = (0..=below(3)).map(|_| ["a", "b", "c", "d", "e", "f"][below(6) as usize]).collect();
        let names: Vec<_> = names.into_iter().collect();
        match below(10) {
            0 => drop(journal.put(&names, NEWER, 1)),
            1 => drop(journal.put(&names, 1, POISON)),
            2 => drop(journal.put_void(&names)),
            3 | 4 => {
                let parked: BTreeSet<_> = live.rows.parked.keys().map(|(offset, _)| *offset).collect();
                if let Some(offset) = parked.iter().nth(below(parked.len().max(1) as u32) as usize) {
                    journal.discard(&mut live, *offset);
                }
            }
            _ => drop(journal.put(&names, 1, 1)),
        }
        if below(3) > 0 {
            live.read(&journal.log, usize::MAX);
        }
        if below(12) == 0 {
            live = journal.retried(live.rows);
        }
    }
    live.read(&journal.log, usize::MAX);
    assert_same(&live, &journal.replayed(2, 1 + below(50) as usize));
    repaired(true);
    let replayed = journal.replayed(3, 1 + below(50) as usize);
    assert_same(&journal.retried(live.rows), &replayed);
    assert_eq!(replayed.core.n_parked(), 0, "a repaired program can read all");
    repaired(false);
}

#[test]
fn every_replay_of_any_journal_agrees_whatever_the_program_can_read() {
    for seed in 0..300 {
        if let Err(panic) = std::panic::catch_unwind(|| random_journal(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
