//! The command line.

mod config;
mod exit;
mod health;
mod help;
mod key;
mod log;
mod manual;
mod nearest;
mod parked;
mod projection;
mod running;
mod serve;
mod services;
mod settings;
mod sql;
mod topics;
mod variables;
mod when;

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;

pub use exit::{Exit, Failure, of as exit_code};
pub use variables::{Environment, of_process as environment};

use services::{Services, registered};
use settings::{Layers, Setting};

use crate::{
    asyncapi,
    config::{Config, Options},
    openapi::{self, Form},
    output,
    registry::Registry,
};

/// The command line. What it says of the services comes from the registry.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,

    /// Print only results and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// The options of `serve`, as far as the command has them, with their sources.
    #[arg(skip)]
    settings: Vec<Setting>,

    /// About variables.
    #[arg(skip)]
    warnings: Vec<String>,
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
        #[arg(long, value_name = "VERSION", value_enum, default_value_t = Form::Modern)]
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
    /// Show and check the options of `serve` and their sources
    Config {
        #[command(subcommand)]
        verb: config::Verb,
    },
    /// Print the topics to create on Kafka
    Topics {
        #[command(subcommand)]
        verb: Box<topics::Verb>,
    },
    /// Query the read models with SQL, whether or not a server runs
    ///
    /// Each read model is a database with the name of its service, `select * from SERVICE.VIEW`. Views are found without that
    /// name too. Each read model is read at one position.
    Sql(sql::Query),
    /// Create, list and revoke API keys
    Key {
        #[command(subcommand)]
        verb: Box<key::Verb>,
    },
    /// Check whether a running process is ready; exits with 0 if it is
    Health(health::Health),
    /// Print the completion script for a shell
    Completions {
        #[arg(value_enum)]
        /// The shell
        shell: Shell,
    },
    /// Write a man page for each command, or print the main one
    Man {
        /// The folder for the pages; created if missing
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Cli {
    /// Parses `args`, which begin with the program's name, with the environment's variables and the settings file.
    ///
    /// # Errors
    /// If they are wrong or ask for help. An error about a value names the variable or the line that it came from.
    pub fn read(
        registry: &'static Registry,
        args: impl IntoIterator<Item = OsString>,
        environment: &Environment,
    ) -> Result<Self, clap::Error> {
        let command = Self::commands(registry);
        let Layers { args, sources } = Layers::of(&command, args.into_iter().collect(), environment)?;
        let parsed = settings::without_variables(command.clone()).try_get_matches_from(args);
        let matches = parsed.map_err(|error| sources.named(error))?;
        let cli = Self {
            settings: sources.settings(&command, &matches),
            warnings: variables::unknown(&command, environment),
            ..Self::from_arg_matches(&matches)?
        };
        match cli.config(registry) {
            Some(config) if config.options.demo.is_some() && registry.demo.is_none() => {
                Err(clap::Error::raw(ErrorKind::UnknownArgument, "this program has no demo\n"))
            }
            Some(_) | None => Ok(cli),
        }
    }

    /// The command line of a program with these services.
    pub fn commands(registry: &'static Registry) -> clap::Command {
        help::arranged(settings::offered(services::all(Self::command(), registry)), registry)
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
                | Command::Config { .. }
                | Command::Key { .. }
                | Command::Log { .. }
                | Command::Parked { .. }
                | Command::Projection { .. }
                | Command::Sql(_)
                | Command::Topics { .. }
                | Command::Health(_)
                | Command::Completions { .. }
                | Command::Man { .. },
            ) => None,
        }
    }

    /// Runs the command.
    pub async fn run(self, registry: &'static Registry) -> anyhow::Result<Exit> {
        if self.quiet {
            output::be_quiet();
        }
        self.warnings.iter().for_each(|warning| output::note(warning));
        if let Some(config) = self.config(registry) {
            return serve::run(registry, config, self.quiet).await.map(|()| Exit::Done);
        }
        match self.command {
            Some(Command::Openapi { services, form }) => print(&match &*services.of(registry) {
                [one] => openapi::of_service(registry, *one, form),
                _ => openapi::of_services(registry, &services.0, form),
            })?,
            Some(Command::Asyncapi) => print(&asyncapi::document(registry))?,
            Some(Command::Config { verb }) => return config::run(registry, &verb, &self.settings),
            Some(Command::Key { verb }) => return key::run(registry, *verb),
            Some(Command::Log { verb }) => return log::run(registry, *verb).await,
            Some(Command::Parked { verb }) => return parked::run(registry, *verb).await,
            Some(Command::Projection { verb }) => return projection::run(registry, *verb).await,
            Some(Command::Sql(query)) => return tokio::task::block_in_place(|| query.run(registry)),
            Some(Command::Topics { verb }) => topics::run(registry, &verb)?,
            Some(Command::Health(health)) => health.run().await?,
            Some(Command::Completions { shell }) => manual::complete(registry, shell)?,
            Some(Command::Man { dir }) => manual::man(registry, dir.as_deref())?,
            Some(Command::Serve { .. }) | None => {}
        }
        Ok(Exit::Done)
    }
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    output::print(openapi::to_text(document).trim_end())
}
