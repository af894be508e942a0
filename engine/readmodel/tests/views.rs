//! What other programs find in the data folder: views, and a name that stays.

mod counters;

use std::{error::Error, fs, os::unix::fs::symlink, path::Path};

use counters::{Counters, Journal, TABLES, accepted, limit};
use orderlog_readmodel::{Generations, Pace, SqlView, Store, Tables, ViewColumn};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

/// As another program opens it.
fn read(file: &Path, sql: &str) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

const NAMES: &str = "select name from sqlite_schema where type = 'view' order by name";
const ABOUT: &str = "select service || ' ' || generation || ' ' || position || ' ' || last_record_at from about_view";

const CHANGED: &[SqlView] = &[
    SqlView { name: "counters_view", columns: &[ViewColumn::text("label", "upper(name)")], from: "counters" },
    SqlView { name: "more_view", columns: &[ViewColumn::number("n", "count(*)")], from: "steps" },
];

fn with_views(views: &'static [SqlView]) -> &'static Tables<Counters> {
    let Tables { schema, tables, ledgers, timers, pending, .. } = TABLES;
    Box::leak(Box::new(Tables { schema, tables, ledgers, timers, views, pending }))
}

/// Writes counters, and a limit of another service.
async fn write(store: &Store<Counters>) -> Outcome {
    let mut writer = store.writer().await?;
    let mut changes = Journal::new().steps(accepted(["a", "b"]));
    changes.entities.push(limit(1, 9));
    store.write(&mut writer, &changes, Pace::Steady).await?;
    Ok(store.create_indexes(&mut writer).await?)
}

#[tokio::test]
async fn a_view_with_another_text_is_replaced_and_the_rows_stay() -> Outcome {
    let (dir, file) = (TempDir::new()?, "counters.1.sqlite");
    let file = dir.path().join(file);
    let store = Store::open(dir.path(), &TABLES).await?;
    write(&store).await?;
    assert_eq!(read(&file, NAMES)?, ["about_view", "counters_view"]);
    assert_eq!(read(&file, ABOUT)?, ["counters 1 counters@2 1970-01-01T00:00:01.001Z"]);
    store.check().await?;
    drop(store);

    let changed = with_views(CHANGED);
    assert_eq!(changed.version(), TABLES.version());
    let store = Store::open(dir.path(), changed).await?;
    assert_eq!(store.checkpoint().await?.next, 2, "nothing is replayed");
    assert_eq!(read(&file, "select label from counters_view order by 1")?, ["A", "B"]);
    store.check().await?;
    drop(store);

    let store = Store::open(dir.path(), with_views(&[])).await?;
    assert_eq!(read(&file, NAMES)?, ["about_view"]);
    drop(store);
    Connection::open(&file)?.execute_batch("create view mine as select 1")?;
    let store = Store::open(dir.path(), &TABLES).await?;
    assert!(store.check().await.is_err_and(|error| error.to_string().contains("the view mine")));
    Ok(())
}

#[tokio::test]
async fn the_name_that_stays_points_at_the_generation_that_serves() -> Outcome {
    let dir = TempDir::new()?;
    let link = dir.path().join("counters.sqlite");
    let points_at = || fs::read_link(&link).map(|target| target.display().to_string());
    let store = Store::open(dir.path(), &TABLES).await?;
    write(&store).await?;
    assert_eq!(points_at()?, "counters.1.sqlite");
    assert!(read(&link, ABOUT)?[0].starts_with("counters 1 counters@2 "), "while it is written");

    store.begin_generation(2).await?;
    let next = Store::open_generation(store.generations(), 2).await?;
    assert_eq!(points_at()?, "counters.1.sqlite", "it does not serve yet");
    store.generations().serve(2)?;
    assert!(read(&link, ABOUT)?[0].starts_with("counters 2 counters@2 "));
    assert_eq!(store.generations().all()?, [1, 2], "the link is no generation");
    store.generations().serve(1)?;
    assert!(read(&link, ABOUT)?[0].starts_with("counters 1 counters@2 "), "back again");
    drop((store, next));

    // Somebody made it point elsewhere, and an older process crashed.
    fs::remove_file(&link)?;
    symlink("elsewhere", &link)?;
    symlink("elsewhere", dir.path().join("counters.sqlite.new"))?;
    let generations = Generations::to_read(dir.path(), &TABLES)?;
    drop(Store::read_serving(&generations).await?);
    drop(generations);
    assert_eq!(points_at()?, "elsewhere", "to look changes nothing");
    drop(Store::open(dir.path(), &TABLES).await?);
    assert_eq!(points_at()?, "counters.1.sqlite");

    // A copy that followed the link is not ours to delete.
    fs::remove_file(&link)?;
    fs::write(&link, "a copy")?;
    drop(Store::open(dir.path(), &TABLES).await?);
    assert_eq!(fs::read_to_string(&link)?, "a copy");
    Ok(())
}
