//! The notifications service, as the deliveries of another one reach it: over a network that loses questions and answers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use orderlog_core::{
    header::{CommandStamp, Origin},
    key::{HashKey, Key},
};
use orderlog_domain::{
    notifications::{Command, Notice, Notifications, Source},
    values::{Body, NotificationId, Recipient, Subject},
};
use orderlog_runtime::{delivery::Notifier, environment::Environment, trace};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    client::Client,
    instance::{Running, SECRET},
    life::mint,
    shop::Shop,
};

/// How long a delivery waits for an answer.
const DEADLINE_MS: i64 = 3_000;

/// Asks any instance that runs. What it asks is no client's attempt: it is judged as what follows from its cause.
pub struct Deliveries(Weak<Shop>);

impl Deliveries {
    pub fn new(shop: &Arc<Shop>) -> Self {
        Self(Arc::downgrade(shop))
    }
}

#[async_trait]
impl Notifier<Notice> for Deliveries {
    async fn tell(&self, notice: &Notice, key: Uuid) -> Result<(), String> {
        let shop = self.0.upgrade().ok_or("the run is over")?;
        let world = &shop.world;
        let fails =
            |what: &str| if world.goes_wrong(world.faults().unavailable) { Err(what.to_owned()) } else { Ok(()) };
        fails("the question is lost")?;
        let Running { replica, life } = Client::instance::<Notifications>(&shop).ok_or("nobody is there")?;
        let command = Command::Notify {
            notification_id: NotificationId(mint(world, world.now_ms())),
            source: Source::Caller,
            recipient: Recipient::new(notice.recipient.clone()).map_err(|it| it.to_string())?,
            recipient_as_given: notice.recipient.clone(),
            subject: Subject::new(notice.subject.clone()).map_err(|it| it.to_string())?,
            body: Body::new(notice.body.clone()).map_err(|it| it.to_string())?,
        };
        let fingerprint = HashKey::from_secret(SECRET).command_fingerprint(&command.fingerprint_text());
        let stamp = CommandStamp { key: Key::named("call", &key.to_string()), fingerprint };
        let origin = Origin { trace: trace::current(), ..Origin::default() };
        let deadline = life.now_ms() + DEADLINE_MS;
        world.note("deliveries", format_args!("ask {}: {}", life.name, notice.subject));
        // Who hangs up does not stop what was asked for.
        let (answer, executing) = oneshot::channel();
        life.spawn(
            async move { drop(answer.send(replica.execute(command, Some(stamp), origin, deadline).await)) }.boxed(),
        );
        let answered = tokio::select! {
            biased;
            () = life.died() => Err("its process died".to_owned()),
            () = tokio::time::sleep(Duration::from_millis(DEADLINE_MS.unsigned_abs() * 2)) => Err("no answer".to_owned()),
            executed = executing => match executed {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(failure)) => Err(failure.to_string()),
                Err(_) => Err("no answer".to_owned()),
            },
        };
        fails("the answer is lost").and(answered)
    }
}
