//! One story per rule, and that what was read stays read under random commands.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use orderlog_core::{
    decider::Lookup,
    key::Key,
    story::{NOW, Story, given},
};

use crate::{
    notifications::NOTIFICATIONS,
    values::{Body, Recipient, Subject},
};

fn id(n: u128) -> NotificationId {
    NotificationId(Uuid::from_u128(n))
}

fn notify(n: u128, source: Source) -> Command {
    notify_at("operations", n, source)
}

fn notify_at(recipient: &str, n: u128, source: Source) -> Command {
    Command::Notify {
        notification_id: id(n),
        source,
        recipient: Recipient::new(recipient).unwrap(),
        recipient_as_given: recipient.to_owned(),
        subject: Subject::new("Stock count").unwrap(),
        body: Body::new("Three units of a are missing.").unwrap(),
    }
}

fn made(n: u128, source: Source, version: u64) -> Event {
    Event::NotificationMade(NotificationMade {
        notification_id: id(n),
        source,
        recipient: Recipient::new("operations").unwrap(),
        subject: Subject::new("Stock count").unwrap(),
        body: Body::new("Three units of a are missing.").unwrap(),
        version,
    })
}

fn read(n: u128) -> Command {
    Command::MarkRead { notification_id: id(n) }
}

fn was_read(n: u128, read_ms: Millis, version: u64) -> Event {
    Event::NotificationRead(NotificationRead { notification_id: id(n), read_ms, version })
}

fn notification(story: &Story<Notifications>, n: u128) -> &Notification {
    story.entities.get(&Key::of(id(n))).and_then(Entity::as_notification).unwrap()
}

#[test]
fn a_callers_notification_is_unread_and_new_to_the_log() {
    let event = made(1, Source::Caller, 1);
    let story =
        given::<Notifications>([made(7, Source::Caller, 1)]).when(notify(1, Source::Caller)).then(event.clone());
    let notification = notification(&story, 1);
    assert_eq!((notification.read, notification.read_ms, notification.created_ms), (false, None, NOW));
    assert_eq!(notification.sequence, 2, "the offset of the record that made it");
    assert_eq!(Notifications::touches(&event), [Ref::minted(NOTIFICATIONS, Key::of(id(1)))]);
    assert_eq!(Notifications::publish(&event), []);
}

#[test]
fn a_notification_by_news_may_have_been_made_before() {
    let event = made(1, Source::News, 1);
    assert_eq!(Notifications::touches(&event), [Notification::aggregate(id(1))]);
    let lookup = |_: &Ref| Lookup::NotLoaded;
    let view = View::new(&lookup);
    let _ = Notifications::decide(&notify(1, Source::News), &view, NOW);
    assert_eq!(view.into_missing(), [Notification::aggregate(id(1))]);
}

#[test]
fn the_same_news_again_changes_nothing_even_if_it_was_read() {
    let story = given::<Notifications>([made(1, Source::News, 1), was_read(1, NOW, 2)]);
    let before = notification(&story, 1).clone();
    let again = NotificationAlreadyMade { notification_id: id(1), version: 3 };
    let story = story.when(notify(1, Source::News)).then(Event::NotificationAlreadyMade(again));
    assert_eq!(notification(&story, 1), &Notification { version: 3, ..before });
}

#[test]
fn a_notification_is_read_once_and_keeps_that_time() {
    let story =
        given::<Notifications>([made(1, Source::Caller, 1)]).later(5).when(read(1)).then(was_read(1, NOW + 5, 2));
    assert_eq!(notification(&story, 1).read_ms, Some(NOW + 5));
    let again = NotificationAlreadyRead { notification_id: id(1), read_ms: NOW + 5, version: 3 };
    let story = story.later(5).when(read(1)).then(Event::NotificationAlreadyRead(again));
    let notification = notification(&story, 1);
    assert!(notification.read);
    assert_eq!((notification.read_ms, notification.sequence, notification.version), (Some(NOW + 5), 1, 3));
}

