//! Decisions of the notifications service. One function per command, guards first.

use orderlog_core::{
    decider::{At, Decider, Millis, Ref, View},
    public::Nothing,
};

use crate::values::NotificationId;

use super::{
    Notifications,
    commands::{Command, Rejection},
    events::{Event, NotificationAlreadyMade, NotificationAlreadyRead, NotificationMade, NotificationRead, Source},
    react::{self, Heard},
    state::{Entity, Notification, StrayNotification},
};

impl Decider for Notifications {
    const JOURNAL: &'static str = "notifications";
    const REACTS_TO: &'static [&'static str] = &["stock.updated", "low.stock", "order.paid"];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Nothing;
    type Heard = Heard;

    fn decide(command: &Command, view: &View<'_, Entity>, now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Notify { notification_id, source, recipient, recipient_as_given: _, subject, body } => {
                Ok(notify(view, *notification_id, *source, |version| NotificationMade {
                    notification_id: *notification_id,
                    source: *source,
                    recipient: recipient.clone(),
                    subject: subject.clone(),
                    body: body.clone(),
                    version,
                }))
            }
            Command::MarkRead { notification_id } => mark_read(view, *notification_id, now),
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        command.target()
    }

    fn kind(event: &Event) -> &'static str {
        match event {
            Event::NotificationMade(_) => "notification_made",
            Event::NotificationRead(_) => "notification_read",
            Event::NotificationAlreadyRead(_) => "notification_already_read",
            Event::NotificationAlreadyMade(_) => "notification_already_made",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        vec![match event {
            Event::NotificationMade(made) => aggregate(made.notification_id, made.source),
            Event::NotificationRead(_) | Event::NotificationAlreadyRead(_) | Event::NotificationAlreadyMade(_) => {
                Notification::aggregate(event.notification_id())
            }
        }]
    }

    fn evolve(entity: Option<Entity>, _which: usize, event: &Event, at: &At) -> Entity {
        match (event, entity) {
            (Event::NotificationMade(made), _) => Entity::Notification(new_notification(made, at)),
            (event, Some(Entity::Notification(notification))) => {
                let read_ms = event.read_ms().or(notification.read_ms);
                let (read, version) = (read_ms.is_some(), event.version());
                Entity::Notification(Notification { read, read_ms, version, ..notification })
            }
            (event, Some(Entity::StrayNotification(_)) | None) => {
                let (notification_id, version) = (event.notification_id(), event.version());
                Entity::StrayNotification(StrayNotification { notification_id, version })
            }
        }
    }

    fn is_shown(entity: &Entity) -> bool {
        match entity {
            Entity::Notification(_) => true,
            Entity::StrayNotification(_) => false,
        }
    }

    fn react(event: &Heard) -> Option<Command> {
        react::react(event)
    }
}

/// The aggregate of a notification with this source. Only a caller's has an id that no record can name yet.
fn aggregate(notification_id: NotificationId, source: Source) -> Ref {
    let known = Notification::aggregate(notification_id);
    match source {
        Source::Caller => Ref::minted(known.kind, known.key),
        Source::News => known,
    }
}

fn new_notification(made: &NotificationMade, at: &At) -> Notification {
    Notification {
        notification_id: made.notification_id,
        recipient: made.recipient.clone(),
        subject: made.subject.clone(),
        body: made.body.clone(),
        read: false,
        version: made.version,
        created_ms: at.time_ms,
        read_ms: None,
        sequence: at.offset,
    }
}

fn notify(
    view: &View<'_, Entity>,
    notification_id: NotificationId,
    source: Source,
    made: impl Fn(u64) -> NotificationMade,
) -> Event {
    match view.get(&aggregate(notification_id, source)) {
        Some(Entity::Notification(told)) => {
            Event::NotificationAlreadyMade(NotificationAlreadyMade { notification_id, version: told.version + 1 })
        }
        Some(Entity::StrayNotification(stray)) => Event::NotificationMade(made(stray.version + 1)),
        None => Event::NotificationMade(made(1)),
    }
}

fn mark_read(view: &View<'_, Entity>, notification_id: NotificationId, now: Millis) -> Result<Event, Rejection> {
    let notification = view
        .get(&Notification::aggregate(notification_id))
        .and_then(Entity::as_notification)
        .ok_or(Rejection::UnknownNotification { notification_id })?;
    let version = notification.version + 1;
    Ok(match notification.read_ms {
        Some(read_ms) => Event::NotificationAlreadyRead(NotificationAlreadyRead { notification_id, read_ms, version }),
        None => Event::NotificationRead(NotificationRead { notification_id, read_ms: now, version }),
    })
}

#[cfg(test)]
mod tests;
