//! A sixth service in the shop, the engine's example: adding it to the list is all that it takes.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{ffi::OsString, path::Path};

use orderlog_cli::shop::SHOP;
use orderlog_http::{
    freshness::{Freshness, MIN_POSITION},
    names::ServiceName,
};
use orderlog_server::{
    asyncapi,
    commands::{Cli, Environment, Exit},
    openapi::{self, Form},
    registry::{AnyService, Registry},
    server,
};
use serde_json::{Value, json};

#[expect(dead_code, reason = "its `main` is for itself alone")]
#[path = "../../engine/examples/first-service/src/main.rs"]
mod first_service;

use first_service::Vouchers;

const N_OF_SHOP: usize = SHOP.services.len();
const VOUCHERS: ServiceName = ServiceName::of::<Vouchers>();

static SERVICES: [&dyn AnyService; N_OF_SHOP + 1] = {
    let mut services: [&dyn AnyService; N_OF_SHOP + 1] = [&Vouchers; N_OF_SHOP + 1];
    let mut i = 0;
    while i < N_OF_SHOP {
        services[i] = SHOP.services[i];
        i += 1;
    }
    services
};
static SIX: Registry = Registry { services: &SERVICES, ..SHOP };

fn read(registry: &'static Registry, args: &[&str]) -> Result<Cli, String> {
    let args = std::iter::once(&"orderlog").chain(args).map(OsString::from);
    Cli::read(registry, args, &Environment::new()).map_err(|error| error.to_string())
}

#[test]
fn it_is_in_the_documents() {
    let together = openapi::of_services(&SIX, &SIX.names(), Form::Modern);
    for document in [together, openapi::of_service(&SIX, &Vouchers, Form::Modern)] {
        assert_eq!(document["tags"].as_array().unwrap().last().unwrap()["name"], "vouchers");
        let query = &document["paths"]["/vouchers"]["get"];
        assert_eq!((&query["operationId"], &query["tags"]), (&"list_vouchers".into(), &json!(["vouchers"])));
        let parameters = query["parameters"].as_array().unwrap();
        let position = parameters.iter().find(|parameter| parameter["name"] == MIN_POSITION).unwrap();
        assert_eq!(position["schema"]["pattern"], "^(vouchers)@[0-9]{1,18}$");
    }
    assert!(asyncapi::document(&SIX)["operations"]["vouchersSendsVoucherLow"].is_object());
    assert_eq!(asyncapi::document(&SHOP)["operations"]["vouchersSendsVoucherLow"], Value::Null);
    assert!(SIX.codes().any(|code| code.name == "balance_too_low"));
}

#[test]
fn it_is_a_journal_that_positions_name() {
    assert_eq!(*SIX.topics()[N_OF_SHOP].name, *"vouchers");
    let read = |registry: &Registry| {
        let headers = [(MIN_POSITION.parse().unwrap(), "vouchers@7".parse().unwrap())];
        Freshness::read(&headers.into_iter().collect(), &registry.names()).map(|freshness| freshness.seen)
    };
    assert_eq!(read(&SIX).unwrap()[0].journal, VOUCHERS);
    assert!(read(&SHOP).is_err());
}

#[test]
fn it_is_on_the_command_line() {
    let config = |args| read(&SIX, args).unwrap().config(&SIX).unwrap();
    assert_eq!(config(&[]).services.last(), Some(&VOUCHERS));
    assert_eq!(config(&["serve", "vouchers"]).services, [VOUCHERS]);
    for args in [&["--vouchers-url", "http://127.0.0.1:1"][..], &["serve", "--vouchers-url", "http://127.0.0.1:1"]] {
        let urls = config(args).options.peer_urls.of(&SIX.names());
        assert_eq!(urls, [(VOUCHERS, "http://127.0.0.1:1".to_owned())].into());
        assert!(read(&SHOP, args).is_err());
    }
    let help = read(&SIX, &["help"]).unwrap_err();
    assert!(help.contains("--vouchers-url") && help.contains("URL of the vouchers service"), "{help}");
    let help = read(&SIX, &["parked", "show", "--help"]).unwrap_err();
    assert!(help.contains("Vouchers, and what they are worth"), "{help}");
    assert!(read(&SHOP, &["parked", "list", "vouchers"]).is_err());
    assert!(read(&SIX, &["parked", "list", "vouchers"]).is_ok());
    let scopes = ["key", "create", "--name", "till", "--scope", "vouchers:write"];
    assert!(read(&SIX, &scopes).is_ok() && read(&SHOP, &scopes).is_err());
}

/// Runs a command on a data folder; it succeeds.
async fn run(args: &[&str], data: &Path) {
    let cli = read(&SIX, &[args, &["--data", data.to_str().unwrap()]].concat()).unwrap();
    assert_eq!(cli.run(&SIX).await.unwrap(), Exit::Done, "{args:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_rebuilt_verified_and_exported_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (data, export) = (folder.path().join("data"), folder.path().join("export"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let config = read(&SIX, &args).unwrap().config(&SIX).unwrap();
    let server = server::start(&SIX, config).await.map_err(|error| error.to_string()).unwrap();
    let vouchers = format!("{}/vouchers", server.url());
    let client = reqwest::Client::new();
    let issued = client.post(vouchers).json(&json!({ "cents": 700 })).send().await.unwrap();
    assert_eq!(issued.status(), 201);
    run(&["projection", "rebuild", "vouchers"], &data).await;
    run(&["projection", "verify", "all"], &data).await;
    run(&["log", "export", export.to_str().unwrap()], &data).await;
    let manifest = std::fs::read_to_string(export.join("manifest.json")).unwrap();
    assert!(["\"vouchers\"", "\"orders\""].iter().all(|journal| manifest.contains(journal)), "{manifest}");
    server.stop().await;
}
