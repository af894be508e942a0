//! One process, from its start to its crash: it can be paused, its clock can jump, and after its death nothing comes of it.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use orderlog_core::{decider::Millis, known::Unknown};
use orderlog_runtime::environment::Environment;
use tokio::sync::watch;
use uuid::{Builder, Uuid};

use crate::{
    tasks::Owner,
    world::{BEGIN_MS, World},
};

pub struct Life {
    /// The service and the number of the instance.
    pub name: String,
    world: Arc<World>,
    owner: Owner,
    dead: watch::Sender<bool>,
    paused: watch::Sender<bool>,
    skew_ms: AtomicI64,
    /// Since when its clock has been wrong by how much, in milliseconds of the world; the last of them is the present.
    skews: Mutex<Vec<(i64, i64)>>,
    unknown: Unknown,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Life {
    /// A process begins, of the newest program.
    pub fn begin(world: &Arc<World>, name: &str) -> Arc<Self> {
        Self::begin_without(world, name, &[])
    }

    /// A process begins, of a program that does not know some kinds of events.
    pub fn begin_without(world: &Arc<World>, name: &str, unknown: Unknown) -> Arc<Self> {
        world.note(name, if unknown.is_empty() { "begins".to_owned() } else { format!("begins without {unknown:?}") });
        Arc::new(Self {
            name: name.to_owned(),
            world: Arc::clone(world),
            owner: world.next_owner(),
            dead: watch::Sender::new(false),
            paused: watch::Sender::new(false),
            skew_ms: AtomicI64::new(0),
            skews: Mutex::new(vec![(0, 0)]),
            unknown,
        })
    }

    /// The world it lives in.
    pub const fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// It dies. Nothing that it has begun has any more effect, but for what it has handed to the network.
    pub fn kill(&self) {
        if !self.dead.send_replace(true) {
            self.world.note(&self.name, "dies");
            self.world.tasks.kill(self.owner);
        }
    }

    /// Whether its program is an older one.
    pub const fn is_older(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Wait until it is.
    pub async fn died(&self) {
        drop(self.dead.subscribe().wait_for(|dead| *dead).await);
    }

    /// From now on nothing goes in or out; or it does again.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Its clock is wrong by so much.
    pub fn set_skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
        self.skews.lock().unwrap_or_else(PoisonError::into_inner).push((self.world.elapsed_ms(), ms));
    }

    /// The earliest and the latest time that its clock has shown since a moment of the world.
    pub fn clock_since(&self, moment: i64) -> [i64; 2] {
        let now = self.world.elapsed_ms();
        let skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = skews.iter().skip(1).map(|(since, _)| *since).chain([now]);
        let during = skews.iter().zip(ends).filter(|(_, end)| moment <= *end);
        during.fold([i64::MAX, i64::MIN], |[earliest, latest], ((since, skew), end)| {
            let shown = |at: i64| BEGIN_MS + at + skew;
            [earliest.min(shown(moment.max(*since))), latest.max(shown(end))]
        })
    }

    /// Go on once it is not paused; never, if it is dead.
    pub async fn gate(&self) {
        if *self.paused.borrow() {
            drop(self.paused.subscribe().wait_for(|paused| !paused).await);
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }

    /// Wait until it is not paused, dead or not.
    pub async fn unpaused(&self) {
        if *self.paused.borrow() {
            drop(self.paused.subscribe().wait_for(|paused| !paused).await);
        }
    }
}

impl Environment for Life {
    fn now_ms(&self) -> Millis {
        BEGIN_MS + self.world.elapsed_ms() + self.skew_ms.load(Ordering::Relaxed)
    }

    fn mint(&self) -> Uuid {
        mint(&self.world, self.now_ms())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.tasks.spawn(self.owner, task);
    }

    fn unknown(&self) -> Unknown {
        self.unknown
    }
}

/// A new UUIDv7 of this time.
pub fn mint(world: &World, now_ms: Millis) -> Uuid {
    let random = world.draw(|chance| (u128::from(chance.number()) << 64 | u128::from(chance.number())).to_be_bytes());
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[..10]);
    Builder::from_unix_timestamp_millis(now_ms.unsigned_abs(), &tail).into_uuid()
}
