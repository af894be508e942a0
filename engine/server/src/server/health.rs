//! Liveness and readiness.
//!
//! A process is live if it answers; nothing else is checked, since a restart repairs neither a broker nor a disk. It is
//! ready if it can do its work: it has caught up once since its start, log and read models answer, its background tasks
//! run, its read models are not too far behind, and it is not about to stop.
//!
//! It is ready but degraded if every request can still be answered, except about the keys of parked records: a background
//! task waits for a record to be repaired, or something is missing that the services can do without, such as Redis.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use orderlog_core::words;
use orderlog_http::{
    names::ServiceName,
    probe::{Probe, Standing},
    service::mounted::{Dependency, RouteTable},
};
use orderlog_runtime::{
    background::{Trouble, Troubles, Unreadable},
    now_ms,
    replica::State,
};
use poem::{
    EndpointExt, Response,
    endpoint::make,
    http::{Method, StatusCode},
};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::json_answer;
use crate::topics::{Fault, Topics};

/// How long each check may take.
const WAIT: Duration = Duration::from_secs(2);

/// How far read models may be behind.
#[derive(Clone, Copy, Debug)]
pub struct LagLimits {
    /// A service whose read model is farther behind than this, in milliseconds, is not ready.
    pub unready_ms: u64,
    /// Then it becomes ready again at this lag or below; a single limit would make it flap.
    pub ready_ms: u64,
}

impl LagLimits {
    fn is_too_far(self, was_too_far: bool, ms: u64) -> bool {
        if was_too_far { ms > self.ready_ms.min(self.unready_ms) } else { ms > self.unready_ms }
    }
}

/// The health checks of this process.
#[derive(Clone)]
pub struct Health {
    pub probes: Vec<(ServiceName, Arc<dyn Probe>)>,
    /// Other systems that the services use, by name.
    pub dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
    /// Failures of their background tasks.
    pub troubles: Troubles,
    pub topics: Topics,
    /// Background tasks, with their services, without which every request can still be answered.
    pub dispensable: Vec<String>,
    /// Turns true when the process is about to stop.
    pub leaving: watch::Receiver<bool>,
    pub limits: LagLimits,
    /// Services that were too far behind at the last check.
    pub too_far: Arc<Mutex<BTreeMap<ServiceName, bool>>>,
}

impl Health {
    /// `/livez` and `/readyz`.
    pub fn add_routes(self, table: &mut RouteTable) {
        let alive = make(|_| async { Ok::<_, poem::Error>(json_answer(StatusCode::OK, &json!({ "alive": true }))) });
        table.entry("/livez".to_owned()).or_default().insert(Method::GET, alive.boxed());
        let ready = make(move |_| {
            let health = self.clone();
            async move { Ok::<_, poem::Error>(health.readiness().await) }
        });
        table.entry("/readyz".to_owned()).or_default().insert(Method::GET, ready.boxed());
    }

    async fn readiness(&self) -> Response {
        let standings =
            join_all(self.probes.iter().map(|(name, probe)| async move { (*name, probe.standing(WAIT).await) }));
        let dependencies = join_all(self.dependencies.iter().map(|(name, dependency)| async move {
            let answer = tokio::time::timeout(WAIT, dependency.answers()).await;
            (*name, answer.unwrap_or_else(|_| Err("it does not answer".to_owned())))
        }));
        let (standings, dependencies) = tokio::join!(standings, dependencies);
        let (troubles, stopping) = (self.troubles.all(), *self.leaving.borrow());
        let (degrading, disabling): (Vec<_>, Vec<_>) = troubles.iter().partition(|trouble| self.degrades(trouble));
        let topics = self.topics.faults();
        let mut ready = !stopping && disabling.is_empty() && !topics.iter().any(|fault| fault.is_serious);
        let mut degraded: Vec<Value> = degrading.iter().map(|trouble| of_task(trouble)).collect();
        let mut services = Map::new();
        for (name, standing) in standings {
            let is_too_far = self.is_too_far(name, standing.behind_ms);
            ready &= is_well(&standing) && !is_too_far;
            let is_reported = |trouble: &&Trouble| trouble.service == name.as_str() && trouble.waits_for.is_some();
            degraded.extend(standing.parked.filter(|_| !degrading.iter().any(is_reported)).map(of_record));
            services.insert(name.to_string(), shown(standing, is_too_far));
        }
        degraded
            .extend(dependencies.iter().filter_map(|(name, answer)| Some(of_dependency(name, answer.as_ref().err()?))));
        degraded.extend(topics.iter().filter(|fault| !fault.is_serious).map(of_topic));
        let topics = topics.iter().filter(|fault| fault.is_serious);
        let topics = topics.map(|fault| (format!("topic {}", fault.topic), fault.why.clone().into()));
        let troubles = troubles.iter().map(|it| (named(it), it.why.clone().into()));
        let troubles: Map<String, Value> = troubles.chain(topics).collect();
        let mut answer = json!({ "ready": ready, "degraded": degraded, "services": services, "troubles": troubles });
        if !dependencies.is_empty() {
            let shown = dependencies.into_iter().map(|(name, answer)| (name.to_owned(), answers(answer)));
            answer["dependencies"] = shown.collect::<Map<_, _>>().into();
        }
        if stopping {
            answer["stopping"] = true.into();
        }
        json_answer(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &answer)
    }

