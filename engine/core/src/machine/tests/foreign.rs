//! Records of other programs in a journal, and offsets without a record.

use super::*;

/// A journal that others write to: our records, and theirs.
enum Entry {
    Ours(Bytes, Bytes),
    Foreign(Bytes),
    Gap,
}

fn stray() -> Entry {
    Entry::Foreign(Bytes::from_static(b"oops"))
}

impl Instance {
    fn read_entries(&mut self, entries: &[Entry]) -> Vec<Outgoing> {
        for (offset, entry) in entries.iter().enumerate() {
            let empty = Bytes::new();
            let (header, value) = match entry {
                Entry::Ours(header, value) => (Stored::Header(header), value),
                Entry::Foreign(value) => (Stored::Foreign, value),
                Entry::Gap => (Stored::Gap, &empty),
            };
            self.core.read(offset as u64, header, value).unwrap();
        }
        self.run()
    }
}

fn push(entries: &mut Vec<Entry>, instance: &mut Instance, record: &Outgoing) {
    let offset = entries.len() as u64;
    entries.push(Entry::Ours(record.header.clone(), record.value.clone()));
    instance.core.appended(record.id, Appended::At(offset), 0);
}

#[test]
fn two_instances_and_a_replay_agree_about_a_journal_with_foreign_records_and_gaps() {
    let (mut one, mut two) = (Instance::new(1), Instance::new(2));
    let mut entries = vec![stray(), Entry::Gap, stray()];
    one.read_entries(&entries);
    assert_eq!((one.core.next(), one.core.genesis()), (3, None), "foreign records do not begin a journal");
    let genesis = one.core.genesis_record(Uuid::nil(), 0);
    push(&mut entries, &mut one, &genesis);
    entries.push(stray());
    one.read_entries(&entries);
    two.read_entries(&entries);
    let (loser, winner) = (one.ask(take(1, &[("a", 8)]), None), two.ask(take(2, &[("a", 8)]), None));
    let (from_one, from_two) = (one.run(), two.run());
    push(&mut entries, &mut two, &from_two[0]);
    entries.extend([stray(), Entry::Gap]);
    push(&mut entries, &mut one, &from_one[0]);
    entries.extend([Entry::Gap, stray()]);
    one.read_entries(&entries);
    two.read_entries(&entries);
    assert!(matches!(two.outcome(winner), Some(Outcome::Accepted(_))));
    assert!(one.outcome(loser).is_none(), "it lost, and is decided again");

    let mut replay = Instance::new(3);
    replay.read_entries(&entries);
    let n_foreign = entries.iter().filter(|entry| matches!(entry, Entry::Foreign(_))).count() as u64;
    assert_eq!(replay.core.tally().foreign, n_foreign);
    for instance in [&one, &two] {
        assert_eq!(instance.rows.records, replay.rows.records);
        assert_eq!(instance.rows.heads, replay.rows.heads);
        assert_eq!(instance.core.digest(), replay.core.digest());
    }
    for row in &replay.rows.records {
        match &entries[row.offset as usize] {
            Entry::Foreign(_) => assert_eq!(row.verdict, Verdict::Void),
            Entry::Ours(..) => assert_ne!(row.id, RecordId(Uuid::nil())),
            Entry::Gap => panic!("a gap has no row"),
        }
    }
}

#[test]
fn a_foreign_record_is_in_the_chain_and_a_gap_is_not() {
    let mut log = Log::new();
    Instance::started(1, &mut log);
    let begun = || vec![Entry::Ours(log[0].0.clone(), log[0].1.clone())];
    let digest = |more: Vec<Entry>| {
        let mut instance = Instance::new(2);
        instance.read_entries(&begun().into_iter().chain(more).collect::<Vec<_>>());
        *instance.core.digest()
    };
    let before = digest(Vec::new());
    assert_eq!(digest(vec![Entry::Gap]), before);
    assert_eq!(digest(vec![stray()]), chain(&before, 1, b"", b"oops"));
    assert_eq!(digest(vec![Entry::Gap, stray()]), chain(&before, 2, b"", b"oops"));
}

#[test]
fn a_foreign_record_has_the_time_of_the_record_before_it() {
    let mut one = Instance::new(1);
    let genesis = one.core.genesis_record(Uuid::nil(), 77);
    let entries = [stray(), Entry::Ours(genesis.header, genesis.value), stray()];
    one.read_entries(&entries);
    let times: Vec<_> = one.rows.records.iter().map(|row| row.time_ms).collect();
    assert_eq!(times, [0, 77, 77]);
    let mut resumed = Instance::on(one.rows, 2);
    resumed.core.read(3, Stored::Foreign, &Bytes::new()).unwrap();
    resumed.run();
    assert_eq!(resumed.rows.records.last().map(|row| row.time_ms), Some(77));
}
