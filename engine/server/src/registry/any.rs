//! A service of any type.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use orderlog_core::{
    decider::Decider,
    decoding::{self, DecodeError},
    machine::Verdict,
    public::{PublicEvent, Topic},
};
use orderlog_http::{
    auth::Scope,
    freshness::awaited,
    names::ServiceName,
    operations::{Operation, Operations},
    problem::Code,
    service::{
        ServiceDefinition,
        contract::{ExampleId, TopicContract},
        mounted::Mounted,
        parts::{NotStarted, Parts},
    },
};
use orderlog_readmodel::{Generations, Store, StoreError};
use orderlog_runtime::{
    projection::{Projection, Rows},
    replica::{Setup, ToSettle},
    snapshots::Keeping,
};
use serde_json::Value;

use super::folding::{self, FoldError};
use crate::openapi::raw;

/// A service of a registry, whatever its types are. Implemented by every [`ServiceDefinition`].
#[async_trait]
pub trait AnyService: Send + Sync {
    /// Its name, which is also that of its journal.
    fn name(&self) -> ServiceName;

    /// What it is about, in a few words.
    fn about(&self) -> &'static str;

    fn operations(&self) -> &'static [Operation];

    /// The scopes that its operations need.
    fn scopes(&self) -> &'static [Scope];

    /// The codes of problems that it declares.
    fn codes(&self) -> &'static [Code];

    /// Starts it in this process.
    ///
    /// # Errors
    /// [`NotStarted`] if it can't run.
    async fn start(&self, parts: &Parts) -> Result<Mounted, NotStarted>;

    /// Its OpenAPI document, as the framework generates it.
    fn described(&self, title: String) -> Value;

    /// Examples for schemas of the OpenAPI document, by the schema's name.
    fn examples(&self) -> Vec<(&'static str, Value)>;

    /// The ids in its examples.
    fn example_ids(&self) -> Vec<ExampleId>;

    /// The journals whose positions it can wait for, its own first.
    fn awaited(&self) -> Vec<&'static str>;

    /// The public topics that it publishes.
    fn topics(&self) -> &'static [Topic];

    /// Sentences for an operator about what the service left to be settled.
    fn to_settle(&self, found: &ToSettle) -> Vec<String>;

    /// What the AsyncAPI document says of a topic that it publishes.
    fn topic(&self, topic: &str) -> TopicContract;

    /// Whether it reacts to this topic or copies facts from it.
    fn consumes(&self, topic: &str) -> bool;

    /// The name of the event that `payload` is.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no event of this service's journal.
    fn kind_of(&self, payload: &Value) -> Result<&'static str, DecodeError>;

    /// What became of the records from `from` up to and without `to`, ascending, as far as the read model in the data folder
    /// `dir` knows. No process may serve it meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if the read model can't be read.
    async fn verdicts_in(&self, dir: &Path, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError>;

    /// Starts an instance that only folds: it has no background tasks, so it publishes nothing. With `scratch`, it works on a
    /// copy of the read model in that folder. Returns once it has caught up.
    ///
    /// # Errors
    /// [`FoldError`] if it can't catch up.
    async fn fold(
        &self,
        setup: Setup,
        keeping: &Keeping,
        scratch: Option<&Path>,
    ) -> Result<Arc<dyn Projection>, FoldError>;

    /// The same on a read model that is built anew from the log and replaces the one that serves.
    ///
    /// # Errors
    /// [`FoldError`] if it can't be built.
    async fn fold_anew(&self, setup: Setup, keeping: &Keeping) -> Result<Arc<dyn Projection>, FoldError>;
}

#[async_trait]
impl<S: ServiceDefinition> AnyService for S {
    fn name(&self) -> ServiceName {
        ServiceName::of::<S::Decider>()
    }

    fn about(&self) -> &'static str {
        S::ABOUT
    }

    fn operations(&self) -> &'static [Operation] {
        S::Api::OPERATIONS
    }

    fn scopes(&self) -> &'static [Scope] {
        S::SCOPES
    }

    fn codes(&self) -> &'static [Code] {
        S::CODES
    }

    async fn start(&self, parts: &Parts) -> Result<Mounted, NotStarted> {
        S::start(parts).await
    }

    fn described(&self, title: String) -> Value {
        raw::generated::<S::Api>(title)
    }

    fn examples(&self) -> Vec<(&'static str, Value)> {
        S::examples()
    }

    fn example_ids(&self) -> Vec<ExampleId> {
        S::example_ids()
    }

    fn awaited(&self) -> Vec<&'static str> {
        awaited::<S::Decider>().collect()
    }

    fn topics(&self) -> &'static [Topic] {
        <S::Decider as Decider>::Published::TOPICS
    }

    fn to_settle(&self, found: &ToSettle) -> Vec<String> {
        S::to_settle(found)
    }

    fn topic(&self, topic: &str) -> TopicContract {
        S::topic(topic)
    }

    fn consumes(&self, topic: &str) -> bool {
        S::Decider::REACTS_TO.iter().chain(S::Decider::COPIES).any(|consumed| *consumed == topic)
    }

    fn kind_of(&self, payload: &Value) -> Result<&'static str, DecodeError> {
        decoding::from_value(payload).map(|event| S::Decider::kind(&event))
    }

    async fn verdicts_in(&self, dir: &Path, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError> {
        match Store::read_serving(&Generations::to_read(dir, S::TABLES)?).await? {
            Some(store) => store.verdicts(from, to).await,
            None => Ok(Vec::new()),
        }
    }

    async fn fold(
        &self,
        setup: Setup,
        keeping: &Keeping,
        scratch: Option<&Path>,
    ) -> Result<Arc<dyn Projection>, FoldError> {
        let copied = scratch.map(|scratch| keeping.in_scratch(S::TABLES, scratch)).transpose()?;
        let replica = folding::caught_up(setup, S::TABLES, copied.as_ref().unwrap_or(keeping)).await?;
        Ok(Arc::new(Rows::of(replica)))
    }

    async fn fold_anew(&self, setup: Setup, keeping: &Keeping) -> Result<Arc<dyn Projection>, FoldError> {
        Ok(Arc::new(folding::built_anew(setup, S::TABLES, keeping).await?))
    }
}
