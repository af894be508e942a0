//! Who may do what: every operation of the published contract, asked by everybody who could ask.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::collections::{BTreeMap, BTreeSet};

use orderlog_tests::{
    deployment::{Embedded, orderlog},
    eventually,
    http::{Answer, Http},
    keys::key,
    story::text,
    tokens::{Issuer, believing},
};
use reqwest::Method;
use serde_json::{Value, json};

/// What an operation is to somebody who acts as another customer than the one it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToAnother {
    /// The object is not there.
    Absent,
    /// The list is empty.
    Empty,
    /// It is the same for everybody.
    Shared,
    /// It is for no customer, not even the one that it is about.
    Refused,
}

/// How an operation is asked, with `{customer}`, `{order}`, `{notification}` and so on in its path and body, and what it is to
/// another customer.
type Row = (&'static str, &'static str, Value, ToAnother);

fn rows() -> Vec<Row> {
    use ToAnother::{Absent, Empty, Refused, Shared};
    let none = Value::Null;
    let lines = json!([{ "sku": "beans", "quantity": 1, "unit_price": 100 }]);
    let reserved = json!({ "reservation_id": "cart", "lines": [{ "sku": "beans", "quantity": 1 }], "ttl_seconds": 60 });
    vec![
        ("create_customer", "/customers", json!({ "name": "A", "email": "{unique}@example.com" }), Refused),
        ("update_customer", "/customers/{customer}", json!({ "name": "Ada" }), Absent),
        ("deactivate_customer", "/customers/{customer}/deactivate", none.clone(), Absent),
        ("get_customer", "/customers/{customer}", none.clone(), Absent),
        ("list_customers", "/customers", none.clone(), Shared),
        ("list_customer_orders", "/customers/{customer}/orders", none.clone(), Absent),
        ("place_order", "/orders", json!({ "customer_id": "{customer}", "currency": "EUR", "lines": lines }), Refused),
        ("cancel_order", "/orders/{order}/cancel", none.clone(), Absent),
        ("fulfil_order", "/orders/{order}/fulfil", none.clone(), Refused),
        ("get_order", "/orders/{order}", none.clone(), Absent),
        ("list_orders", "/orders?customer_id={customer}", none.clone(), Empty),
        ("get_order_history", "/orders/{order}/history", none.clone(), Absent),
        ("receive_stock", "/stock/beans/receive", json!({ "quantity": 1 }), Refused),
        ("adjust_stock", "/stock/beans/adjust", json!({ "delta": 1, "reason": "count" }), Refused),
        ("set_low_stock_threshold", "/stock/beans/threshold", json!({ "threshold": 1 }), Refused),
        ("reserve_stock", "/stock/reserve", reserved, Refused),
        ("release_reservation", "/stock/reservations/cart/release", none.clone(), Refused),
        ("get_reservation", "/stock/reservations/cart", none.clone(), Refused),
        ("list_stock_movements", "/stock/beans/movements", none.clone(), Refused),
        ("get_stock", "/stock/beans", none.clone(), Shared),
        ("list_stock", "/stock", none.clone(), Shared),
        (
            "record_payment",
            "/billing",
            json!({ "order_id": "{order}", "amount": 1, "currency": "EUR", "reference": "a" }),
            Refused,
        ),
        ("refund_order", "/billing/{order}/refund", none.clone(), Refused),
        ("get_invoice", "/billing/{order}", none.clone(), Absent),
        ("list_invoices", "/billing", none.clone(), Empty),
        ("notify", "/notify", json!({ "recipient": "operations", "subject": "s", "body": "b" }), Refused),
        ("read_notification", "/notifications/{notification}/read", none.clone(), Absent),
        ("list_notifications", "/notifications?recipient={customer}", none.clone(), Absent),
        ("stream_notifications", "/notifications/stream?recipient={customer}", none, Absent),
    ]
}

/// A server that wants keys, and what there is on it: all of it is the first customer's.
struct Scene {
    deployment: Embedded,
    values: BTreeMap<&'static str, String>,
    operator: String,
    other: String,
    issuer: Issuer,
}