#[test]
fn callers_name_the_version_of_the_notification_that_they_read() {
    assert_eq!(Notifications::target(&read(1)), Some(Notification::aggregate(id(1))));
}

#[test]
fn an_unknown_notification_can_not_be_read_and_is_not_waited_for() {
    let unknown = Rejection::UnknownNotification { notification_id: id(9) };
    assert_eq!(Notifications::rests_on(&unknown), [""; 0], "it would be in this very journal");
    given::<Notifications>([made(1, Source::Caller, 1)]).when(read(9)).then_rejected(unknown);
}

#[test]
fn a_notification_whose_making_was_discarded_is_none_until_it_is_made_again() {
    let story = given::<Notifications>([was_read(1, NOW, 2)]);
    let stray = StrayNotification { notification_id: id(1), version: 2 };
    assert_eq!(story.entities[&Key::of(id(1))].as_stray_notification(), Some(&stray));
    let story = story.when(read(1)).then_rejected(Rejection::UnknownNotification { notification_id: id(1) });
    story.when(notify(1, Source::News)).then(made(1, Source::News, 3));
}

#[test]
fn fingerprints_differ_by_what_was_asked_and_not_by_the_minted_id() {
    assert_eq!(notify(1, Source::Caller).fingerprint_text(), notify(2, Source::Caller).fingerprint_text());
    let mut other = notify(1, Source::Caller);
    if let Command::Notify { body, .. } = &mut other {
        *body = Body::new("Four units of a are missing.").unwrap();
    }
    let texts = [notify(1, Source::Caller), other, read(1), read(2)].map(|command| command.fingerprint_text());
    assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), texts.len());
}

#[test]
fn the_fingerprints_of_what_callers_ask_are_stable() {
    let notified = r#"["notify","caller","operations","Stock count","Three units of a are missing."]"#;
    assert_eq!(notify(1, Source::Caller).fingerprint_text(), notified);
    assert_eq!(read(1).fingerprint_text(), r#"["read","00000000-0000-0000-0000-000000000001"]"#);
}

#[test]
fn a_customer_has_one_inbox_however_the_id_is_written_and_a_repeat_keeps_its_fingerprint() {
    const CAPITALS: &str = "018F4E9C-7D1A-7ABC-8DEF-0123456789AB";
    let command = notify_at(CAPITALS, 1, Source::Caller);
    assert!(command.fingerprint_text().contains(CAPITALS), "a repeat from before must be recognised");
    let story = given::<Notifications>([]).when(command).story;
    assert_eq!(notification(&story, 1).recipient.as_str(), CAPITALS.to_lowercase());

    let stored = serde_json::to_string(&made(2, Source::Caller, 1)).unwrap().replace("operations", CAPITALS);
    let story = given::<Notifications>([serde_json::from_str(&stored).unwrap()]);
    assert_eq!(notification(&story, 2).recipient.as_str(), CAPITALS.to_lowercase(), "an event from before");
}

proptest! {
    #[test]
    fn what_was_told_stays_told_and_what_was_read_stays_read(steps in prop::collection::vec((1..4u128, any::<bool>()), 0..40)) {
        let mut story = given::<Notifications>([]);
        for (n, is_news) in steps {
            let before = story.entities.get(&Key::of(id(n))).and_then(Entity::as_notification).cloned();
            let command = if is_news { notify(n, Source::News) } else { read(n) };
            let decided = story.play(&command);
            prop_assert_eq!(decided.is_err(), before.is_none() && !is_news);
            let Some(before) = before else { continue };
            let after = notification(&story, n);
            let expected_read_ms = if is_news { before.read_ms } else { before.read_ms.or(Some(NOW)) };
            prop_assert_eq!(after.read, after.read_ms.is_some());
            let (read, read_ms, version) = (after.read, expected_read_ms, before.version + 1);
            prop_assert_eq!(after, &Notification { read, read_ms, version, ..before });
        }
    }
}
