//! The published contracts stand in `openapi/`, as the binary prints them. `UPDATE_EXPECT=1 cargo test -p orderlog-cli`
//! writes them anew; a change there is a change of what others rely on.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "contracts/topics.rs"]
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{ExpectFile, expect_file};
use orderlog_api::{
    billing::BillingService, customers::CustomersService, inventory::InventoryService,
    notifications::NotificationsService, orders::OrdersService,
};
use orderlog_cli::shop::SHOP;
use orderlog_http::{
    operations::Operation,
    problem::{CONTENT_TYPE, Scope},
};
use orderlog_server::{
    asyncapi,
    openapi::{self, Form},
};
use serde_json::{Map, Value};

#[track_caller]
fn is_checked_in(document: &Value, file: ExpectFile) {
    file.assert_eq(&openapi::to_text(document));
}

#[test]
fn the_contract_of_each_service_is_checked_in() {
    is_checked_in(
        &openapi::of_service(&SHOP, &CustomersService, Form::Modern),
        expect_file!["../../openapi/customers.json"],
    );
    is_checked_in(&openapi::of_service(&SHOP, &OrdersService, Form::Modern), expect_file!["../../openapi/orders.json"]);
    is_checked_in(
        &openapi::of_service(&SHOP, &InventoryService, Form::Modern),
        expect_file!["../../openapi/inventory.json"],
    );
    is_checked_in(
        &openapi::of_service(&SHOP, &BillingService, Form::Modern),
        expect_file!["../../openapi/billing.json"],
    );
    is_checked_in(
        &openapi::of_service(&SHOP, &NotificationsService, Form::Modern),
        expect_file!["../../openapi/notifications.json"],
    );
}

fn modern() -> Value {
    openapi::of_services(&SHOP, &SHOP.names(), Form::Modern)
}

fn classic() -> Value {
    openapi::of_services(&SHOP, &SHOP.names(), Form::Classic)
}

#[test]
fn the_contract_of_all_services_in_one_is_checked_in() {
    is_checked_in(&modern(), expect_file!["../../openapi/orderlog.json"]);
    is_checked_in(&classic(), expect_file!["../../openapi/orderlog-3.0.json"]);
}

/// Every operation: (method and path, its description).
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    all.collect()
}

/// A part of the document, or the component that it refers to.
fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    part["$ref"].as_str().map_or(part, |reference| document.pointer(reference.trim_start_matches('#')).unwrap())
}

/// What the handler of an operation declares.
fn declared(operation: &Value) -> &'static Operation {
    SHOP.operations().find(|declared| operation["operationId"] == declared.id).unwrap()
}

#[test]
fn the_endpoints_that_users_were_promised_are_there() {
    let there: BTreeSet<_> = operations(&modern()).into_iter().map(|(endpoint, _)| endpoint).collect();
    for promised in [
        "post /customers",
        "get /customers/{customer_id}",
        "post /orders",
        "get /orders/{order_id}",
        "get /stock/{sku}",
        "post /stock/reserve",
        "post /billing",
        "post /notify",
    ] {
        assert!(there.contains(promised), "{promised} is not among {there:?}");
    }
}

#[test]
fn every_operation_says_what_it_is() {
    let mut ids = BTreeSet::new();
    for (endpoint, operation) in operations(&modern()) {
        let text = |field: &str| operation[field].as_str().unwrap_or_default().to_owned();
        assert!(ids.insert(text("operationId")), "{endpoint} has an id of its own");
        assert!(!text("summary").is_empty() && !text("description").is_empty(), "{endpoint} is described");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{endpoint} belongs to one service");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{endpoint}: {parameter}");
        }
    }
}

#[test]
fn every_command_takes_an_idempotency_key_every_query_a_position_and_every_list_a_limit() {
    for (endpoint, operation) in operations(&modern()) {
        let parameters = operation["parameters"].as_array().unwrap();
        let parameter = |name: &str| parameters.iter().find(|parameter| parameter["name"] == name);
        assert!(parameter("Orderlog-Min-Position").is_some() && parameter("Prefer").is_some(), "{endpoint}");
        assert_ne!(parameter("Idempotency-Key").is_some(), endpoint.starts_with("get "), "{endpoint}");
        if parameter("cursor").is_some() {
            let limit = &parameter("limit").unwrap()["schema"];
            assert_eq!((&limit["minimum"], &limit["maximum"], &limit["default"]), (&1.into(), &100.into(), &20.into()));
        }
    }
}

#[test]
fn every_answer_is_described_and_has_an_example() {
    let document = modern();
    for (endpoint, operation) in operations(&document) {
        assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')), "{endpoint}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolved(&document, response);
            assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{endpoint}: {status}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(example) = schema["examples"][0].as_object() else {
            assert_ne!(schema["type"], "object", "{name} has an example");
            continue;
        };
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(example.contains_key(field.as_str().unwrap()), "the example of {name} has no {field}");
        }
        for field in example.keys() {
            assert!(schema["properties"][field].is_object(), "{name} has no {field}");
        }
    }
}