impl Scene {
    async fn set() -> Self {
        let mut deployment = Embedded::stopped();
        let operator = key(&deployment.rows(), "operator", &["*"], &[]).await;
        let (issuer, jwks) = (Issuer::new("one"), deployment.data.path().join("jwks.json"));
        issuer.publish(&jwks);
        let options = believing(&jwks.display().to_string());
        deployment.options(&options.iter().map(String::as_str).collect::<Vec<_>>());
        let deployment = deployment.started().await;
        let http = deployment.http().with_key(&operator);
        let customer = async |name: &str| {
            let email = format!("{name}@example.com");
            text(&http.post("/customers", json!({ "name": name, "email": email })).await.expect(201), "customer_id")
        };
        let (own, other) = (customer("ada").await, customer("bob").await);
        http.post("/stock/beans/receive", json!({ "quantity": 100 })).await.expect(200);
        let lines = json!([{ "sku": "beans", "quantity": 1, "unit_price": 100 }]);
        let order = json!({ "customer_id": own, "currency": "EUR", "lines": lines });
        let order = text(&http.post("/orders", order).await.expect(201), "order_id");
        let held = json!({ "reservation_id": "cart", "lines": [{ "sku": "beans", "quantity": 1 }], "ttl_seconds": 60 });
        http.post("/stock/reserve", held).await.expect(201);
        eventually("there is an invoice", async || {
            let invoice = http.get(&format!("/billing/{order}")).await;
            (invoice.status == 200).then_some(())
        })
        .await;
        let news = json!({ "recipient": own, "subject": "s", "body": "b" });
        let notification = text(&http.post("/notify", news).await.expect(201), "notification_id");
        let values = [("customer", own), ("order", order), ("notification", notification)].into();
        Self { deployment, values, operator, other, issuer }
    }

