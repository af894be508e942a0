//! Seats decide which connections are served when there is not room for all.
//!
//! A connection belongs to the caller of its latest request and counts against that caller's share
//! ([`orderlog_http::pool`]). One without a caller (nothing was sent yet, or no valid key) keeps its seat only while no
//! one else needs it: if all seats are taken, the oldest such connection is closed for the newcomer. So idle
//! connections can't keep others out, from however many addresses.
//!
//! If all seats belong to callers, there is a reserve. It serves only probes, operators and other services, one request
//! each, and its idle connections give way in the same manner.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use orderlog_http::{
    measures::{HttpMeasures, Limit},
    pool::{Pool, Standing, Ticket},
};
use tokio::sync::Notify;

/// The seats of one listener.
pub struct Seats {
    claimed: Arc<Pool>,
    rows: Mutex<[Row; 2]>,
    measures: HttpMeasures,
}

/// Seats of one kind: the usual ones, or the reserve.
#[derive(Debug)]
struct Row {
    size: usize,
    n_taken: usize,
    n_seen: u64,
    /// Connections without a caller, in order of arrival.
    strays: BTreeMap<u64, Arc<Notify>>,
    /// Connections that lost their seat to another one, until they end.
    without: BTreeSet<u64>,
}

const USUAL: usize = 0;
const RESERVE: usize = 1;

/// The seat of a connection, released when all copies are dropped.
#[derive(Clone)]
pub struct Seat(Arc<Inner>);

struct Inner {
    seats: Arc<Seats>,
    row: usize,
    number: u64,
    wanted: Arc<Notify>,
    /// The caller's, if it has one.
    ticket: Mutex<Option<(Standing, Ticket)>>,
}

impl Seats {
    /// Creates `size` usual seats and `reserve` reserve seats.
    pub fn new(size: usize, reserve: usize, measures: HttpMeasures) -> Arc<Self> {
        let rows = Mutex::new([size, reserve].map(Row::new));
        // Operators are never refused a seat that they have.
        Arc::new(Self { claimed: Pool::new(size, usize::MAX - size), rows, measures })
    }

    /// A seat for a new connection, if necessary that of one without a caller.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let (mut rows, wanted) = (self.rows(), Arc::new(Notify::new()));
        let taken = [USUAL, RESERVE].into_iter().find_map(|row| Some((row, rows[row].take(&wanted)?)));
        drop(rows);
        let Some((row, (number, is_free))) = taken else {
            self.measures.limited(Limit::Connections);
            return None;
        };
        if !is_free {
            self.measures.limited(Limit::StrayConnections);
        }
        Some(Seat(Arc::new(Inner { seats: Arc::clone(self), row, number, wanted, ticket: Mutex::default() })))
    }

    fn rows(&self) -> MutexGuard<'_, [Row; 2]> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn new(size: usize) -> Self {
        Self { size, n_taken: 0, n_seen: 0, strays: BTreeMap::new(), without: BTreeSet::new() }
    }

    /// The number of a seat, and whether it was free.
    fn take(&mut self, wanted: &Arc<Notify>) -> Option<(u64, bool)> {
        let is_free = self.n_taken < self.size;
        if is_free {
            self.n_taken += 1;
        } else {
            let (number, first) = self.strays.pop_first()?;
            first.notify_one();
            self.without.insert(number);
        }
        self.n_seen += 1;
        self.strays.insert(self.n_seen, Arc::clone(wanted));
        Some((self.n_seen, is_free))
    }
}

impl Seat {
    /// Whether it is not one of the reserve.
    pub fn is_usual(&self) -> bool {
        self.0.row == USUAL
    }

    /// Completes when another connection needs this seat, so this one must close.
    pub async fn is_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Assigns the connection to a caller of this standing, or to nobody. Returns whether its request may be answered.
    pub fn claim(&self, standing: Option<Standing>) -> bool {
        let inner = &*self.0;
        let mut ticket = inner.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.is_some() && ticket.as_ref().map(|(standing, _)| *standing) == standing {
            return true;
        }
        *ticket = None;
        let is_for_all = self.is_usual() || matches!(standing, Some(Standing::Trusted | Standing::Process));
        if let Some(standing) = standing.filter(|_| is_for_all) {
            *ticket = inner.seats.claimed.try_take(standing).map(|ticket| (standing, ticket));
        }
        let is_claimed = ticket.is_some();
        drop(ticket);
        self.is_stray(!is_claimed);
        let may_ask = is_for_all && (is_claimed || standing.is_none());
        if !may_ask {
            inner.seats.measures.limited(Limit::Connections);
        }
        may_ask
    }