#[test]
fn the_codes_that_a_handler_declares_are_in_the_contract() {
    for (endpoint, operation) in operations(&modern()) {
        for code in SHOP.codes().filter(|code| declared(&operation).declares(*code)) {
            assert_eq!(code.scope, Scope::Declared, "{endpoint}: {code:?} is met elsewhere too");
            for status in code.statuses {
                let response = &operation["responses"][status.to_string()];
                let told = response["description"].as_str().unwrap_or_default();
                assert!(told.contains(&format!("`{}`", code.name)), "{endpoint}, {status}: {told}");
            }
        }
    }
    for code in SHOP.codes().filter(|code| code.scope == Scope::Declared) {
        assert!(SHOP.operations().any(|operation| operation.declares(code)), "no handler declares {code:?}");
    }
}

#[test]
fn a_failure_that_follows_from_the_kind_of_operation_is_described_once() {
    let document = modern();
    for (endpoint, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(media) = resolved(&document, response)["content"].get(CONTENT_TYPE) else { continue };
            let is_declared =
                |name: &String| SHOP.codes().any(|code| code.name == name && declared(&operation).declares(code));
            let is_own = media["examples"].as_object().unwrap().keys().any(is_declared);
            assert_eq!(response.get("$ref").is_none(), is_own, "{endpoint}: {status}");
        }
    }
}

#[test]
fn nothing_of_openapi_3_0_is_left() {
    let text = openapi::to_text(&modern());
    assert!(text.contains("\"openapi\": \"3.1.0\""));
    for old in ["\"nullable\"", "; charset=utf-8", "\"exclusiveMinimum\": true", "\"ETAG\"", "\"LOCATION\""] {
        assert!(!text.contains(old), "{old}");
    }
}

