//! Rows, checkpoint and file of a tiny service.

mod counters;

use std::{error::Error, fs, path::Path};

use counters::{Counters, Journal, Row, TABLES, accepted, id, key, limit};
use orderlog_core::{
    decider::Ref,
    key::Key,
    machine::{Changes, Checkpoint, CopiedRow, DiscardedRow, Head, ParkedRow, SetAside, Verdict, Wanted},
};
use orderlog_readmodel::{Due, MemoryRows, Pace, Rows, Store, StoreError, Unaccepted, Writer};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

struct Fixture {
    dir: TempDir,
    store: Store<Counters>,
    writer: Writer<Counters>,
    journal: Journal,
}

impl Fixture {
    async fn new() -> Result<Self, Box<dyn Error>> {
        let dir = TempDir::new()?;
        let (store, writer) = open(dir.path()).await?;
        Ok(Self { dir, store, writer, journal: Journal::new() })
    }

    async fn write(&mut self, changes: &Changes<Counters>) -> Result<(), StoreError> {
        self.store.write(&mut self.writer, changes, Pace::Steady).await
    }

    async fn steps(&mut self, steps: Vec<(String, Verdict)>) -> Result<(), StoreError> {
        let changes = self.journal.steps(steps);
        self.write(&changes).await
    }
}

async fn open(dir: &Path) -> Result<(Store<Counters>, Writer<Counters>), StoreError> {
    let store = Store::open(dir, &TABLES).await?;
    let writer = store.writer().await?;
    Ok((store, writer))
}

