//! Requests that wait: they hold no place among those that are worked on.
//!
//! Whatever a request waits for, other than its own body, goes through [`aside`] or [`aside_if_possible`]. Both give the request's
//! place back and take one again afterwards, in the order in which requests came back. That counts as time of the request, so
//! `--request-timeout-ms` bounds it. Of requests that wait there is a limited number too, shared like the places.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::poll;
use tokio::sync::watch;

use crate::{
    measures::{HttpMeasures, Limit},
    pool::{Pool, Standing, Ticket},
};

tokio::task_local! {
    static WORKING: Arc<Working>;
}

/// Room for requests: those that are worked on, and those that wait.
pub struct Room {
    places: Arc<Pool>,
    waits: Arc<Pool>,
    /// Turns true when the process stops: then nobody waits any more.
    stopping: watch::Receiver<bool>,
    measures: HttpMeasures,
}

impl Room {
    /// Room for so many requests that are worked on and as many that wait, and for some more of operators.
    pub fn new(n_max: usize, n_reserved: usize, stopping: watch::Receiver<bool>, measures: HttpMeasures) -> Arc<Self> {
        let [places, waits] = [(); 2].map(|()| Pool::new(n_max, n_reserved));
        Arc::new(Self { places, waits, stopping, measures })
    }

    /// A place for a request of this caller, if it may have one more.
    pub fn admit(self: &Arc<Self>, standing: Standing) -> Option<Working> {
        let place = self.places.try_take(standing);
        if place.is_none() {
            self.measures.limited(Limit::Requests);
        }
        let working = |place| Working { standing, room: Arc::clone(self), place: Mutex::new(Some(place)) };
        place.map(working)
    }
}

/// A request that is worked on.
pub struct Working {
    standing: Standing,
    room: Arc<Room>,
    /// None while the request waits.
    place: Mutex<Option<Ticket>>,
}

impl Working {
    /// What `work` comes to, which is this request's.
    pub fn scope<W: Future>(self, work: W) -> impl Future<Output = W::Output> {
        WORKING.scope(Arc::new(self), work)
    }

    async fn aside<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let Room { places, waits, stopping, measures } = &*self.room;
        let Some(waiting) = waits.try_take(self.standing) else {
            measures.limited(Limit::Waits);
            return None;
        };
        drop(self.replace(None));
        let mut stopping = stopping.clone();
        let outcome = tokio::select! {
            biased;
            outcome = wait => Some(outcome),
            stopped = stopping.wait_for(|stopping| *stopping) => {
                drop(stopped);
                None
            }
        };
        drop(waiting);
        // Of several waits at once in one request, the first to end comes back for all.
        if self.is_aside() {
            let place = places.take(self.standing).await;
            drop(self.replace(Some(place)));
        }
        outcome
    }

    fn replace(&self, place: Option<Ticket>) -> Option<Ticket> {
        std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), place)
    }

    fn is_aside(&self) -> bool {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// The outcome of `wait`, during which the request holds no place. None if the caller has too many requests waiting already or the
/// process stops: then the answer is the one that a caller without patience gets.
///
/// What is there at once is no wait. Outside of a request it is only awaited.
pub async fn aside<T>(wait: impl Future<Output = T>) -> Option<T> {
    let mut wait = pin!(wait);
    if let std::task::Poll::Ready(outcome) = poll!(wait.as_mut()) {
        return Some(outcome);
    }
    match WORKING.try_with(Arc::clone) {
        Ok(working) => working.aside(wait).await,
        Err(_) => Some(wait.await),
    }
}

/// The same for what has a short limit of its own and no answer to go without: if the request can't step aside, it waits in its place.
pub async fn aside_if_possible<T>(wait: impl Future<Output = T>) -> T {
    let mut wait = pin!(wait);
    match aside(wait.as_mut()).await {
        Some(outcome) => outcome,
        None => wait.await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    const CALLER: Standing = Standing::Caller(1);

    /// With so many places and so many waits.
    fn room(n_places: usize, n_waits: usize) -> (Arc<Room>, watch::Sender<bool>) {
        let stopping = watch::Sender::new(false);
        let [places, waits] = [n_places, n_waits].map(|n| Pool::new(n, 0));
        let (receiver, measures) = (stopping.subscribe(), HttpMeasures::new());
        (Arc::new(Room { places, waits, stopping: receiver, measures }), stopping)
    }

    impl Room {
        fn request<W: Future>(self: &Arc<Self>, work: W) -> impl Future<Output = W::Output> + use<W> {
            self.admit(CALLER).unwrap().scope(work)
        }

        fn n_taken(&self) -> (usize, usize) {
            (self.places.n_taken(), self.waits.n_taken())
        }
    }

    #[tokio::test]
    async fn whoever_waits_holds_no_place_and_has_one_again_afterwards() {
        let (room, _stopping) = room(1, 8);
        let (tell, told) = oneshot::channel();
        let mut waiting = Box::pin(room.request(async {
            let told = aside(told).await;
            (told, room.n_taken())
        }));
        assert!(poll!(waiting.as_mut()).is_pending());
        assert_eq!(room.n_taken(), (0, 1));
        let mut worked_on = Box::pin(room.request(pending::<()>()));
        assert!(poll!(worked_on.as_mut()).is_pending(), "another one has the place meanwhile");
        tell.send(7).unwrap();
        assert!(poll!(waiting.as_mut()).is_pending(), "it needs a place to go on");
        drop(worked_on);
        assert_eq!(waiting.await, (Some(Ok(7)), (1, 0)));
        assert_eq!(room.n_taken(), (0, 0));
    }

    #[tokio::test]
    async fn beyond_its_share_a_request_does_not_wait_unless_it_has_to() {
        let (room, _stopping) = room(8, 2);
        let mut first = Box::pin(room.request(aside(pending::<()>())));
        assert!(poll!(first.as_mut()).is_pending());
        assert_eq!(room.request(aside(pending::<()>())).await, None);
        assert_eq!(room.request(aside(ready(1))).await, Some(1), "what is there is no wait");
        let mut in_place = Box::pin(room.request(aside_if_possible(pending::<()>())));
        assert!(poll!(in_place.as_mut()).is_pending());
        assert_eq!(room.n_taken(), (1, 1));
        drop((first, in_place));
        assert_eq!(room.n_taken(), (0, 0), "whoever goes away gives everything back");
    }

    #[tokio::test]
    async fn when_the_process_stops_waits_end() {
        let (room, stopping) = room(8, 8);
        let mut waiting = Box::pin(room.request(aside(pending::<()>())));
        assert!(poll!(waiting.as_mut()).is_pending());
        stopping.send_replace(true);
        assert_eq!(waiting.await, None);
    }

    #[tokio::test]
    async fn several_waits_of_one_request_give_one_place_back_and_take_one() {
        let (room, _stopping) = room(1, 8);
        let (tell, told) = oneshot::channel();
        let mut both = Box::pin(room.request(async { tokio::join!(aside(told), aside(pending::<()>())) }));
        assert!(poll!(both.as_mut()).is_pending());
        assert_eq!(room.n_taken(), (0, 2));
        tell.send(()).unwrap();
        assert!(poll!(both.as_mut()).is_pending());
        assert_eq!(room.n_taken(), (1, 1));
    }

    #[tokio::test]
    async fn outside_of_a_request_waiting_is_only_waiting() {
        assert_eq!(aside(tokio::task::yield_now()).await, Some(()));
    }
}
