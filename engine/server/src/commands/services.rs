//! Arguments that depend on the registered services.

use clap::{
    Arg, Command,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser},
};
use orderlog_http::names::ServiceName;

use super::key::Meant;
use crate::{
    config::{OTHERS, PeerUrls, Untold, http_url},
    registry::{AnyService, Registry},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services(pub Vec<ServiceName>);

impl Services {
    pub fn of(&self, registry: &Registry) -> Vec<&'static dyn AnyService> {
        registry.those(&self.0).collect()
    }
}

/// A placeholder for the parser of an argument that depends on the registry; [`all`] replaces it.
pub fn registered<T>(_: &str) -> Result<T, String> {
    Err("no services are known".to_owned())
}

/// Adds the arguments that depend on the registry to a command and its subcommands: `[SERVICE]`, and for a server's
/// options the URL of each service.
pub fn all(command: Command, registry: &'static Registry) -> Command {
    let about = &registry.about;
    let command = command.name(about.name).about(format!("{}. {}", about.program, about.usage));
    let command = command.long_about(format!("{}.\n\n{}", about.program, about.usage));
    with_services(command, registry)
}

fn with_services(command: Command, registry: &'static Registry) -> Command {
    let about = &registry.about;
    let serves = command.get_arguments().any(|arg| arg.get_id() == "require_idempotency_keys");
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "services" => arg.value_parser(some_of(registry)),
        "scopes" => arg.value_parser(scopes_of(registry)),
        "service" => arg.value_parser(one_of(registry)),
        "demo" => arg.hide(registry.demo.is_none()),
        "require_idempotency_keys" if !about.demanded_keys.is_empty() => arg.help(about.demanded_keys),
        _ => arg,
    });
    let urls = registry.services.iter().filter(|_| serves).map(|service| url_of(service.name()));
    command.args(urls).mut_subcommands(|command| with_services(command, registry))
}

fn some_of(registry: &'static Registry) -> ValueParser {
    let names = registry.names();
    let possible = std::iter::once("all").chain(names.iter().map(|service| service.as_str()));
    let parser = PossibleValuesParser::new(possible);
    let chosen = move |name: String| names.iter().filter(|it| name == "all" || it.as_str() == name).copied().collect();
    ValueParser::new(parser.map(move |name| Services(chosen(name))))
}

fn scopes_of(registry: &'static Registry) -> ValueParser {
    let scopes = registry.scopes();
    ValueParser::new(move |text: &str| scopes.meant_by(text).map(Meant))
}

fn one_of(registry: &'static Registry) -> ValueParser {
    let possible = registry.services.iter().map(|it| PossibleValue::new(it.name().as_str()).help(it.about()));
    ValueParser::new(
        PossibleValuesParser::new(possible)
            .try_map(|name| registry.find(&name).map(|service| service.name()).ok_or("it is none of the services")),
    )
}

/// The option for a service's URL.
fn url_of(service: ServiceName) -> Arg {
    Arg::new(format!("{}{service}", PeerUrls::ID))
        .long(format!("{service}-url"))
        .help_heading(OTHERS)
        .env(format!("ORDERLOG_{}_URL", service.as_str().to_uppercase()))
        .value_name("URL")
        .value_parser(Untold(http_url))
        .hide_env_values(true)
        .help(format!("The URL of the {service} service. Default: in this process"))
}
