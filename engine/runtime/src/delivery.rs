//! Deliveries: HTTP calls that follow from the service's own journal, where no public event carries the information.
//!
//! They are made at least once, with a key that derives from the record they follow from. The receiver keeps keys as long as its
//! log, so repeating a call has no effect, even after all positions were lost.

use std::{fmt::Display, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use orderlog_core::{decider::Decider, header::Header, planted::Bug, public::event_id};
use orderlog_eventlog::{Lease, Partition};
use orderlog_readmodel::Rows;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    background::Progress,
    marks,
    relay::{RelayError, Settled, settled, stand},
    replica::Replica,
    trace::{self, Kind, Span},
};

/// Attempts before a delivery is abandoned. With the pauses in between they take about two minutes.
const N_ATTEMPTS_MAX: u32 = 10;
/// The pause after the first failure. It doubles after each further failure, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Receives notices: another service, over HTTP. Each call has a timeout of its own.
#[async_trait]
pub trait Notifier<N>: Send + Sync + 'static {
    /// Makes one attempt to deliver `notice`. `key` is the same for every attempt at the same notice. The call belongs to the [trace of
    /// the task](crate::trace::current).
    ///
    /// # Errors
    /// Why the attempt failed. Another attempt may succeed.
    async fn tell(&self, notice: &N, key: Uuid) -> Result<(), String>;
}

pub struct Target<N> {
    pub notifier: Arc<dyn Notifier<N>>,
    /// The journal to which a notice is appended as a record.
    pub journal: &'static str,
}

/// Delivers `notice`, with a bounded number of retries. Never fails: a notice that cannot be delivered is logged by its `Display`.
pub async fn tell_patiently<N: Display + 'static>(notifier: &dyn Notifier<N>, notice: &N, key: Uuid, subject: &str) {
    let mut pause = PAUSE;
    for attempt in 1..=N_ATTEMPTS_MAX {
        match notifier.tell(notice, key).await {
            Ok(()) => return info!(%key, attempt, "notified {notice} of {subject}"),
            Err(failure) if attempt == N_ATTEMPTS_MAX => {
                warn!(%key, attempt, "abandoned the notice to {notice} of {subject}: {failure}");
            }
            Err(failure) => {
                warn!(%key, attempt, "could not notify {notice} of {subject} yet: {failure}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Delivers what `notice` returns for each accepted event, from the last committed position, until something fails. A notice that
/// cannot be delivered holds back the next ones while it is retried.
///
/// # Errors
/// [`RelayError`]. A restart resumes from the last commit.
pub async fn run<D: Decider, R: Rows<D>, N: Display + Send + Sync + 'static>(
    replica: Replica<D, R>,
    lease: Arc<dyn Lease>,
    target: Target<N>,
    notice: fn(&D::Event) -> Option<N>,
) -> Result<(), RelayError> {
    let genesis = replica.genesis().await?;
    let (mut progress, from) = Progress::load(&replica, lease, "deliveries", vec![Replica::<D>::journal()]).await?;
    let mut reading = replica.log().read(from);
    let output = Partition::journal(target.journal);
    loop {
        tokio::select! {
            biased;
            () = progress.due() => if progress.commit().await?.is_break() {
                return Ok(());
            },
            batch = reading.next() => {
                let Some(batch) = batch else { return Ok(()) };
                let batch = batch?;
                let Settled { accepted, last, ends } = settled(&replica, &batch).await?;
                let mut has_delivered = false;
                for recorded in accepted {
                    if let Some(notice) = notice(&recorded.event) {
                        // Public events of a record are numbered from 0, so this number is unique.
                        let key = event_id(genesis.log_id, recorded.offset, usize::MAX);
                        let key = if Bug::NotifyOnReplay.is_loose() { replica.setup().environment.mint() } else { key };
                        let subject = format!("{}@{}", D::JOURNAL, recorded.offset);
                        let Header { origin, time_ms, .. } = &recorded.header;
                        let name = || "deliver a notice".to_owned();
                        let mut span = Span::follow(Kind::Producer, name, (origin.trace.as_deref(), *time_ms));
                        span.set("orderlog.service", D::JOURNAL);
                        let telling = tell_patiently(target.notifier.as_ref(), &notice, key, &subject);
                        let trace = span.trace().filter(|_| !Bug::DeliverWithoutTrace.is_loose());
                        trace::scope(trace.map(str::to_owned), telling).await;
                        has_delivered = true;
                    }
                }
                if has_delivered && let Some(mark) = marks::of_last(replica.log().as_ref(), &output).await? {
                    progress.add_output(mark);
                }
                if let Some(last) = last {
                    progress.done(last);
                }
                if let Some(why) = ends {
                    return stand(progress, why).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Takes as long as a call may, and never succeeds.
    #[derive(Default)]
    struct Deaf(Mutex<Vec<(&'static str, Uuid)>>);

    #[async_trait]
    impl Notifier<&'static str> for Deaf {
        async fn tell(&self, notice: &&'static str, key: Uuid) -> Result<(), String> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((*notice, key));
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err("nobody answers".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_is_abandoned_after_ten_attempts_with_one_key_in_about_two_minutes() {
        let (deaf, key) = (Deaf::default(), Uuid::from_u128(7));
        let notice = "operations";
        let begun = tokio::time::Instant::now();
        tell_patiently(&deaf, &notice, key, "shelves@7").await;
        assert!((100..140).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        assert_eq!(deaf.0.into_inner().unwrap(), vec![(notice, key); 10]);
    }
}
