//! Looks at topics again while they are in use, with the rules by which they are checked at the start.

use std::sync::{Mutex, PoisonError};

use rdkafka::admin::AdminClient;
use tokio::runtime::Handle;

use super::{
    Cluster, Talk,
    admin::{SETTINGS, describe_once, look_until_seen, wrong_setting, wrong_shape},
    metadata::{UNKNOWN_FOR, Unseen, range},
};
use crate::{Partition, TopicError, TopicFault, TopicSpec, TopicState};

/// One client for all looks, created by the first one.
#[derive(Default)]
pub(super) struct Inspector(Mutex<Option<AdminClient<Talk>>>);

impl Inspector {
    /// Blocks.
    pub fn inspect(
        &self,
        cluster: &Cluster,
        topics: &[TopicSpec],
        runtime: &Handle,
    ) -> Result<Vec<TopicState>, TopicError> {
        let mut admin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admin = match &mut *admin {
            Some(admin) => admin,
            none => {
                let created = cluster.client(&[SETTINGS]).create_with_context(Talk);
                none.insert(created.map_err(|error| TopicError::Unavailable { reason: error.to_string() })?)
            }
        };
        let mut states = Vec::with_capacity(topics.len());
        for spec in topics {
            states.push(look_at(admin, cluster, spec)?);
        }
        let there = states.iter().filter(|state| !state.starts.is_empty());
        let names: Vec<_> = there.map(|state| cluster.name(&state.topic)).collect();
        let configs = describe_once(admin, &names, runtime)?;
        for state in &mut states {
            let drift = configs.get(&cluster.name(&state.topic)).and_then(wrong_setting);
            state.faults.extend(drift.map(TopicFault::from));
        }
        Ok(states)
    }
}

/// Looks at everything but the settings of a topic.
fn look_at(admin: &AdminClient<Talk>, cluster: &Cluster, spec: &TopicSpec) -> Result<TopicState, TopicError> {
    let unavailable = |reason| TopicError::Unavailable { reason };
    let shape = match look_until_seen(admin, cluster, spec, UNKNOWN_FOR) {
        Ok(shape) => shape,
        Err(Unseen::Missing) => return Ok(TopicState::missing(spec)),
        Err(Unseen::Refused(reason) | Unseen::Trouble(reason)) => return Err(unavailable(reason)),
    };
    let mut starts = Vec::new();
    for index in 0..shape.partitions {
        let partition = Partition::new(spec.name.clone(), index);
        match range(admin.inner(), &partition, &cluster.name(&spec.name)) {
            Ok((start, _)) => starts.push(u64::try_from(start).unwrap_or_default()),
            Err(Unseen::Missing) => return Ok(TopicState::missing(spec)),
            Err(Unseen::Refused(reason) | Unseen::Trouble(reason)) => return Err(unavailable(reason)),
        }
    }
    let mut state = TopicState::beginning_at(spec, starts);
    state.faults.extend(wrong_shape(spec, &shape).map(TopicFault::from));
    Ok(state)
}