    /// Whether the process is ready despite this trouble.
    fn degrades(&self, trouble: &Trouble) -> bool {
        trouble.waits_for.is_some() || self.dispensable.contains(&named(trouble))
    }

    fn is_too_far(&self, service: ServiceName, ms: u64) -> bool {
        let mut all = self.too_far.lock().unwrap_or_else(PoisonError::into_inner);
        let is_too_far = all.entry(service).or_default();
        *is_too_far = self.limits.is_too_far(*is_too_far, ms);
        *is_too_far
    }
}

/// The task of a trouble, with its service.
fn named(trouble: &Trouble) -> String {
    format!("{} {}", trouble.service, trouble.task)
}

/// The degradation by a background task.
fn of_task(trouble: &Trouble) -> Value {
    let mut degraded = match trouble.waits_for {
        Some(record) => of_record(record),
        None => json!({
            "service": trouble.service,
            "age_seconds": trouble.since.elapsed().as_secs(),
            "remedy": "None for the service: it answers without this task, which is tried again every second.",
        }),
    };
    degraded["task"] = trouble.task.into();
    degraded["why"] = trouble.why.clone().into();
    degraded
}

/// The degradation by a parked record.
fn of_record(record: Unreadable) -> Value {
    let Unreadable { journal, offset, .. } = record;
    let program = words::program();
    json!({
        "service": journal,
        "record": record.to_string(),
        "age_seconds": record.age(now_ms()).as_secs(),
        "why": format!("{record} is parked"),
        "remedy": format!("`{program} parked show {journal} {offset}` shows the reason. Update this instance, or discard the record."),
    })
}

fn of_dependency(name: &str, why: &str) -> Value {
    json!({ "dependency": name, "why": why, "remedy": format!("Restore {name}. Requests are answered without it.") })
}

fn of_topic(fault: &Fault) -> Value {
    json!({ "topic": fault.topic.to_string(), "why": fault.why, "remedy": fault.advice })
}

fn is_well(standing: &Standing) -> bool {
    let Standing { state, end, rows, trouble, .. } = standing;
    *state == State::Ready && end.is_ok() && rows.is_ok() && trouble.is_none()
}

fn answers(answer: Result<(), String>) -> Value {
    match answer {
        Ok(()) => json!({ "answers": true }),
        Err(why) => json!({ "answers": false, "why": why }),
    }
}

fn shown(standing: Standing, is_too_far: bool) -> Value {
    let Standing { state, position, end, behind_ms, rows, trouble, parked: _ } = standing;
    let (state, why) = match state {
        State::CatchingUp => ("catching_up", None),
        State::Preparing => ("preparing", None),
        State::Ready => ("ready", trouble.or_else(|| is_too_far.then(|| "its rows are too far behind".to_owned()))),
        State::Stopped(why) => ("stopped", Some(why)),
    };
    #[expect(clippy::cast_precision_loss, reason = "a lag of 2^53 milliseconds is not reached")]
    let mut shown = json!({ "state": state, "position": position, "lag_seconds": behind_ms as f64 / 1_000.0 });
    match end {
        Ok(end) => {
            shown["end"] = end.into();
            shown["lag"] = end.saturating_sub(position).into();
        }
        Err(why) => shown["log"] = why.into(),
    }
    if let Err(why) = rows {
        shown["rows"] = why.into();
    }
    if let Some(why) = why {
        shown["why"] = why.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_too_far_behind_has_to_come_well_below_the_limit() {
        let limits = LagLimits { unready_ms: 30_000, ready_ms: 5_000 };
        let mut is_too_far = false;
        for (ms, wanted) in [
            (0, false),
            (30_000, false),
            (30_001, true),
            (20_000, true),
            (5_001, true),
            (5_000, false),
            (20_000, false),
        ] {
            is_too_far = limits.is_too_far(is_too_far, ms);
            assert_eq!(is_too_far, wanted, "{ms}");
        }
        assert!(!LagLimits { unready_ms: 10, ready_ms: 50 }.is_too_far(true, 10), "the lower one counts");
    }
}
