//! The lease: a consumer group that every instance joins. Its only partition, the journal's, is assigned to one member at most,
//! which holds the lease. Nothing is read through the group, but it stores the positions.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    Offset, TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use tokio::sync::{oneshot, watch};

use super::{Cluster, ONE_CALL, PATIENCE, index_of, say, say_error, settings::CONSUMER, spawn, to_raw};
use crate::{Lease, LeaseError, Mark, Partition, Position, position};

/// Settings of the group's members.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    // A member that joins later does not take the lease from its holder.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // The least that brokers accept unless `group.min.session.timeout.ms` is lower.
    ("session.timeout.ms", "6000"),
    // How soon the others learn that the holder has left, and take over.
    ("heartbeat.interval.ms", "200"),
    // How often to look up the group's coordinator, which commits wait for. The default is ten minutes.
    ("coordinator.query.interval.ms", "2000"),
];

/// How long the member's thread waits before it checks whether the lease was dropped.
const TICK: Duration = Duration::from_millis(50);

type GroupConsumer = BaseConsumer<Membership>;

pub(super) struct KafkaLease {
    cluster: Arc<Cluster>,
    journal: Partition,
    held: watch::Receiver<bool>,
    left: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
}

/// Ends a membership before its lease is dropped.
pub(super) struct Member {
    left: Arc<AtomicBool>,
    gone: oneshot::Receiver<()>,
}

impl Member {
    /// Leaves the group, and waits until the coordinator knows.
    pub(super) async fn leave(self) {
        self.left.store(true, Ordering::Release);
        // The sender is dropped when the member's thread ends.
        drop(self.gone.await);
    }
}

/// A request to the thread that talks to the group's coordinator, whose answers can take long.
enum Request {
    Commit(TopicPartitionList, oneshot::Sender<KafkaResult<()>>),
    Committed(TopicPartitionList, oneshot::Sender<KafkaResult<TopicPartitionList>>),
}

impl Request {
    /// Returns whether the caller has stopped waiting. After an abandoned commit, it may have lost the lease.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Commit(_, answer) => answer.is_closed(),
            Self::Committed(_, answer) => answer.is_closed(),
        }
    }
}

impl KafkaLease {
    pub(super) fn join(cluster: &Arc<Cluster>, group: &str, journal: &str) -> Result<(Self, Member), LeaseError> {
        let (sender, held) = watch::channel(false);
        let mut config = cluster.client(&[CONSUMER, SETTINGS]);
        config.set("group.id", cluster.name(group));
        let member: GroupConsumer =
            config.create_with_context(Membership { held: sender }).map_err(|e| unavailable(&e))?;
        member.subscribe(&[&cluster.name(journal)]).map_err(|error| unavailable(&error))?;

        let member = Arc::new(member);
        let left = Arc::new(AtomicBool::new(false));
        let (requests, receiver) = mpsc::channel();
        let no_thread = |reason| LeaseError::Unavailable { reason };
        let (asking, leaving) = (Arc::downgrade(&member), Arc::clone(&left));
        spawn("kafka-positions", move || serve(&asking, &receiver)).map_err(no_thread)?;
        let (ended, gone) = oneshot::channel();
        let staying = move || {
            stay(&member, &leaving);
            // This leaves the group, and waits until that is done.
            drop(member);
            drop(ended);
        };
        spawn("kafka-lease", staying).map_err(no_thread)?;
        let journal = Partition::journal(journal);
        let lease = Self { cluster: Arc::clone(cluster), journal, held, left: Arc::clone(&left), requests };
        Ok((lease, Member { left, gone }))
    }

    /// Returns the positions and notes that the group stores for these partitions.
    async fn kept(&self, partitions: &[Partition]) -> Result<TopicPartitionList, LeaseError> {
        let list = list_of(&self.cluster, any_offset(partitions))?;
        self.ask(|answer| Request::Committed(list, answer)).await?.map_err(|error| unavailable(&error))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<KafkaResult<T>>) -> Request,
    ) -> Result<KafkaResult<T>, LeaseError> {
        let (answer, answered) = oneshot::channel();
        let ended = || LeaseError::Unavailable { reason: "the group's thread has ended".to_owned() };
        self.requests.send(request(answer)).map_err(|_| ended())?;
        let no_answer = |_| LeaseError::Unavailable { reason: format!("no answer within {PATIENCE:?}") };
        tokio::time::timeout(PATIENCE, answered).await.map_err(no_answer)?.map_err(|_| ended())
    }

    fn is_held(&self) -> bool {
        *self.held.borrow()
    }
}

impl Drop for KafkaLease {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Release);
    }
}

#[async_trait]
impl Lease for KafkaLease {
    fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }

    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        positions_in(&self.cluster, &self.kept(partitions).await?, partitions)
    }

    fn positions_expire(&self) -> bool {
        true
    }

    async fn holder(&self) -> Result<Option<String>, LeaseError> {
        let found = self.kept(std::slice::from_ref(&self.journal)).await?;
        let kept = found.find_partition(&self.cluster.name(&self.journal.topic), index_of(&self.journal));
        Ok(kept.map(|kept| read_note(kept.metadata()).0.to_owned()).filter(|address| !address.is_empty()))
    }

    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError> {
        let started = Instant::now();
        loop {
            if !self.is_held() {
                return Err(LeaseError::Lost);
            }
            if positions.is_empty() {
                return Ok(());
            }
            let offsets = positions.iter().map(|(at, position)| (at.clone(), Offset::Offset(to_raw(position.next))));
            let list = list_of(&self.cluster, offsets)?;
            let address = self.cluster.config.reached_at.as_deref().unwrap_or_default();
            for (kept, (_, position)) in list.elements().iter_mut().zip(positions) {
                kept.set_metadata(note(address, &position.marks));
            }
            let Err(error) = self.ask(|answer| Request::Commit(list, answer)).await? else {
                return Ok(());
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId) => {
                    return Err(LeaseError::Lost);
                }
                // When another instance joins, the holder keeps the lease, but gets a new generation and has to retry.
                _ if started.elapsed() < ONE_CALL => tokio::time::sleep(TICK).await,
                Some(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress) => {
                    return Err(LeaseError::Lost);
                }
                _ => return Err(unavailable(&error)),
            }
        }
    }
}

