//! The scheduler: of all tasks that could go on, a seed decides which one does.
//!
//! Tokio's own one would run them in the order in which they were woken, and some of its channels wake in an order that is random
//! in each process. Here only the set of those that were woken matters. Tokio gives the time, which stands still while there is
//! anything left to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::chance::Chance;

/// More steps than this in one moment are taken by something that will never rest.
const N_STEPS_MAX: u64 = 3_000_000;

/// Which process a task belongs to; 0 is none, such as the network.
pub type Owner = u64;

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, (Owner, Option<BoxFuture<'static, ()>>)>,
    ready: BTreeSet<u64>,
    last: u64,
    runner: Option<Waker>,
}

/// All tasks of a run.
#[derive(Default)]
pub struct Tasks(Mutex<State>);

struct Woken {
    id: u64,
    tasks: Arc<Tasks>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let mut state = self.tasks.state();
        if state.tasks.contains_key(&self.id) {
            state.ready.insert(self.id);
            if let Some(runner) = state.runner.take() {
                runner.wake();
            }
        }
    }
}

impl Tasks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn spawn(&self, owner: Owner, task: BoxFuture<'static, ()>) {
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        state.tasks.insert(id, (owner, Some(task)));
        state.ready.insert(id);
        if let Some(runner) = state.runner.take() {
            runner.wake();
        }
    }

    /// Every task of this process ends where it is.
    pub fn kill(&self, owner: Owner) {
        let mut state = self.state();
        let ids: Vec<_> = state.tasks.iter().filter(|(_, (of, _))| *of == owner).map(|(id, _)| *id).collect();
        let dead: Vec<_> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
        state.ready.retain(|id| !ids.contains(id));
        // What they hold may wake others.
        drop(state);
        drop(dead);
    }

    /// All of them end.
    pub fn clear(&self) {
        let all = std::mem::take(&mut self.state().tasks);
        self.state().ready.clear();
        drop(all);
    }

    fn take_one(&self, chance: &mut Chance) -> Option<(u64, BoxFuture<'static, ()>)> {
        let mut state = self.state();
        let at = usize::try_from(chance.below(state.ready.len() as u64)).unwrap_or_default();
        let id = state.ready.iter().nth(at).copied()?;
        state.ready.remove(&id);
        let task = state.tasks.get_mut(&id).and_then(|(_, task)| task.take());
        Some((id, task?))
    }

    fn put_back(&self, id: u64, task: BoxFuture<'static, ()>) {
        let mut state = self.state();
        if let Some((_, place)) = state.tasks.get_mut(&id) {
            *place = Some(task);
        } else {
            // It was killed while it ran.
            drop(state);
            drop(task);
        }
    }

    /// One step of each task that can go on, until none can.
    fn go_on(self: &Arc<Self>, chance: &mut Chance, n_steps: &mut u64) {
        while let Some((id, mut task)) = self.take_one(chance) {
            *n_steps += 1;
            assert!(*n_steps < N_STEPS_MAX, "the run does not come to an end in one moment");
            let waker = Waker::from(Arc::new(Woken { id, tasks: Arc::clone(self) }));
            let step = || task.as_mut().poll(&mut Context::from_waker(&waker));
            // A panic ends the task, as it does under tokio; that there was one is counted elsewhere.
            match catch_unwind(AssertUnwindSafe(step)) {
                Ok(Poll::Pending) => self.put_back(id, task),
                Ok(Poll::Ready(())) | Err(_) => drop(self.state().tasks.remove(&id)),
            }
        }
    }

    /// Run `main` and all tasks until `main` is done.
    pub async fn run<T>(self: &Arc<Self>, mut chance: Chance, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let (mut n_steps, mut moment) = (0, Instant::now());
        let running = poll_fn(|context| {
            if moment != Instant::now() {
                (n_steps, moment) = (0, Instant::now());
            }
            loop {
                self.go_on(&mut chance, &mut n_steps);
                if let Poll::Ready(done) = main.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                let mut state = self.state();
                if state.ready.is_empty() {
                    state.runner = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        });
        let done = tokio::task::unconstrained(running).await;
        self.clear();
        done
    }
}
