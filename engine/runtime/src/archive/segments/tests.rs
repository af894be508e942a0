use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures_util::{FutureExt, stream};
use orderlog_core::{
    header::{Expect, HEADER, Header, Origin},
    key::{HashKey, Key, RecordId},
    machine::{GENESIS, Genesis},
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, ReadError, TopicKind, TopicSpec, simulated::SimulatedLog};

use super::*;
use crate::archive::{Broken, OfLog, Records, UpTo, dry_run, export, import};

const SERVICES: &Services = &[("left", &[("left.changed", "left")]), ("right", &[])];

fn hash_key() -> HashKey {
    HashKey::from_secret("a secret of at least so many bytes")
}

async fn topics(log: &SimulatedLog) {
    let topics = SERVICES.iter().map(|(name, _)| TopicSpec { name: (*name).into(), kind: TopicKind::Journal });
    let public = TopicSpec { name: "left.changed".into(), kind: TopicKind::Public };
    log.prepare(&topics.chain([public]).collect::<Vec<_>>()).await.unwrap();
}

/// A log whose journals have begun.
async fn begun() -> Arc<SimulatedLog> {
    let log = SimulatedLog::new();
    topics(&log).await;
    for (journal, _) in SERVICES {
        let genesis =
            Genesis { log_id: Uuid::now_v7(), journal: (*journal).to_owned(), hash_key: hash_key().fingerprint() };
        append(&log, journal, GENESIS, serde_json::to_vec(&genesis).unwrap());
    }
    log
}

fn append(log: &SimulatedLog, journal: &str, kind: &str, value: Vec<u8>) {
    let header = Header {
        id: RecordId(Uuid::now_v7()),
        time_ms: 0,
        writer: Uuid::nil(),
        kind: kind.to_owned(),
        expects: vec![Expect { key: Key::GENESIS, last: None }],
        command: None,
        origin: Origin::default(),
    };
    let (key, headers) = (String::from(Key::GENESIS), vec![(HEADER.into(), Bytes::from(header.encode()))]);
    let topic = journal.into();
    log.append_raw(NewRecord { topic, partition: Some(0), key: Some(key.into()), headers, value: value.into() });
}

fn grow(log: &SimulatedLog, journal: &str, n: usize) {
    (0..n).for_each(|n| append(log, journal, "grown", n.to_string().into_bytes()));
}

fn of(log: &Arc<SimulatedLog>) -> OfLog {
    OfLog(Arc::clone(log) as Arc<dyn EventLog>, SERVICES.to_vec())
}

fn segments(dir: &Path) -> Segments {
    Segments::open(dir, SERVICES, None).unwrap()
}

async fn seal(segments: &mut Segments, log: &Arc<SimulatedLog>) -> Sealed {
    segments.seal(&of(log), &mut |_, _, _| {}).await.unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names = super::names(dir).unwrap();
    names.sort();
    names
}

