//! Notifications as server-sent events: nothing is missed by a caller that was cut off and comes again.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{fs, path::Path, time::Instant};

use orderlog_tests::{
    deployment::Embedded,
    http::{Events, Http},
};
use serde_json::json;

async fn notify(http: &Http, recipient: &str, subject: &str) {
    let notice = json!({"recipient": recipient, "subject": subject, "body": "two\nlines"});
    http.post("/notify", notice).await.expect(201);
}

async fn next(events: &mut Events, subject: &str) -> String {
    let (id, notification) = events.next().await.unwrap_or_else(|| panic!("`{subject}` comes, not the end"));
    assert_eq!(notification["subject"], subject, "{notification}");
    id
}

#[tokio::test]
async fn a_caller_that_was_cut_off_gets_all_that_it_missed_and_nothing_twice() {
    let mut deployment = Embedded::start().await;
    let path = "/notifications/stream?recipient=operations";
    let http = deployment.http();
    notify(&http, "operations", "before anybody listened").await;

    let mut events = http.events(path, None).await;
    notify(&http, "operations", "first").await;
    notify(&http, "somebody.else", "not for us").await;
    notify(&http, "operations", "second").await;
    next(&mut events, "first").await;
    let last = next(&mut events, "second").await;

    deployment.server().kill();
    assert!(events.next().await.is_none(), "the stream breaks off");
    deployment.restart().await;
    let http = deployment.http();
    notify(&http, "operations", "third").await;
    let mut events = http.events(path, Some(&last)).await;
    notify(&http, "operations", "fourth").await;
    next(&mut events, "third").await;
    next(&mut events, "fourth").await;

    notify(&http, "operations", "fifth").await;
    let last = next(&mut events, "fifth").await;
    let began = Instant::now();
    assert!(deployment.stop().await, "an open stream does not keep the server from stopping in order");
    let (id, reconnect) = events.next().await.unwrap();
    assert_eq!(id, last, "{reconnect}");
    assert!(events.next().await.is_none());
    assert!(began.elapsed().as_secs() < 5, "nor for long");
}

/// Whatever a caller says to have, the stream begins, since browsers don't come again after an error.
#[tokio::test]
async fn an_id_that_is_none_of_this_log_is_answered_by_a_reset_and_the_stream_goes_on() {
    let deployment = Embedded::start().await;
    let (path, http) = ("/notifications/stream?recipient=operations", deployment.http());
    let mut events = http.events(path, Some("")).await;
    notify(&http, "operations", "first").await;
    let known = next(&mut events, "first").await;
    assert!(known.starts_with("notifications@") && known.len() < 40, "{known}");
    let sequence = known.split(['@', '.']).nth(1).unwrap();
    let foreign = [
        "999999",
        "9223372036854775808",
        "18446744073709551616",
        "x",
        "-1",
        "\u{e4}",
        "orders@1",
        &known.replace(&format!("@{sequence}."), "@0."),
    ];
    let mut streams = Vec::new();
    for id in foreign {
        let mut events = http.events(path, Some(id)).await;
        let (reset, data) = events.next().await.unwrap();
        assert!(data["reason"].is_string(), "{id}: {data}");
        assert_eq!(reset, known, "{id}: it goes on behind the newest one");
        streams.push(events);
    }
    for id in [&*known, sequence] {
        streams.push(http.events(path, Some(id)).await);
    }
    notify(&http, "operations", "second").await;
    for events in &mut streams {
        next(events, "second").await;
    }
}

fn copy_log(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("log.sqlite") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restored_log_is_noticed_even_if_it_has_outgrown_the_id() {
    let mut deployment = Embedded::start().await;
    let (path, older) = ("/notifications/stream?recipient=operations", tempfile::tempdir().unwrap());
    let http = deployment.http();
    let mut events = http.events(path, None).await;
    notify(&http, "operations", "before the copy").await;
    let before = next(&mut events, "before the copy").await;
    assert!(deployment.stop().await);
    copy_log(&deployment.rows(), older.path());
    deployment.restart().await;
    let http = deployment.http();
    let mut events = http.events(path, Some(&before)).await;
    notify(&http, "operations", "lost").await;
    let lost = next(&mut events, "lost").await;

    assert!(deployment.stop().await);
    for entry in fs::read_dir(deployment.rows()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().contains(".sqlite") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    copy_log(older.path(), &deployment.rows());
    deployment.restart().await;
    let http = deployment.http();
    for subject in ["third", "fourth"] {
        notify(&http, "operations", subject).await;
    }
    let mut events = http.events(path, Some(&lost)).await;
    assert!(events.next().await.unwrap().1["reason"].is_string(), "the place is taken by another record");
    let mut events = http.events(path, Some(&before)).await;
    next(&mut events, "third").await;
    next(&mut events, "fourth").await;
}
