//! The command line of the shop, and a sixth service: adding it to the list is all that it takes.

use std::{collections::BTreeSet, ffi::OsString};

use orderlog_core::{
    decider::{At, Decider, Kind, Millis, Ref, View},
    public::Nothing,
};
use orderlog_domain::{
    billing::Billing,
    customers::Customers,
    inventory::Inventory,
    notifications::Notifications,
    orders::{self, Orders},
};
use orderlog_http::{
    auth::Scope,
    freshness::{Freshness, MIN_POSITION, awaited},
    names::ServiceName,
    operations::operations,
    problem::{ApiError, codes},
    service::{
        Service, ServiceDefinition,
        mounted::Mounted,
        parts::{NotStarted, Parts},
    },
};
use orderlog_readmodel::Tables;
use orderlog_server::{
    asyncapi,
    commands::Cli,
    config::{Config, LogUrl},
    openapi::{self, Form},
};
use poem::{IntoResponse, http::StatusCode};
use poem_openapi::{OpenApi, Tags, payload::PlainText};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;

fn config(args: &[&str]) -> Result<Config, String> {
    let args = std::iter::once(&"orderlog").chain(args).map(OsString::from);
    let cli = Cli::read(&SHOP, args).map_err(|error| error.to_string())?;
    cli.config(&SHOP).ok_or_else(|| "nothing is served".to_owned())
}

#[test]
fn every_option_has_a_flag_a_variable_and_a_sentence() {
    fn all(command: &clap::Command) -> Vec<&clap::Arg> {
        let of_verbs = command.get_subcommands().flat_map(all);
        command.get_arguments().filter(|option| !option.is_positional()).chain(of_verbs).collect()
    }
    let cli = Cli::commands(&SHOP);
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

/// The contract can't require the header, which 409 has with one code only.
#[test]
fn a_problem_that_passes_says_when_to_ask_again() {
    for code in SHOP.codes() {
        for status in code.statuses {
            let status = StatusCode::from_u16(*status).unwrap();
            let response = ApiError::new(status, code, "").into_response();
            let passes = [503, 504].contains(&status.as_u16()) || code == codes::IDEMPOTENCY_KEY_IN_USE;
            assert_eq!(response.headers().contains_key("retry-after"), passes, "{code:?}, {status}");
        }
    }
}

/// Says where parcels are, of fulfilled orders.
#[derive(Clone)]
struct Parcels;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ParcelSent;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("there is no such parcel")]
struct NoParcel;

impl Decider for Parcels {
    const JOURNAL: &'static str = "parcels";
    const KINDS: &'static [Kind] = &[];
    const REACTS_TO: &'static [&'static str] = &["order.fulfilled"];
    const COPIES: &'static [&'static str] = &[];

    type Command = ();
    type Event = ParcelSent;
    type Entity = ParcelSent;
    type Rejection = NoParcel;
    type Published = Nothing;
    type Heard = orders::public::Published;

    fn decide((): &(), _: &View<'_, ParcelSent>, _: Millis) -> Result<ParcelSent, NoParcel> {
        Err(NoParcel)
    }

    fn target((): &()) -> Option<Ref> {
        None
    }

    fn kind(_: &ParcelSent) -> &'static str {
        "parcel_sent"
    }

    fn touches(_: &ParcelSent) -> Vec<Ref> {
        Vec::new()
    }

    fn evolve(_: Option<ParcelSent>, _: usize, event: &ParcelSent, _: &At) -> ParcelSent {
        event.clone()
    }

    fn publish(_: &ParcelSent) -> Vec<Nothing> {
        Vec::new()
    }

    fn react(_: &Self::Heard) -> Option<()> {
        None
    }

    fn copy(_: &Self::Heard) -> Option<(Ref, u64, ParcelSent)> {
        None
    }
}

static TABLES: Tables<Parcels> = Tables { schema: 1, tables: &[], ledgers: &[], timers: &[] };

struct ParcelsApi(Service<ParcelsService>);

#[derive(Tags)]
enum Tag {
    /// Where parcels are.
    #[oai(rename = "parcels")]
    Parcels,
}

