//! What operators ask: is it alive, is it ready?

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use orderlog_service::{duty::Troubles, replica::State};
use poem::{
    EndpointExt, Response,
    endpoint::make,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};

use super::json_answer;
use crate::services::{Probe, RouteTable, ServiceName, Standing};

/// How long the log has to say where journals end.
const WAIT: Duration = Duration::from_secs(2);

/// How this process does.
#[derive(Clone)]
pub struct Operations {
    /// Its services.
    pub probes: BTreeMap<ServiceName, Arc<dyn Probe>>,
    /// What is wrong with their duties.
    pub troubles: Troubles,
}

impl Operations {
    /// `/livez` and `/readyz`.
    pub fn add_routes(self, table: &mut RouteTable) {
        let alive = make(|_| async { Ok::<_, poem::Error>(json_answer(StatusCode::OK, &json!({ "alive": true }))) });
        table.entry("/livez".to_owned()).or_default().insert(Method::GET, alive.boxed());
        let ready = make(move |_| {
            let operations = self.clone();
            async move { Ok::<_, poem::Error>(operations.readiness().await) }
        });
        table.entry("/readyz".to_owned()).or_default().insert(Method::GET, ready.boxed());
    }

    async fn readiness(&self) -> Response {
        let standings = join_all(self.probes.iter().map(|(name, probe)| async move {
            (name.as_str(), tokio::time::timeout(WAIT, probe.standing()).await.ok())
        }))
        .await;
        let troubles = self.troubles.all();
        let standing_well = |standing: &Option<Standing>| {
            standing.as_ref().is_some_and(|it| it.state == State::Ready && it.end.is_ok() && it.trouble.is_none())
        };
        let ready = troubles.is_empty() && standings.iter().all(|(_, standing)| standing_well(standing));
        let services: serde_json::Map<String, Value> =
            standings.into_iter().map(|(name, standing)| (name.to_owned(), shown(standing))).collect();
        let troubles: serde_json::Map<String, Value> =
            troubles.into_iter().map(|(duty, why)| (duty, why.into())).collect();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_answer(status, &json!({ "ready": ready, "services": services, "troubles": troubles }))
    }
}

fn shown(standing: Option<Standing>) -> Value {
    let Some(Standing { state, position, end, trouble }) = standing else {
        return json!({ "log": "it does not say where the journal ends" });
    };
    let (state, why) = match state {
        State::CatchingUp => ("catching_up", None),
        State::Ready => ("ready", trouble),
        State::Stopped(why) => ("stopped", Some(why)),
    };
    let mut shown = json!({ "state": state, "position": position });
    match end {
        Ok(end) => {
            shown["end"] = end.into();
            shown["lag"] = end.saturating_sub(position).into();
        }
        Err(why) => shown["log"] = why.into(),
    }
    if let Some(why) = why {
        shown["why"] = why.into();
    }
    shown
}
