//! The command line.

mod exit;
mod health;
mod key;
mod log;
mod parked;
mod projection;
mod running;
mod serve;
mod variables;

use std::ffi::OsString;

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser,
};

pub use exit::{Exit, Failure, of as exit_code};

use crate::{
    asyncapi,
    config::{Config, Options},
    names::ServiceName,
    openapi::{self, Form},
    output,
};

/// An order backend whose only truth is an append-only log.
///
/// Without a command all five services are served on the embedded log.
#[derive(Debug, Parser)]
#[command(name = "orderlog", version, args_conflicts_with_subcommands = true, after_help = exit::HELP)]
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

        /// Which version of OpenAPI: 3.0 is for generators that reject 3.1
        #[arg(long, env = "ORDERLOG_OPENAPI_FORM", value_name = "VERSION", value_enum, default_value_t = Form::Modern)]
        form: Form,
    },
    /// Print the AsyncAPI document of the public topics
    Asyncapi,
    /// Read the log itself, export and import it
    Log {
        #[command(subcommand)]
        verb: Box<log::Verb>,
    },
    /// Look at records that could not be folded, fold them after all, discard them
    Parked {
        #[command(subcommand)]
        verb: Box<parked::Verb>,
    },
    /// Look at the rows of services, prove them, rebuild them while they serve
    Projection {
        #[command(subcommand)]
        verb: Box<projection::Verb>,
    },
    /// Make keys for callers, list them, revoke them
    Key {
        #[command(subcommand)]
        verb: Box<key::Verb>,
    },
    /// Ask a running process whether it is ready; exits with 0 if it is
    Health(health::Health),
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
    /// The command line `args`, which begin with the program's name, and the variables.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for. A value that comes from a variable is named by that.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (command, args): (_, Vec<_>) = (variables::prepared(Self::command()), args.into_iter().collect());
        let matches = match command.clone().try_get_matches_from(&args) {
            Err(help) if !help.use_stderr() => return Err(help),
            matches => matches,
        };
        variables::check(&command, &args)?;
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| variables::named(error, &command, &args))
    }

    /// What to serve, if that is what is asked.
    pub fn config(&self) -> Option<Config> {
        match &self.command {
            None => Some(Config { services: ServiceName::ALL.to_vec(), options: self.options.clone() }),
            Some(Command::Serve { service, options }) => {
                Some(Config { services: service.0.clone(), options: (**options).clone() })
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

    /// Do what is asked.
    ///
    /// # Errors
    /// Why it can't be done.
    pub async fn run(self) -> anyhow::Result<Exit> {
        if let Some(config) = self.config() {
            return serve::run(config).await.map(|()| Exit::Done);
        }
        match self.command {
            Some(Command::Openapi { service, form }) => print(&match service.0[..] {
                [one] => openapi::of_service(one, form),
                _ => openapi::of_services(&service.0, form),
            })?,
            Some(Command::Asyncapi) => print(&asyncapi::document())?,
            Some(Command::Key { verb }) => return key::run(*verb),
            Some(Command::Log { verb }) => return log::run(*verb).await,
            Some(Command::Parked { verb }) => return parked::run(*verb).await,
            Some(Command::Projection { verb }) => return projection::run(*verb).await,
            Some(Command::Health(health)) => health.run().await?,
            Some(Command::Serve { .. }) | None => {}
        }
        Ok(Exit::Done)
    }
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    output::print(openapi::to_text(document).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, String> {
        let args = std::iter::once(&"orderlog").chain(args).map(OsString::from);
        let cli = Cli::read(args).map_err(|error| error.to_string())?;
        cli.config().ok_or_else(|| "nothing is served".to_owned())
    }

    #[test]
    fn every_option_has_a_flag_a_variable_and_a_sentence() {
        fn all(command: &clap::Command) -> Vec<&clap::Arg> {
            let of_verbs = command.get_subcommands().flat_map(all);
            command.get_arguments().filter(|option| !option.is_positional()).chain(of_verbs).collect()
        }
        let cli = Cli::command();
        let options = all(&cli).into_iter();
        for option in options.filter(|option| !["help", "version"].contains(&option.get_id().as_str())) {
            let flag = option.get_long().expect("a flag");
            let variable = option.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(variable.starts_with("ORDERLOG_"), "--{flag} has a variable");
            assert!(option.get_help().is_some_and(|help| help.to_string().len() > 10), "--{flag} is explained");
        }
    }

    #[test]
    fn without_a_command_all_services_are_served_on_the_embedded_log() {
        let config = config(&[]).unwrap();
        assert_eq!(config.services, ServiceName::ALL);
        assert_eq!(config.options.storage.log, crate::config::LogUrl::Embedded);
    }

    #[test]
    fn one_service_is_served_alone() {
        let config = config(&["serve", "orders", "--log", "kafka://one:9092,two:9092"]).unwrap();
        assert_eq!(config.services, [ServiceName::Orders]);
        assert_eq!(config.options.storage.log, crate::config::LogUrl::Kafka("one:9092,two:9092".to_owned()));
    }

    #[test]
    fn what_may_hold_a_secret_is_not_told_when_it_is_wrong() {
        for (flag, wrong) in [
            ("--peer-key", "hunter2"),
            ("--redis", "redis//user:hunter2@host"),
            ("--log", "kafka://user:hunter2@host:9092"),
            ("--kafka-setting", "sasl.password:hunter2"),
            ("--otlp-endpoint", "user:hunter2@host"),
            ("--oidc-jwks", "htps://user:hunter2@host"),
            ("--billing-url", "htp://user:hunter2@host"),
        ] {
            let error = config(&["serve", flag, wrong]).unwrap_err();
            assert!(error.contains(flag) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn help_shows_no_variable_that_may_hold_a_secret() {
        let cli = Cli::command();
        let serve = cli.find_subcommand("serve").expect("it can serve");
        for flag in [
            "peer-key",
            "hash-key",
            "redis",
            "redis-password",
            "kafka-password",
            "kafka-setting",
            "otlp-endpoint",
            "billing-url",
        ] {
            let option = serve.get_arguments().find(|option| option.get_long() == Some(flag)).expect(flag);
            assert!(option.is_hide_env_values_set(), "--{flag}");
        }
    }

    #[test]
    fn a_wrong_option_is_told_with_what_would_be_right() {
        for (args, told) in [
            (["serve", "--log", "kafka:/host:9092"], "kafka://host:port"),
            (["serve", "--log", "kafka://host"], "kafka://host:port"),
            (["serve", "--listen", "8080"], "host:port"),
            (["serve", "--redis", "host:6379"], "redis://"),
            (["serve", "--kafka-password", "x"], "--kafka-user"),
            (["serve", "--redis-user", "x"], "--redis"),
            (["serve", "--orders-url", "ftp://host"], "http://"),
            (["serve", "--public-partitions", "0"], "1..=1000"),
            (["serve", "--kafka-setting", "acks"], "name=value"),
            (["serve", "--trace-ratio", "1.5"], "from 0 to 1"),
            (["serve", "--allowed-host", "http://shop.example"], "shop.example, without scheme and port"),
            (["serve", "--allowed-host", "shop.example:80"], "without scheme and port"),
            (["serve", "--dta", "x"], "--data"),
            (["serve", "shipping", "--demo"], "inventory"),
        ] {
            let error = config(&args).unwrap_err();
            assert!(error.contains(told), "{args:?}: {error}");
        }
    }
}
