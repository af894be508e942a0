//! The examples of the contract work as they stand, as "Try it out" sends them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{collections::BTreeMap, fs, path::Path};

use orderlog_tests::{
    deployment::{Embedded, SERVICES, orderlog_anywhere},
    http::{Answer, Http},
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::Value;

/// An operation, as the document describes it.
struct Operation {
    method: Method,
    path: String,
    parameters: Vec<Value>,
    body: Option<Value>,
}

/// Every operation of the document, by its id.
fn operations(document: &Value) -> BTreeMap<String, Operation> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = schema["$ref"].as_str().map(|reference| {
                let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
                assert!(schema["examples"][0].is_object(), "{method} {path} has an example");
                schema["examples"][0].clone()
            });
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let method = method.to_uppercase().parse().unwrap();
            found.insert(text(operation, "operationId"), Operation { method, path: path.clone(), parameters, body });
        }
    }
    found
}

impl Operation {
    /// The path with the examples of its parameters.
    fn target(&self) -> String {
        let mut target = self.path.clone();
        for parameter in self.parameters.iter().filter(|parameter| parameter["in"] == "path") {
            target = target.replace(&format!("{{{}}}", text(parameter, "name")), &text(parameter, "example"));
        }
        let required = |parameter: &&Value| parameter["in"] == "query" && parameter["required"] == true;
        for parameter in self.parameters.iter().filter(required) {
            assert_eq!(parameter["name"], "recipient", "{} needs an example", self.path);
            target += "?recipient=operations";
        }
        target
    }
}

/// Whoever presses the buttons.
struct Reader {
    http: Http,
    left: BTreeMap<String, Operation>,
    /// The ids of the examples, and what is sent instead.
    newest: BTreeMap<String, String>,
}

impl Reader {
    async fn press(&self, operation: &Operation) -> Answer {
        let newest =
            |text: String| self.newest.iter().fold(text, |text, (example, newest)| text.replace(example, newest));
        let body = operation.body.as_ref().map(|body| serde_json::from_str(&newest(body.to_string())).unwrap());
        self.http.send(operation.method.clone(), &newest(operation.target()), &[], body.as_ref()).await.unwrap()
    }

    /// The answer to an operation that was not tried before.
    async fn tries(&mut self, operation_id: &str) -> Value {
        let operation = self.left.remove(operation_id).unwrap_or_else(|| panic!("there is no other {operation_id}"));
        let answer = self.press(&operation).await;
        assert!(answer.status.is_success(), "{operation_id}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// From now on the id in the answer stands for that of the examples.
    fn remember(&mut self, operation_id: &str, id: &str, answer: &Value) {
        let operation = &self.left[operation_id];
        let parameter = operation.parameters.iter().find(|parameter| parameter["name"] == id).unwrap();
        self.newest.insert(text(parameter, "example"), text(answer, id));
    }
}

#[tokio::test]
async fn every_example_works_as_it_stands() {
    let deployment = Embedded::start().await;
    let (http, shop) = (deployment.http(), Shop::from(&deployment));
    let left = operations(&http.get("/openapi.json").await.expect(200));
    let mut reader = Reader { http, left, newest: BTreeMap::new() };

    let customer = reader.tries("create_customer").await;
    reader.remember("get_customer", "customer_id", &customer);
    for operation in ["receive_stock", "set_low_stock_threshold", "adjust_stock", "reserve_stock"] {
        reader.tries(operation).await;
    }
    let place = reader.left.remove("place_order").unwrap();
    let order = reader.press(&place).await.expect(201);
    reader.remember("get_order", "order_id", &order);
    let order_id = text(&order, "order_id");
    shop.order_becomes(&order_id, "confirmed", "unpaid").await;
    shop.invoice_becomes(&order_id, "open").await;
    reader.tries("record_payment").await;
    shop.order_becomes(&order_id, "confirmed", "paid").await;
    reader.tries("fulfil_order").await;
    reader.tries("refund_order").await;
    let notification = reader.tries("notify").await;
    reader.remember("read_notification", "notification_id", &notification);

    let queries: Vec<_> =
        reader.left.iter().filter(|(_, it)| it.method == Method::GET).map(|(id, _)| id.clone()).collect();
    // A stream does not end: that it begins is tested where streams are.
    reader.left.remove("stream_notifications").unwrap();
    for query in queries.iter().filter(|query| *query != "stream_notifications") {
        reader.tries(query).await;
    }
    let another = reader.press(&place).await.expect(201);
    reader.remember("cancel_order", "order_id", &another);
    for operation in
        ["cancel_order", "read_notification", "release_reservation", "update_customer", "deactivate_customer"]
    {
        reader.tries(operation).await;
    }
    assert!(reader.left.is_empty(), "nobody tried {:?}", reader.left.keys());
}

/// A file of the project.
fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)).unwrap()
}

#[tokio::test]
async fn the_contracts_that_are_served_and_printed_are_those_that_are_checked_in() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let all = [
        ("/openapi.json".to_owned(), "orderlog".to_owned()),
        ("/openapi-3.0.json".to_owned(), "orderlog-3.0".to_owned()),
    ];
    let each = SERVICES.map(|service| (format!("/openapi/{service}.json"), service.to_owned()));
    let of_topics = [("/asyncapi.json", "asyncapi"), ("/schemas/order.created/1", "schemas/order.created")];
    let of_topics = of_topics.map(|(path, name)| (path.to_owned(), name.to_owned()));
    for (path, name) in all.into_iter().chain(each).chain(of_topics) {
        let checked_in: Value = serde_json::from_str(&file(&format!("openapi/{name}.json"))).unwrap();
        assert_eq!(http.get(&path).await.expect(200), checked_in, "{path}");
    }
    for (args, name) in [
        (&["openapi"][..], "orderlog"),
        (&["openapi", "--form", "3.0"], "orderlog-3.0"),
        (&["openapi", "billing"], "billing"),
        (&["asyncapi"], "asyncapi"),
    ] {
        let printed = orderlog_anywhere(args).await.ended_with(0).stdout;
        assert!(printed == file(&format!("openapi/{name}.json")), "{args:?} prints something else than {name}.json");
    }
}
