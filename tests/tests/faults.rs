//! Faults that somebody or something plants behind a stopped server's back: each is found by `projection verify`, with the
//! record where it begins.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use orderlog_tests::{
    deployment::{Embedded, SERVICES, Said, Server, free_port, orderlog, redis},
    ends::ends_at_rest,
    eventually,
    story::{self, Shop},
};

/// A data folder after a story, with a snapshot of its orders, and a copy of it for each fault.
struct Planting {
    deployment: Embedded,
    copies: tempfile::TempDir,
}

impl Planting {
    async fn new() -> Self {
        let mut deployment = Embedded::start().await;
        story::play(&Shop::from(&deployment), "a").await;
        orderlog(&["projection", "snapshot", "orders"], &deployment.rows()).await.ended_with(0);
        story::play(&Shop::from(&deployment), "b").await;
        assert!(deployment.stop().await);
        orderlog(&["projection", "verify", "all"], &deployment.rows()).await.ended_with(0);
        Self { deployment, copies: tempfile::tempdir().unwrap() }
    }

    fn copy(&self, fault: &str) -> PathBuf {
        let to = self.copies.path().join(fault.replace(' ', "-"));
        copy_folder(&self.deployment.rows(), &to);
        to
    }

    /// What SQL changes in the rows of orders, or in the log, is told with these words.
    async fn found(&self, fault: &str, file: &str, sql: &str, told: &[&str]) {
        let data = self.copy(fault);
        execute(&data.join(file), sql);
        is_told(fault, &orderlog(&["projection", "verify", "orders"], &data).await, told);
    }
}

fn is_told(fault: &str, said: &Said, told: &[&str]) {
    assert_eq!(said.code, 3, "{fault}: {said:?}");
    for words in told {
        assert!(said.stdout.contains(words) || said.stderr.contains(words), "{fault}: `{words}` in {said:?}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

const PYTHON: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.create_function('flip', 1, lambda b: bytes([b[0] ^ 1]) + b[1:] if isinstance(b, bytes) else chr(ord(b[0]) ^ 1) + b[1:])
c.create_function('flip_middle', 1, lambda b: b[:len(b)//2] + bytes([b[len(b)//2] ^ 1]) + b[len(b)//2+1:])
c.executescript(sys.argv[2]) if ';' in sys.argv[2] else c.execute(sys.argv[2])
c.commit()
print(c.total_changes)
";

fn execute(file: &Path, sql: &str) {
    let output = Command::new("python3").args(["-c", PYTHON]).arg(file).arg(sql).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{sql} changes nothing");
}

/// The table of a topic in the log.
fn table(data: &Path, topic: &str) -> String {
    let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(\
                  'select id from topics where name = ?', [sys.argv[2]]).fetchone()[0])";
    let output = Command::new("python3").args(["-c", script]).arg(data.join("log.sqlite")).arg(topic).output().unwrap();
    format!("topic_{}", String::from_utf8_lossy(&output.stdout).trim())
}

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
    found("a row changed by hand", row, &["1 rows differ", "orders X'", "251"]).await;
    let bit = "update orders set doc = flip(doc) where offset = (select min(offset) from orders)";
    found("a bit flipped in a row", bit, &["1 rows differ", "the first at orders@"]).await;
    let skipped = "delete from records where offset = 5";
    found("a skipped record", skipped, &["the first at orders@5", "records 5", "serving: (no such row)"]).await;
    // The fold of a record that came twice counts it twice.
    let twice = "update orders set version = version + 1, doc = json_set(doc, '$.Order.version', version + 1)
                 where offset = (select max(offset) from orders)";
    found("a record applied twice", twice, &["1 rows differ", "the first at orders@"]).await;
    let swapped = "update records set offset = -1 where offset = 5; update records set offset = 5 where offset = 6;
                   update records set offset = 6 where offset = -1;";
    found("a swapped pair", swapped, &["2 rows differ", "the first at orders@5", "records 5", "records 6"]).await;
    let digest = "update records set digest = zeroblob(16) where offset = 4";
    found("a digest that is none", digest, &["1 rows differ", "the first at orders@4"]).await;
    let head = "delete from heads where offset = (select min(offset) from heads where offset > 2)";
    found("a forgotten key", head, &["1 rows differ", "heads X'"]).await;
    let index = "pragma writable_schema = on;
                 update sqlite_schema set sql = 'CREATE INDEX orders_by_state on orders (payment)' where name = 'orders_by_state';";
    found("an index that leads elsewhere", index, &["is damaged", "orders_by_state"]).await;
}

#[tokio::test]
async fn every_planted_fault_in_the_log_is_found() {
    let planting = Planting::new().await;
    let topic = table(&planting.deployment.rows(), "orders");
    let found = async |fault, sql: String, told: &[&str]| planting.found(fault, "log.sqlite", &sql, told).await;
    let payload = format!("update {topic} set value = flip_middle(value) where offset = 5");
    found("a bit flipped in a payload", payload, &["the first at orders@5", "records 5"]).await;
    let name = format!(
        "update {topic} set head = cast(replace(cast(head as text), 'orderlog', 'orderloh') as blob) where offset = 5"
    );
    found("a bit flipped in the name of a header", name, &["orders@5"]).await;
    let truncated = format!("delete from {topic} where offset > 6");
    found("a truncated log", truncated, &["the journal ends at 7", "projection rebuild orders --yes"]).await;
    let last =
        format!("update {topic} set value = flip_middle(value) where offset = (select max(offset) from {topic})");
    found("another last record", last, &["the record at offset", "is another one"]).await;
    let hole = format!("delete from {topic} where offset = 5");
    found("a record cut out of the log", hole, &["orders/0@5 is damaged: it is missing"]).await;
}

/// Bytes, not rows: whatever it hits.
#[tokio::test]
async fn a_bit_flipped_in_a_file_is_found() {
    let planting = Planting::new().await;
    let data = planting.copy("a bit flipped in a page");
    let (file, mut hit) = (data.join(ROWS), 0);
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

    let snapshots: Vec<_> = fs::read_dir(data.join("snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let snapshot = snapshots.iter().find(|path| path.extension().is_some_and(|it| it == "sqlite")).unwrap();
    let name = snapshot.file_stem().unwrap().to_string_lossy().into_owned();
    let mut bytes = fs::read(snapshot).unwrap();
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
    let rebuilt = orderlog(&["projection", "rebuild", "all", "--yes", "--json"], &data).await.ended_with(0).json();
    for built in rebuilt.as_array().unwrap() {
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