fn opened(dir: &Path, up_to: Option<UpTo>) -> Result<Archive, Broken> {
    let archive = Archive::open(dir, SERVICES, None, up_to)?;
    archive.check(&mut |_, _, _| {})?;
    Ok(archive)
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copied(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A folder with three segments, of 2, 5 and 6 records up to their ends, and the log.
async fn three(dir: &Path) -> Arc<SimulatedLog> {
    let log = begun().await;
    let mut segments = segments(dir);
    seal(&mut segments, &log).await;
    grow(&log, "left", 3);
    seal(&mut segments, &log).await;
    grow(&log, "right", 1);
    let Sealed { segment, n_records, n_new, .. } = seal(&mut segments, &log).await;
    assert_eq!((segment, n_records, n_new), (3, 6, 1));
    log
}

#[tokio::test]
async fn every_prefix_of_segments_is_a_whole_export_which_an_import_restores() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("segments");
    let log = three(&dir).await;
    let mut segments = segments(&dir);
    let quiet = seal(&mut segments, &log).await;
    assert_eq!((quiet.segment, quiet.n_new), (3, 0), "nothing is sealed where nothing is new");
    assert_eq!(names(&dir), ["segment-00000001", "segment-00000002", "segment-00000003", "writer.lock"]);

    for (number, lengths) in [(1, [1, 1]), (2, [4, 1]), (3, [4, 2])] {
        let archive = opened(&dir, Some(UpTo::Segment(number))).unwrap();
        let restored = SimulatedLog::new();
        topics(&restored).await;
        let into = Arc::clone(&restored) as Arc<dyn EventLog>;
        let imported = import(&into, &archive, Some(&hash_key()), &mut |_, _, _| {}).await.unwrap();
        assert_eq!(imported.manifest.n_records(), lengths.iter().sum::<u64>());
        for ((journal, _), length) in SERVICES.iter().zip(lengths) {
            let partition = Partition::journal(*journal);
            let bytes = |log: &SimulatedLog| -> Vec<_> {
                let records = log.contents().remove(&partition).unwrap();
                records.into_iter().map(|record| (record.key, record.headers, record.value)).collect()
            };
            assert_eq!(bytes(&restored), bytes(&log)[..usize::try_from(length).unwrap()]);
        }
    }
    let whole = opened(&dir, None).unwrap();
    let plain = folder.path().join("plain");
    let at_once = export(&of(&log), SERVICES, &plain, None, &mut |_, _, _| {}).await.unwrap();
    assert_eq!(whole.manifest.journals, at_once.journals, "all segments are what an export at once is");
}

#[tokio::test]
async fn segments_are_chosen_by_number_or_time() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("segments");
    three(&dir).await;
    let time = |number: u64| {
        let manifest = opened(&dir, Some(UpTo::Segment(number))).unwrap().manifest;
        assert_eq!(manifest.segment, Some(number));
        DateTime::parse_from_rfc3339(&manifest.time).unwrap().to_utc()
    };
    let later = time(3) + chrono::TimeDelta::days(1);
    assert_eq!(opened(&dir, Some(UpTo::Time(later))).unwrap().manifest.segment, Some(3));
    let second = opened(&dir, Some(UpTo::Time(time(2)))).unwrap().manifest.segment;
    assert!(second >= Some(2), "a segment is complete at its own time: {second:?}");
    for up_to in [UpTo::Segment(0), UpTo::Segment(4), UpTo::Time(time(1) - chrono::TimeDelta::days(1))] {
        let refused = opened(&dir, Some(up_to)).unwrap_err();
        assert!(matches!(&refused, Broken::NoSegment { why, .. } if why.contains("segments 1 to 3")), "{refused}");
    }
    let alone = opened(&dir.join("segment-00000001"), None).unwrap_err();
    assert!(alone.to_string().contains("is segment 1 of an export"), "{alone}");
}

/// A source that fails within the second journal.
struct Breaking(OfLog);

#[async_trait]
impl Journals for Breaking {
    async fn cut(&self) -> Result<Cut, ReadError> {
        self.0.cut().await
    }

    fn records(&self, journal: &str, from: u64, end: u64) -> Records {
        if journal == "left" || from + 1 == end {
            return self.0.records(journal, from, end);
        }
        stream::once(async { Err(ReadError::Unavailable { reason: "it broke".to_owned() }) }).boxed()
    }
}

#[tokio::test]
async fn only_whole_segments_are_sealed_and_a_killed_writer_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("segments");
    let log = three(&dir).await;
    grow(&log, "left", 2);
    grow(&log, "right", 2);
    let mut first = segments(&dir);
    let broke = first.seal(&Breaking(of(&log)), &mut |_, _, _| {}).await.unwrap_err();
    assert!(matches!(broke, ExportError::Read { .. }), "{broke}");
    let before = names(&dir);
    assert!(!before.iter().any(|name| name.contains(".new") || name.contains('4')), "{before:?}");
    drop(first);

    // As a writer is killed, and as another program's copy of the folder is interrupted.
    for left in ["segment-00000004.new", "segment-00000004"] {
        fs::create_dir(dir.join(left)).unwrap();
        fs::write(dir.join(left).join("left.journal.zst"), "half of it").unwrap();
        assert_eq!(opened(&dir, None).unwrap().manifest.segment, Some(3));
    }
    let mut second = segments(&dir);
    assert_eq!(names(&dir), before);
    let sealed = seal(&mut second, &log).await;
    assert_eq!((sealed.segment, sealed.n_new, sealed.n_records), (4, 4, 10));
    opened(&dir, None).unwrap();
}

