//! The command line and the codes of the shop.

mod settings;

use std::{collections::BTreeSet, ffi::OsString};

use orderlog_core::decider::Decider;
use orderlog_domain::{
    SERVICES, billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications,
    orders::Orders,
};
use orderlog_http::{
    freshness::awaited,
    names::ServiceName,
    operations::nameless,
    problem::{ApiError, Code, codes},
};
use orderlog_runtime::archive::FORMAT;
use orderlog_server::{
    commands::{Cli, Environment},
    config::{Config, LogUrl},
};
use poem::{IntoResponse, http::StatusCode};
use serde_json::Value;

use super::*;

fn config(args: &[&str]) -> Result<Config, String> {
    let args = std::iter::once(&"orderlog").chain(args).map(OsString::from);
    let cli = Cli::read(&SHOP, args, &Environment::new()).map_err(|error| error.to_string())?;
    cli.config(&SHOP).ok_or_else(|| "nothing is served".to_owned())
}

#[test]
fn every_option_has_a_flag_and_a_sentence_and_only_shared_ones_have_variables() {
    fn all(command: &clap::Command) -> Vec<&clap::Arg> {
        let of_verbs = command.get_subcommands().flat_map(all);
        command.get_arguments().filter(|option| !option.is_positional()).chain(of_verbs).collect()
    }
    let cli = Cli::commands(&SHOP);
    let is_shared = |option: &clap::Arg| {
        let id = option.get_id();
        ["server", "key_file"].contains(&id.as_str()) || cli.get_arguments().any(|option| option.get_id() == id)
    };
    let options = all(&cli).into_iter();
    for option in options.filter(|option| !["help", "version", "quiet"].contains(&option.get_id().as_str())) {
        let flag = option.get_long().expect("a flag");
        let variable = option.get_env().and_then(|name| name.to_str());
        assert_eq!(variable.is_some_and(|name| name.starts_with("ORDERLOG_")), is_shared(option), "--{flag}");
        assert!(option.get_help().is_some_and(|help| help.to_string().len() > 10), "--{flag} is explained");
    }
}

/// An export under load depends on it: see `orderlog_runtime::archive::cut`.
#[test]
fn facts_are_copied_from_services_that_are_listed_before_and_react_to_nothing() {
    let of =
        [reads::<Customers>(), reads::<Orders>(), reads::<Inventory>(), reads::<Billing>(), reads::<Notifications>()];
    assert_eq!(of.map(|(name, ..)| name).as_slice(), SHOP.published().iter().map(|it| it.0).collect::<Vec<_>>());
    for (name, _, copies) in of {
        for topic in copies {
            let publishes = |it: &(&str, &[(&str, &str)])| it.1.iter().any(|(published, _)| published == topic);
            let publisher = SHOP.published().iter().position(publishes).expect("a publisher");
            let (source, reacts_to, _) = of[publisher];
            assert!(of[..publisher].iter().all(|it| it.0 != name) && reacts_to.is_empty(), "{name} copies {source}");
        }
    }
}

/// The name of a service, the topics that it reacts to, and those that it copies.
fn reads<D: Decider>() -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    (D::JOURNAL, D::REACTS_TO, D::COPIES)
}

fn leaves(command: &clap::Command) -> Vec<&clap::Command> {
    if command.has_subcommands() { command.get_subcommands().flat_map(leaves).collect() } else { vec![command] }
}

#[test]
fn every_command_has_examples_and_every_example_parses() {
    let mut cli = Cli::commands(&SHOP);
    let with_examples = |command: &clap::Command| {
        command.get_after_long_help().map(ToString::to_string).filter(|help| help.contains("Examples:\n"))
    };
    for command in leaves(&cli) {
        assert!(with_examples(command).is_some(), "`{}` has no example", command.get_name());
    }
    let texts: Vec<_> = leaves(&cli).into_iter().chain([&cli]).filter_map(with_examples).collect();
    for example in texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("  ")) {
        let words = example.split_whitespace().take_while(|word| ![">", "|"].contains(word));
        let parsed = cli.try_get_matches_from_mut(words);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}

#[test]
fn short_help_fits_on_a_screen() {
    fn all(command: &mut clap::Command) -> Vec<(String, usize)> {
        let help = command.render_help().to_string();
        let own = (
            command.get_name().to_owned(),
            help.lines().map(|line| line.chars().count().saturating_sub(1) / 80 + 1).sum(),
        );
        std::iter::once(own).chain(command.get_subcommands_mut().flat_map(all)).collect()
    }
    let mut cli = Cli::commands(&SHOP).term_width(80);
    cli.build();
    for (name, n_lines) in all(&mut cli) {
        assert!(n_lines <= 40, "`{name} -h` has {n_lines} lines");
    }
}