#[operations]
#[OpenApi(prefix_path = "/parcels", tag = "Tag::Parcels")]
impl ParcelsApi {
    /// Track the parcels
    #[oai(path = "/", method = "get", operation_id = "track_parcels")]
    #[operation(scope = Scope::ADMIN_READ, bound = refused)]
    async fn track_parcels(&self, seen: Freshness) -> Result<PlainText<String>, ApiError> {
        self.0.reached(&seen).await?;
        Err(ParcelsService::problem_of(NoParcel))
    }
}

struct ParcelsService;

impl ServiceDefinition for ParcelsService {
    type Decider = Parcels;
    type Api = ParcelsApi;

    const ABOUT: &'static str = "Where parcels are";

    fn tables() -> &'static Tables<Parcels> {
        &TABLES
    }

    fn problem_of(rejection: NoParcel) -> ApiError {
        ApiError::not_found(codes::NO_SUCH_RESOURCE, rejection.to_string())
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        let service = parts.start::<Self>().await?;
        Ok(Mounted::new(&service.clone(), ParcelsApi(service)))
    }
}

static SIX: Registry = Registry {
    about: ABOUT,
    codes: SHOP.codes,
    services: &[
        &CustomersService,
        &OrdersService,
        &InventoryService,
        &BillingService,
        &NotificationsService,
        &ParcelsService,
    ],
};

const PARCELS: ServiceName = ServiceName::of::<Parcels>();

#[test]
fn a_sixth_service_is_in_the_documents() {
    let together = openapi::of_services(&SIX, &SIX.names(), Form::Modern);
    for document in [together, openapi::of_service(&SIX, &ParcelsService, Form::Modern)] {
        assert_eq!(document["tags"].as_array().unwrap().last().unwrap()["name"], "parcels");
        let query = &document["paths"]["/parcels"]["get"];
        assert_eq!(query["operationId"], "track_parcels");
        let parameters = query["parameters"].as_array().unwrap();
        let position = parameters.iter().find(|parameter| parameter["name"] == MIN_POSITION).unwrap();
        assert_eq!(position["schema"]["pattern"], "^(parcels|orders)@[0-9]{1,18}$");
    }
    let document = asyncapi::document(&SIX);
    let consumed: Vec<&String> = document["operations"].as_object().unwrap().keys().collect();
    assert_eq!(
        consumed.into_iter().filter(|it| it.starts_with("parcels")).collect::<Vec<_>>(),
        ["parcelsReceivesOrderFulfilled"]
    );
    assert_eq!(asyncapi::document(&SHOP)["operations"]["parcelsReceivesOrderFulfilled"], Value::Null);
}

#[test]
fn a_sixth_service_is_a_journal_that_positions_name() {
    assert_eq!(*SIX.topics()[5].name, *"parcels");
    let read = |registry: &Registry| {
        let headers = [(MIN_POSITION.parse().unwrap(), "parcels@7".parse().unwrap())];
        Freshness::read(&headers.into_iter().collect(), &registry.names()).map(|freshness| freshness.seen)
    };
    assert_eq!(read(&SIX).unwrap()[0].journal, PARCELS);
    assert!(read(&SHOP).is_err());
}

#[test]
fn a_sixth_service_is_on_the_command_line() {
    let read = |registry, args: &[&str]| {
        let args = std::iter::once(&"orderlog").chain(args).map(OsString::from);
        Cli::read(registry, args).map_err(|error| error.to_string())
    };
    let config = |args| read(&SIX, args).unwrap().config(&SIX).unwrap();
    assert_eq!(config(&[]).services.last(), Some(&PARCELS));
    assert_eq!(config(&["serve", "parcels"]).services, [PARCELS]);
    for args in [&["--parcels-url", "http://127.0.0.1:1"][..], &["serve", "--parcels-url", "http://127.0.0.1:1"]] {
        let urls = config(args).options.peer_urls.of(&SIX.names());
        assert_eq!(urls, [(PARCELS, "http://127.0.0.1:1".to_owned())].into());
        assert!(read(&SHOP, args).is_err());
    }
    let help = read(&SIX, &["help"]).unwrap_err();
    assert!(help.contains("--parcels-url") && help.contains("Where the parcels service is"), "{help}");
    let help = read(&SIX, &["parked", "show", "--help"]).unwrap_err();
    assert!(help.contains("Where parcels are"), "{help}");
    assert!(read(&SHOP, &["parked", "list", "parcels"]).is_err());
    assert!(read(&SIX, &["parked", "list", "parcels"]).is_ok());
}
