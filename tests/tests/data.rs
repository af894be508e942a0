//! Data for analysts: the views of the read models, and the names under which other programs find them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use orderlog_tests::{
    deployment::{Embedded, SERVICES, Said, binary, orderlog},
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
    shop.order(&customer, &[("seed", 1)]).await;
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
    let status = orderlog(&["projection", "status", "--json"], data).await.ended_with(0).json_lines();
    for status in &status {
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

/// What the program answers to a statement.
async fn sql(args: &[&str], data: &Path) -> Said {
    orderlog(&[&["sql"], args].concat(), data).await
}

/// Each query of `docs/data.md` has an answer, and the formats say the same.
async fn statements_are_answered(data: &Path) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/data.md")).unwrap();
    let queries: Vec<_> = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(queries.len(), 5);
    for query in queries {
        let said = sql(&[query], data).await.ended_with(0);
        assert!(said.stdout.lines().count() > 1, "{query}: {said:?}");
    }
    let statement = "select service, position, null as missing from about_view where service = 'orders'";
    let said = sql(&[statement, "--json", "--positions"], data).await.ended_with(0);
    let position = text(&said.json(), "position");
    assert_eq!(said.stdout, format!("{{\"service\":\"orders\",\"position\":\"{position}\",\"missing\":null}}\n"));
    assert!(said.stderr.lines().count() == SERVICES.len() && said.stderr.contains(&position), "{said:?}");
    for (format, between) in [(&["--csv"][..], ","), (&[], "\t")] {
        let said = sql(&[&[statement], format].concat(), data).await.ended_with(0);
        assert_eq!(said.stdout, format!("service position missing\norders {position} \n").replace(' ', between));
    }
    let file = data.with_extension("query");
    fs::write(&file, "select count(*) as n\nfrom billing.invoices_view -- all\n;\n").unwrap();
    let mut command = std::process::Command::new(binary());
    command.args(["sql", "-", "--data"]).arg(data).stdin(fs::File::open(file).unwrap());
    assert!(String::from_utf8(command.output().unwrap().stdout).unwrap().starts_with("n\n"));
    assert!(sql(&[], data).await.ended_with(0).stdout.contains("orders.order_lines_view\n"));
    assert!(sql(&["select 1 where 0"], data).await.ended_with(0).stderr.contains("no rows"));
}

/// Statements that would change or open something are refused; what is wrong is named, with what was probably meant.
async fn statements_only_read(data: &Path) {
    for (statement, named) in [
        ("delete from orders.orders", "a change"),
        ("create temp table t (a)", "a change"),
        ("vacuum orders into '/dev/null'", "without rows"),
        ("attach 'other.sqlite' as other", "other files"),
        ("detach orders", "other files"),
        ("pragma orders.journal_mode = delete", "pragma journal_mode"),
        ("pragma query_only = 0", "pragma query_only"),
        ("commit", "a transaction"),
        ("select load_extension('x')", "load_extension()"),
        ("select 1; delete from orders.orders", "more than one"),
        (" -- nothing", "no statement"),
        ("select ?", "parameters"),
        ("select * form orders_view", "syntax error"),
        ("select * from ordrs_view", "did you mean `orders_view`?\n  views: customers.about_view, "),
        ("select * from orders.order_view", "did you mean `orders.orders_view`?"),
        ("select orders_view.totl from orders_view", "did you mean `total`?"),
    ] {
        let said = sql(&[statement], data).await.ended_with(2);
        assert!(said.stderr.contains(named) && said.stdout.is_empty(), "{statement}: {said:?}");
    }
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let said = sql(&["--timeout", "1", endless], data).await.ended_with(1);
    assert!(said.stderr.contains("interrupted after 1 s"), "{said:?}");
    sql(&["select 1"], &data.join("nowhere")).await.ended_with(5);
}

#[tokio::test]
async fn analysts_find_plain_data_under_names_that_stay() {
    let mut deployment = Embedded::start().await;
    let (data, shop) = (deployment.rows(), Shop::from(&deployment));
    story::play(&shop, "a").await;
    personal(&shop).await;
    links_are_right(&deployment, 1).await;
    views_are_readable_and_impersonal(&data);
    statements_are_answered(&data).await;
    statements_only_read(&data).await;
    let reader = open(&link(&data, "inventory"));
    shop.receive("seed", 100).await;
    shop.stock_becomes("seed", 108, 4).await;
    assert_eq!(all(&reader, "select on_hand from stock_view where sku = 'seed'"), [[Value::Integer(108)]]);
    drop(reader);

    orderlog(&["projection", "rebuild"], &data).await.ended_with(0);
    links_are_right(&deployment, 2).await;
    views_are_readable_and_impersonal(&data);
    orderlog(&["projection", "rollback"], &data).await.ended_with(0);
    links_are_right(&deployment, 1).await;

    let names = || fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    assert!(deployment.stop().await);
    let before = names();
    statements_are_answered(&data).await;
    assert_eq!(names(), before, "without a server, too, nothing is changed");

    // Another version of the program left other views and no link.
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
