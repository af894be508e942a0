//! Arbitration on real logs: two instances of one service on one journal, over every back-end that can be shared.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod gate;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use orderlog_core::{
    decider::Decider,
    header::Origin,
    key::{HashKey, Key},
    machine::Verdict,
};
use orderlog_domain::{
    customers::{Address, Command, Customers, Rejection},
    values::{CustomerId, Email, Name},
};
use orderlog_eventlog::{
    EventLog, NewRecord,
    embedded::EmbeddedLog,
    kafka::{KafkaConfig, KafkaLog},
    simulated::SimulatedLog,
};
use orderlog_projections::customers::TABLES;
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    environment::Machine,
    now_ms,
    replica::{ExecuteError, Executed, Replica, Setup},
};
use tempfile::TempDir;
use uuid::Uuid;

use gate::Gate;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two instances on one log. The first one's appends go through a gate.
struct Pair {
    log: Arc<dyn EventLog>,
    gate: Arc<Gate>,
    one: Replica<Customers>,
    two: Replica<Customers>,
    _folders: Vec<TempDir>,
}

impl Pair {
    async fn start(log: Arc<dyn EventLog>, mut folders: Vec<TempDir>) -> Self {
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        let gate = Gate::on(Arc::clone(&log));
        let mut replicas = Vec::new();
        for log in [Arc::clone(&gate) as Arc<dyn EventLog>, Arc::clone(&log)] {
            let folder = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::open(folder.path(), &TABLES).await.unwrap());
            let hash_key = HashKey::from_secret("test");
            let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 1, environment: Arc::new(Machine) };
            let replica = Replica::<Customers>::start(setup, store).await.unwrap();
            replica.ready().await.unwrap();
            replicas.push(replica);
            folders.push(folder);
        }
        let (two, one) = (replicas.pop().unwrap(), replicas.pop().unwrap());
        Self { log, gate, one, two, _folders: folders }
    }

    /// Both replicas have folded and written the whole journal, and agree on all of it.
    async fn agree(&self) -> Vec<Verdict> {
        let end = self.log.ends(&[Replica::<Customers>::journal()]).await.unwrap()[0];
        for replica in [&self.one, &self.two] {
            let mut committed = replica.committed();
            tokio::time::timeout(PATIENCE, committed.wait_for(|committed| *committed >= end)).await.unwrap().unwrap();
        }
        let differences = self.one.store().compare(&self.two.store()).await.unwrap();
        assert!(differences.is_empty(), "{differences:?}");
        self.one.store().verdicts(0, end).await.unwrap().into_iter().map(|(_, verdict)| verdict).collect()
    }
}

type Outcome = Result<Executed<Customers>, ExecuteError<Rejection>>;

async fn ask(replica: &Replica<Customers>, command: Command) -> Outcome {
    replica.execute(command, None, Origin::default(), now_ms() + 60_000).await
}

fn create(replica: &Replica<Customers>, id: Uuid, email: &str) -> Command {
    let email = Email::new(email).unwrap();
    let address = Address::new(email, replica.hash_key());
    Command::Create { customer_id: CustomerId(id), name: Name::new("Ada").unwrap(), address }
}

fn rename(id: Uuid, name: &str) -> Command {
    Command::Update { customer_id: CustomerId(id), name: Some(Name::new(name).unwrap()), address: None }
}

async fn of_two_instances_racing_for_one_address_exactly_one_wins(pair: Pair) {
    for round in 0..20 {
        let email = format!("ada{round}@example.com");
        let commands = [&pair.one, &pair.two].map(|replica| (replica, create(replica, Uuid::now_v7(), &email)));
        let outcomes = join_all(commands.map(|(replica, command)| ask(replica, command))).await;
        let n_won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(n_won, 1, "{outcomes:?}");
        let taken = |outcome: &Outcome| matches!(outcome, Err(ExecuteError::Rejected(Rejection::EmailTaken)));
        assert!(outcomes.iter().any(taken), "{outcomes:?}");
    }
    pair.agree().await;
}

