//! Executes a command, and reports its outcome.

use std::{sync::Arc, time::Instant};

use orderlog_core::{
    decider::{At, Decider, Millis},
    header::{CommandStamp, HEADER, Header, Origin},
    known::decode,
    machine::{Accepted, Outcome, Request},
    planted::Bug,
};
use orderlog_readmodel::Rows;
use tokio::sync::oneshot;

use super::{Ask, Replica, State, Waiting, steps::Steps};
use crate::trace::{Kind, Span};

/// Why a command was not executed, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error> {
    /// The business rules reject it. Nothing was written.
    #[error(transparent)]
    Rejected(R),
    /// The aggregate has another version than the caller expects, or does not exist. Nothing was written.
    #[error("the precondition failed: {}", .0.map_or_else(|| "it does not exist".to_owned(), |it| format!("its version is {it}")))]
    OtherVersion(Option<u64>),
    /// The idempotency key was used for another command. Nothing was written.
    #[error("the idempotency key was used for another command")]
    KeyReused,
    /// A record about the command's keys is parked and waits for repair. Nothing was written.
    #[error("a record about this can't be read by this version and is parked")]
    Parked,
    /// The idempotency key was used before, and an operator has discarded the record of that command. Nothing was written.
    #[error("an operator has discarded the record of the first command with this idempotency key")]
    Discarded,
    /// Another command with the same idempotency key is in progress, and did not finish before the deadline. Retry.
    #[error("a command with this idempotency key is still in progress")]
    KeyInUse,
    /// The record would exceed the log's size limit. Nothing was written.
    #[error("the record of this command would exceed the log's size limit")]
    TooLarge,
    /// The service cannot accept commands at the moment. Nothing was written.
    #[error("the service can't accept commands now: {0}")]
    Unavailable(String),
    /// The deadline passed, and the command may or may not have been executed. Retry with the same idempotency key.
    #[error("the log did not answer in time: the command may or may not have been executed")]
    Unknown,
}

/// A command's record in the log.
#[derive(Clone, Debug)]
pub struct Executed<D: Decider> {
    pub accepted: Accepted<D>,
    /// Whether an earlier command with the same idempotency key wrote it.
    pub replayed: bool,
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Executes a command, and waits until its record is in the journal or it has failed.
    pub async fn execute(
        &self,
        command: D::Command,
        stamp: Option<CommandStamp>,
        origin: Origin,
        deadline: Millis,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        self.execute_request(Request { command, stamp, versions: None, origin, deadline }).await
    }