#[test]
fn nothing_of_openapi_3_1_is_in_the_document_for_3_0() {
    let (document, modern) = (classic(), modern());
    let text = openapi::to_text(&document);
    assert!(text.contains("\"openapi\": \"3.0.3\""));
    for new in ["\"null\"", "\"exclusiveMinimum\": 0", "\"identifier\"", "\"const\""] {
        assert!(!text.contains(new), "{new}");
    }
    assert_eq!(document["info"].get("summary"), None);
    assert!(document["components"]["schemas"].as_object().unwrap().values().all(|it| it.get("examples").is_none()));
    // Both are about the same operations and schemas.
    let names = |document: &Value, of: &str| {
        document.pointer(of).unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    for of in ["/paths", "/components/schemas", "/components/responses"] {
        assert_eq!(names(&document, of), names(&modern, of), "{of}");
    }
    for (endpoint, operation) in operations(&document) {
        assert_eq!(operation["security"], serde_json::json!([{ "key": [] }, { "token": [] }]), "{endpoint}");
        let scope = declared(&operation).scope;
        assert!(
            operation["description"].as_str().unwrap().contains(&format!("Needs the scope `{scope}`")),
            "{endpoint}"
        );
    }
}

/// Every pattern in a document, with the place where it is.
fn patterns(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            if let Some(pattern) = members.get("pattern").and_then(Value::as_str) {
                found.push((place.to_owned(), pattern.to_owned()));
            }
            members.iter().for_each(|(name, member)| patterns(member, &format!("{place}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| patterns(item, &format!("{place}/{i}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Escapes that JavaScript, PCRE2 and RE2 read alike. `tests/contracts` compiles every pattern with the three.
#[test]
fn patterns_are_what_every_generator_reads() {
    let mut found = Vec::new();
    [modern(), classic(), asyncapi::document(&SHOP)].iter().for_each(|document| patterns(document, "", &mut found));
    assert!(found.len() > 20, "{found:?}");
    for (place, pattern) in found {
        assert!(pattern.is_ascii() && !pattern.contains("(?"), "{place}: {pattern}");
        let escaped = pattern.split('\\').skip(1).map(|rest| rest.chars().next().unwrap());
        for escape in escaped {
            assert!(['x', '.', '*'].contains(&escape), "{place}: \\{escape} in {pattern}");
        }
    }
}

/// Every object in a document except within examples, with the place where it is.
fn objects<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Map<String, Value>)>) {
    match value {
        Value::Object(members) => {
            found.push((place.to_owned(), members));
            for (name, member) in members.iter().filter(|(name, _)| !["example", "examples"].contains(&name.as_str())) {
                objects(member, &format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| objects(item, &format!("{place}/{i}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Generators read an integer of any other format, or of none, as one of 32 bits.
#[test]
fn every_integer_has_a_format_that_generators_know() {
    for document in [modern(), classic()] {
        let mut found = Vec::new();
        objects(&document, "", &mut found);
        let integers = found.iter().filter(|(_, schema)| {
            let kind = schema.get("type");
            kind.is_some_and(|it| it == "integer" || it.as_array().is_some_and(|all| all.contains(&"integer".into())))
        });
        let mut n_integers = 0;
        for (place, schema) in integers {
            let is_status = place.ends_with("/Problem/properties/status");
            let expected = Value::from(if is_status { "int32" } else { "int64" });
            assert_eq!(schema.get("format"), Some(&expected), "{place}");
            n_integers += 1;
        }
        assert!(n_integers > 50, "{n_integers}");
    }
}

/// Generators that meet `allOf` of a reference and anything else make a second type of it, or drop the property. In 3.0
/// whatever stands beside a `$ref` is ignored.
#[test]
fn a_reference_is_combined_with_nothing_but_a_description_beside_it() {
    for (document, beside) in [(modern(), &["description"][..]), (classic(), &[])] {
        let mut found = Vec::new();
        objects(&document, "", &mut found);
        for (place, schema) in found {
            if schema.contains_key("$ref") {
                let others = schema.keys().filter(|key| *key != "$ref" && !beside.contains(&key.as_str()));
                assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "{place}");
            }
            let parts = schema.get("allOf").and_then(Value::as_array);
            assert!(parts.is_none_or(|parts| parts.len() == 1), "{place}: `allOf` of several parts");
        }
    }
}

/// Answers may gain fields, which clients that were generated before must tolerate.
#[test]
fn requests_are_closed_and_answers_are_open() {
    let document = modern();
    let reached = |member: &str| {
        let mut open: Vec<Value> =
            operations(&document).into_iter().map(|(_, operation)| operation[member].clone()).collect();
        let mut found = BTreeSet::new();
        while let Some(part) = open.pop() {
            let mut inner = Vec::new();
            objects(&part, "", &mut inner);
            for reference in inner.iter().filter_map(|(_, it)| it.get("$ref").and_then(Value::as_str)) {
                if found.insert(reference.to_owned()) {
                    open.push(document.pointer(&reference[1..]).unwrap().clone());
                }
            }
        }
        found
    };
    let is_open = |reference: &String| document.pointer(&reference[1..]).unwrap()["additionalProperties"] != false;
    let is_object = |reference: &String| document.pointer(&reference[1..]).unwrap()["type"] == "object";
    let (requests, answers) = (reached("requestBody"), reached("responses"));
    let open: Vec<_> = requests.iter().filter(|it| is_object(it) && is_open(it)).collect();
    let closed: Vec<_> = answers.iter().filter(|it| !is_open(it)).collect();
    assert_eq!((open, closed), (Vec::new(), Vec::new()));
    assert!(requests.len() > 10 && answers.len() > 20, "{requests:?} {answers:?}");
}

/// Generators share the type of a body with headers among answers whose headers have the same names.
#[test]
fn a_body_with_headers_is_the_same_wherever_it_stands() {
    let document = classic();
    let mut shapes: BTreeMap<(String, Vec<String>), (String, Vec<bool>)> = BTreeMap::new();
    for (endpoint, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolved(&document, response);
            let Some(headers) = response["headers"].as_object() else { continue };
            let required = headers.values().map(|header| header["required"] == true).collect::<Vec<_>>();
            let place = format!("{endpoint}: {status}");
            let schemas = response["content"].as_object().into_iter().flatten().map(|(_, media)| &media["schema"]);
            let body = (Value::from_iter(schemas.cloned()).to_string(), headers.keys().cloned().collect());
            let (first, expected) = shapes.entry(body).or_insert_with(|| (place.clone(), required.clone()));
            assert_eq!(*expected, required, "{first}, {place}");
        }
    }
}

/// As generators name types: `place_order` and `PlaceOrder` are both `PlaceOrder`.
fn type_name(parts: &[&str]) -> String {
    let words = parts.iter().flat_map(|part| part.split(['_', '-']));
    words.map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect()
}

/// Generators name a type without a name of its own by where it stands.
#[test]
fn no_schema_is_named_as_generators_name_types_of_their_own() {
    let document = classic();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        for (property, inner) in schema["properties"].as_object().into_iter().flatten() {
            let made = type_name(&[name, property]);
            let inner = inner.get("items").unwrap_or(inner);
            let has_type = inner.get("enum").is_some()
                || inner["type"] == "object"
                || inner["allOf"].as_array().is_some_and(|parts| parts.len() > 1);
            assert!(!has_type || !schemas.contains_key(&made), "`{property}` of {name} would be a second {made}");
        }
    }
    for (endpoint, operation) in operations(&document) {
        for suffix in ["Request", "Response", "Params", "Error", "Result", "Body", "Data", "Res", "Req"] {
            let made = type_name(&[operation["operationId"].as_str().unwrap(), suffix]);
            assert!(!schemas.contains_key(&made), "{endpoint}: generators have a {made} of their own");
        }
    }
}

#[test]
fn every_operation_is_where_its_handler_declares_it_and_says_which_scope_it_needs() {
    let mut ids = BTreeSet::new();
    for (endpoint, operation) in operations(&modern()) {
        let declared = declared(&operation);
        assert_eq!(endpoint, format!("{} {}", declared.method.as_str().to_lowercase(), declared.path));
        let needed = [declared.scope.as_str()];
        let security = serde_json::json!([{ "key": needed }, { "token": needed }]);
        assert_eq!(operation["security"], security, "{endpoint}");
        assert!(ids.insert(declared.id), "{endpoint}");
    }
    assert_eq!(ids.len(), SHOP.operations().count(), "each is declared once");
}
