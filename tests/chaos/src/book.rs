//! What clients asked and were told, written down as it happens.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use orderlog_history::{Line, Outcome};

/// What clients have heard of.
#[derive(Debug, Default)]
pub struct Known {
    /// Customers that were created.
    pub customers: Vec<String>,
    /// Orders that were placed, with what is due.
    pub orders: Vec<(String, i64)>,
    /// Reservations that were asked for.
    pub reservations: Vec<String>,
    /// Notifications that were told.
    pub notifications: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Book {
    lines: Mutex<Vec<Line>>,
    known: Mutex<Known>,
    /// Asked and not answered yet.
    in_flight: AtomicUsize,
    n_answered: AtomicU64,
    /// Clients finish what they are at, and end.
    ends: AtomicBool,
    /// Answers that no client should ever get, each with where it was seen first.
    scandals: Mutex<BTreeMap<String, String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// What is known, to look at or to add to.
    pub fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut lock(&self.known))
    }

    pub fn asking(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    /// It was answered, or never will be.
    pub fn answered(&self, line: Option<Line>) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.n_answered.fetch_add(1, Ordering::SeqCst);
        lock(&self.lines).extend(line);
    }

    /// How many questions are not answered yet.
    pub fn n_in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub fn n_answered(&self) -> u64 {
        self.n_answered.load(Ordering::SeqCst)
    }

    /// An answer that should not be.
    pub fn scandal(&self, what: String, seen: String) {
        lock(&self.scandals).entry(what).or_insert(seen);
    }

    /// What should not have been answered.
    pub fn scandals(&self) -> Vec<String> {
        lock(&self.scandals).iter().map(|(what, seen)| format!("{what}: {seen}")).collect()
    }

    pub fn end(&self) {
        self.ends.store(true, Ordering::SeqCst);
    }

    /// Whether they are to end.
    pub fn is_to_end(&self) -> bool {
        self.ends.load(Ordering::SeqCst)
    }

    pub fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// What clients were told of their attempts, counted.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for line in lock(&self.lines).iter() {
            let what = match line {
                Line::Attempt(attempt) => match attempt.outcome {
                    Outcome::Acknowledged { replayed: false, .. } => "acknowledged",
                    Outcome::Acknowledged { replayed: true, .. } => "repeated",
                    Outcome::Refused(_) => "refused",
                    Outcome::OtherVersion(_) | Outcome::KeyReused | Outcome::NotDone => "not done",
                    Outcome::Unknown => "unknown",
                },
                Line::Read(_) => "reads",
                Line::Restored => continue,
            };
            *counts.entry(what).or_default() += 1;
        }
        counts
    }
}