    fn filled(&self, text: &str) -> String {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let values = self.values.iter().map(|(name, value)| (*name, value));
        values
            .chain([("unique", &unique)])
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    async fn asked(&self, http: &Http, method: &str, (_, path, body, _): &Row) -> Answer {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let body: Value = serde_json::from_str(&self.filled(&body.to_string())).unwrap();
        let body = (!body.is_null()).then_some(&body);
        http.send(method, &self.filled(path), &[], body).await.unwrap()
    }

    fn token(&self, scopes: &[&str], claims: Value) -> Http {
        self.deployment.http().with_key(&self.issuer.token("somebody", scopes, claims))
    }

    async fn key(&self, name: &str, scopes: &[&str], args: &[&str]) -> Http {
        let key = key(&self.deployment.rows(), name, scopes, args).await;
        self.deployment.http().with_key(&key)
    }
}

/// Every operation of the contract: its id, its method, the scope that it needs.
async fn operations(http: &Http) -> Vec<(String, String, String)> {
    let document = http.get("/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|operations| operations.as_object().unwrap());
    let operations = operations.map(|(method, operation)| {
        let scope = operation["security"][0]["key"][0].as_str().unwrap().to_owned();
        assert_eq!(operation["security"][1]["token"], json!([scope]), "a token needs the same: {operation}");
        (text(operation, "operationId"), method.clone(), scope)
    });
    operations.collect()
}

#[track_caller]
fn lets_in(answer: &Answer, who: &str) {
    let status = answer.status.as_u16();
    assert!(![401, 403, 404].contains(&status) && status < 500, "{who}: {status} {}", answer.body);
}

/// Not for customers, so that no key of a customer is made with them.
const NEVER_OF_CUSTOMERS: [&str; 4] = ["stock:adjust", "stock:reserve", "billing:write", "billing:refund"];

/// Everybody who could ask with one kind of proof.
struct Callers {
    kind: &'static str,
    /// Those who open nothing, and what they are.
    strangers: Vec<(&'static str, Http)>,
    /// With one scope each.
    right: BTreeMap<String, Http>,
    /// With all others.
    wrong: BTreeMap<String, Http>,
    /// The customer whom everything is about.
    own: Http,
    /// Another one.
    other: Http,
}

/// Those with keys.
async fn with_keys(scene: &Scene, scopes: &BTreeSet<&str>) -> Callers {
    let expired = scene.key("expired", &["*"], &["--expires", "2020-01-01T00:00:00Z"]).await;
    let forged = {
        let (rest, last) = scene.operator.split_at(scene.operator.len() - 1);
        scene.deployment.http().with_key(&format!("{rest}{}", if last == "0" { "1" } else { "0" }))
    };
    let (mut right, mut wrong) = (BTreeMap::new(), BTreeMap::new());
    for scope in scopes {
        let all_but: Vec<&str> = scopes.iter().copied().filter(|it| it != scope).collect();
        right.insert((*scope).to_owned(), scene.key("right", &[scope], &[]).await);
        wrong.insert((*scope).to_owned(), scene.key("wrong", &all_but, &[]).await);
    }
    let of_customers: Vec<&str> = scopes.iter().copied().filter(|it| !NEVER_OF_CUSTOMERS.contains(it)).collect();
    let own = scene.key("app", &of_customers, &["--customer", &scene.values["customer"]]).await;
    let other = scene.key("app", &of_customers, &["--customer", &scene.other]).await;
    // Keys are read again within a second.
    eventually("the keys are known", async || (other.get("/customers").await.status == 200).then_some(())).await;
    Callers { kind: "key", strangers: vec![("expired", expired), ("forged", forged)], right, wrong, own, other }
}

/// Those with tokens.
fn with_tokens(scene: &Scene, scopes: &BTreeSet<&str>) -> Callers {
    let all: Vec<&str> = scopes.iter().copied().collect();
    let one = |scope: &&str| ((*scope).to_owned(), scene.token(&[scope], json!({})));
    let all_but = |scope: &&str| {
        let rest: Vec<&str> = all.iter().copied().filter(|it| it != scope).collect();
        ((*scope).to_owned(), scene.token(&rest, json!({})))
    };
    let of_customer = |id: &str| scene.token(&all, json!({ "customer_id": id }));
    let forged = Issuer::new("one").token("somebody", &all, json!({}));
    let strangers = vec![
        ("expired", scene.token(&all, json!({ "exp": 1_577_836_800 }))),
        ("too early", scene.token(&all, json!({ "nbf": 4_102_444_800_u64 }))),
        ("for somebody else", scene.token(&all, json!({ "aud": "others" }))),
        ("from somebody else", scene.token(&all, json!({ "iss": "https://others.example" }))),
        ("forged", scene.deployment.http().with_key(&forged)),
    ];
    Callers {
        kind: "token",
        strangers,
        right: scopes.iter().map(one).collect(),
        wrong: scopes.iter().map(all_but).collect(),
        own: of_customer(&scene.values["customer"]),
        other: of_customer(&scene.other),
    }
}

/// What an operation is to each of them.
async fn is_for_those_who_may(
    scene: &Scene,
    (id, method, scope): &(String, String, String),
    row: &Row,
    callers: &Callers,
) {
    let asked = async |http: &Http| scene.asked(http, method, row).await;
    let told = format!("{id}, {}", callers.kind);
    for (who, http) in &callers.strangers {
        let answer = asked(http).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        assert!(challenge.starts_with("Bearer") && challenge.contains("invalid_token"), "{told}, {who}: {challenge}");
        answer.expect_problem(401, "invalid_token");
    }
    let refused = asked(&callers.wrong[scope]).await.expect_problem(403, "insufficient_scope");
    assert!(text(&refused, "detail").contains(scope), "{told}: {refused}");
    lets_in(&asked(&callers.right[scope]).await, &format!("{told}, the right scope"));
    let of_other = asked(&callers.other).await;
    match row.3 {
        ToAnother::Refused => {
            let denied = [asked(&callers.own).await, of_other];
            assert!(denied.iter().all(|answer| answer.status == 403), "{told}: {denied:?}");
        }
        ToAnother::Absent => {
            assert_eq!(of_other.status, 404, "{told}: {}", of_other.body);
            lets_in(&asked(&callers.own).await, &format!("{told}, the customer itself"));
        }
        ToAnother::Empty => {
            assert_eq!(of_other.expect(200)["items"], json!([]), "{told}");
            let items = asked(&callers.own).await.expect(200)["items"].as_array().unwrap().len();
            assert!(items > 0, "{told}: the customer itself sees its own");
        }
        ToAnother::Shared => lets_in(&of_other, &format!("{told}, any customer")),
    }
}

#[tokio::test]
async fn each_operation_is_for_those_who_may() {
    let scene = Scene::set().await;
    let operations = operations(&scene.deployment.http()).await;
    let rows: BTreeMap<&str, Row> = rows().into_iter().map(|row| (row.0, row)).collect();
    let there: BTreeSet<&str> = operations.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(there, rows.keys().copied().collect(), "each operation has a row here, and each row an operation");
    let scopes: BTreeSet<&str> = operations.iter().map(|(.., scope)| scope.as_str()).collect();
    let nobody = scene.deployment.http();
    let callers = [with_keys(&scene, &scopes).await, with_tokens(&scene, &scopes)];
    for operation in &operations {
        let row = &rows[operation.0.as_str()];
        let answer = scene.asked(&nobody, &operation.1, row).await;
        assert!(answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")), "{}", operation.0);
        answer.expect_problem(401, "unauthenticated");
        for callers in &callers {
            is_for_those_who_may(&scene, operation, row, callers).await;
        }
    }
}

#[tokio::test]
async fn a_customer_names_no_price() {
    let scene = Scene::set().await;
    let (own, data) = (scene.values["customer"].clone(), scene.deployment.rows());
    let order = |customer: &str, unit_price: u32| {
        let lines = json!([{ "sku": "beans", "quantity": 10, "unit_price": unit_price }]);
        json!({ "customer_id": customer, "currency": "EUR", "lines": lines })
    };
    let app = scene.key("app", &["orders:read", "orders:write"], &["--customer", &own]).await;
    let shop = scene.key("shop", &["orders:write"], &[]).await;
    eventually("the keys are known", async || (app.get("/orders").await.status == 200).then_some(())).await;
    let priced = scene.token(&["orders:write", "orders:price"], json!({ "customer_id": own }));
    for bound in [&app, &priced] {
        for body in [order(&own, 0), order(&own, 100), order(&scene.other, 0)] {
            bound.post("/orders", body).await.expect_problem(403, "price_not_allowed");
        }
    }
    assert_eq!(app.get("/orders").await.expect(200)["items"].as_array().unwrap().len(), 1, "nothing was placed");

    shop.post("/orders", order(&own, 100)).await.expect(201);
    let price_only = scene.token(&["orders:price"], json!({}));
    price_only.post("/orders", order(&own, 100)).await.expect_problem(403, "insufficient_scope");

    // The scope is nothing for a customer's key, so a group leaves it out there.
    let create = ["key", "create", "--name", "app", "--scope", "orders:price", "--customer", &own];
    orderlog(&create, &data).await.ended_with(2);
    key(&data, "bound", &["orders:*"], &["--customer", &own]).await;
    key(&data, "unbound", &["*"], &[]).await;
    let keys = orderlog(&["key", "list", "--json"], &data).await.ended_with(0).stdout;
    for (name, is_expected) in [("bound", false), ("unbound", true)] {
        let listed = keys.lines().find(|line| line.contains(&format!("\"{name}\""))).unwrap();
        assert_eq!(listed.contains("orders:price"), is_expected, "{listed}");
    }
}

#[tokio::test]
async fn a_customer_sees_itself_and_nobody_else_in_lists() {
    let scene = Scene::set().await;
    let other = scene.key("app", &["customers:read", "orders:read"], &["--customer", &scene.other]).await;
    let seen = eventually("the key is known", async || {
        let answer = other.get("/customers").await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(seen["items"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen["items"][0]["customer_id"], scene.other.as_str());
    assert_eq!(other.get("/orders").await.expect(200)["items"], json!([]));
    // What was not there for it does not show when it came to be, either.
    let order = &scene.values["order"];
    let hidden = other.get(&format!("/orders/{order}?as_of=orders@1")).await.expect_problem(404, "unknown_order");
    assert!(!text(&hidden, "detail").contains("first record"), "{hidden}");
    // What another service knows needs the scope for it, too.
    let own = scene.key("own", &["orders:read"], &["--customer", &scene.values["customer"]]).await;
    eventually("the key is known", async || (own.get("/orders").await.status == 200).then_some(())).await;
    own.get(&format!("/orders/{order}")).await.expect(200);
    own.get(&format!("/orders/{order}?expand=invoice")).await.expect_problem(403, "insufficient_scope");
}

#[tokio::test]
async fn a_customer_gets_a_404_once_what_it_has_seen_elsewhere_is_reflected() {
    let scene = Scene::set().await;
    let own = ["--customer", &scene.values["customer"]];
    let own = scene.key("app", &["orders:write", "notifications:write"], &own).await;
    let nobodys = uuid::Uuid::now_v7();
    for (path, seen, code) in [
        (format!("/orders/{nobodys}/cancel"), "inventory@1", "unknown_order"),
        (format!("/notifications/{nobodys}/read"), "billing@1", "unknown_notification"),
    ] {
        let headers = [("Orderlog-Min-Position", seen), ("Prefer", "wait=20")];
        let answer = eventually("the key is known", async || {
            let answer = own.send(Method::POST, &path, &headers, None).await.unwrap();
            (answer.status != 401).then_some(answer)
        })
        .await;
        answer.expect_problem(404, code);
    }
}
