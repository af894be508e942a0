//! Waiting requests do not hold a place among the active ones.
//!
//! Whatever a request waits for, other than its own body, goes through [`aside`] or [`aside_if_possible`]. Both release the request's
//! place and acquire one again afterwards, in the order in which requests return. That counts towards the time of the request, so
//! `--request-timeout-ms` bounds it. The number of waiting requests is limited too, and shared like the places.

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

/// The places for requests: active ones and waiting ones.
pub struct Room {
    places: Arc<Pool>,
    waits: Arc<Pool>,
    /// Becomes true when the process stops. Requests then no longer wait.
    stopping: watch::Receiver<bool>,
    measures: HttpMeasures,
}

impl Room {
    /// Creates room for `n_max` active and as many waiting requests, plus `n_reserved` of each for operators.
    pub fn new(n_max: usize, n_reserved: usize, stopping: watch::Receiver<bool>, measures: HttpMeasures) -> Arc<Self> {
        let [places, waits] = [(); 2].map(|()| Pool::new(n_max, n_reserved));
        Arc::new(Self { places, waits, stopping, measures })
    }

    /// Acquires a place for a request of this caller, if it may have one now.
    pub fn admit(self: &Arc<Self>, standing: Standing) -> Option<Working> {
        let place = self.places.try_take(standing);
        if place.is_none() {
            self.measures.limited(Limit::Requests);
        }
        let working = |place| Working { standing, room: Arc::clone(self), place: Mutex::new(Some(place)) };
        place.map(working)
    }
}

/// An active request.
pub struct Working {
    standing: Standing,
    room: Arc<Room>,
    /// `None` while the request waits.
    place: Mutex<Option<Ticket>>,
}

impl Working {
    /// Runs `work` as part of this request.
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
        // If a request has several concurrent waits, the first to end acquires a place for all.
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

/// Awaits `wait` without holding the request's place. `None` if the caller has too many waiting requests or the process is stopping;
/// the response is then the same as for a caller that does not wait.
///
/// A future that is ready immediately does not count as waiting. Outside a request, `wait` is just awaited.
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

/// Like [`aside`], for a wait with a short time limit of its own that is required: if the request cannot step aside, it keeps its place.
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

    /// Creates room with this many places and waits.
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
