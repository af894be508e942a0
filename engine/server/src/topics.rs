//! Watches the topics of this process's services for what others do to them. What a start would refuse, and lost records of a journal, make
//! the process not ready until it is mended. Lost records of a public topic only degrade it: nothing of the system of record is gone, and
//! commands and queries are not affected.

use std::{sync::Arc, time::Duration};

use orderlog_core::words;
use orderlog_eventlog::{EventLog, TopicFault, TopicKind, TopicSpec, TopicState};
use orderlog_http::names::ServiceName;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::registry::Registry;

/// The interval between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The topics that a process depends on, as of the last look that succeeded.
#[derive(Clone)]
pub struct Topics(watch::Receiver<Vec<TopicState>>);

/// Everything that is wrong with a topic.
pub struct Fault {
    pub topic: Arc<str>,
    /// Whether it makes the process not ready.
    pub is_serious: bool,
    pub why: String,
    pub advice: String,
}

impl Topics {
    /// Watches the topics of these services until the process stops: their journals, and what they publish and consume.
    pub fn watch(
        registry: &Registry,
        services: &[ServiceName],
        log: Arc<dyn EventLog>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(keep_looking(log, topics_of(registry, services), sender, stopping));
        Self(receiver)
    }

    pub fn states(&self) -> Vec<TopicState> {
        self.0.borrow().clone()
    }

    /// Returns the topics that are not in order.
    pub fn faults(&self) -> Vec<Fault> {
        let states = self.0.borrow();
        let faulty = states.iter().filter(|state| !state.faults.is_empty());
        faulty.map(Fault::of).collect()
    }
}

impl Fault {
    fn of(TopicState { topic, kind, faults, .. }: &TopicState) -> Self {
        let join = |texts: Vec<String>| texts.join("; ");
        Self {
            topic: Arc::clone(topic),
            is_serious: faults.iter().any(|fault| is_serious(*kind, fault)),
            why: join(faults.iter().map(ToString::to_string).collect()),
            advice: join(faults.iter().map(|fault| advice(topic, *kind, fault)).collect()),
        }
    }
}

fn topics_of(registry: &Registry, services: &[ServiceName]) -> Vec<TopicSpec> {
    let is_used = |topic: &str| {
        let mut services = registry.those(services);
        services.any(|service| {
            let publishes = service.topics().iter().any(|(published, _)| *published == topic);
            publishes || service.name().as_str() == topic || service.consumes(topic)
        })
    };
    registry.topics().into_iter().filter(|spec| is_used(&spec.name)).collect()
}

fn is_serious(kind: TopicKind, fault: &TopicFault) -> bool {
    match (kind, fault) {
        (TopicKind::Public, TopicFault::Trimmed { .. }) => false,
        (TopicKind::Journal | TopicKind::Public, _) => true,
    }
}

async fn keep_looking(
    log: Arc<dyn EventLog>,
    topics: Vec<TopicSpec>,
    states: watch::Sender<Vec<TopicState>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        match log.inspect(&topics).await {
            Ok(found) => {
                report(&states.borrow(), &found);
                states.send_replace(found);
            }
            // Readiness asks the log itself.
            Err(error) => debug!("the topics can't be looked at: {error}"),
        }
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Logs each fault when it appears, and each topic that has none any more.
fn report(before: &[TopicState], now: &[TopicState]) {
    let faults_before = |topic: &str| before.iter().find(|state| *state.topic == *topic).map(|state| &state.faults[..]);
    for TopicState { topic, kind, faults, .. } in now {
        let known = faults_before(topic).unwrap_or_default();
        for fault in faults.iter().filter(|fault| !known.contains(fault)) {
            let advice = advice(topic, *kind, fault);
            if is_serious(*kind, fault) {
                error!(%topic, "topic {topic}: {fault}. {advice}");
            } else {
                warn!(%topic, "topic {topic}: {fault}. {advice}");
            }
        }
        if faults.is_empty() && !known.is_empty() {
            info!(%topic, "topic {topic} is in order again");
        }
    }
}

fn advice(topic: &str, kind: TopicKind, fault: &TopicFault) -> String {
    let program = words::program();
    match (kind, fault) {
        (TopicKind::Journal, TopicFault::Missing | TopicFault::Trimmed { .. }) => format!(
            "Keep the read models and snapshots, which may be the last copy. Stop all processes, and restore the journals from an export \
             with `{program} log import`"
        ),
        (TopicKind::Journal, TopicFault::Setting { setting, .. }) if setting == "partitions" => format!(
            "Kafka can't remove partitions: export the journals with `{program} log export`, and import them under another \
             --topic-prefix"
        ),
        (TopicKind::Journal | TopicKind::Public, TopicFault::Setting { .. }) => {
            "Set it back before the brokers delete or refuse records: `kafka-configs.sh --alter --entity-type topics`"
                .to_owned()
        }
        (TopicKind::Public, TopicFault::Missing | TopicFault::Trimmed { .. }) => format!(
            "Consumers that have not read its events miss them: stop the processes that publish to it, and restore it with `{program} \
             log republish {topic}`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_refuses_and_lost_records_of_a_journal_are_serious() {
        let trimmed = TopicFault::Trimmed { partition: 0, first: 7 };
        let setting = TopicFault::Setting { setting: "retention.ms".into(), found: "1".into(), wanted: "-1".into() };
        for (kind, fault, serious) in [
            (TopicKind::Journal, &TopicFault::Missing, true),
            (TopicKind::Journal, &setting, true),
            (TopicKind::Journal, &trimmed, true),
            (TopicKind::Public, &TopicFault::Missing, true),
            (TopicKind::Public, &setting, true),
            (TopicKind::Public, &trimmed, false),
        ] {
            assert_eq!(is_serious(kind, fault), serious, "{kind:?}, {fault}");
        }
    }
}
