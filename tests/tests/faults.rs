//! Faults that somebody or something plants behind a stopped server's back: each is found by `projection verify`, with the
//! record where it begins.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use orderlog_tests::{
    deployment::{Embedded, SERVICES, Said, Server, free_port, orderlog, orderlog_anywhere, redis},
    ends::ends_at_rest,
    eventually,
    planting::{Planting, copy_folder, execute, is_told, table},
    story::{self, Shop},
};

/// The documents in the rows of orders, all in one text.
fn documents(file: &Path) -> String {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.text_factory = bytes; \
                  print(c.execute('select doc from orders order by key').fetchall())";
    let output = Command::new("python3").args(["-c", script]).arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The rows of orders.
const ROWS: &str = "orders.1.sqlite";

#[tokio::test]
async fn every_planted_fault_in_the_rows_is_found() {
    let planting = Planting::new().await;
    let found = async |fault, sql, told: &[&str]| planting.found(fault, ROWS, sql, told).await;
    let row = "update orders set doc = replace(doc, '250', '251') where offset = (select min(offset) from orders)";
    found("a row changed by hand", row, &["1 row differs", "orders X'", "251"]).await;
    let bit = "update orders set doc = flip(doc) where offset = (select min(offset) from orders)";
    found("a bit flipped in a row", bit, &["1 row differs", "the first at orders@"]).await;
    let skipped = "delete from records where offset = 5";
    found("a skipped record", skipped, &["the first at orders@5", "records 5", "serving: (no such row)"]).await;
    // The fold of a record that came twice counts it twice.
    let twice = "update orders set version = version + 1, doc = json_set(doc, '$.Order.version', version + 1)
                 where offset = (select max(offset) from orders)";
    found("a record applied twice", twice, &["1 row differs", "the first at orders@"]).await;
    let swapped = "update records set offset = -1 where offset = 5; update records set offset = 5 where offset = 6;
                   update records set offset = 6 where offset = -1;";
    found("a swapped pair", swapped, &["2 rows differ", "the first at orders@5", "records 5", "records 6"]).await;
    let digest = "update records set digest = zeroblob(16) where offset = 4";
    found("a digest that is none", digest, &["1 row differs", "the first at orders@4"]).await;
    let head = "delete from heads where offset = (select min(offset) from heads where offset > 2)";
    found("a forgotten key", head, &["1 row differs", "heads X'"]).await;
    let index = "pragma writable_schema = on;
                 update sqlite_schema set sql = 'CREATE INDEX orders_by_state on orders (payment)' where name = 'orders_by_state';";
    found("an index that leads elsewhere", index, &["is damaged", "orders_by_state"]).await;
}

#[tokio::test]
async fn every_planted_fault_in_what_was_copied_and_noted_is_found() {
    let planting = Planting::new().await;
    let found = async |fault, sql, told: &[&str]| planting.found(fault, ROWS, sql, told).await;
    let active = "update known_customers set doc = replace(doc, 'false', 'true') where doc like '%false%'";
    found("a deactivated customer who may order", active, &["from what the log says", "known_customers X'"]).await;
    let version = "update known_customers set version = version + 1 where key = (select min(key) from known_customers)";
    found("a copied fact of a later version", version, &["1 row differs", "known_customers X'"]).await;
    let forgotten = "delete from known_customers where key = (select min(key) from known_customers)";
    found("a forgotten fact", forgotten, &["1 row differs", "serving: (no such row)"]).await;
    let invented = "insert into known_customers select zeroblob(16), version, offset, doc from known_customers limit 1";
    found("a fact that no topic has", invented, &["1 row differs", "rebuilt: (no such row)"]).await;
    let print = "update copied set print = print + 1 where topic = 'customer.created'";
    found("another record where facts were copied from", print, &["customer.created"]).await;
    let topic = "insert into copied values ('order.created', 0, 1, 7)";
    found("a topic that nothing is copied from", topic, &["order.created"]).await;
    let stale = "insert into fresh_heads select key, offset - 1 from heads order by offset desc limit 1";
    found("a stale head that would be merged", stale, &["1 row differs", "fresh_heads X'"]).await;
    let hidden = "insert into fresh_heads select key, offset from heads order by offset desc limit 1;
                  update heads set offset = offset + 1 where key = (select key from fresh_heads);";
    found("a head that hides a fresh one", hidden, &["1 row differs", "fresh_heads X'"]).await;
    let base = "update meta set base = 3";
    found("rows that began elsewhere", base, &["1 row differs", "meta base"]).await;
    let table = "create table notes (text text); update meta set only = 1;";
    found("a table that is none of ours", table, &["the table notes"]).await;
    let trigger = "create view orders_too as select * from orders; update meta set only = 1;";
    found("a view that is none of ours", trigger, &["the view orders_too"]).await;
}

#[tokio::test]
async fn a_snapshot_whose_label_fits_is_compared_in_every_table_too() {
    let planting = Planting::new().await;
    for (fault, sql) in [
        ("a fact", "update known_customers set doc = replace(doc, 'true', 'false') where doc like '%true%'"),
        ("a stale head", "insert into fresh_heads select key, offset - 1 from heads order by offset desc limit 1"),
        ("a base", "update meta set base = 2"),
        (
            "a document",
            "update orders set doc = cast(x'22ff22' as text) where offset = (select min(offset) from orders)",
        ),
    ] {
        let data = planting.copy(&format!("a snapshot with {fault}"));
        let (file, label) = snapshot_of_orders(&data);
        execute(&file, sql);
        relabel(&file, &label);
        let said = orderlog(&["projection", "verify", "orders"], &data).await;
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        is_told(fault, &said, &[&format!("snapshot {name}: "), "rows differ, the first is "]);
    }
}

/// The file and the label of the only snapshot of orders.
fn snapshot_of_orders(data: &Path) -> (PathBuf, PathBuf) {
    let mut all = fs::read_dir(data.join("snapshots")).unwrap().map(|entry| entry.unwrap().path());
    let file = all.find(|path| path.extension().is_some_and(|it| it == "sqlite")).unwrap();
    let label = file.with_extension("json");
    (file, label)
}

/// As somebody does who knows how labels are made.
fn relabel(file: &Path, label: &Path) {
    let bytes = fs::read(file).unwrap();
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(label).unwrap()).unwrap();
    text["bytes"] = bytes.len().into();
    text["blake3"] = blake3::hash(&bytes).to_string().into();
    fs::write(label, text.to_string()).unwrap();
}

