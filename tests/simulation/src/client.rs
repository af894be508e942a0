//! Clients: they ask instances over a network that loses questions and answers, and write down what they were told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::FutureExt;
use orderlog_core::{
    decider::Kind,
    header::{CommandStamp, Origin},
    key::{HashKey, Key},
    machine::{Request, Versions},
};
use orderlog_history::{Attempt, Line, Outcome, Read};
use orderlog_runtime::{
    environment::Environment,
    replica::{ExecuteError, Executed, Lacks, State, sources},
};
use tokio::sync::oneshot;

use crate::{
    instance::{Running, SECRET, Service},
    life::mint,
    meaning,
    shop::Shop,
    world::BEGIN_MS,
};

/// How long a client waits for an answer.
const DEADLINE_MS: i64 = 3_000;

/// A client, and what it has seen.
pub struct Client {
    pub number: u64,
    shop: Weak<Shop>,
    /// Up to where in each journal it has seen, and in which era.
    seen: Mutex<(u64, HashMap<&'static str, u64>)>,
}

/// A command, and how it is asked.
pub struct Question<D: Service> {
    pub command: D::Command,
    /// The idempotency key, as its client chose it.
    pub key: Option<String>,
    /// The versions of which its target must have one.
    pub versions: Option<Versions>,
}

impl<D: Service> Clone for Question<D> {
    fn clone(&self) -> Self {
        let Self { command, key, versions } = self;
        Self { command: command.clone(), key: key.clone(), versions: versions.clone() }
    }
}

impl Client {
    /// Another client of the shop.
    pub fn new(shop: &Arc<Shop>, number: u64) -> Self {
        Self { number, shop: Arc::downgrade(shop), seen: Mutex::default() }
    }

    /// The shop; gone at the end of the run.
    pub fn shop(&self) -> Option<Arc<Shop>> {
        self.shop.upgrade()
    }

    /// A running instance, as chance will have it.
    pub fn instance<D: Service>(shop: &Shop) -> Option<Running<D>> {
        shop.world.draw(|chance| chance.one_of(&D::of(shop).0).cloned())?.running()
    }

    fn saw(&self, journal: &'static str, next: u64, era: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 < era {
            *seen = (era, HashMap::new());
        }
        if seen.0 == era {
            let known = seen.1.entry(journal).or_default();
            *known = (*known).max(next);
        }
    }

    fn has_seen(&self, journal: &'static str, era: u64) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 == era { seen.1.get(journal).copied().unwrap_or_default() } else { 0 }
    }

    /// Ask one instance once. None if there was nobody to ask.
    pub async fn ask<D: Service>(&self, question: &Question<D>) -> Option<(Outcome, Option<Executed<D>>)> {
        let shop = self.shop()?;
        let world = &shop.world;
        let Running { replica, life } = Self::instance::<D>(&shop)?;
        let [id, minted] = [(); 2].map(|()| mint(world, BEGIN_MS + world.elapsed_ms()));
        let (asked, asked_ms, era) = (world.n_landed(), world.elapsed_ms(), world.era());
        let ask = D::meaning(&question.command).ok_or("no caller can ask this").expect("clients ask what callers can");
        let (caller, operation) = (format!("client {}", self.number), meaning::operation(&ask));
        world.note(&caller, format_args!("asks {}: {ask:?}", life.name));
        let hash_key = HashKey::from_secret(SECRET);
        let fingerprint = hash_key.command_fingerprint(&D::fingerprint(&question.command));
        let stamp = |key: &String| CommandStamp { key: hash_key.idempotency(&caller, &operation, key), fingerprint };
        let stamp = question.key.as_ref().map(stamp);
        world.begin_attempt(Attempt {
            id,
            client: self.number,
            service: D::JOURNAL.to_owned(),
            instance: Some(replica.setup().writer),
            minted: ask.minted_at().map(|_| minted),
            ask,
            key: question.key.as_ref().map(|key| format!("{caller}, {operation}, {key}")),
            if_match: question.versions.as_ref().map(meaning::if_match),
            asked: Some(asked),
            answered: None,
            clock: None,
            outcome: Outcome::Unknown,
        });
        let trace = Some(format!("00-{}-{:016x}-01", id.simple(), self.number + 1));
        let mut command = question.command.clone();
        D::remint(&mut command, minted);
        let request = Request {
            command,
            stamp,
            versions: question.versions.clone(),
            origin: Origin { trace, ..Origin::default() },
            deadline: life.now_ms() + DEADLINE_MS,
        };
        // A client that hangs up does not stop what it asked for.
        let (answer, executing) = oneshot::channel();
        life.spawn(async move { drop(answer.send(replica.execute_request(request).await)) }.boxed());
        let executed = tokio::select! {
            biased;
            () = life.died() => Err(ExecuteError::Unknown),
            // The clock of the one who was asked may stand still.
            () = tokio::time::sleep(Duration::from_millis(DEADLINE_MS.unsigned_abs() * 2)) => Err(ExecuteError::Unknown),
            executed = executing => executed.unwrap_or(Err(ExecuteError::Unknown)),
        };
        let (outcome, executed) = told(executed);
        world.note(&caller, format_args!("is told by {}: {outcome:?}", life.name));
        // What was answered in the moment in which an older log was put in place is worth nothing.
        let outcome = if world.era() == era { outcome } else { Outcome::Unknown };
        if let Outcome::Acknowledged { offset, .. } = &outcome {
            self.saw(D::JOURNAL, offset + 1, era);
        }
        world.end_attempt(id, life.clock_since(asked_ms), outcome.clone());
        Some((outcome, executed))
    }

