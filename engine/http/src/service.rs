//! Passes requests to a service: commands with their idempotency key, trace and deadline, and rows for queries.

pub mod contract;
pub mod look;
pub mod mounted;
pub mod parts;
mod reached;

use std::{fmt, sync::Arc, time::Duration};

use orderlog_core::{
    decider::{Decider, Millis},
    header::{CommandStamp, Origin},
    machine::Request,
};
use orderlog_eventlog::Lease;
use orderlog_readmodel::{Store, Tables};
use orderlog_runtime::{
    now_ms,
    replica::{Damage, Executed, Replica, State, ToSettle},
};
use poem_openapi::OpenApi;
use serde_json::Value;

use crate::{
    auth::Scope,
    freshness::Freshness,
    operations::Operations,
    params::CommandHeaders,
    peers::{Call, Peers},
    problem::{ApiError, Code, codes},
    waiting::aside_if_possible,
};

use self::{
    contract::ExampleId,
    mounted::Mounted,
    parts::{NotStarted, Parts},
};

/// A service: a decider, its read model, and its routes. Implemented by a marker type, once for each service.
pub trait ServiceDefinition: Send + Sync + 'static {
    /// Decides its commands. Its journal is also the service's name.
    type Decider: Decider;
    type Api: OpenApi + Operations + Send + 'static;

    const TABLES: &'static Tables<Self::Decider>;
    /// What the service is about, in a few words for the command line.
    const ABOUT: &'static str;
    /// The scopes that handlers check, besides those that operations declare.
    const SCOPES: &'static [Scope] = &[];
    /// The problem codes that it declares.
    const CODES: &'static [Code] = &[];
    /// The other services that it calls over HTTP. The start warns of those that it can't call.
    const CALLS: &'static [Call] = &[];

    /// A text that differs whenever what the caller asked for differs, without ids that were minted for the command. It is compared when an
    /// `Idempotency-Key` comes again, so it must never change for a command that was once accepted.
    fn fingerprint(command: &Command<Self>) -> String;

    /// Converts the rejection of a command to a problem.
    fn problem_of(rejection: Rejection<Self>) -> ApiError;

    /// Starts the service and returns its routes.
    fn start(parts: &Parts) -> impl Future<Output = Result<Mounted, NotStarted>> + Send;

    /// Describes for an operator what [`Replica::prepared`] left to be settled, one sentence each.
    fn to_settle(_found: &ToSettle) -> Vec<String> {
        Vec::new()
    }

    /// Examples for schemas of the OpenAPI document that cannot be composed of others, by schema name.
    fn examples() -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    fn example_ids() -> Vec<ExampleId> {
        Vec::new()
    }
}

/// The kind of object that a service has rows of.
pub type Entity<S> = <<S as ServiceDefinition>::Decider as Decider>::Entity;
pub type Command<S> = <<S as ServiceDefinition>::Decider as Decider>::Command;
/// The reasons for which a service rejects commands.
pub type Rejection<S> = <<S as ServiceDefinition>::Decider as Decider>::Rejection;

/// A running service, as used by its routes.
pub struct Service<S: ServiceDefinition> {
    pub replica: Replica<S::Decider>,
    /// Knows which instance runs the service's background tasks.
    pub lease: Arc<dyn Lease>,
    pub peers: Arc<Peers>,
    /// The time limit of a command, in milliseconds.
    pub command_timeout_ms: Millis,
}

impl<S: ServiceDefinition> Clone for Service<S> {
    fn clone(&self) -> Self {
        let Self { replica, lease, peers, command_timeout_ms } = self;
        let (lease, peers) = (Arc::clone(lease), Arc::clone(peers));
        Self { replica: replica.clone(), lease, peers, command_timeout_ms: *command_timeout_ms }
    }
}

impl<S: ServiceDefinition> Service<S> {
    /// Executes a command. The caller is already authorized.
    ///
    /// `operation` returns the method and path of the request, with its ids: an idempotency key is scoped to one operation of one
    /// caller. It is only called if there is a key.
    ///
    /// # Errors
    /// Why the command was not executed, or may not have been.
    pub fn execute(
        &self,
        command: Command<S>,
        head: CommandHeaders,
        operation: impl FnOnce() -> String,
    ) -> impl Future<Output = Result<Executed<S::Decider>, ApiError>> + Send {
        let hash_key = self.replica.hash_key();
        let stamp = head.key.map(|key| CommandStamp {
            key: hash_key.idempotency(head.caller.id(), &operation(), &key),
            fingerprint: hash_key.command_fingerprint(&S::fingerprint(&command)),
        });
        let origin = Origin { trace: head.trace, ..Origin::default() };
        async move {
            // So the decision reflects what the caller has seen, since the core's state is never behind the rows.
            self.reached(&head.freshness).await?;
            let deadline = now_ms() + self.command_timeout_ms;
            let request = Request { command, stamp, versions: head.versions, origin, deadline };
            let executed = self.replica.execute_request(request).await;
            executed.map_err(|error| ApiError::of_command(error, S::problem_of))
        }
    }

    /// Returns the rows, once they contain every command that this instance has answered.
    ///
    /// # Errors
    /// 503 while the service is still reading its journal, has stopped, or cannot write its rows. A stale row or a wrong "not
    /// found" would be worse.
    pub async fn rows(&self) -> Result<Arc<Store<S::Decider>>, ApiError> {
        self.ready()?;
        let wait = Duration::from_millis(self.command_timeout_ms.unsigned_abs());
        if aside_if_possible(tokio::time::timeout(wait, self.replica.read_your_writes())).await.is_err() {
            let detail = format!("the rows of {} are behind its responses", S::Decider::JOURNAL);
            return Err(ApiError::unavailable(codes::ROWS_BEHIND, detail));
        }
        // The service may have stopped meanwhile.
        self.ready()?;
        Ok(self.replica.store())
    }

    /// Like [`Service::rows`], once the rows also contain what the caller has seen.
    pub async fn fresh_rows(&self, freshness: &Freshness) -> Result<Arc<Store<S::Decider>>, ApiError> {
        self.reached(freshness).await?;
        self.rows().await
    }

    fn ready(&self) -> Result<(), ApiError> {
        match &*self.replica.state().borrow() {
            State::Ready => Ok(()),
            State::CatchingUp => Err(ApiError::unavailable(
                codes::CATCHING_UP,
                format!("{} is still reading its journal", S::Decider::JOURNAL),
            )),
            State::Preparing => {
                let detail = format!("{} is preparing its data for this version", S::Decider::JOURNAL);
                Err(ApiError::unavailable(codes::CATCHING_UP, detail))
            }
            State::Stopped(why) => Err(match self.replica.damage() {
                Some(Damage::Rows) => ApiError::damaged_rows(why),
                Some(Damage::Journal) | None => ApiError::unavailable(codes::UNAVAILABLE, why.clone()),
            }),
        }
    }
}

/// The response to a command whose record has an event that the command never yields. This is a bug.
pub fn unexpected(event: &dyn fmt::Debug) -> ApiError {
    // The event itself may contain personal data.
    let name: String = format!("{event:?}").chars().take_while(char::is_ascii_alphanumeric).collect();
    ApiError::internal(&format_args!("the command was answered by the event {name}"))
}
