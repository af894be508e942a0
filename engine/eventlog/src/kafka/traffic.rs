//! Counts requests to the brokers, from librdkafka's statistics of the producer.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Statistics;

use crate::Traffic;

/// The counts of all producers of a log, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<Mutex<Traffic>>);

impl Counts {
    pub(super) fn get(&self) -> Traffic {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a client has counted since `before`, its previous counts.
    pub(super) fn add(&self, now: Traffic, before: Traffic) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.requests += now.requests.saturating_sub(before.requests);
        all.errors += now.errors.saturating_sub(before.errors);
        all.throttled_ms = now.throttled_ms;
    }
}

/// Returns the counts of a client.
pub(super) fn of(statistics: &Statistics) -> Traffic {
    statistics.brokers.values().fold(Traffic::default(), |sum, broker| {
        let throttled = broker.throttle.as_ref().map_or(0, |throttle| throttle.max);
        Traffic {
            requests: sum.requests + broker.tx,
            errors: sum.errors + broker.txerrs + broker.rxerrs + broker.req_timeouts,
            throttled_ms: sum.throttled_ms.max(u64::try_from(throttled).unwrap_or(0)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_client_adds_to_what_the_one_before_it_has_counted() {
        let (counts, none) = (Counts::default(), Traffic::default());
        let counted = |requests, errors, throttled_ms| Traffic { requests, errors, throttled_ms };
        counts.add(counted(5, 1, 30), none);
        counts.add(counted(9, 1, 20), counted(5, 1, 30));
        counts.add(counted(2, 0, 0), none);
        assert_eq!(counts.get(), counted(11, 1, 0));
    }
}
