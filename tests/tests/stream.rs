//! Notifications as server-sent events: nothing is missed by a caller that was cut off and comes again.

use std::time::Instant;

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

    let began = Instant::now();
    assert!(deployment.stop().await, "an open stream does not keep the server from stopping in order");
    assert!(events.next().await.is_none());
    assert!(began.elapsed().as_secs() < 5, "nor for long");
}