    /// Ask again with the same key, of whoever is there, until it is known what became of it or patience ends.
    pub async fn ask_until_known<D: Service>(&self, question: Question<D>) -> Option<Executed<D>> {
        for _ in 0..4 {
            match self.ask(&question).await {
                Some((Outcome::Unknown, _)) if question.key.is_some() => {}
                Some((_, executed)) => return executed,
                None => {}
            }
            let pause = self.shop()?.world.draw(|chance| chance.ms(50, 500));
            tokio::time::sleep(pause).await;
        }
        None
    }

    /// Look at one object at one instance, as far as this client has seen. Its version, if it could be looked at.
    pub async fn read<D: Service>(&self, kind: Kind, object: Key) -> Option<u64> {
        let shop = self.shop()?;
        let Running { replica, life } = Self::instance::<D>(&shop)?;
        let (era, instance) = (shop.world.era(), Some((replica.setup().writer, shop.world.n_lines())));
        let seen = self.has_seen(D::JOURNAL, era);
        let elsewhere =
            sources::<D>().filter_map(|(journal, _)| Some((journal, self.has_seen(journal, era).checked_sub(1)?)));
        let elsewhere: Vec<_> = elsewhere.collect();
        let fresh = async {
            replica.has_committed(seen).await;
            for (journal, offset) in &elsewhere {
                replica.has_taken_in(journal, *offset, &mut Lacks::Publication).await;
            }
            replica.read_your_writes().await;
        };
        tokio::select! {
            biased;
            () = life.died() => return None,
            () = tokio::time::sleep(Duration::from_secs(2)) => return None,
            () = fresh => {}
        }
        if *replica.state().borrow() != State::Ready || shop.world.era() != era {
            return None;
        }
        let (version, doc, next) = replica.store().memory().look(|rows| {
            // As the edge: what was seen elsewhere can't be shown while it is parked here.
            let up_to = if elsewhere.is_empty() { seen } else { u64::MAX };
            let is_shown = rows.parked.range((object, 0)..(object, up_to)).next().is_none();
            let found = rows.entities.get(&(kind, object));
            let doc = found.and_then(|(_, _, entity)| serde_json::to_value(&**entity).ok());
            is_shown.then_some((found.map_or(0, |(version, _, _)| *version), doc, rows.next))
        })?;
        self.saw(D::JOURNAL, next, era);
        shop.world
            .note(&format!("client {}", self.number), format_args!("reads {object:?} at {}: {version}", life.name));
        let (client, service) = (self.number, D::JOURNAL.to_owned());
        let seen_elsewhere = elsewhere.into_iter().map(|(journal, offset)| (journal.to_owned(), offset)).collect();
        shop.world.tell(Line::Read(Read { client, service, instance, object, version, doc, seen_elsewhere }));
        Some(version)
    }
}

type Told<D> = Result<Executed<D>, ExecuteError<<D as orderlog_core::decider::Decider>::Rejection>>;

fn told<D: Service>(executed: Told<D>) -> (Outcome, Option<Executed<D>>) {
    match executed {
        Ok(executed) => {
            let (offset, replayed) = (executed.accepted.at.offset, executed.replayed);
            let event = serde_json::to_value(&*executed.accepted.event).ok();
            (Outcome::Acknowledged { offset, replayed, event }, Some(executed))
        }
        Err(ExecuteError::Rejected(rejection)) => (Outcome::Refused(D::refusal(&rejection)), None),
        Err(ExecuteError::OtherVersion(version)) => (Outcome::OtherVersion(version), None),
        Err(ExecuteError::KeyReused) => (Outcome::KeyReused, None),
        Err(ExecuteError::Parked | ExecuteError::Discarded | ExecuteError::TooLarge | ExecuteError::Unavailable(_)) => {
            (Outcome::NotDone, None)
        }
        Err(ExecuteError::KeyInUse | ExecuteError::Unknown) => (Outcome::Unknown, None),
    }
}
