//! The command line.

mod health;
mod serve;

use anyhow::Context;
use clap::{Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::{
    asyncapi,
    config::{Config, Options},
    openapi,
    services::ServiceName,
};

/// An order backend whose only truth is an append-only log.
///
/// Without a command all five services are served on the embedded log.
#[derive(Debug, Parser)]
#[command(name = "orderlog", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run services
    Serve {
        /// Which
        #[arg(default_value = "all", value_parser = services_parser())]
        service: Services,

        #[command(flatten)]
        options: Box<Options>,
    },
    /// Print the OpenAPI document of a service, or of all in one
    Openapi {
        /// Which
        #[arg(default_value = "all", value_parser = services_parser())]
        service: Services,
    },
    /// Print the AsyncAPI document of the public topics
    Asyncapi,
    /// Ask a running process whether it is ready; exits with 0 if it is
    Health {
        /// What to ask
        #[arg(long, env = "ORDERLOG_HEALTH_URL", default_value = "http://127.0.0.1:8080/readyz")]
        url: String,
    },
}

/// Some services.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Services(Vec<ServiceName>);

fn services_parser() -> impl TypedValueParser<Value = Services> {
    let names = std::iter::once("all").chain(ServiceName::ALL.iter().map(|service| service.as_str()));
    PossibleValuesParser::new(names).map(|name| {
        let chosen = ServiceName::ALL.into_iter().filter(|service| name == "all" || service.as_str() == name);
        Services(chosen.collect())
    })
}

impl Cli {
    /// What to serve, if that is what is asked.
    pub fn config(&self) -> Option<Config> {
        match &self.command {
            None => Some(Config { services: ServiceName::ALL.to_vec(), options: self.options.clone() }),
            Some(Command::Serve { service, options }) => {
                Some(Config { services: service.0.clone(), options: (**options).clone() })
            }
            Some(Command::Openapi { .. } | Command::Asyncapi | Command::Health { .. }) => None,
        }
    }

    /// Do what is asked.
    ///
    /// # Errors
    /// Why it can't be done.
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(config) = self.config() {
            return serve::run(config).await;
        }
        match self.command {
            Some(Command::Openapi { service }) => print(&match service.0[..] {
                [one] => openapi::of_service(one),
                _ => openapi::of_services(&service.0),
            }),
            Some(Command::Asyncapi) => print(&asyncapi::document()),
            Some(Command::Health { url }) => health::ask(&url).await,
            Some(Command::Serve { .. }) | None => Ok(()),
        }
    }
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    use std::io::Write;

    let text = openapi::to_text(document);
    std::io::stdout().write_all(text.as_bytes()).context("stdout takes no more")
}
