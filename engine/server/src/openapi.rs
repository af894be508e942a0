//! The published contract of the HTTP API, as OpenAPI 3.1 and 3.0: the framework's document, corrected and completed.
//!
//! - [`raw`]: the framework's document.
//! - [`correct`]: integer bounds, times in examples, and headers that all operations take.
//! - [`failures`]: the failures of each operation, and their codes.
//! - [`texts`]: patterns of texts. [`examples`]: missing examples. [`requests`]: rejection of unknown fields.
//! - [`tidy`]: removes noise. [`portable`]: schemas that every client generator understands.
//! - [`modern`]: converts the framework's 3.0 to 3.1. [`classic`]: removes what 3.0 can't express.
//!
//! The documents are checked in under `openapi/` and compared by a test; `tests/contracts` lints them.

mod classic;
mod correct;
mod examples;
mod failures;
mod modern;
mod portable;
pub(crate) mod raw;
mod requests;
mod schemas;
mod texts;
mod tidy;

use clap::ValueEnum;
use orderlog_http::names::ServiceName;
use serde_json::Value;

use crate::registry::{AnyService, Registry};

/// Which version of OpenAPI a document is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// 3.1, whose schemas are JSON Schema.
    #[value(name = "3.1")]
    Modern,
    /// 3.0, for generators that reject 3.1.
    #[value(name = "3.0")]
    Classic,
}

/// Turns a generated document into the published one.
fn finished(registry: &Registry, mut document: Value, form: Form) -> Value {
    registry.install_words();
    document["info"]["summary"] = registry.about.summary.into();
    document["info"]["description"] = registry.about.description.into();
    document["info"]["contact"]["name"] = registry.about.maintainers().into();
    failures::members(&mut document, registry);
    correct::all(&mut document, registry);
    texts::all(&mut document, registry.about.vocabularies);
    failures::all(&mut document, registry);
    examples::all(&mut document, registry);
    requests::all(&mut document);
    tidy::all(&mut document);
    portable::all(&mut document);
    match form {
        Form::Modern => modern::all(&mut document),
        Form::Classic => classic::all(&mut document),
    }
    document
}

fn raw(registry: &Registry, service: &dyn AnyService) -> Value {
    let mut document = service.described(format!("{}: {}", registry.about.name, service.name()));
    correct::grouped(&mut document, service);
    document
}

/// The OpenAPI document of one service of the registry.
pub fn of_service(registry: &Registry, service: &dyn AnyService, form: Form) -> Value {
    finished(registry, raw(registry, service), form)
}

/// The OpenAPI document of several services in one.
pub fn of_services(registry: &Registry, services: &[ServiceName], form: Form) -> Value {
    let mut documents = registry.those(services).map(|service| raw(registry, service));
    let mut all = documents.next().unwrap_or_default();
    for document in documents {
        correct::merge(&mut all, document);
    }
    all["info"]["title"] = registry.about.name.into();
    correct::in_the_order_of(services, &mut all);
    finished(registry, all, form)
}

pub fn to_text(document: &Value) -> String {
    format!("{document:#}\n")
}
