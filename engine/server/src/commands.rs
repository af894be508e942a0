//! The command line.

mod exit;
mod health;
mod key;
mod log;
mod parked;
mod projection;
mod running;
mod serve;
mod services;
mod variables;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

pub use exit::{Exit, Failure, of as exit_code};

use services::{Services, registered};

use crate::{
    asyncapi,
    config::{Config, Options},
    openapi::{self, Form},
    output,
    registry::Registry,
};

/// The command line. What it says of the services comes from the registry.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = exit::HELP)]
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
        /// The services to run
        #[arg(value_name = "SERVICE", default_value = "all", value_parser = registered::<Services>)]
        services: Services,

        #[command(flatten)]
        options: Box<Options>,
    },
    /// Print the OpenAPI document of a service, or one for all services
    Openapi {
        /// The services to document
        #[arg(value_name = "SERVICE", default_value = "all", value_parser = registered::<Services>)]
        services: Services,

        /// The OpenAPI version; 3.0 is for generators that reject 3.1
        #[arg(long, env = "ORDERLOG_OPENAPI_FORM", value_name = "VERSION", value_enum, default_value_t = Form::Modern)]
        form: Form,
    },
    /// Print the AsyncAPI document of the public topics
    Asyncapi,
    /// Read, export and import the log
    Log {
        #[command(subcommand)]
        verb: Box<log::Verb>,
    },
    /// List, show, retry and discard parked records
    Parked {
        #[command(subcommand)]
        verb: Box<parked::Verb>,
    },
    /// Show, verify and rebuild read models while they serve
    Projection {
        #[command(subcommand)]
        verb: Box<projection::Verb>,
    },
    /// Create, list and revoke API keys
    Key {
        #[command(subcommand)]
        verb: Box<key::Verb>,
    },
    /// Check whether a running process is ready; exits with 0 if it is
    Health(health::Health),
}

impl Cli {
    /// Parses `args`, which begin with the program's name, and the environment variables.
    ///
    /// # Errors
    /// If they are wrong or ask for help. An error about a variable's value names the variable.
    pub fn read(registry: &'static Registry, args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (command, args): (_, Vec<_>) = (Self::commands(registry), args.into_iter().collect());
        let matches = match command.clone().try_get_matches_from(&args) {
            Err(help) if !help.use_stderr() => return Err(help),
            matches => matches,
        };
        variables::check(&command, &args)?;
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        let cli = read.map_err(|error| variables::named(error, &command, &args))?;
        match cli.config(registry) {
            Some(config) if config.options.demo && registry.demo.is_none() => {
                Err(clap::Error::raw(ErrorKind::UnknownArgument, "this program has no demo\n"))
            }
            Some(_) | None => Ok(cli),
        }
    }

    /// The command line of a program with these services.
    pub fn commands(registry: &'static Registry) -> clap::Command {
        variables::prepared(services::all(Self::command(), registry))
    }

    /// The configuration to serve with, if the command is to serve.
    pub fn config(&self, registry: &Registry) -> Option<Config> {
        match &self.command {
            None => Some(Config { services: registry.names().to_vec(), options: self.options.clone() }),
            Some(Command::Serve { services, options }) => {
                Some(Config { services: services.0.clone(), options: (**options).clone() })
            }
            Some(
                Command::Openapi { .. }
                | Command::Asyncapi
                | Command::Key { .. }
                | Command::Log { .. }
                | Command::Parked { .. }
                | Command::Projection { .. }
                | Command::Health(_),
            ) => None,
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails.
    pub async fn run(self, registry: &'static Registry) -> anyhow::Result<Exit> {
        if let Some(config) = self.config(registry) {
            return serve::run(registry, config).await.map(|()| Exit::Done);
        }
        match self.command {
            Some(Command::Openapi { services, form }) => print(&match &*services.of(registry) {
                [one] => openapi::of_service(registry, *one, form),
                _ => openapi::of_services(registry, &services.0, form),
            })?,
            Some(Command::Asyncapi) => print(&asyncapi::document(registry))?,
            Some(Command::Key { verb }) => return key::run(registry, *verb),
            Some(Command::Log { verb }) => return log::run(registry, *verb).await,
            Some(Command::Parked { verb }) => return parked::run(registry, *verb).await,
            Some(Command::Projection { verb }) => return projection::run(registry, *verb).await,
            Some(Command::Health(health)) => health.run().await?,
            Some(Command::Serve { .. }) | None => {}
        }
        Ok(Exit::Done)
    }
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    output::print(openapi::to_text(document).trim_end())
}
