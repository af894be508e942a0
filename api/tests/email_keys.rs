//! Spellings of e-mail addresses from before are claimed by the service itself, once, whoever else does so at the same time.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{sync::Arc, time::Duration};

use orderlog_api::customers::email_keys::{self, Collision};
use orderlog_core::{
    header::{HEADER, Header, Origin},
    key::HashKey,
    machine::Verdict,
};
use orderlog_domain::{
    customers::{Address, Command, Customers, Rejection},
    values::{CustomerId, Email, Name},
};
use orderlog_eventlog::{EventLog, embedded::EmbeddedLog};
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    environment::Machine,
    now_ms,
    replica::{ExecuteError, Replica, Setup, State, ToSettle},
};
use tempfile::TempDir;
use uuid::Uuid;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const COMPOSED: &str = "ren\u{e9}e@b\u{fc}cher.example";
const DECOMPOSED: &str = "rene\u{301}e@xn--bcher-kva.example";

async fn log_in(folder: &TempDir) -> Arc<dyn EventLog> {
    let log = EmbeddedLog::open(folder.path()).await.unwrap();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    log
}

async fn instance(log: &Arc<dyn EventLog>, folder: &TempDir) -> Replica<Customers> {
    let setup = Setup {
        log: Arc::clone(log),
        hash_key: HashKey::from_secret("test"),
        writer: Uuid::now_v7(),
        n_slots_max: 100,
        environment: Arc::new(Machine),
    };
    Replica::start(setup, Arc::new(Store::open(folder.path(), &orderlog_projections::customers::TABLES).await.unwrap()))
        .await
        .unwrap()
}

fn create(replica: &Replica<Customers>, customer_id: CustomerId, email: &str) -> Command {
    let address = Address::new(Email::new(email).unwrap(), replica.hash_key());
    Command::Create { customer_id, name: Name::new("Ada").unwrap(), address }
}

/// Has a customer created as by an earlier version, which knew only addresses in lower case.
async fn create_as_before(replica: &Replica<Customers>, email: &str) -> CustomerId {
    let customer_id = CustomerId(Uuid::now_v7());
    let mut command = create(replica, customer_id, email);
    if let Command::Create { address, .. } = &mut command {
        address.canonical_key = None;
    }
    replica.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
    customer_id
}

/// The kinds of all accepted records.
async fn kinds(replica: &Replica<Customers>) -> Vec<String> {
    let journal = Replica::<Customers>::journal();
    let end = replica.log().ends(std::slice::from_ref(&journal)).await.unwrap()[0];
    replica.has_committed(end).await;
    let verdicts = replica.store().verdicts(0, end).await.unwrap();
    let accepted: Vec<u64> =
        verdicts.into_iter().filter(|(_, verdict)| *verdict == Verdict::Accepted).map(|(offset, _)| offset).collect();
    let records = replica.log().fetch(&journal, &accepted).await.unwrap();
    records.iter().map(|record| Header::decode(record.header(HEADER).unwrap()).unwrap().kind).collect()
}

async fn ready(replica: &Replica<Customers>) {
    tokio::time::timeout(PATIENCE, replica.ready()).await.unwrap().unwrap();
}

#[tokio::test]
async fn instances_that_prepare_at_once_claim_each_spelling_once_and_tell_collisions() {
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let log = log_in(&folders[0]).await;
    let older = instance(&log, &folders[1]).await;
    ready(&older).await;
    let mut ids = Vec::new();
    for email in [COMPOSED, DECOMPOSED, "ada@example.com", "\u{39f}\u{394}\u{39f}\u{3a3}@example.com"] {
        ids.push(create_as_before(&older, email).await);
    }
    drop(older);

    let (one, two) = (instance(&log, &folders[2]).await, instance(&log, &folders[3]).await);
    for replica in [&one, &two] {
        email_keys::begin(replica);
    }
    for replica in [&one, &two] {
        ready(replica).await;
        assert_eq!(email_keys::reported(&replica.to_settle()), [Collision { customer_id: ids[1], held_by: ids[0] }]);
        let claimed = kinds(replica).await.into_iter().filter(|kind| kind == "customer_email_key_claimed").count();
        assert_eq!(claimed, 2, "one for each spelling that is free");
        let taken = create(replica, CustomerId(Uuid::now_v7()), "Rene\u{301}e@XN--BCHER-KVA.example");
        let outcome = replica.execute(taken, None, Origin::default(), now_ms() + 60_000).await;
        assert!(matches!(outcome, Err(ExecuteError::Rejected(Rejection::EmailTaken))), "{outcome:?}");
    }
    assert!(one.store().compare(&two.store()).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_is_served_before_the_service_has_prepared() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let log = log_in(&folders[0]).await;
    let replica = instance(&log, &folders[1]).await;
    replica.prepare_first();
    tokio::time::timeout(PATIENCE, replica.caught_up()).await.unwrap();
    assert_eq!(*replica.state().borrow(), State::Preparing);
    let command = create(&replica, CustomerId(Uuid::now_v7()), "ada@example.com");
    let early = replica.execute(command.clone(), None, Origin::default(), now_ms() + 60_000).await;
    assert!(matches!(early, Err(ExecuteError::Unavailable(_))), "{early:?}");
    replica.prepared(ToSettle::default());
    ready(&replica).await;
    replica.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
}