/// What is done to the rows of orders.
#[derive(Clone, Copy)]
enum Spoil {
    Sql(&'static str),
    /// The file is cut to one part of so many.
    Cut(usize),
    /// The file is one of another program.
    Overwrite,
    /// What says which generation serves.
    Pointer(&'static [u8]),
}

impl Spoil {
    fn apply(self, data: &Path) {
        let file = data.join(ROWS);
        match self {
            Self::Sql(sql) => execute(&file, sql),
            Self::Cut(parts) => {
                let bytes = fs::read(&file).unwrap();
                fs::write(&file, &bytes[..(bytes.len() / parts).max(4096)]).unwrap();
            }
            Self::Overwrite => fs::write(&file, "no database, but as long as a header\n".repeat(300)).unwrap(),
            Self::Pointer(bytes) => fs::write(data.join("orders.generation"), bytes).unwrap(),
        }
    }
}

/// Each with the place that `verify` names.
const DAMAGE: &[(&str, Spoil, &str)] = &[
    ("a checkpoint that is too high", Spoil::Sql("update meta set next = next + 1"), "meta: next is"),
    ("a checkpoint that is too low", Spoil::Sql("update meta set next = next - 1"), "meta: next is"),
    ("a checkpoint below zero", Spoil::Sql("update meta set next = -1"), "meta"),
    ("a genesis that is no JSON", Spoil::Sql("update meta set genesis = '{'"), "meta: the genesis"),
    ("no checkpoint", Spoil::Sql("delete from meta"), "orders.1.sqlite"),
    ("a byte that is no UTF-8", Spoil::Sql("update orders set doc = cast(x'7b22ff227d' as text)"), "orders X'"),
    ("a document that is no order", Spoil::Sql("update orders set doc = '{}'"), "orders X'"),
    ("a version below zero", Spoil::Sql("update orders set version = -7"), "orders X'"),
    (
        "a reason that is no UTF-8",
        Spoil::Sql("insert into parked values (zeroblob(16), 3, cast(x'ff' as text))"),
        "parked",
    ),
    ("a topic that is no UTF-8", Spoil::Sql("insert into copied values (cast(x'ff' as text), 0, 1, 1)"), "copied"),
    ("a missing table", Spoil::Sql("drop table touched; update meta set only = 1;"), "touched"),
    ("a missing table of orders", Spoil::Sql("drop table orders; update meta set only = 1;"), "orders"),
    ("a missing column", Spoil::Sql("alter table parked drop column reason; update meta set only = 1;"), "parked"),
    ("half a file", Spoil::Cut(2), "orders.1.sqlite"),
    ("a page of a file", Spoil::Cut(1_000_000), "orders.1.sqlite"),
    ("a file of another program", Spoil::Overwrite, "orders.1.sqlite"),
    ("a pointer to no generation", Spoil::Pointer(b"one\n"), "orders.generation"),
    ("a pointer that is no text", Spoil::Pointer(b"\xff\xfe\n"), "orders.generation"),
];

#[tokio::test]
async fn damage_is_found_with_its_place_and_repaired_and_nothing_hangs() {
    let planting = Planting::new().await;
    for (fault, spoil, place) in DAMAGE {
        let data = planting.copy(fault);
        spoil.apply(&data);
        is_told(fault, &orderlog(&["projection", "verify", "orders"], &data).await, &[place]);
        let rebuilt = orderlog(&["projection", "rebuild", "orders", "--yes"], &data).await;
        assert_eq!(rebuilt.code, 0, "{fault}: {rebuilt:?}");
        let verified = orderlog(&["projection", "verify", "orders"], &data).await;
        assert_eq!(verified.code, 0, "{fault}, after the repair: {verified:?}");
    }
}

#[tokio::test]
async fn queries_that_meet_a_damaged_row_are_answered_with_503_until_it_is_rebuilt() {
    let mut planting = Planting::new().await;
    let data = planting.deployment.rows();
    execute(&data.join(ROWS), "update orders set doc = cast(x'7b22ff227d' as text)");
    planting.deployment.restart().await;
    let http = planting.deployment.http();
    let problem = http.get("/orders?limit=100").await.expect_problem(503, "damaged");
    assert!(problem.to_string().contains("rebuild --yes"), "it says what repairs it: {problem}");
    is_told("while it runs", &orderlog(&["projection", "verify", "orders"], &data).await, &["orders X'"]);
    orderlog(&["projection", "rebuild", "orders", "--yes"], &data).await.ended_with(0);
    http.get("/orders?limit=100").await.expect(200);
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    story::play(&Shop::from(&planting.deployment), "c").await;
}

#[tokio::test]
async fn a_server_whose_rows_turn_out_to_be_damaged_goes_on_with_rebuilt_ones() {
    let deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    story::play(&shop, "a").await;
    ends_at_rest(&deployment.http()).await;
    execute(&data.join(ROWS), "update meta set next = next + 1");
    let customer = shop.customer("Ada").await;
    let lines = serde_json::json!([{"sku": "beans", "quantity": 1, "unit_price": 5}]);
    let order = serde_json::json!({"customer_id": customer, "currency": "EUR", "lines": lines});
    let place = async |status| {
        let placed = deployment.http().post("/orders", order.clone()).await;
        (placed.status == status).then_some(())
    };
    eventually("the damage is met", async || place(503).await).await;
    deployment.http().get("/orders").await.expect_problem(503, "damaged");
    is_told("while it runs", &orderlog(&["projection", "verify", "orders"], &data).await, &["damaged", "meta"]);
    orderlog(&["projection", "rebuild", "orders", "--yes"], &data).await.ended_with(0);
    eventually("it takes commands again", async || place(201).await).await;
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    story::play(&shop, "b").await;
}

#[tokio::test]
async fn every_planted_fault_in_the_log_is_found() {
    let planting = Planting::new().await;
    let topic = table(&planting.deployment.rows(), "orders");
    let found = async |fault, sql: String, told: &[&str]| planting.found(fault, "log.sqlite", &sql, told).await;
    let payload = format!("update {topic} set value = flip_middle(value), sum = null where offset = 5");
    found("a bit flipped in a payload", payload, &["the first at orders@5", "records 5"]).await;
    let name = format!(
        "update {topic} set head = cast(replace(cast(head as text), 'orderlog', 'orderloh') as blob), sum = null
         where offset = 5"
    );
    found("a bit flipped in the name of a header", name, &["orders@5"]).await;
    let truncated = format!("delete from {topic} where offset > 6");
    found("a truncated log", truncated, &["the journal ends at 7", "projection rebuild orders --yes"]).await;
    let last = format!(
        "update {topic} set value = flip_middle(value), sum = null where offset = (select max(offset) from {topic})"
    );
    found("another last record", last, &["the record at offset", "is another one"]).await;
    let hole = format!("delete from {topic} where offset = 5");
    found("a record cut out of the log", hole, &["orders@5 is damaged: it is missing"]).await;
    let key = format!("update {topic} set head = flip_at(head, 12), sum = null where offset = 5");
    found("another key, without a checksum", key, &["1 record not as orderlog writes them", "orders@5: its key is"])
        .await;
    let last =
        format!("update {topic} set value = flip_middle(value) where offset = (select max(offset) from {topic})");
    found("another last record, with its checksum", last, &["is damaged", "checksum"]).await;
}

#[tokio::test]
async fn a_log_that_does_not_open_at_all_is_damage_with_its_place_and_the_next_step() {
    let planting = Planting::new().await;
    let whole = fs::read(planting.deployment.rows().join("log.sqlite")).unwrap();
    let no_header = [b"This is no database ".repeat(10), whole[200..].to_vec()].concat();
    let no_tables = [&whole[..100], &[0; 3996], &whole[4096..]].concat();
    let faults = [("no header", no_header), ("no tables", no_tables), ("half", whole[..whole.len() / 2].to_vec())];
    for (fault, bytes) in faults {
        let data = planting.copy(fault);
        fs::write(data.join("log.sqlite"), bytes).unwrap();
        let (files, export) = (n_files(&data), data.join("export"));
        let commands: [&[&str]; 5] = [
            &["serve", "--listen", "127.0.0.1:0"],
            &["projection", "verify"],
            &["log", "lint"],
            &["log", "export", export.to_str().unwrap()],
            &["log", "import", "--undo"],
        ];
        for args in commands {
            let said = orderlog(args, &data).await;
            is_told(&format!("{fault}, {args:?}"), &said, &["is damaged: log.sqlite, ", "from a backup"]);
            assert!(said.stdout.is_empty(), "{said:?}");
        }
        assert_eq!(n_files(&data), files, "{fault}");
    }
    let data = planting.copy("a topic without a table");
    execute(&data.join("log.sqlite"), &format!("drop table {}; update topics set id = id;", table(&data, "orders")));
    let said = orderlog(&["log", "lint", "billing"], &data).await;
    is_told("a topic without a table", &said, &["log.sqlite, the table of topic orders"]);
}

fn n_files(data: &Path) -> usize {
    fs::read_dir(data).unwrap().count()
}

#[tokio::test]
async fn every_service_is_verified_whatever_is_wrong_with_others_and_the_worst_outcome_counts() {
    let planting = Planting::new().await;
    let data = planting.copy("several faults");
    let all = async |code: i32| {
        let said = orderlog(&["projection", "verify", "all"], &data).await.ended_with(code);
        for service in SERVICES {
            assert!(said.stdout.contains(&format!("{service}: ")), "{service}: {said:?}");
        }
        assert!(!said.stdout.contains("/orderlog-"), "files are named where they are: {said:?}");
        said
    };
    let lock = fs::File::options().write(true).open(data.join("billing.sqlite.lock")).unwrap();
    lock.lock().unwrap();
    let said = all(4).await;
    assert!(said.stdout.contains("billing: not verified: ") && said.stdout.contains("in use"), "{said:?}");
    fs::write(data.join("customers.1.sqlite"), "This is no database ".repeat(100)).unwrap();
    let said = all(3).await;
    assert!(said.stdout.contains("customers.1.sqlite is damaged") && said.stdout.contains("in use"), "{said:?}");
    drop(lock);
    fs::remove_file(data.join("customers.1.sqlite")).unwrap();
    execute(&data.join(ROWS), "delete from records where offset = 5");
    assert!(all(3).await.stdout.contains("the first at orders@5"));
    fs::write(data.join("orders.generation"), "no number").unwrap();
    let report = orderlog(&["projection", "verify", "all", "--json"], &data).await.ended_with(3).json_lines();
    let (orders, billing) = (&report[1], &report[3]);
    assert!(orders["error"].as_str().unwrap().contains("orders.generation is damaged"), "{report:?}");
    assert_eq!((&orders["service"], &billing["report"]["differences"]), (&"orders".into(), &serde_json::json!([])));
}

/// The places of a record that the digest chain does not cover, and those that it does.
const OF_A_RECORD: [(&str, &str); 5] = [
    ("time", "head = flip_at(head, 0)"),
    ("key", "head = flip_at(head, 12)"),
    ("name of a header", "head = flip_at(head, 48)"),
    ("header", "head = flip_middle(head)"),
    ("value", "value = flip_middle(value)"),
];

#[tokio::test]
async fn whatever_is_changed_in_a_stored_record_every_command_that_reads_it_names_the_place() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    ends_at_rest(&deployment.http()).await;
    assert!(deployment.stop().await);
    let topic = table(&data, "orders");
    let kept = tempfile::tempdir().unwrap();
    for (what, column) in OF_A_RECORD {
        let copy = kept.path().join(what.replace(' ', "-"));
        copy_folder(&data, &copy);
        execute(&copy.join("log.sqlite"), &format!("update {topic} set {column} where offset = 3"));
        are_told(what, &copy).await;
    }

    // The server has read these records into memory, or written them itself, and still does not vouch for them.
    deployment.restart().await;
    story::play(&Shop::from(&deployment), "b").await;
    ends_at_rest(&deployment.http()).await;
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    let log = data.join("log.sqlite");
    let newest =
        format!("update {topic} set head = flip_at(head, 0) where offset = (select max(offset) - 1 from {topic})");
    execute(&log, &newest);
    for args in [&["projection", "verify", "orders"][..], &["log", "replay", "orders"], &["log", "lint", "orders"]] {
        is_told("on a running server", &orderlog(args, &data).await, &["is damaged", "checksum"]);
    }
    execute(&log, &newest);
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    execute(&log, &format!("update {topic} set head = flip_at(head, 12) where offset = 3"));
    are_told("on a running server", &data).await;
}

/// Each command that reads orders@3 ends with 3 and names it.
async fn are_told(what: &str, data: &Path) {
    let exported = data.join("export");
    let export = ["log", "export", exported.to_str().unwrap()];
    let commands: [&[&str]; 4] =
        [&["projection", "verify", "orders"], &export, &["log", "replay", "orders"], &["log", "lint", "orders"]];
    for args in commands {
        is_told(&format!("{what}, {args:?}"), &orderlog(args, data).await, &["orders@3 is damaged", "checksum"]);
    }
}

#[tokio::test]
async fn a_record_with_another_key_is_a_difference_and_one_with_a_foreign_header_a_warning() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    ends_at_rest(&deployment.http()).await;
    assert!(deployment.stop().await);
    let topic = table(&data, "orders");
    let log = data.join("log.sqlite");
    // As a proxy adds one: an empty value, behind the others.
    let header = "head = cast(head || x'010000007800000000' as blob)";
    execute(&log, &format!("update {topic} set {header}, sum = null where offset = 3"));
    let exported = data.join("export");
    let exported = exported.to_str().unwrap();
    orderlog(&["log", "export", exported], &data).await.ended_with(0);
    let commands = [["projection", "verify", "orders"], ["log", "lint", "orders"], ["log", "check", exported]];
    for args in commands {
        let said = orderlog_on(&args, &data).await.ended_with(0);
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(told.contains("foreign headers") && told.contains("orders@3: it has headers"), "{args:?}: {said:?}");
    }

