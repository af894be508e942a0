//! Where partitions end, asked of their leaders. Many callers share one question: what has queued is asked at once, and
//! whoever comes while an answer is on its way waits for the next one, because the answer on its way may be from before.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::oneshot;

use super::{CONSUMER, Cluster, ConnectError, ONE_CALL, PATIENCE, Talk, index_of, is_unknown_topic, spawn};
use crate::{Partition, ReadError};

/// A handle on the thread that asks.
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
        let consumer: BaseConsumer<Talk> = cluster
            .client(&[CONSUMER])
            .create_with_context(Talk)
            .map_err(|error| ConnectError::Refused { reason: error.to_string() })?;
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

/// What each partition's leader said.
type Answers = HashMap<Partition, Result<u64, KafkaError>>;

impl Asking {
    fn run(&self, questions: &mpsc::Receiver<Question>) {
        let mut open: Vec<Question> = Vec::new();
        loop {
            if open.is_empty() {
                let Ok(question) = questions.recv() else { return };
                open.push(question);
            } else {
                // A leader is moving, or a broker is away.
                std::thread::sleep(Duration::from_millis(20));
            }
            open.extend(questions.try_iter());
            open.retain(|question| !question.answer.is_closed());
            open = self.answer(open);
            // Log lines and errors of the client.
            while self.consumer.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Answer all of these, but those that are worth another try.
    fn answer(&self, questions: Vec<Question>) -> Vec<Question> {
        let wanted: BTreeSet<&Partition> = questions.iter().flat_map(|question| &question.partitions).collect();
        let answers = match self.ask(&wanted) {
            Ok(answers) => answers,
            // One partition without a leader fails the whole call: not on account of the others.
            Err(_) if questions.len() > 1 => {
                return questions.into_iter().flat_map(|question| self.answer(vec![question])).collect();
            }
            Err(error) => wanted.into_iter().map(|partition| (partition.clone(), Err(error.clone()))).collect(),
        };
        questions.into_iter().filter_map(|question| question.settle(&answers)).collect()
    }

    fn ask(&self, partitions: &BTreeSet<&Partition>) -> Result<Answers, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // Asked for the offset of "the end" as a time, leaders answer for many partitions at once.
            list.add_partition_offset(&self.cluster.name(&partition.topic), index_of(partition), Offset::End)?;
        }
        let found = self.consumer.offsets_for_times(list, ONE_CALL)?;
        let found: HashMap<(String, i32), Result<u64, KafkaError>> = found
            .elements()
            .iter()
            .map(|element| ((element.topic().to_owned(), element.partition()), end_of(element)))
            .collect();
        let answers = partitions.iter().map(|partition| {
            let end = found.get(&(self.cluster.name(&partition.topic), index_of(partition)));
            ((*partition).clone(), end.cloned().unwrap_or(Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoEnt))))
        });
        Ok(answers.collect())
    }
}

fn end_of(element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>) -> Result<u64, KafkaError> {
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
    /// Answer, or come back to be asked again.
    fn settle(self, answers: &Answers) -> Option<Self> {
        let mut ends = Vec::with_capacity(self.partitions.len());
        for partition in &self.partitions {
            let error = match answers.get(partition) {
                Some(Ok(end)) => {
                    ends.push(*end);
                    continue;
                }
                Some(Err(error)) => error,
                None => &KafkaError::Canceled,
            };
            if self.asked.elapsed() < PATIENCE && !is_unknown_topic(error.rdkafka_error_code()) {
                return Some(self);
            }
            let error = if is_unknown_topic(error.rdkafka_error_code()) {
                ReadError::UnknownTopic { topic: Arc::clone(&partition.topic) }
            } else {
                ReadError::Unavailable { reason: error.to_string() }
            };
            // Whoever asked may have stopped waiting.
            let _ = self.answer.send(Err(error));
            return None;
        }
        let _ = self.answer.send(Ok(ends));
        None
    }
}
