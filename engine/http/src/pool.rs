//! A limited number of places that callers acquire and release, shared so that one caller cannot take all of them.
//!
//! The rule: a caller may take another place while it holds fewer than are free, or holds none. A single caller gets half of the
//! places; beside `n` greedy callers, one part in `n + 1` stays free for others. There is no other limit, so a quiet process does not
//! restrict anyone. Places are never taken back.
//!
//! There are no weights and no fixed shares. A pool only knows callers that hold a place.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The requester of a place, as far as limits distinguish callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This process itself. It works in the place of the request that it serves, if any.
    Process,
    /// An operator or another service of the deployment. Has no share limit, and may use the reserve.
    Trusted,
    /// Indistinguishable callers on the machine of an open server. Limited only by the size.
    Anyone,
    /// A caller, by a number that stands for its id or its address.
    Caller(u64),
}

#[derive(Debug)]
pub struct Pool {
    size: usize,
    /// The number of additional places for [`Standing::Trusted`].
    reserve: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    n_taken: usize,
    /// The number of places of each caller. Never 0.
    held: HashMap<u64, usize>,
    /// In order of arrival.
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    standing: Standing,
    give: oneshot::Sender<Ticket>,
}

/// An acquired place, released when dropped.
#[derive(Debug)]
pub struct Ticket {
    pool: Arc<Pool>,
    standing: Standing,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pool.give_back(self.standing);
    }
}

impl Pool {
    /// Creates a pool with `size` places, and `reserve` more for operators and other services.
    pub fn new(size: usize, reserve: usize) -> Arc<Self> {
        Arc::new(Self { size, reserve, state: Mutex::default() })
    }

    /// Acquires a place, if the caller may have one now.
    pub fn try_take(self: &Arc<Self>, standing: Standing) -> Option<Ticket> {
        self.state().take(self, standing).then(|| self.ticket(standing))
    }

    /// Waits for a place. Waiting callers precede those that call [`Pool::try_take`].
    pub async fn take(self: &Arc<Self>, standing: Standing) -> Ticket {
        let granted = {
            let mut state = self.state();
            if state.take(self, standing) {
                return self.ticket(standing);
            }
            let (give, granted) = oneshot::channel();
            state.queue.push_back(Queued { standing, give });
            granted
        };
        granted.await.expect("a pool keeps its queue as long as somebody holds the pool")
    }

    /// Returns the number of places taken.
    #[cfg(test)]
    pub fn n_taken(&self) -> usize {
        self.state().n_taken
    }

    fn ticket(self: &Arc<Self>, standing: Standing) -> Ticket {
        Ticket { pool: Arc::clone(self), standing }
    }

    fn give_back(self: &Arc<Self>, standing: Standing) {
        let granted = {
            let mut state = self.state();
            state.release(standing);
            state.grant(self)
        };
        // Outside the lock: the ticket of a receiver that is gone is released immediately.
        for Queued { standing, give } in granted {
            drop(give.send(self.ticket(standing)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_take(&self, pool: &Pool, standing: Standing) -> bool {
        let n_free = pool.size.saturating_sub(self.n_taken);
        match standing {
            Standing::Process | Standing::Trusted => self.n_taken < pool.size + pool.reserve,
            Standing::Anyone => n_free > 0,
            Standing::Caller(id) => n_free > 0 && self.held.get(&id).is_none_or(|n_held| *n_held < n_free),
        }
    }

    fn take(&mut self, pool: &Pool, standing: Standing) -> bool {
        let may_take = self.may_take(pool, standing);
        if may_take {
            self.n_taken += 1;
            if let Standing::Caller(id) = standing {
                *self.held.entry(id).or_default() += 1;
            }
        }
        may_take
    }

    fn release(&mut self, standing: Standing) {
        self.n_taken -= 1;
        if let Standing::Caller(id) = standing
            && let Some(n_held) = self.held.get_mut(&id)
        {
            *n_held -= 1;
            if *n_held == 0 {
                self.held.remove(&id);
            }
        }
    }

    /// Removes from the queue those that get a place now.
    fn grant(&mut self, pool: &Pool) -> Vec<Queued> {
        let mut granted = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            if queued.give.is_closed() {
                continue;
            }
            if self.take(pool, queued.standing) {
                granted.push(queued);
            } else {
                self.queue.push_back(queued);
            }
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    const ONE: Standing = Standing::Caller(1);
    const OTHER: Standing = Standing::Caller(2);

    fn take_all(pool: &Arc<Pool>, standing: Standing) -> Vec<Ticket> {
        std::iter::from_fn(|| pool.try_take(standing)).collect()
    }

    #[test]
    fn a_caller_alone_gets_half_and_each_further_one_half_of_what_is_left() {
        let pool = Pool::new(1_024, 0);
        let one = take_all(&pool, ONE);
        let other = take_all(&pool, OTHER);
        assert_eq!((one.len(), other.len()), (512, 256));
        for newcomer in 3..100 {
            assert!(pool.try_take(Standing::Caller(newcomer)).is_some(), "there is always room for a newcomer");
        }
        drop(one);
        assert_eq!(take_all(&pool, OTHER).len() + other.len(), 512, "what is given back is there for others");
    }

    #[test]
    fn whoever_holds_nothing_may_have_the_last_place_and_nobody_one_more() {
        let pool = Pool::new(1, 0);
        let place = pool.try_take(ONE);
        assert!(place.is_some() && pool.try_take(OTHER).is_none() && pool.try_take(Standing::Anyone).is_none());
        drop(place);
        assert!(pool.try_take(OTHER).is_some());
        assert_eq!(pool.n_taken(), 0);
    }

    #[test]
    fn the_reserve_is_for_operators_and_callers_who_are_one_have_all_but_that() {
        let pool = Pool::new(4, 2);
        let all = take_all(&pool, Standing::Anyone);
        assert_eq!(all.len(), 4);
        let reserved = take_all(&pool, Standing::Trusted);
        assert_eq!(reserved.len(), 2);
        drop(all);
        assert!(pool.try_take(ONE).is_some(), "what the reserve lends does not stay lent");
    }

    #[tokio::test]
    async fn the_queue_goes_first_and_whoever_leaves_it_takes_nothing() {
        let pool = Pool::new(1, 0);
        let place = pool.try_take(ONE).unwrap();
        let (mut gone, mut next) = (Box::pin(pool.take(OTHER)), Box::pin(pool.take(ONE)));
        assert!(poll!(gone.as_mut()).is_pending() && poll!(next.as_mut()).is_pending());
        drop(gone);
        drop(place);
        assert!(pool.try_take(OTHER).is_none(), "the place is for the one in the queue");
        let place = next.await;
        assert_eq!(pool.n_taken(), 1);
        drop(place);
        assert_eq!((pool.n_taken(), pool.state().held.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_greedy_caller_in_the_queue_does_not_hold_up_others() {
        let pool = Pool::new(4, 0);
        let held = take_all(&pool, ONE);
        assert_eq!(held.len(), 2);
        let mut greedy: Vec<_> = (0..10).map(|_| Box::pin(pool.take(ONE))).collect();
        for queued in &mut greedy {
            assert!(poll!(queued.as_mut()).is_pending());
        }
        assert!(pool.try_take(OTHER).is_some());
        drop(held);
        let mut n_granted = 0;
        for queued in &mut greedy {
            n_granted += usize::from(poll!(queued.as_mut()).is_ready());
        }
        // Each was granted, dropped and so passed on.
        assert_eq!(n_granted, 10);
        assert_eq!(pool.n_taken(), 0);
    }
}