    execute(&log, &format!("update {topic} set head = flip_at(head, 12), sum = null where offset = 4"));
    let other = data.join("other");
    let commands =
        [["projection", "verify", "orders"], ["log", "lint", "orders"], ["log", "export", other.to_str().unwrap()]];
    for args in commands {
        is_told("another key", &orderlog(&args, &data).await, &["orders@4", "its key is"]);
    }
    deployment.restart().await;
    let running = orderlog(&["projection", "verify", "orders"], &data).await;
    is_told("another key, on a running server", &running, &["orders@4: its key is"]);
}

/// `log check` takes no data folder.
async fn orderlog_on(args: &[&str], data: &Path) -> Said {
    if args.contains(&"check") { orderlog_anywhere(args).await } else { orderlog(args, data).await }
}

/// Bytes, not rows: whatever it hits.
#[tokio::test]
async fn a_bit_flipped_in_a_file_is_found() {
    let planting = Planting::new().await;
    let data = planting.copy("a bit flipped in a page");
    let (file, mut hit) = (data.join(ROWS), 0);
    // All of it in one file, in which a flipped bit counts.
    rusqlite::Connection::open(&file).unwrap().execute_batch("pragma wal_checkpoint(truncate)").unwrap();
    let (whole, rows) = (fs::read(&file).unwrap(), documents(&file));
    // Texts of rows, wherever SQLite put them; some are in pages that are not used any more.
    let places = whole.windows(11).enumerate().filter(|(_, bytes)| *bytes == b"\"unit_price").map(|(at, _)| at);
    for at in places {
        let mut bytes = whole.clone();
        bytes[at + 1] ^= 2;
        fs::write(&file, bytes).unwrap();
        if documents(&file) != rows && hit < 3 {
            is_told("a page", &orderlog(&["projection", "verify", "orders"], &data).await, &["the first at orders@"]);
            hit += 1;
        }
    }
    assert!(hit > 0, "there are rows in the file");
    fs::write(&file, whole).unwrap();
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);

    let (snapshot, _) = snapshot_of_orders(&data);
    let name = snapshot.file_stem().unwrap().to_string_lossy().into_owned();
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(snapshot, bytes).unwrap();
    let said = orderlog(&["projection", "verify", "orders"], &data).await;
    is_told("a snapshot", &said, &[&format!("snapshot {name}: "), "is damaged"]);
}

