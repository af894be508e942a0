//! Reads the positions of groups that this process is not a member of, on one thread and with a client per group that never joins.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, mpsc},
    time::Duration,
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::oneshot;

use super::{
    Cluster, ConnectError, ONE_CALL, PATIENCE, Talk,
    lease::{any_offset, list_of, positions_in, unavailable},
    settings::CONSUMER,
    spawn,
};
use crate::{LeaseError, Partition, Position};

type Positions = Result<Vec<Option<Position>>, LeaseError>;

/// A handle on the thread that sends the requests.
pub(super) struct Groups {
    questions: mpsc::Sender<Question>,
}

struct Question {
    group: String,
    partitions: Vec<Partition>,
    answer: oneshot::Sender<Positions>,
}

impl Groups {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Result<Self, ConnectError> {
        let (questions, receiver) = mpsc::channel::<Question>();
        let mut asking = Asking { cluster: Arc::clone(cluster), clients: HashMap::new() };
        let run = move || {
            for Question { group, partitions, answer } in &receiver {
                // The caller may have stopped waiting, now or during the request.
                if !answer.is_closed() {
                    drop(answer.send(asking.positions(group, &partitions)));
                }
            }
        };
        spawn("kafka-groups", run).map_err(|reason| ConnectError::Thread { reason })?;
        Ok(Self { questions })
    }

    pub(super) async fn positions(&self, group: &str, partitions: &[Partition]) -> Positions {
        let (answer, answered) = oneshot::channel();
        let failed = |reason: String| LeaseError::Unavailable { reason };
        let ended = || failed("the thread that asks for positions has ended".to_owned());
        let question = Question { group: group.to_owned(), partitions: partitions.to_vec(), answer };
        self.questions.send(question).map_err(|_| ended())?;
        let late = |_| failed(format!("no answer within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, answered).await.map_err(late)?.map_err(|_| ended())?
    }
}

struct Asking {
    cluster: Arc<Cluster>,
    /// Bounded by the number of services, each of which has one group.
    clients: HashMap<String, BaseConsumer<Talk>>,
}

impl Asking {
    fn positions(&mut self, group: String, partitions: &[Partition]) -> Positions {
        let client = match self.clients.entry(group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let mut config = self.cluster.client(&[CONSUMER]);
                config.set("group.id", self.cluster.name(new.key()));
                new.insert(config.create_with_context(Talk).map_err(|error| unavailable(&error))?)
            }
        };
        let list = list_of(&self.cluster, any_offset(partitions))?;
        let found = client.committed_offsets(list, ONE_CALL).map_err(|error| unavailable(&error));
        // Process the client's log lines and errors.
        while client.poll(Duration::ZERO).is_some() {}
        positions_in(&self.cluster, &found?, partitions)
    }
}