async fn a_pipelined_pair_behind_a_foreign_record_dies_and_both_are_decided_again(pair: Pair) {
    let id = Uuid::now_v7();
    ask(&pair.one, create(&pair.one, id, "pair@example.com")).await.unwrap();
    // The second instance knows the customer before it is asked to rename it.
    pair.agree().await;
    pair.gate.close();
    let rename_at_one = |name: &'static str| {
        let one = pair.one.clone();
        tokio::spawn(async move { ask(&one, rename(id, name)).await })
    };
    let pipelined = [rename_at_one("first"), rename_at_one("second")];
    pair.gate.holds(2).await;
    ask(&pair.two, rename(id, "foreign")).await.unwrap();
    pair.gate.open();
    for outcome in join_all(pipelined).await {
        outcome.unwrap().unwrap();
    }
    let verdicts = pair.agree().await;
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Void).count(), 2, "{verdicts:?}");
}

async fn a_late_copy_of_a_void_record_stays_void(pair: Pair) {
    let id = Uuid::now_v7();
    ask(&pair.one, create(&pair.one, id, "late@example.com")).await.unwrap();
    pair.agree().await;
    pair.gate.close();
    let renamed = tokio::spawn({
        let one = pair.one.clone();
        async move { ask(&one, rename(id, "slow")).await }
    });
    pair.gate.holds(1).await;
    ask(&pair.two, rename(id, "fast")).await.unwrap();
    pair.gate.open();
    renamed.await.unwrap().unwrap();
    let verdicts = pair.agree().await;
    let void = verdicts.iter().position(|verdict| *verdict == Verdict::Void).unwrap() as u64;

    let journal = Replica::<Customers>::journal();
    let record = pair.log.fetch(&journal, &[void]).await.unwrap().remove(0);
    let copy = NewRecord {
        topic: journal.topic.clone(),
        partition: Some(0),
        key: record.key,
        headers: record.headers,
        value: record.value,
    };
    pair.log.append(vec![copy]).await.remove(0).unwrap();
    let verdicts = pair.agree().await;
    assert_eq!(verdicts.last(), Some(&Verdict::Void), "{verdicts:?}");
    let version = pair.two.store().get("customers", &Key::of(id)).await.unwrap().unwrap().0;
    assert_eq!(version, 3, "created, renamed fast, renamed slow");
}

async fn a_repeated_key_is_answered_from_the_log_at_any_instance(pair: Pair) {
    let key = pair.one.hash_key().idempotency("anonymous", "POST /customers", "k1");
    let ask = |replica: &Replica<Customers>, email: &str| {
        let command = create(replica, Uuid::now_v7(), email);
        let fingerprint = replica.hash_key().command_fingerprint(&command.fingerprint_text());
        let stamp = orderlog_core::header::CommandStamp { key, fingerprint };
        let replica = replica.clone();
        async move { replica.execute(command, Some(stamp), Origin::default(), now_ms() + 60_000).await }
    };
    let first = ask(&pair.one, "once@example.com").await.unwrap();
    let again = ask(&pair.two, "once@example.com").await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.accepted.event, again.accepted.event);
    assert_eq!(Customers::kind(&first.accepted.event), "customer_created");
    let other = ask(&pair.two, "other@example.com").await;
    assert!(matches!(other, Err(ExecuteError::KeyReused)), "{other:?}");
    pair.agree().await;
}

async fn on_embedded() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).await.unwrap();
    Pair::start(log, vec![folder]).await
}

async fn on_simulated() -> Pair {
    Pair::start(SimulatedLog::new(), Vec::new()).await
}

async fn on_kafka() -> Pair {
    let brokers = std::env::var("KAFKA").expect("KAFKA must name a broker (host:port); tests/run starts one");
    let topic_prefix = format!("{}.", Uuid::now_v7().simple());
    let log = KafkaLog::connect(KafkaConfig { topic_prefix, ..KafkaConfig::new(brokers) }).unwrap();
    Pair::start(log, Vec::new()).await
}

/// The same stories over each log.
macro_rules! over_every_log {
    ($($story:ident),+ $(,)?) => {
        over_every_log! { @ embedded on_embedded: $($story),+ }
        over_every_log! { @ simulated on_simulated: $($story),+ }
        over_every_log! { @ kafka on_kafka: $($story),+ }
    };
    (@ $log:ident $open:ident: $($story:ident),+) => {
        mod $log {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::$open().await).await;
            })+
        }
    };
}

over_every_log! {
    of_two_instances_racing_for_one_address_exactly_one_wins,
    a_pipelined_pair_behind_a_foreign_record_dies_and_both_are_decided_again,
    a_late_copy_of_a_void_record_stays_void,
    a_repeated_key_is_answered_from_the_log_at_any_instance,
}