/// Changes the file behind the store's back.
async fn tamper(dir: &Path, sql: &'static str) -> Outcome {
    let options = SqliteConnectOptions::new().filename(dir.join("counters.1.sqlite"));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query(sql).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

fn counter(name: &str) -> Wanted {
    Wanted { key: key(name), kind: Some("counters") }
}

#[tokio::test]
async fn a_fresh_file_stands_at_the_beginning() -> Outcome {
    let fixture = Fixture::new().await?;
    assert_eq!(fixture.store.checkpoint().await?, Checkpoint::default());
    assert!(fixture.store.get("counters", &key("a")).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() -> Outcome {
    let Fixture { dir, store, mut writer, mut journal } = Fixture::new().await?;
    let mut changes = journal.steps(accepted(["a", "b", "a"]));
    changes.copied = vec![CopiedRow { topic: "limit.changed".into(), part: 2, next: 17, print: u64::MAX }];
    store.write(&mut writer, &changes, Pace::Steady).await?;
    drop(writer);
    store.close().await;

    let (store, _writer) = open(dir.path()).await?;
    let checkpoint = store.checkpoint().await?;
    assert_eq!((checkpoint.next, checkpoint.digest), (3, changes.records[2].digest));
    assert_eq!(checkpoint.last, Some((changes.records[2], changes.records[1].digest)));
    assert_eq!((checkpoint.genesis, checkpoint.copied), (changes.genesis, changes.copied));
    assert_eq!(
        store.get("counters", &key("a")).await?,
        Some((3, 2, Row::Counter { name: "a".into(), total: 2 })),
        "the last state of a batch wins"
    );
    Ok(())
}

#[tokio::test]
async fn any_number_of_keys_is_loaded_in_the_order_asked_for() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let names: Vec<String> = (0..2500).map(|number| format!("n{number}")).collect();
    fixture.steps(accepted(&names)).await?;
    for count in [0, 1, 2, 17, 129, 1024, 1025, 2500] {
        let mut wanted: Vec<Wanted> = names.iter().rev().take(count).map(|name| counter(name)).collect();
        wanted.push(counter("unknown"));
        wanted.push(Wanted { key: key("n7"), kind: None });
        let loaded = fixture.store.load(&wanted).await?;
        assert_eq!(loaded.iter().map(|row| row.wanted).collect::<Vec<_>>(), wanted);
        for (row, number) in loaded.iter().zip((0..2500_u64).rev().take(count)) {
            let entity = Row::Counter { name: format!("n{number}"), total: number.cast_signed() };
            assert_eq!(row.entity, Some((number + 1, entity)));
            assert_eq!(row.head, Some(Head { last: id(number), offset: number }));
        }
        assert_eq!((&loaded[count].head, &loaded[count].entity), (&None, &None));
        assert_eq!((loaded[count + 1].head.map(|head| head.offset), &loaded[count + 1].entity), (Some(7), &None));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_due_is_found_the_longest_overdue_first() -> Outcome {
    let Fixture { dir: _dir, store, mut writer, mut journal } = Fixture::new().await?;
    // Due at 1, 2 and 3.
    let changes = journal.steps(accepted(["a", "c", "b", "a"]));
    let memory = MemoryRows::new(&TABLES);
    store.write(&mut writer, &changes, Pace::Steady).await?;
    memory.put(&changes)?;
    let named = |due: Vec<(Key, Due<Counters>)>| -> Vec<(Key, String)> {
        due.into_iter().map(|(key, due)| (key, format!("{} {}", due.command.name, due.version))).collect()
    };
    for (now, limit, expected) in [(0, 9, ""), (1, 9, "c"), (2, 9, "cb"), (9, 9, "cba"), (9, 2, "cb")] {
        let expected: Vec<_> = expected.chars().map(|name| (key(&name.to_string()), format!("{name} 17"))).collect();
        assert_eq!(named(store.due(&TABLES.timers[0], now, limit).await?), expected);
        assert_eq!(named(memory.due(&TABLES.timers[0], now, limit).await?), expected);
    }
    Ok(())
}

#[tokio::test]
async fn what_waits_for_an_outcome_is_counted_by_age() -> Outcome {
    let mut fixture = Fixture::new().await?;
    fixture.steps(accepted(["a", "b", "a"])).await?;
    assert_eq!(fixture.store.pending(&[0, 1, 2]).await?, [("counters", vec![0, 1, 2])]);
    Ok(())
}

#[tokio::test]
async fn a_key_wanted_twice_is_loaded_twice() -> Outcome {
    let mut fixture = Fixture::new().await?;
    fixture.steps(accepted(["a"])).await?;
    let loaded = fixture.store.load(&[counter("a"), counter("a")]).await?;
    assert_eq!(loaded[0], loaded[1]);
    assert!(loaded[1].entity.is_some());
    Ok(())
}

#[tokio::test]
async fn copied_facts_keep_their_highest_version_in_any_order() -> Outcome {
    let mut fixture = Fixture::new().await?;
    for version in [2, 1, 3, 2] {
        let changes = Changes { entities: vec![limit(version, version.cast_signed())], ..fixture.journal.nothing() };
        fixture.write(&changes).await?;
    }
    assert_eq!(fixture.store.get("limits", &key("limit")).await?, Some((3, 0, Row::Limit { most: 3 })));
    Ok(())
}

#[tokio::test]
async fn changes_written_again_change_nothing() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let changes = fixture.journal.steps(accepted(["a", "b"]));
    fixture.write(&changes).await?;
    let before = fixture.store.dump(None).await?;
    fixture.write(&changes).await?;
    assert_eq!(fixture.store.dump(None).await?, before);
    Ok(())
}

#[tokio::test]
async fn changes_that_do_not_follow_on_what_is_stored_are_refused() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let first = fixture.journal.steps(accepted(["a"]));
    let second = fixture.journal.steps(accepted(["b"]));
    fixture.write(&first).await?;
    fixture.write(&second).await?;
    let before = fixture.store.dump(None).await?;
    let refused = fixture.write(&first).await;
    assert!(matches!(refused, Err(StoreError::OutOfOrder { stored: 2, from: 0, to: 1, .. })), "{refused:?}");
    assert_eq!(fixture.store.dump(None).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_write_that_fails_half_way_leaves_nothing() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let mut changes = fixture.journal.steps(accepted(["a"]));
    changes.entities[0].aggregate.kind = "unknown";
    assert!(matches!(fixture.write(&changes).await, Err(StoreError::NoTable { .. })));
    assert_eq!(fixture.store.checkpoint().await?, Checkpoint::default());
    changes.entities[0].aggregate.kind = "counters";
    fixture.write(&changes).await?;
    assert_eq!(fixture.store.checkpoint().await?.next, 1, "the writer is still good");
    Ok(())
}

#[tokio::test]
async fn what_was_not_accepted_is_told_with_how_far_the_rows_are() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let verdict = |offset: u64| match offset % 4 {
        1 => Verdict::Void,
        2 => Verdict::Parked,
        3 => Verdict::Discarded,
        _ => Verdict::Accepted,
    };
    fixture.steps((0..12).map(|offset| ("a".to_owned(), verdict(offset))).collect()).await?;
    use Verdict::{Discarded, Parked, Void};
    let told = |verdicts: &[(u64, Verdict)]| Unaccepted { next: 12, verdicts: verdicts.to_vec() };
    assert_eq!(fixture.store.unaccepted(4, 9).await?, told(&[(5, Void), (6, Parked), (7, Discarded)]));
    assert_eq!(fixture.store.unaccepted(10, u64::MAX >> 1).await?, told(&[(10, Parked), (11, Discarded)]));
    assert_eq!(fixture.store.unaccepted(8, 9).await?, told(&[]));
    Ok(())
}

#[tokio::test]
async fn a_history_has_the_records_about_one_key_page_by_page() -> Outcome {
    let mut fixture = Fixture::new().await?;
    fixture.steps(accepted(["a", "b", "a", "a", "b"])).await?;
    for indexed in [false, true] {
        if indexed {
            fixture.store.create_indexes(&mut fixture.writer).await?;
            fixture.store.create_indexes(&mut fixture.writer).await?;
        }
        let offsets = |after, limit| {
            let store = fixture.store.clone();
            async move {
                Ok::<_, StoreError>(
                    store.history(&key("a"), after, limit).await?.iter().map(|r| r.offset).collect::<Vec<_>>(),
                )
            }
        };
        assert_eq!(offsets(None, 2).await?, [0, 2]);
        assert_eq!(offsets(Some(2), 2).await?, [3]);
    }
    Ok(())
}

#[tokio::test]
async fn a_time_is_found_among_the_offsets_also_where_some_are_missing() -> Outcome {
    let mut fixture = Fixture::new().await?;
    assert_eq!((fixture.store.first().await?, fixture.store.last_until(5_000).await?), (None, None));
    // Each record's time is its offset and 1000.
    let mut offsets = Vec::new();
    for n in [1, 5, 2, 9, 1, 1] {
        offsets.extend(fixture.journal.next..fixture.journal.next + n);
        fixture.steps(accepted((0..n).map(|_| "a"))).await?;
        fixture.journal.next += n + 2;
    }
    for time in 990..1_070 {
        let expected = offsets.iter().rev().find(|offset| 1_000 + offset.cast_signed() <= time).copied();
        assert_eq!(fixture.store.last_until(time).await?, expected, "{time}");
    }
    Ok(())
}

#[tokio::test]
async fn a_time_is_found_although_the_clock_was_ahead_for_a_while_and_was_set_back() -> Outcome {
    let mut fixture = Fixture::new().await?;
    // Three blocks of records. The clock is far ahead in the first block and near the end, and jitters all the time.
    let n = 10_000;
    let time_of = |offset: u64| {
        let jitter = (offset.cast_signed() * 7_919) % 50;
        let ahead = if (100..103).contains(&offset) || (9_000..9_500).contains(&offset) { 7_200_000 } else { 0 };
        10 * offset.cast_signed() + jitter + ahead
    };
    for _ in 0..4 {
        let mut changes = fixture.journal.steps(accepted((0..n / 4).map(|_| "a")));
        for record in &mut changes.records {
            record.time_ms = time_of(record.offset);
        }
        fixture.store.write(&mut fixture.writer, &changes, Pace::Steady).await?;
    }
    for time in (-50..110_000).step_by(997).chain((7_199_900..7_310_000).step_by(1_999)) {
        let last = (0..n).rev().find(|offset| time_of(*offset) <= time);
        assert_eq!(fixture.store.last_until(time).await?, last, "the last one until {time}");
        let first = (0..n).find(|offset| time_of(*offset) >= time);
        assert_eq!(fixture.store.first_since(time).await?, first, "the first one since {time}");
    }
    Ok(())
}

#[tokio::test]
async fn what_touches_an_aggregate_is_found_from_the_newest_backwards() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let mut changes = fixture.journal.steps(accepted(["a", "b", "b", "a", "b"]));
    for happened in changes.happened.iter_mut().filter(|happened| happened.at.offset == 2) {
        happened.touched.push(Ref::new("counters", key("a")));
    }
    fixture.write(&changes).await?;
    fixture.steps(vec![("a".to_owned(), Verdict::Void)]).await?;
    assert_eq!(fixture.store.touching(&key("a"), 9, 10).await?, [3, 2, 0]);
    assert_eq!(fixture.store.touching(&key("a"), 2, 1).await?, [2]);
    assert_eq!(fixture.store.first_touching(&key("b")).await?, Some(1));
    assert_eq!(fixture.store.first_touching(&key("nobody")).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_is_parked_is_listed_and_handed_to_the_next_core() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let mut changes = fixture.journal.steps([("a".to_owned(), Verdict::Accepted), ("b".to_owned(), Verdict::Parked)]);
    let row = |name| ParkedRow { key: key(name), offset: 1, reason: "unreadable".into() };
    changes.parked = vec![row("b"), row("c")];
    fixture.write(&changes).await?;
    assert_eq!(fixture.store.parked(0, 10).await?.len(), 2);
    assert_eq!(fixture.store.parked(2, 10).await?, []);
    assert_eq!(fixture.store.n_parked().await?, 1);
    assert_eq!(fixture.store.first_parked(&key("c")).await?, Some(1));
    assert_eq!(fixture.store.first_parked(&key("a")).await?, None);
    let SetAside { parked, discarded } = fixture.store.set_aside().await?;
    assert_eq!(parked, [(row("b"), id(1)), (row("c"), id(1))], "first what the record is about");
    assert!(discarded.is_empty());
    Ok(())
}

/// Of three records the first two are parked; then the first is discarded, and so the second can be folded.
async fn with_a_discard(fixture: &mut Fixture) -> Result<Changes<Counters>, StoreError> {
    let parked = |name: &str| (name.to_owned(), Verdict::Parked);
    let mut first = fixture.journal.steps([parked("a"), parked("a"), ("b".to_owned(), Verdict::Accepted)]);
    first.parked = [0, 1].map(|offset| ParkedRow { key: key("a"), offset, reason: "unreadable".into() }).to_vec();
    fixture.write(&first).await?;
    let mut second = fixture.journal.steps(accepted(["c"]));
    let folded = Journal::new().steps(accepted(["a", "a"]));
    second.verdicts = vec![(0, Verdict::Discarded), (1, Verdict::Accepted)];
    second.unparked = vec![0, 1];
    second.discarded = vec![DiscardedRow { offset: 0, by: 3, time_ms: 5, reason: "nobody needs it".into() }];
    second.happened.extend(folded.happened.into_iter().skip(1));
    second.entities.extend(folded.entities);
    fixture.write(&second).await?;
    Ok(second)
}

#[tokio::test]
async fn a_discard_changes_rows_of_records_that_were_folded_before() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let changes = with_a_discard(&mut fixture).await?;
    use Verdict::{Accepted, Discarded};
    let verdicts = fixture.store.verdicts(0, 9).await?;
    assert_eq!(verdicts, [(0, Discarded), (1, Accepted), (2, Accepted), (3, Accepted)]);
    assert_eq!((fixture.store.n_parked().await?, fixture.store.revision().await?), (0, 1));
    let unaccepted = Unaccepted { next: 4, verdicts: vec![(0, Discarded)] };
    assert_eq!(fixture.store.unaccepted(0, 4).await?, unaccepted, "not as they were at first");
    assert_eq!(fixture.store.discarded().await?, changes.discarded);
    assert_eq!(fixture.store.set_aside().await?, SetAside { parked: vec![], discarded: vec![0] });
    assert_eq!(fixture.store.get("counters", &key("a")).await?.map(|(_, offset, _)| offset), Some(1));
    let before = fixture.store.dump(None).await?;
    fixture.write(&changes).await?;
    assert_eq!(fixture.store.dump(None).await?, before);
    Ok(())
}

#[tokio::test]
async fn what_was_folded_without_a_new_record_is_written_once_however_often() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let mut first = fixture.journal.steps([("a".to_owned(), Verdict::Parked)]);
    first.parked = vec![ParkedRow { key: key("a"), offset: 0, reason: "unreadable".into() }];
    fixture.write(&first).await?;
    let folded = Journal::new().steps(accepted(["a"]));
    let retried = Changes {
        verdicts: vec![(0, Verdict::Accepted)],
        unparked: vec![0],
        happened: folded.happened,
        entities: folded.entities,
        ..fixture.journal.nothing()
    };
    for _ in 0..2 {
        fixture.write(&retried).await?;
        assert_eq!(fixture.store.verdicts(0, 9).await?, [(0, Verdict::Accepted)]);
        assert_eq!(fixture.store.unaccepted(0, 1).await?.verdicts, []);
        assert_eq!(fixture.store.dump(Some("steps")).await?.len(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_are_cleared_can_be_built_anew() -> Outcome {
    let mut fixture = Fixture::new().await?;
    with_a_discard(&mut fixture).await?;
    let before = fixture.store.dump(None).await?;
    fixture.store.clear(&mut fixture.writer).await?;
    assert_eq!(fixture.store.checkpoint().await?, Checkpoint::default());
    assert_eq!(fixture.store.dump(None).await?.len(), 1, "only where they stand");
    fixture.journal = Journal::new();
    with_a_discard(&mut fixture).await?;
    assert_eq!(fixture.store.dump(None).await?, before);
    Ok(())
}

#[tokio::test]
async fn the_same_records_in_other_batches_give_equal_rows() -> Outcome {
    let names: Vec<String> = (0..1000).map(|number| format!("n{}", number % 300)).collect();
    let (mut one, mut other) = (Fixture::new().await?, Fixture::new().await?);
    one.steps(accepted(&names)).await?;
    for batch in names.chunks(77) {
        other.steps(accepted(batch)).await?;
    }
    one.store.create_indexes(&mut one.writer).await?;
    assert_eq!(one.store.compare(&other.store).await?, []);
    assert_eq!(one.store.dump(None).await?, other.store.dump(None).await?);
    assert_eq!(one.store.dump(Some("steps")).await?.len(), 2000);
    Ok(())
}

#[tokio::test]
async fn a_comparison_names_every_row_that_differs() -> Outcome {
    let (mut one, mut other) = (Fixture::new().await?, Fixture::new().await?);
    one.steps(accepted(["a", "b"])).await?;
    let mut changes = other.journal.steps(accepted(["a", "c"]));
    changes.entities[0].version = 9;
    other.write(&changes).await?;
    let differences = one.store.compare(&other.store).await?;
    let of = |table: &str| differences.iter().filter(|difference| difference.table == table).collect::<Vec<_>>();
    assert_eq!((of("meta").len(), of("heads").len(), of("records").len(), of("counters").len()), (0, 2, 1, 3));
    let changed = of("counters").into_iter().find(|row| row.here.is_some() && row.there.is_some());
    assert!(changed.is_some_and(|row| row.key.starts_with("X'") && row.here != row.there));
    let (only_here, only_there) =
        (of("heads").iter().any(|row| row.there.is_none()), of("heads").iter().any(|row| row.here.is_none()));
    assert!(only_here && only_there);
    Ok(())
}

/// A row for any table: SQLite knows the names and types of its columns.
const ANY_ROW: &str = "select group_concat(case type when 'BLOB' then 'zeroblob(16)' when 'TEXT' then 'char(120)' else '1' end) \
                       from (select type from pragma_table_info(?) order by cid)";

#[tokio::test]
async fn no_table_of_a_file_is_left_out_of_a_comparison() -> Outcome {
    let file = |fixture: &Fixture| SqliteConnectOptions::new().filename(fixture.dir.path().join("counters.1.sqlite"));
    let fresh = Fixture::new().await?;
    let mut connection = SqliteConnection::connect_with(&file(&fresh)).await?;
    let tables = sqlx::query_scalar::<_, String>("select name from sqlite_schema where type = 'table'");
    let tables = tables.fetch_all(&mut connection).await?;
    assert!(tables.contains(&"fresh_heads".to_owned()) && tables.contains(&"limits".to_owned()), "{tables:?}");
    for table in tables {
        let (mut one, mut other) = (Fixture::new().await?, Fixture::new().await?);
        one.steps(accepted(["a"])).await?;
        other.steps(accepted(["a"])).await?;
        assert_eq!(one.store.compare(&other.store).await?, [], "{table}");
        let mut connection = SqliteConnection::connect_with(&file(&one)).await?;
        let row: String = sqlx::query_scalar(ANY_ROW).bind(&table).fetch_one(&mut connection).await?;
        let text = if table == "meta" {
            "update meta set genesis = 'x'".to_owned()
        } else {
            format!("insert or replace into {table} values ({row})")
        };
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut connection).await?;
        connection.close().await?;
        let is_found = match one.store.compare(&other.store).await {
            Ok(differences) => differences.iter().any(|it| it.table == table),
            // A record behind the checkpoint.
            Err(error) => error.is_damage() && error.to_string().contains(&table),
        };
        assert!(is_found, "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_whose_checkpoint_is_wrong_are_not_compared() -> Outcome {
    let (mut one, mut other) = (Fixture::new().await?, Fixture::new().await?);
    one.steps(accepted(["a"])).await?;
    other.steps(accepted(["a"])).await?;
    tamper(one.dir.path(), "update meta set next = next + 1").await?;
    let refused = one.store.compare(&other.store).await;
    assert!(refused.as_ref().is_err_and(StoreError::is_damage), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_that_its_records_do_not_reach_is_damage() -> Outcome {
    for sql in
        ["update meta set next = 1", "update meta set next = 3", "update meta set next = -2", "delete from records"]
    {
        let mut fixture = Fixture::new().await?;
        fixture.steps(accepted(["a", "b"])).await?;
        tamper(fixture.dir.path(), sql).await?;
        let refused = fixture.store.checkpoint().await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{sql}: {refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_that_stands_where_the_next_one_is_to_come_is_damage() -> Outcome {
    let mut fixture = Fixture::new().await?;
    fixture.steps(accepted(["a"])).await?;
    tamper(fixture.dir.path(), "insert into records select 1, id, time_ms, about, verdict, digest from records")
        .await?;
    let refused = fixture.steps(accepted(["b"])).await;
    assert!(refused.as_ref().is_err_and(StoreError::is_damage), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn changes_are_not_taken_for_written_because_a_checkpoint_is_too_high() -> Outcome {
    let mut fixture = Fixture::new().await?;
    fixture.steps(accepted(["a"])).await?;
    tamper(fixture.dir.path(), "update meta set next = next + 1").await?;
    let refused = fixture.steps(accepted(["b"])).await;
    assert!(refused.as_ref().is_err_and(StoreError::is_damage), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_document_that_can_not_be_read_is_damage_and_its_row_is_named_without_its_content() -> Outcome {
    for sql in [
        "update counters set doc = cast(x'ff' as text)",
        "update counters set doc = '{'",
        "update counters set doc = '{\"Counter\":{\"name\":\"secret\",\"total\":\"secret\"}}'",
    ] {
        let mut fixture = Fixture::new().await?;
        fixture.steps(accepted(["a"])).await?;
        tamper(fixture.dir.path(), sql).await?;
        let by_key = fixture.store.get("counters", &key("a")).await.map(drop);
        let loaded = fixture.store.load(&[counter("a")]).await.map(drop);
        for refused in [by_key, loaded] {
            let refused = refused.expect_err("damaged");
            assert!(refused.is_damage(), "{sql}: {refused:?}");
            let told = refused.to_string();
            assert!(told.contains("counters X'") && !told.contains("secret"), "{sql}: {told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_refused() -> Outcome {
    let Fixture { dir, store, writer, .. } = Fixture::new().await?;
    let refused = Store::open(dir.path(), &TABLES).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "{refused:?}");
    drop((store, writer));
    Store::open(dir.path(), &TABLES).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_refused_with_what_to_do() -> Outcome {
    let dir = TempDir::new()?;
    let file = dir.path().join("counters.1.sqlite");
    fs::write(&file, "no database, but long enough to have a header of a hundred bytes ".repeat(4))?;
    let refused = Store::open(dir.path(), &TABLES).await.map(|_| ()).expect_err("no SQLite file").to_string();
    assert!(refused.contains("counters.1.sqlite") && refused.contains("rebuild --yes"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_file_of_another_service_is_refused() -> Outcome {
    let Fixture { dir, store, writer, .. } = Fixture::new().await?;
    drop(writer);
    store.close().await;
    tamper(dir.path(), "update meta set service = 'others'").await?;
    let refused = Store::open(dir.path(), &TABLES).await.map(|_| ());
    assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_file_of_another_schema_version_is_moved_aside_and_begun_again() -> Outcome {
    let Fixture { dir, store, mut writer, mut journal } = Fixture::new().await?;
    store.write(&mut writer, &journal.steps(accepted(["a"])), Pace::Steady).await?;
    drop(writer);
    store.close().await;
    tamper(dir.path(), "update meta set schema = '0.old'").await?;
    let store = Store::open(dir.path(), &TABLES).await?;
    assert_eq!(store.checkpoint().await?, Checkpoint::default());
    let aside = dir.path().join("counters.1.sqlite.0.old");
    assert!(aside.exists(), "{:?}", fs::read_dir(dir.path())?.collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn keys_are_stored_as_they_are() -> Outcome {
    let mut fixture = Fixture::new().await?;
    let mut changes = fixture.journal.steps(accepted(["a"]));
    changes.heads.push((Key::GENESIS, Head { last: id(0), offset: 0 }));
    fixture.write(&changes).await?;
    let loaded = fixture.store.load(&[Wanted { key: Key::GENESIS, kind: None }]).await?;
    assert_eq!(loaded[0].head, Some(Head { last: id(0), offset: 0 }));
    Ok(())
}

#[tokio::test]
async fn what_is_written_in_a_mass_is_found_at_once_and_in_the_end_where_it_always_is() -> Outcome {
    let (mut one, mut other) = (Fixture::new().await?, Fixture::new().await?);
    for names in [["a", "b"], ["b", "c"]] {
        let changes = one.journal.steps(accepted(names));
        one.store.write(&mut one.writer, &changes, Pace::Mass).await?;
    }
    let loaded = one.store.load(&["a", "b", "c"].map(counter)).await?;
    assert_eq!(
        loaded.iter().map(|it| it.head.map(|head| head.offset)).collect::<Vec<_>>(),
        [Some(0), Some(2), Some(3)]
    );
    // Whoever comes after a crash does not know what was left.
    let Fixture { dir, store, writer, journal } = one;
    drop(writer);
    store.close().await;
    let (store, writer) = open(dir.path()).await?;
    let mut one = Fixture { dir, store, writer, journal };
    one.steps(accepted(["a"])).await?;
    for names in [&["a", "b", "b", "c"][..], &["a"]] {
        other.steps(accepted(names)).await?;
    }
    assert_eq!(one.store.compare(&other.store).await?, []);
    Ok(())
}

#[tokio::test]
async fn a_service_may_write_and_load_in_tasks_of_its_own() -> Outcome {
    let Fixture { store, mut writer, mut journal, dir: _dir } = Fixture::new().await?;
    let changes = journal.steps(accepted(["a"]));
    let writing = store.clone();
    tokio::spawn(async move { writing.write(&mut writer, &changes, Pace::Steady).await }).await??;
    let loaded = tokio::spawn(async move { store.load(&[counter("a")]).await }).await??;
    assert!(loaded[0].entity.is_some());
    Ok(())
}
