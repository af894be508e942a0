//! The routes of the notifications service.

mod bodies;
pub mod codes;
mod event_id;
mod feed;
mod inbox;
mod notifier;
mod reading;
pub mod scopes;
mod stream;

use std::sync::Arc;

use orderlog_core::decider::Decider;
use orderlog_domain::{
    notifications::{self, Command, Notifications, Rejection},
    paths::EXAMPLE_NOTIFICATION,
    values::{NotificationId, Recipient},
};
use orderlog_eventlog::ReadError;
use orderlog_http::{prelude::*, problem};
use orderlog_projections::RedisInbox;
use orderlog_readmodel::RedisAddress;
use orderlog_runtime::{assembly, background::Troubles, replica::State};
use serde_json::Value;
use tokio::sync::watch;

pub use bodies::{Notification, NotificationList, NotificationRead, Notify};
pub use notifier::ByNotifications;
pub use stream::Streamed;

use event_id::LastEventId;
use feed::Feed;
use reading::{Reading, Redis};
use stream::Begin;

pub struct NotificationsApi {
    service: Service<NotificationsService>,
    reading: Reading,
    feed: Arc<Feed>,
    stopping: watch::Receiver<bool>,
}

pub struct NotificationsService;

impl ServiceDefinition for NotificationsService {
    type Decider = Notifications;
    type Api = NotificationsApi;

    const TABLES: &'static Tables<Notifications> = &orderlog_projections::notifications::TABLES;
    const ABOUT: &'static str = "Notifications, and whether they have been read";
    const CODES: &'static [Code] = codes::ALL;

    fn fingerprint(command: &Command) -> String {
        command.fingerprint_text()
    }

    fn problem_of(rejection: Rejection) -> ApiError {
        let detail = rejection.to_string();
        match rejection {
            Rejection::UnknownNotification { .. } => ApiError::not_found(codes::UNKNOWN_NOTIFICATION, detail),
        }
    }

    async fn start(parts: &Parts) -> Result<Mounted, NotStarted> {
        let service = parts.start::<Self>().await?;
        let redis = match &parts.redis {
            Some(at) => Some(follow(at.clone(), &service, parts.troubles.clone())?),
            None => None,
        };
        let mut dependencies: Vec<(_, Arc<dyn Dependency>)> = Vec::new();
        dependencies.extend(redis.clone().map(|redis| ("redis", redis as _)));
        let (reading, feed) = (Reading::new(redis), Feed::start(service.replica.clone()));
        let api = NotificationsApi { service: service.clone(), reading, feed, stopping: parts.stopping.clone() };
        Ok(Mounted { dependencies, dispensable: &["inbox"], ..Mounted::new(&service, api) })
    }

    fn example_ids() -> Vec<ExampleId> {
        let list = "/notifications?recipient=operations&limit=1";
        vec![ExampleId { id: EXAMPLE_NOTIFICATION, list, field: "notification_id" }]
    }

    fn examples() -> Vec<(&'static str, Value)> {
        bodies::examples()
    }
}

