//! Data for analysts: the views of the read models, and the names under which other programs find them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use orderlog_tests::{
    deployment::{Embedded, SERVICES, orderlog},
    ends::ends_at_rest,
    story::{self, Shop, text},
};
use rusqlite::{Connection, OpenFlags, types::Value};
use serde_json::json;

/// In every personal value of [`personal`].
const CANARY: &str = "canary";

/// As any program opens a file that a server may be writing.
fn open(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn all(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let n = statement.column_count();
    let rows = statement.query_map([], |row| (0..n).map(|column| row.get(column)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let text = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(text)) => text,
        other => panic!("{other:?} from {sql}"),
    };
    all(connection, sql).into_iter().map(text).collect()
}

fn link(data: &Path, service: &str) -> PathBuf {
    data.join(format!("{service}.sqlite"))
}

const VIEWS: &str = "select name from sqlite_schema where type = 'view'";

/// Every kind of personal value and free text, each with [`CANARY`] in it.
async fn personal(shop: &Shop) {
    let customer = json!({"name": "Canary Bird", "email": "canary@example.com"});
    let customer = text(&shop.customers.post("/customers", customer).await.expect(201), "customer_id");
    shop.receive("seed", 9).await;
    shop.inventory.post("/stock/seed/adjust", json!({"delta": -1, "reason": "a canary ate it"})).await.expect(200);
    let reserve = json!({"reservation_id": "canary-cage", "lines": [{"sku": "seed", "quantity": 1}]});
    shop.inventory.post("/stock/reserve", reserve).await.expect(201);
    let order = shop.order(&customer, &[("seed", 2)]).await;
    shop.invoice_becomes(&order, "open").await;
    let pay = json!({"order_id": order, "amount": 500, "currency": "EUR", "reference": "canary 1"});
    shop.billing.post("/billing", pay).await.expect(201);
    let refund = json!({"amount": 100, "reason": "the canary was ill"});
    shop.billing.post(&format!("/billing/{order}/refund"), refund).await.expect(200);
    let notice = json!({"recipient": "operations", "subject": "A canary", "body": "The canary sings."});
    shop.notifications.post("/notify", notice).await.expect(201);
}

/// The views of all services that the story has filled, and the columns that `docs/data.md` lists for each.
fn views_are_readable_and_impersonal(data: &Path) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/data.md")).unwrap();
    let mut n_documented = page.matches("\n### `").count();
    for service in SERVICES {
        let connection = open(&link(data, service));
        for view in texts(&connection, VIEWS) {
            let section =
                page.split_once(&format!("### `{view}`\n")).unwrap_or_else(|| panic!("{view} has no section")).1;
            let section = section.split("\n#").next().unwrap_or_default();
            let documented = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            let columns = texts(&connection, &format!("select name from pragma_table_info('{view}')"));
            assert_eq!(documented.collect::<Vec<_>>(), columns, "{view}");
            let rows = all(&connection, &format!("select * from {view}"));
            assert!(!rows.is_empty(), "{view} has rows");
            for value in rows.iter().flatten() {
                assert!(!matches!(value, Value::Blob(_) | Value::Real(_)), "{view}: {value:?}");
                assert!(!format!("{value:?}").to_lowercase().contains(CANARY), "{view}: {value:?}");
            }
            n_documented -= usize::from(view != "about_view");
        }
    }
    assert_eq!(n_documented, 1, "only about_view is in every read model");
}

/// Each link points at the generation that serves, which has its views and is at this position.
async fn links_are_right(deployment: &Embedded, generation: u32) {
    ends_at_rest(&deployment.http()).await;
    let data = &deployment.rows();
    let status = orderlog(&["projection", "status", "--json"], data).await.ended_with(0).json();
    for status in status.as_array().unwrap() {
        let service = text(status, "service");
        let target = fs::read_link(link(data, &service)).unwrap();
        assert_eq!(target, Path::new(&format!("{service}.{generation}.sqlite")));
        let connection = open(&link(data, &service));
        let position = format!("{service}@{}", status["position"]);
        assert_eq!(texts(&connection, "select position from about_view where last_record_at is not null"), [position]);
        assert_eq!(all(&connection, "select generation from about_view"), [[Value::Integer(generation.into())]]);
        assert!(texts(&connection, VIEWS).len() > 1, "{service}");
    }
}

#[tokio::test]
async fn analysts_find_plain_data_under_names_that_stay() {
    let mut deployment = Embedded::start().await;
    let (data, shop) = (deployment.rows(), Shop::from(&deployment));
    story::play(&shop, "a").await;
    personal(&shop).await;
    links_are_right(&deployment, 1).await;
    views_are_readable_and_impersonal(&data);
    let reader = open(&link(&data, "inventory"));
    shop.receive("seed", 100).await;
    shop.stock_becomes("seed", 108, 3).await;
    assert_eq!(all(&reader, "select on_hand from stock_view where sku = 'seed'"), [[Value::Integer(108)]]);
    drop(reader);

    orderlog(&["projection", "rebuild"], &data).await.ended_with(0);
    links_are_right(&deployment, 2).await;
    views_are_readable_and_impersonal(&data);
    orderlog(&["projection", "rollback"], &data).await.ended_with(0);
    links_are_right(&deployment, 1).await;

    // Another version of the program left other views and no link.
    assert!(deployment.stop().await);
    for service in SERVICES {
        let changed = "drop view about_view; create view about_view as select 1; create view former_view as select 2";
        Connection::open(link(&data, service)).unwrap().execute_batch(changed).unwrap();
        fs::remove_file(link(&data, service)).unwrap();
    }
    orderlog(&["projection", "verify"], &data).await.ended_with(0);
    assert!(!link(&data, "orders").exists(), "a command that looks changes nothing");
    deployment.restart().await;
    links_are_right(&deployment, 1).await;
    assert!(!texts(&open(&link(&data, "orders")), VIEWS).contains(&"former_view".to_owned()));
    assert!(!deployment.told().contains("moved aside") && !data.join("orders.1.sqlite.new").exists());

    orderlog(&["projection", "snapshot"], &data).await.ended_with(0);
    assert!(deployment.stop().await);
    for service in SERVICES {
        fs::remove_file(data.join(format!("{service}.1.sqlite"))).unwrap();
    }
    deployment.restart().await;
    links_are_right(&deployment, 1).await;
    views_are_readable_and_impersonal(&data);
}