#[tokio::test]
async fn a_folder_has_one_writer_and_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("segments");
    let log = three(&dir).await;
    let mut writer = segments(&dir);
    let second = Segments::open(&dir, SERVICES, None).err().unwrap();
    assert!(matches!(second, ExportError::InUse { .. }), "{second}");

    let older = begun().await;
    let other = begun().await;
    grow(&other, "left", 9);
    grow(&other, "right", 9);
    for log in [&older, &other] {
        let refused = writer.seal(&of(log), &mut |_, _, _| {}).await.unwrap_err();
        assert!(matches!(&refused, ExportError::OtherLog { offset: 3, .. }), "{refused}");
    }
    log.truncate("right", 1);
    grow(&log, "right", 5);
    let replaced = writer.seal(&of(&log), &mut |_, _, _| {}).await.unwrap_err();
    assert!(matches!(&replaced, ExportError::OtherLog { offset: 1, .. }), "{replaced}");
    assert_eq!(opened(&dir, None).unwrap().manifest.segment, Some(3));

    let plain = folder.path().join("plain");
    export(&of(&log), SERVICES, &plain, None, &mut |_, _, _| {}).await.unwrap();
    assert!(matches!(Segments::open(&plain, SERVICES, None), Err(ExportError::Exists { .. })));
    let used = folder.path().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("notes.txt"), "").unwrap();
    assert!(matches!(Segments::open(&used, SERVICES, None), Err(ExportError::NotEmpty { .. })));
    assert_eq!(names(&used), ["notes.txt"]);
}

#[tokio::test]
async fn segments_that_do_not_follow_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("segments");
    let log = three(&dir).await;
    let other = folder.path().join("other");
    let mut others = segments(&other);
    seal(&mut others, &log).await;
    grow(&log, "left", 1);
    seal(&mut others, &log).await;

    let manifest_of = |copy: &Path, number: u64, change: &dyn Fn(&mut serde_json::Value)| {
        let file = copy.join(name(number)).join(MANIFEST);
        let mut manifest = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(file, manifest.to_string()).unwrap();
    };
    let segment = |copy: &Path, number| copy.join(name(number));
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(&str, Change<'_>, &str); 6] = [
        ("missing", &|copy| fs::remove_dir_all(segment(copy, 2)).unwrap(), "segment 2 must be next"),
        (
            "swapped",
            &|copy| {
                fs::remove_dir_all(segment(copy, 2)).unwrap();
                copied(&segment(&other, 2), &segment(copy, 2));
            },
            "belongs to the export",
        ),
        ("numbered", &|copy| manifest_of(copy, 2, &|it| it["segment"] = 3.into()), "it is segment 3"),
        ("fewer", &|copy| manifest_of(copy, 3, &|it| it["journals"][0] = serde_json::Value::Null), "journals.0"),
        (
            "of another log",
            &|copy| manifest_of(copy, 3, &|it| it["journals"][0]["log_id"] = Uuid::nil().to_string().into()),
            "does not continue",
        ),
        (
            "repeated",
            &|copy| {
                let file = "left.journal.zst";
                fs::copy(segment(copy, 2).join(file), segment(copy, 3).join(file)).unwrap();
            },
            "the record at offset 1 stands in its place",
        ),
    ];
    for (case, change, expected) in changes {
        let copy = folder.path().join(case);
        copied(&dir, &copy);
        change(&copy);
        let refused = opened(&copy, None).map(drop).unwrap_err();
        assert!(refused.to_string().contains(expected), "{case}: {refused}");
        opened(&copy, Some(UpTo::Segment(1))).unwrap();
        let key = hash_key();
        let Ok(archive) = Archive::open(&copy, SERVICES, None, None) else { continue };
        assert!(dry_run(None, &archive, Some(&key), &mut |_, _, _| {}).now_or_never().unwrap().is_err(), "{case}");
    }
}