/// Returns the note stored with a position: the holder's address and, after a space, the position's marks. A note may have 4,096
/// bytes (the brokers' `offset.metadata.max.bytes`).
fn note(address: &str, marks: &[Mark]) -> String {
    if marks.is_empty() { address.to_owned() } else { format!("{address} {}", position::to_text(marks)) }
}

pub(super) fn any_offset(partitions: &[Partition]) -> impl Iterator<Item = (Partition, Offset)> {
    partitions.iter().map(|partition| (partition.clone(), Offset::Invalid))
}

pub(super) fn list_of(
    cluster: &Cluster,
    positions: impl Iterator<Item = (Partition, Offset)>,
) -> Result<TopicPartitionList, LeaseError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in positions {
        list.add_partition_offset(&cluster.name(&partition.topic), index_of(&partition), offset)
            .map_err(|error| unavailable(&error))?;
    }
    Ok(list)
}

/// Extracts the positions of these partitions from the coordinator's answer.
pub(super) fn positions_in(
    cluster: &Cluster,
    found: &TopicPartitionList,
    partitions: &[Partition],
) -> Result<Vec<Option<Position>>, LeaseError> {
    let position = |partition: &Partition| {
        let kept = found.find_partition(&cluster.name(&partition.topic), index_of(partition));
        let Some(kept) = kept else { return Ok(None) };
        kept.error().map_err(|error| unavailable(&error))?;
        let next = match kept.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        Ok(next.map(|next| Position { next, marks: read_note(kept.metadata()).1 }))
    };
    partitions.iter().map(position).collect()
}

/// Splits a note into address and marks.
fn read_note(note: &str) -> (&str, Vec<Mark>) {
    match note.split_once(' ') {
        Some((address, marks)) => (address, position::from_text(marks)),
        None => (note, Vec::new()),
    }
}

/// Stays a member until asked to leave or the lease is dropped. After leaving, others need not wait for the session to time out.
fn stay(member: &GroupConsumer, left: &AtomicBool) {
    let mut told = None;
    while !left.load(Ordering::Acquire) {
        match member.poll(TICK) {
            // The only records are those in flight when the partition was paused.
            Some(Ok(_)) | None => {}
            Some(Err(error)) => tell(&error, &mut told),
        }
    }
    member.context().held.send_replace(false);
}

/// Logs an error. Connection errors are transient. Any other error, such as a missing permission or a broker setting, repeats and may
/// keep this instance from ever holding the lease, so it is logged as a warning, once in a row.
fn tell(error: &KafkaError, told: &mut Option<RDKafkaErrorCode>) {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    match error.rdkafka_error_code() {
        None | Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve) => {
            tracing::debug!("the journal's group: {error}");
        }
        code if code == *told => tracing::debug!("the journal's group: {error}"),
        code => {
            tracing::warn!("the journal's group: {error}");
            *told = code;
        }
    }
}

/// Stores and reads positions until the group is left or the lease is dropped.
fn serve(member: &Weak<GroupConsumer>, requests: &mpsc::Receiver<Request>) {
    for request in requests.iter().filter(|request| !request.is_given_up()) {
        let Some(member) = member.upgrade() else { return };
        match request {
            Request::Commit(list, answer) => drop(answer.send(commit(&member, &list))),
            Request::Committed(list, answer) => drop(answer.send(member.committed_offsets(list, ONE_CALL))),
        }
    }
}

fn commit(member: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
    // While the request was queued, the lease may have been lost and another holder may have made progress.
    if !*member.context().held.borrow() {
        return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId));
    }
    member.commit(list, CommitMode::Sync)
}

/// Turns the group's assignments into "held" and "not held".
struct Membership {
    held: watch::Sender<bool>,
}

impl Membership {
    fn assigned(&self, member: &GroupConsumer, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        // Nothing should be read. Start at the end, so that a fetch before the pause returns nothing.
        partitions.set_all_offsets(Offset::End)?;
        match member.rebalance_protocol() {
            RebalanceProtocol::Cooperative => member.incremental_assign(partitions)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => member.assign(partitions)?,
        }
        if partitions.count() > 0 {
            member.pause(partitions)?;
            self.held.send_replace(true);
        }
        Ok(())
    }

    fn revoked(&self, member: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
        if partitions.count() > 0 {
            self.held.send_replace(false);
        }
        match member.rebalance_protocol() {
            RebalanceProtocol::Cooperative => member.incremental_unassign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => member.unassign(),
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        say_error(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, member: &GroupConsumer, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(member, partitions)
        } else {
            self.revoked(member, partitions)
        };
        if let Err(error) = done {
            tracing::warn!("the journal's group: {error}");
        }
    }
}

pub(super) fn unavailable(error: &KafkaError) -> LeaseError {
    LeaseError::Unavailable { reason: error.to_string() }
}