    /// Like [`Replica::execute`], with all the options of a request.
    pub async fn execute_request(&self, mut request: Request<D>) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let begun = Instant::now();
        let name = || format!("{} command", D::JOURNAL);
        let mut span = Span::begin(Kind::Internal, name, request.origin.trace.as_deref());
        request.origin.trace = span.trace().map(str::to_owned);
        let outcome = self.execute_with_news(request, &mut span).await;
        let label = outcome_of(&outcome);
        self.shared.measures.executed(label, begun.elapsed());
        span.set("orderlog.service", D::JOURNAL);
        span.set("orderlog.outcome", label);
        if let (Ok(executed), true) = (&outcome, span.is_recorded()) {
            span.set("orderlog.event", D::kind(&executed.accepted.event).to_owned());
            span.set("orderlog.position", format!("{}@{}", D::JOURNAL, executed.accepted.at.offset));
        }
        outcome
    }

    async fn execute_with_news(
        &self,
        request: Request<D>,
        span: &mut Span,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let deadline = request.deadline;
        let request = Arc::new(request);
        match (self.ask(Arc::clone(&request), span, &[State::Ready]).await, &self.news) {
            (Err(ExecuteError::Rejected(rejection)), Some(news)) if !D::rests_on(&rejection).is_empty() => {
                if !news.are_in(D::rests_on(&rejection), deadline, self.setup.environment.as_ref()).await {
                    return Err(ExecuteError::Unavailable("it has not processed all public events yet".to_owned()));
                }
                // Nothing was written, so this is still the same command.
                self.ask(request, span, &[State::Ready]).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Submits the request to the loop, unless the replica is in none of `states`.
    pub(super) async fn ask(
        &self,
        request: Arc<Request<D>>,
        span: &mut Span,
        states: &[State],
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let (reply, outcome) = oneshot::channel();
        let stamp = request.stamp;
        let unavailable = || match &*self.shared.state.borrow() {
            State::Stopped(why) => ExecuteError::Unavailable(why.clone()),
            State::CatchingUp => ExecuteError::Unavailable("it is still reading its journal".to_owned()),
            State::Preparing => ExecuteError::Unavailable("it is preparing its data for this version".to_owned()),
            State::Ready => ExecuteError::Unavailable("it is stopping".to_owned()),
        };
        if !states.contains(&self.shared.state.borrow()) {
            // A decision on stale state would only produce a void record.
            return Err(unavailable());
        }
        let waiting = Waiting { reply, steps: span.is_recorded().then(Steps::begin) };
        self.asks.send(Ask { request, waiting }).await.map_err(|_| unavailable())?;
        // If the loop ends now, the command may already have been appended.
        let (outcome, steps) = outcome.await.map_err(|_| ExecuteError::Unknown)?;
        if let Some(steps) = steps {
            steps.tell(span);
        }
        match outcome {
            Outcome::Accepted(accepted) => Ok(Executed { accepted, replayed: false }),
            Outcome::Repeated { offset } => self.repeated(offset, stamp).await,
            Outcome::Rejected(rejection) => Err(ExecuteError::Rejected(rejection)),
            Outcome::OtherVersion(version) => Err(ExecuteError::OtherVersion(version)),
            Outcome::Parked => Err(ExecuteError::Parked),
            Outcome::Discarded => Err(ExecuteError::Discarded),
            Outcome::KeyInUse => Err(ExecuteError::KeyInUse),
            Outcome::TooLarge => Err(ExecuteError::TooLarge),
            Outcome::Expired => {
                Err(ExecuteError::Unavailable("the deadline passed before the command was processed".to_owned()))
            }
            Outcome::Unknown => Err(ExecuteError::Unknown),
        }
    }

    /// Returns the record that the first command with this idempotency key wrote, if it was the same command.
    async fn repeated(
        &self,
        offset: u64,
        stamp: Option<CommandStamp>,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let unreadable = |why: String| ExecuteError::Unavailable(format!("{}@{offset}: {why}", D::JOURNAL));
        let records = self.setup.log.fetch(&Self::journal(), &[offset]).await;
        let record = records.map_err(|error| unreadable(error.to_string()))?.into_iter().next();
        let record = record.ok_or_else(|| unreadable("it is not there".to_owned()))?;
        let header = record.header(HEADER).ok_or_else(|| unreadable("it has no header".to_owned()))?;
        let header = Header::decode(header).map_err(|error| unreadable(error.to_string()))?;
        let is_same = header.command.map(|command| command.fingerprint) == stamp.map(|stamp| stamp.fingerprint);
        if !is_same && !Bug::RepeatAnyBody.is_loose() {
            return Err(ExecuteError::KeyReused);
        }
        let unknown = self.setup.environment.unknown();
        let event = decode(&header.kind, &record.value, unknown).map_err(|_| ExecuteError::Parked)?;
        let at = At { offset, time_ms: header.time_ms };
        Ok(Executed { accepted: Accepted { at, id: header.id, event: Arc::new(event) }, replayed: true })
    }
}

/// Returns the outcome of a command as a metric label.
fn outcome_of<D: Decider>(outcome: &Result<Executed<D>, ExecuteError<D::Rejection>>) -> &'static str {
    match outcome {
        Ok(Executed { replayed: false, .. }) => "accepted",
        Ok(Executed { replayed: true, .. }) => "repeated",
        Err(ExecuteError::Rejected(_) | ExecuteError::KeyReused | ExecuteError::Discarded | ExecuteError::TooLarge) => {
            "rejected"
        }
        Err(ExecuteError::OtherVersion(_)) => "precondition_failed",
        Err(ExecuteError::Parked) => "parked",
        Err(ExecuteError::Unavailable(_)) => "unavailable",
        Err(ExecuteError::KeyInUse | ExecuteError::Unknown) => "unknown",
    }
}
