//! Sends notifications through the notifications service, wherever it runs.

use std::sync::Arc;

use async_trait::async_trait;
use orderlog_domain::notifications::{Notice, Notifications};
use orderlog_http::{names::ServiceName, peers::Peers};
use orderlog_runtime::delivery::Notifier;
use serde_json::json;
use uuid::Uuid;

/// Sends them with `POST /notify`.
pub struct ByNotifications(Arc<Peers>);

impl ByNotifications {
    pub const SERVICE: ServiceName = ServiceName::of::<Notifications>();

    /// Returns `None` if the service is neither in this process nor at a URL.
    pub fn through(peers: &Arc<Peers>) -> Option<Arc<dyn Notifier<Notice>>> {
        peers.has(Self::SERVICE).then(|| Arc::new(Self(Arc::clone(peers))) as _)
    }
}

#[async_trait]
impl Notifier<Notice> for ByNotifications {
    async fn tell(&self, notice: &Notice, key: Uuid) -> Result<(), String> {
        let Notice { recipient, subject, body } = notice;
        let notice = json!({ "recipient": recipient, "subject": subject, "body": body });
        self.0.post(Self::SERVICE, "/notify", &notice, key).await
    }
}
