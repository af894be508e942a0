//! Requests the end offsets of partitions from their leaders. Queued callers share one request. A caller that arrives while a
//! request is in flight waits for the next one, because the answer in flight may predate the call.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
};
use tokio::sync::oneshot;

use super::{
    Cluster, ConnectError, PATIENCE, Talk, index_of,
    metadata::{UNKNOWN_FOR, Unseen, explain},
    settings::CONSUMER,
    spawn,
};
use crate::{Partition, ReadError};

/// The timeout of one request, so that a slow leader does not hold up the answers of others for longer. It is asked again.
const ROUND: Duration = Duration::from_millis(500);

/// A handle on the thread that sends the requests.
pub(super) struct Ends {
    questions: mpsc::Sender<Question>,
}

struct Question {
    partitions: Vec<Partition>,
    asked: Instant,
    answer: oneshot::Sender<Result<Vec<u64>, ReadError>>,
}

impl Ends {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Result<Self, ConnectError> {
        let consumer: BaseConsumer<Talk> =
            cluster.client(&[CONSUMER]).create_with_context(Talk).map_err(|error| ConnectError::refused(&error))?;
        let (questions, receiver) = mpsc::channel();
        let asking = Asking { cluster: Arc::clone(cluster), consumer };
        spawn("kafka-ends", move || asking.run(&receiver)).map_err(|reason| ConnectError::Thread { reason })?;
        Ok(Self { questions })
    }

    pub(super) async fn ask(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        let (answer, answered) = oneshot::channel();
        let ended = || ReadError::Unavailable { reason: "the thread that asks for ends has ended".to_owned() };
        let question = Question { partitions: partitions.to_vec(), asked: Instant::now(), answer };
        self.questions.send(question).map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

struct Asking {
    cluster: Arc<Cluster>,
    consumer: BaseConsumer<Talk>,
}

/// The answer of each partition's leader.
type Answers = HashMap<Partition, Result<u64, Unseen>>;

impl Asking {
    fn run(&self, questions: &mpsc::Receiver<Question>) {
        let mut open: Vec<Question> = Vec::new();
        loop {
            if open.is_empty() {
                let Ok(question) = questions.recv() else { return };
                open.push(question);
            } else {
                // The leadership is moving, or a broker is down.
                thread::sleep(Duration::from_millis(50));
            }
            open.extend(questions.try_iter());
            open.retain(|question| !question.answer.is_closed());
            open = self.answer(open);
            // Process the client's log lines and errors.
            while self.consumer.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Answers the questions. Returns those that should be retried.
    fn answer(&self, questions: Vec<Question>) -> Vec<Question> {
        let wanted: BTreeSet<&Partition> = questions.iter().flat_map(|question| &question.partitions).collect();
        let answers = self.ask_all(&Vec::from_iter(wanted));
        questions.into_iter().filter_map(|question| question.settle(&answers)).collect()
    }

    fn ask_all(&self, wanted: &[&Partition]) -> Answers {
        if let [only] = wanted {
            return HashMap::from([((*only).clone(), self.ask_alone(only))]);
        }
        let together = self.ask(wanted).unwrap_or_default();
        let mut answers: Answers =
            together.into_iter().filter_map(|(partition, end)| Some((partition, Ok(end.ok()?)))).collect();
        // If one leader does not answer, the combined request fails for all partitions.
        let left: Vec<&Partition> = wanted.iter().copied().filter(|wanted| !answers.contains_key(wanted)).collect();
        answers.extend(self.ask_each(&left));
        answers
    }

    /// Asks for each partition separately, all concurrently.
    fn ask_each(&self, partitions: &[&Partition]) -> Answers {
        thread::scope(|scope| {
            let ask = |partition| thread::Builder::new().spawn_scoped(scope, move || self.ask_alone(partition));
            let asking: Vec<_> = partitions.iter().map(|partition| ask(partition)).collect();
            let panicked = |_| Err(Unseen::Trouble("the thread that asked for it has ended".to_owned()));
            let answers = partitions.iter().zip(asking).map(|(partition, thread)| {
                let asked = thread.map_err(|error| Unseen::Trouble(error.to_string()));
                ((*partition).clone(), asked.and_then(|thread| thread.join().unwrap_or_else(panicked)))
            });
            answers.collect()
        })
    }

    fn ask_alone(&self, partition: &Partition) -> Result<u64, Unseen> {
        let asked = self.ask(&[partition]);
        let end = asked.and_then(|mut ends| ends.remove(partition).unwrap_or(Err(KafkaError::Canceled)));
        let name = self.cluster.name(&partition.topic);
        end.map_err(|error| explain(self.consumer.client(), partition, &name, &error, ROUND))
    }

    fn ask(&self, partitions: &[&Partition]) -> KafkaResult<HashMap<Partition, KafkaResult<u64>>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // A lookup by time with "the end" as the time covers many partitions in one request.
            list.add_partition_offset(&self.cluster.name(&partition.topic), index_of(partition), Offset::End)?;
        }
        let found = self.consumer.offsets_for_times(list, ROUND)?;
        let end = |partition: &Partition| {
            let element = found.find_partition(&self.cluster.name(&partition.topic), index_of(partition))?;
            Some((partition.clone(), end_of(&element)))
        };
        Ok(partitions.iter().filter_map(|partition| end(partition)).collect())
    }
}

fn end_of(element: &TopicPartitionListElem<'_>) -> KafkaResult<u64> {
    element.error()?;
    match element.offset() {
        Offset::Offset(end) => {
            u64::try_from(end).map_err(|_| KafkaError::OffsetFetch(RDKafkaErrorCode::InvalidArgument))
        }
        // Not answered.
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => {
            Err(KafkaError::OffsetFetch(RDKafkaErrorCode::OffsetNotAvailable))
        }
    }
}

impl Question {
    /// Answers the question, or returns it for a retry.
    fn settle(self, answers: &Answers) -> Option<Self> {
        let mut ends = Vec::with_capacity(self.partitions.len());
        for partition in &self.partitions {
            let Some(answer) = answers.get(partition) else { return Some(self) };
            match answer {
                Ok(end) => ends.push(*end),
                Err(unseen) if self.may_pass(unseen) => return Some(self),
                Err(unseen) => {
                    // The caller may have stopped waiting.
                    let _ = self.answer.send(Err(unseen.read_error(&partition.topic)));
                    return None;
                }
            }
        }
        let _ = self.answer.send(Ok(ends));
        None
    }

    fn may_pass(&self, unseen: &Unseen) -> bool {
        match unseen {
            Unseen::Missing => self.asked.elapsed() < UNKNOWN_FOR,
            Unseen::Refused(_) => false,
            Unseen::Trouble(_) => self.asked.elapsed() < PATIENCE,
        }
    }
}