/// A copy of the log in a stopped server's data folder.
fn log_of(data: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("log.sqlite") {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn rows_that_are_ahead_of_a_restored_log_are_refused_with_the_command_that_repairs_it() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    assert!(deployment.stop().await);
    let older = log_of(&data);
    deployment.restart().await;
    story::play(&Shop::from(&deployment), "b").await;
    orderlog(&["projection", "snapshot", "orders"], &data).await.ended_with(0);
    assert!(deployment.stop().await);
    copy_folder(older.path(), &data);
    let refused = orderlog(&["serve", "--listen", "127.0.0.1:0"], &data).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    let command = "`orderlog projection rebuild customers --yes`";
    assert!(refused.stderr.contains(command), "it says what repairs it: {refused:?}");
    is_told("an older log", &orderlog(&["projection", "verify", "all"], &data).await, &["customers", "--yes"]);
    orderlog(&["projection", "rebuild", "all"], &data).await.ended_with(5);
    let rebuilt =
        orderlog(&["projection", "rebuild", "all", "--yes", "--json"], &data).await.ended_with(0).json_lines();
    for built in rebuilt {
        assert_eq!(built["report"]["generation"], 2, "what is built from the log is not built once more: {built}");
        assert!(built["report"]["n_records"].as_u64().unwrap() > 0, "{built}");
    }
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    deployment.restart().await;
    story::play(&Shop::from(&deployment), "c").await;
}

#[tokio::test]
async fn an_inbox_in_redis_that_is_ahead_of_a_restored_log_is_filled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["--data", data.to_str().unwrap(), "--redis", &redis()].map(str::to_owned);
    let start = async || Server::start(&args, free_port(), &folder.path().join("server.log")).await;
    let shop = |server: &Server| {
        let [customers, orders, inventory, billing, notifications] = SERVICES.map(|_| server.http.clone());
        Shop { customers, orders, inventory, billing, notifications }
    };
    let server = start().await;
    story::play(&shop(&server), "a").await;
    ends_at_rest(&server.http).await;
    let inbox = shop(&server).told("operations", "").await;
    assert!(server.stop().await);
    let older = log_of(&data);

    let server = start().await;
    story::play(&shop(&server), "b").await;
    ends_at_rest(&server.http).await;
    let ahead = shop(&server).told("operations", "").await;
    assert!(ahead.len() > inbox.len() && !inbox.is_empty(), "{ahead:?}");
    assert!(server.stop().await);
    copy_folder(older.path(), &data);

    orderlog(&["projection", "rebuild", "all", "--yes"], &data).await.ended_with(0);
    let server = start().await;
    eventually("the inbox is that of the log", async || {
        (shop(&server).told("operations", "").await == inbox).then_some(())
    })
    .await;
    assert!(server.stop().await);
}