    fn is_stray(&self, is_stray: bool) {
        let Inner { seats, row, number, wanted, ticket: _ } = &*self.0;
        let row = &mut seats.rows()[*row];
        if !is_stray {
            row.strays.remove(number);
        } else if !row.without.contains(number) {
            row.strays.insert(*number, Arc::clone(wanted));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let row = &mut self.seats.rows()[self.row];
        row.strays.remove(&self.number);
        if !row.without.remove(&self.number) {
            row.n_taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ONE: Option<Standing> = Some(Standing::Caller(1));
    const OTHER: Option<Standing> = Some(Standing::Caller(2));

    fn seats(size: usize, reserve: usize) -> Arc<Seats> {
        Seats::new(size, reserve, HttpMeasures::new())
    }

    fn has_to_go(seat: &Seat) -> bool {
        seat.is_wanted().now_or_never().is_some()
    }

    #[test]
    fn a_connection_without_a_caller_gives_way_and_the_first_one_first() {
        let seats = seats(3, 0);
        let strays: Vec<_> = (0..3).map(|_| seats.take().unwrap()).collect();
        assert!(strays[0].claim(ONE));
        let newcomer = seats.take().unwrap();
        assert_eq!([0, 1, 2].map(|i| has_to_go(&strays[i])), [false, true, false]);
        drop(strays);
        assert!(newcomer.claim(OTHER));
        let others: Vec<_> = (0..2).map(|_| seats.take().unwrap()).collect();
        assert!(!others.iter().any(has_to_go), "what is given back is free, once");
        assert_eq!(seats.rows()[USUAL].n_taken, 3);
    }

    #[test]
    fn one_caller_has_half_of_the_seats_and_others_find_room() {
        let seats = seats(8, 0);
        let mut kept = Vec::new();
        let mut n_claimed = [0; 2];
        for (i, caller) in [ONE, OTHER].into_iter().enumerate() {
            for _ in 0..8 {
                let seat = seats.take().unwrap();
                if seat.claim(caller) {
                    n_claimed[i] += 1;
                    kept.push(seat);
                }
            }
        }
        assert_eq!(n_claimed, [4, 2]);
        assert!(seats.take().unwrap().claim(Some(Standing::Trusted)), "operators have no share");
    }

    #[test]
    fn a_connection_belongs_to_the_caller_of_its_latest_request() {
        let seats = seats(2, 0);
        let (shared, own) = (seats.take().unwrap(), seats.take().unwrap());
        assert!(shared.claim(ONE) && shared.claim(ONE) && shared.claim(OTHER));
        assert!(own.claim(ONE), "it holds nothing any more");
        assert!(shared.claim(None));
        assert!(seats.take().is_some() && has_to_go(&shared), "what belongs to nobody gives way");
        assert!(shared.claim(OTHER), "a request that came at the last moment is answered");
    }

    #[test]
    fn the_reserve_is_for_operators_and_what_says_nothing_gives_way_there_too() {
        let seats = seats(1, 2);
        let full = seats.take().unwrap();
        assert!(full.claim(ONE));
        let reserve = [(); 2].map(|()| seats.take().unwrap());
        assert!(reserve.iter().all(|seat| !seat.is_usual()));
        assert!(!reserve[0].claim(OTHER) && !reserve[0].claim(None) && !reserve[0].claim(Some(Standing::Anyone)));
        assert!(reserve[1].claim(Some(Standing::Trusted)));
        let next = seats.take().unwrap();
        assert!(has_to_go(&reserve[0]) && !has_to_go(&reserve[1]));
        assert!(next.claim(Some(Standing::Trusted)));
        assert!(seats.take().is_none(), "everybody here is being answered");
    }
}