/// Makes the Redis at this address follow the read model. Its keys contain the journal's id, so deployments that share
/// a Redis don't collide; the id is known only once the journal has begun.
fn follow(
    at: RedisAddress,
    service: &Service<NotificationsService>,
    troubles: Troubles,
) -> Result<Arc<Redis>, NotStarted> {
    let name = Notifications::JOURNAL;
    // This does not connect yet, but reports an invalid URL at the start.
    drop(RedisInbox::new(&at, "", Uuid::nil()).map_err(|source| NotStarted::new(name, source))?);
    let redis: Arc<Redis> = Arc::default();
    let (known, Service { replica, lease, .. }) = (Arc::clone(&redis), service.clone());
    tokio::spawn(async move {
        let inbox = match replica.genesis().await {
            Ok(genesis) => {
                RedisInbox::new(&at, &genesis.log_id.simple().to_string(), genesis.log_id).map_err(|it| it.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match inbox {
            Ok(inbox) => {
                let inbox = Arc::clone(known.0.get_or_init(|| Arc::new(inbox)));
                let work = move |replica, _| inbox::run(replica, Arc::clone(&inbox));
                assembly::perform(&lease, &troubles, "inbox", &replica, work);
            }
            Err(why) => tracing::error!(service = name, "Redis is not used before the next start: {why}"),
        }
    });
    Ok(redis)
}

impl NotificationsApi {
    /// Where a stream begins for a caller without a last event: after everything that exists now.
    async fn now(&self) -> ApiResult<Begin> {
        let replica = &self.service.replica;
        let end = if *replica.state().borrow() == State::CatchingUp {
            // The read model is incomplete, which is no reason to send everything.
            stream::end(replica).await.map_err(|error: ReadError| {
                ApiError::unavailable(
                    problem::codes::LOG_UNAVAILABLE,
                    format!("the end of the journal can't be read: {error}"),
                )
            })?
        } else {
            // What this instance answered before must not appear in the stream.
            self.service.rows().await?;
            *replica.committed().borrow()
        };
        // Every existing notification has a lower sequence than this.
        Ok(Begin::Behind(end.checked_sub(1)))
    }

    /// Returns an error if the notification does not exist for the caller.
    async fn is_there(&self, id: NotificationId, head: &CommandHeaders) -> ApiResult<()> {
        let shown = Visibility::ToItsOwner(&head.caller, |owner, entity: &notifications::Entity| {
            entity.as_notification().is_some_and(|notification| is_for(&notification.recipient, owner))
        });
        let aggregate = notifications::Notification::aggregate(id);
        let looked = self.service.look(aggregate, None, &head.freshness, shown).await?;
        let unknown = || NotificationsService::problem_of(Rejection::UnknownNotification { notification_id: id });
        looked.found(Some, unknown).map(drop)
    }
}

fn recipient_of(text: String, caller: &Caller) -> ApiResult<Recipient> {
    let recipient = Recipient::new(text).map_err(|error| {
        ApiError::parameter("recipient", crate::values::codes::INVALID_IDENTIFIER, error.to_string())
    })?;
    if caller.owner().is_none_or(|owner| is_for(&recipient, owner)) {
        return Ok(recipient);
    }
    Err(ApiError::not_found(codes::UNKNOWN_RECIPIENT, "there is no such recipient"))
}

/// Whether this recipient is that customer: customers receive notifications under their ids.
fn is_for(recipient: &Recipient, owner: Uuid) -> bool {
    owner.to_string() == recipient.as_str()
}

#[operations]
#[OpenApi]
impl NotificationsApi {
    /// Send a notification
    ///
    /// Recipients are customers' ids and roles such as `operations`; they need no registration.
    #[operation(post = "/notify", scope = scopes::WRITE, bound = refused, no_target)]
    async fn notify(&self, head: CommandHeaders, body: Given<Notify>) -> ApiResult<Created<Notification>> {
        let executed = self.service.execute(body.0, head, || "POST /notify".to_owned()).await?;
        let made = Notification::of(&executed)?;
        let (location, version) = (format!("/notifications?recipient={}", made.recipient), made.version);
        Ok(Created::new(&executed, made, version).at(location))
    }

    /// Mark a notification as read
    ///
    /// Repeating it changes nothing.
    #[operation(post = "/notifications/:notification_id/read", scope = scopes::WRITE, bound = own, problems(codes::UNKNOWN_NOTIFICATION))]
    async fn read_notification(
        &self,
        notification_id: Path<NotificationId>,
        head: CommandHeaders,
    ) -> ApiResult<Done<NotificationRead>> {
        let id = notification_id.0;
        if head.caller.owner().is_some() {
            self.is_there(id, &head).await?;
        }
        let command = Command::MarkRead { notification_id: id };
        let executed = self.service.execute(command, head, || format!("POST /notifications/{id}/read")).await?;
        let read = NotificationRead::of(&executed)?;
        let version = read.version;
        Ok(Done::new(&executed, read, version))
    }

    /// List a recipient's notifications
    ///
    /// Newest first, in pages, with the number of unread notifications.
    #[operation(get = "/notifications", scope = scopes::READ, bound = own, problems(codes::UNKNOWN_RECIPIENT))]
    async fn list_notifications(
        &self,
        caller: Caller,
        /// The recipient: a customer's id or a role such as `operations`.
        #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
        recipient: Query<String>,
        /// `true`: only unread notifications.
        unread: Query<Option<bool>>,
        page: Paged,
        seen: Freshness,
    ) -> ApiResult<Listed<NotificationList>> {
        let recipient = recipient_of(recipient.0, &caller)?;
        let (paging, rows) = (page.paging()?, self.service.fresh_rows(&seen).await?);
        // Not only what was answered: a process that just started has answered nothing, and Redis may be empty.
        let committed = *self.service.replica.committed().borrow();
        let found = self.reading.page(&rows, committed, &recipient, unread.0.unwrap_or(false), &paging).await?;
        let unread_count = found.unread;
        let list = |items, next_cursor| NotificationList { items, unread_count, next_cursor };
        Ok(page.answer(found.page, |notification| Notification::from(&notification), list))
    }

    /// Follow a recipient's notifications
    ///
    /// Streams each notification as it is made, as server-sent events. A caller that reconnects with the id of its last
    /// event gets everything it missed; other callers start with the next notification. While the service catches up,
    /// the stream opens and waits. An id that is not from this log, or is not an id at all, is answered with a `reset`
    /// event that has an id of its own: reload the list and continue.
    #[operation(get = "/notifications/stream", scope = scopes::READ, bound = own, problems(codes::UNKNOWN_RECIPIENT))]
    async fn stream_notifications(
        &self,
        caller: Caller,
        /// The recipient: a customer's id or a role such as `operations`.
        #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
        recipient: Query<String>,
        /// The `id` of the last event the caller received; browsers send it automatically. A bare number, the
        /// `sequence` of a notification, works too, but can't detect that an older log was restored and has since grown
        /// past it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: LastEventId,
        seen: Freshness,
    ) -> ApiResult<Streamed> {
        let recipient = recipient_of(recipient.0, &caller)?;
        self.service.reached(&seen).await?;
        let begin = match last_event_id {
            LastEventId::None => self.now().await?,
            LastEventId::Some(id) => Begin::Claimed(Some(id)),
            LastEventId::Foreign => Begin::Claimed(None),
        };
        Ok(stream::of(Arc::clone(&self.feed), self.stopping.clone(), recipient, begin))
    }
}
