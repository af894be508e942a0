//! The services of a deployment, listed once: documents, routes, commands, options and topics are made from this list.

mod any;
mod folding;

use futures_util::future::BoxFuture;
use orderlog_core::{public::Topic, words};
use orderlog_eventlog::TopicSpec;
use orderlog_http::{
    auth::{Scopes, Token},
    names::{ServiceName, ServiceNames},
    operations::Operation,
    problem::{self, Code},
};
use orderlog_runtime::assembly;
use uuid::Uuid;

pub use any::AnyService;
pub use folding::FoldError;

/// The services of a deployment, and what they share.
#[derive(Clone, Copy)]
pub struct Registry {
    /// For the documents and the command line.
    pub about: About,
    /// The codes of problems that services share.
    pub codes: &'static [Code],
    /// In the order in which they are listed everywhere.
    pub services: &'static [&'static dyn AnyService],
    /// The scenario of `serve --demo`; without one the option is rejected.
    pub demo: Option<Demo>,
}

/// Runs a scenario against these services through the HTTP API at a URL, with this key: a short one, or one of a size.
pub type Demo = fn(&'static Registry, String, Token, Option<u32>) -> BoxFuture<'static, anyhow::Result<()>>;

/// What the documents and the command line say about the services together.
#[derive(Clone, Copy)]
pub struct About {
    /// The name of the program and of its documents.
    pub name: &'static str,
    /// The summary of the OpenAPI document.
    pub summary: &'static str,
    /// The description of the OpenAPI document.
    pub description: &'static str,
    /// The example for ids that have none of their own.
    pub example_id: Uuid,
    /// The commit that the program was built from and its date, if they are known.
    pub commit: Option<&'static str>,
    /// The first line of `--help`.
    pub program: &'static str,
    /// The rest of `--help`.
    pub usage: &'static str,
    /// Closed word lists in request bodies.
    pub vocabularies: &'static [Vocabulary],
    /// The help of `--require-idempotency-keys`.
    pub demanded_keys: &'static str,
    /// What a caller may be bound to.
    pub owner: &'static str,
}

/// A closed list of words, which the framework knows only as a pattern. The published documents list them.
#[derive(Clone, Copy)]
pub struct Vocabulary {
    /// The pattern by which bodies declare such a string.
    pub pattern: &'static str,
    pub words: fn() -> Vec<&'static str>,
}

impl About {
    pub const NONE: Self = Self {
        name: "",
        summary: "",
        description: "",
        example_id: Uuid::nil(),
        commit: None,
        program: "",
        usage: "",
        vocabularies: &[],
        demanded_keys: "",
        owner: "owner",
    };

    /// The contact in the documents.
    pub fn maintainers(&self) -> String {
        format!("The maintainers of {}", self.name)
    }
}

impl Registry {
    /// A program with these services, without anything optional.
    pub const fn new(name: &'static str, summary: &'static str, services: &'static [&'static dyn AnyService]) -> Self {
        Self { about: About { name, summary, ..About::NONE }, codes: &[], services, demo: None }
    }

    /// Makes its words those of this process.
    pub(crate) fn install_words(&self) {
        words::install(self.about.name, self.about.owner);
    }

    pub fn names(&self) -> ServiceNames {
        self.services.iter().map(|service| service.name()).collect()
    }

    pub fn find(&self, name: &str) -> Option<&'static dyn AnyService> {
        self.services.iter().copied().find(|service| service.name().as_str() == name)
    }

    pub fn those(&self, names: &[ServiceName]) -> impl Iterator<Item = &'static dyn AnyService> {
        names.iter().filter_map(|name| self.find(name.as_str()))
    }

    pub fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        self.services.iter().flat_map(|service| service.operations())
    }

    /// The scopes of all services, and of operators.
    pub fn scopes(&self) -> Scopes {
        Scopes::new(self.services.iter().flat_map(|service| service.scopes()))
    }

    /// The problem codes of the HTTP layer, of each service, and those that services share.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        let of_services = self.services.iter().map(|service| service.codes());
        [problem::codes::ALL].into_iter().chain(of_services).chain([self.codes]).flatten().copied()
    }

    /// Each service's journal and the public topics that it publishes.
    pub fn published(&self) -> Vec<(&'static str, &'static [Topic])> {
        self.services.iter().map(|it| (it.name().as_str(), it.topics())).collect()
    }

    /// Every topic: the journals and the public ones.
    pub fn topics(&self) -> Vec<TopicSpec> {
        assembly::topics(&self.published())
    }
}
