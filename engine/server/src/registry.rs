//! The services of a deployment, listed once: documents, routes, commands, options and topics are made from this list.

mod any;
mod folding;

use futures_util::future::BoxFuture;
use orderlog_core::public::Topic;
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

/// The services of a deployment, and what is said of all of them together.
#[derive(Clone, Copy)]
pub struct Registry {
    /// For the documents and the command line.
    pub about: About,
    /// The codes of problems that services share.
    pub codes: &'static [Code],
    /// In the order in which they are shown everywhere.
    pub services: &'static [&'static dyn AnyService],
    /// What `serve --demo` plays; the option is rejected without one.
    pub demo: Option<Demo>,
}

/// Plays a story with these services through the HTTP API at a URL, with this key.
pub type Demo = fn(&'static Registry, String, Token) -> BoxFuture<'static, anyhow::Result<()>>;

/// What the documents and the command line say of the services together.
#[derive(Clone, Copy)]
pub struct About {
    /// The name of the program and of its documents.
    pub name: &'static str,
    /// The summary of the OpenAPI document.
    pub summary: &'static str,
    /// The description of the OpenAPI document.
    pub description: &'static str,
    /// The example of ids that have none of their own.
    pub example_id: Uuid,
    /// The first line of `--help`.
    pub program: &'static str,
    /// The rest of `--help`.
    pub usage: &'static str,
    /// Texts of requests of which only certain words are valid.
    pub vocabularies: &'static [Vocabulary],
    /// The help of `--require-idempotency-keys`.
    pub demanded_keys: &'static str,
}

/// A closed list of words, which the framework knows by a pattern only. The published documents list them.
#[derive(Clone, Copy)]
pub struct Vocabulary {
    /// The pattern by which bodies declare such a text.
    pub pattern: &'static str,
    pub words: fn() -> Vec<&'static str>,
}

impl About {
    pub const NONE: Self = Self {
        name: "",
        summary: "",
        description: "",
        example_id: Uuid::nil(),
        program: "",
        usage: "",
        vocabularies: &[],
        demanded_keys: "",
    };

    /// Whom the documents name as contact.
    pub fn maintainers(&self) -> String {
        format!("The maintainers of {}", self.name)
    }
}

impl Registry {
    /// The names of all services.
    pub fn names(&self) -> ServiceNames {
        self.services.iter().map(|service| service.name()).collect()
    }

    /// The service of this name.
    pub fn find(&self, name: &str) -> Option<&'static dyn AnyService> {
        self.services.iter().copied().find(|service| service.name().as_str() == name)
    }

    /// The services of these names.
    pub fn those(&self, names: &[ServiceName]) -> impl Iterator<Item = &'static dyn AnyService> {
        names.iter().filter_map(|name| self.find(name.as_str()))
    }

    /// The operations of all services.
    pub fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        self.services.iter().flat_map(|service| service.operations())
    }

    /// The scopes of all services, and of operators.
    pub fn scopes(&self) -> Scopes {
        Scopes::new(self.services.iter().flat_map(|service| service.scopes()).copied())
    }

    /// The codes of all problems: those of the HTTP layer, of each service, and those that services share.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        let of_services = self.services.iter().map(|service| service.codes());
        [problem::codes::ALL].into_iter().chain(of_services).chain([self.codes]).flatten().copied()
    }

    /// The journal of each service, and the public topics that it publishes.
    pub fn published(&self) -> Vec<(&'static str, &'static [Topic])> {
        self.services.iter().map(|it| (it.name().as_str(), it.topics())).collect()
    }

    /// Every topic there is: the journals and the public ones.
    pub fn topics(&self) -> Vec<TopicSpec> {
        assembly::topics(&self.published())
    }
}