#[test]
fn a_command_lists_only_options_that_it_uses() {
    let help = |words: &[&str]| {
        let args = std::iter::once(&"orderlog").chain(words).chain([&"--help"]);
        Cli::commands(&SHOP).try_get_matches_from(args).unwrap_err().to_string()
    };
    let (replay, import, rebuild) =
        (help(&["log", "replay"]), help(&["log", "import"]), help(&["projection", "rebuild"]));
    for (option, expected) in [
        ("--kafka-tls", [true, true, true]),
        ("--hash-key-file", [false, true, true]),
        ("--public-partitions", [false, true, true]),
        ("--keys-in-memory", [false, false, true]),
        ("--advertised-url", [false, false, false]),
    ] {
        let listed = [&replay, &import, &rebuild].map(|help| help.contains(option));
        assert_eq!(listed, expected, "{option}");
    }
    // Hidden options are still taken, so that a script may pass the same ones to all commands.
    assert!(Cli::commands(&SHOP).try_get_matches_from(["orderlog", "log", "lint", "--hash-key", "x"]).is_ok());
}

/// Exports of formats 1 and 2 have these journals and no other. With another service older exports would be refused: before one is added,
/// they need a rule by which they are still imported, or a format of their own.
#[test]
fn another_set_of_services_needs_another_format_of_exports() {
    let names: Vec<&str> = SHOP.services.iter().map(|service| service.name().as_str()).collect();
    assert_eq!(FORMAT, 2);
    assert_eq!(names, ["customers", "orders", "inventory", "billing", "notifications"]);
}

#[test]
fn tests_below_the_registry_know_the_same_services_and_topics() {
    assert_eq!(SHOP.published(), SERVICES);
}

#[test]
fn no_two_services_declare_the_same_operation_or_route() {
    let mut declared = BTreeSet::new();
    for operation in SHOP.operations() {
        assert!(declared.insert(operation.id.to_owned()), "{}", operation.id);
        let route = format!("{} {}", operation.method, nameless(operation.path));
        assert!(declared.insert(route), "{}", operation.id);
    }
}

#[test]
fn without_a_command_all_services_are_served_on_the_embedded_log() {
    let config = config(&[]).unwrap();
    assert_eq!(*config.services, *SHOP.names());
    assert_eq!(config.options.storage.log, LogUrl::Embedded);
}

#[test]
fn one_service_is_served_alone() {
    let config = config(&["serve", "orders", "--log", "kafka://one:9092,two:9092"]).unwrap();
    assert_eq!(config.services, [ServiceName::of::<Orders>()]);
    assert_eq!(config.options.storage.log, LogUrl::Kafka("one:9092,two:9092".to_owned()));
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
    let cli = Cli::commands(&SHOP);
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

#[test]
fn a_service_waits_for_its_own_journal_and_those_that_it_takes_news_from() {
    fn told<D: Decider>() -> Vec<&'static str> {
        awaited::<D>().collect()
    }
    assert_eq!(told::<Customers>(), ["customers"]);
    assert_eq!(told::<Orders>(), ["orders", "customers", "inventory", "billing"]);
    assert_eq!(told::<Inventory>(), ["inventory", "orders"]);
    assert_eq!(told::<Billing>(), ["billing", "orders"]);
    assert_eq!(told::<Notifications>(), ["notifications", "inventory", "billing"]);
}

#[test]
fn every_code_is_explained_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for code in SHOP.codes() {
        assert!(names.insert(code.name), "{code:?} is there twice");
        assert!(code.name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{code:?}");
        for text in [&code.meaning(), code.remedy] {
            assert!(text.ends_with('.') && !text.contains("  "), "{code:?}: {text}");
        }
        let example = code.example();
        let told = example.errors.map_or(example.code, |errors| errors[0].code.clone());
        let expected = if code == codes::INVALID_REQUEST { "invalid_quantity" } else { code.name };
        assert_eq!(told, expected);
    }
}

/// The codes that differ from the others of their status in whether a retry can help.
const EXCEPTIONS: [Code; 3] = [codes::IDEMPOTENCY_KEY_IN_USE, codes::REBUILD_UNDER_WAY, codes::SERVICE_NOT_CONFIGURED];

/// The contract can't require the header, which some codes of 409 do without.
#[tokio::test]
async fn every_problem_says_whether_and_when_to_retry() {
    for code in SHOP.codes() {
        for status in code.statuses {
            let response = ApiError::new(StatusCode::from_u16(*status).unwrap(), code, "").into_response();
            let retryable = [408, 429, 500, 503, 504].contains(status) != EXCEPTIONS.contains(&code);
            assert_eq!(response.headers().contains_key("retry-after"), retryable, "{code:?}, {status}");
            let body: Value = response.into_body().into_json().await.unwrap();
            assert_eq!(body["retryable"], retryable, "{body}");
        }
    }
}
