//! Random days of two instances, on a log that delays, reorders, refuses, loses and doubles.

use proptest::prelude::*;

use super::*;

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
