//! Notifies operations of money that came in but could not be accepted, which no event reports.

use std::sync::Arc;

use orderlog_core::key::Key;
use orderlog_domain::{
    notifications::{Notice, OPERATIONS},
    values::{Currency, Money, OrderId, PaymentReference},
};
use orderlog_runtime::{
    delivery::{Notifier, tell_patiently},
    trace,
};
use tokio::sync::Semaphore;
use tracing::warn;
use uuid::{Builder, Uuid};

/// The most notices in progress: if the notifications service is down, callers must not fill the memory here.
const N_UNDER_WAY_MAX: usize = 256;

/// A payment that was rejected because it exceeds the open amount.
#[derive(Clone, Debug)]
pub struct Overpayment {
    /// The order it was meant for.
    pub order_id: OrderId,
    /// The amount that came in.
    pub amount: Money,
    pub currency: Currency,
    pub reference: PaymentReference,
}

impl Overpayment {
    /// The same key for the same payment, so that a repeated rejection is not reported again.
    fn key(&self) -> Uuid {
        let Self { order_id, amount, reference, currency: _ } = self;
        let name = format!("{order_id}/{reference}/{}", amount.minor_units());
        Builder::from_custom_bytes(*Key::named("overpayment", &name).as_bytes()).into_uuid()
    }

    /// Depends only on what the key derives from, since a key counts for one notice only (the currency is the
    /// invoice's, otherwise the rejection would be another). So it does not contain the open amount.
    fn notice(&self) -> Notice {
        let Self { order_id, amount, currency, reference } = self;
        Notice {
            recipient: OPERATIONS.to_owned(),
            subject: format!("Overpayment refused: order {order_id}"),
            body: format!(
                "A payment of {} minor units of {currency} for order {order_id} was refused, since less is open. \
                 Its reference: {reference}",
                amount.minor_units()
            ),
        }
    }
}

/// Notifies operations in the background.
#[derive(Clone)]
pub struct Overpayments {
    notifier: Option<Arc<dyn Notifier<Notice>>>,
    permits: Arc<Semaphore>,
}

impl Overpayments {
    /// Notifies through `notifier`; nobody without one.
    pub fn new(notifier: Option<Arc<dyn Notifier<Notice>>>) -> Self {
        Self { notifier, permits: Arc::new(Semaphore::new(N_UNDER_WAY_MAX)) }
    }

    /// Reports a rejected payment. Returns immediately: the payer neither waits for it nor fails because of it.
    pub fn tell(&self, refused: Overpayment) {
        let order_id = refused.order_id;
        let Some(notifier) = self.notifier.clone() else {
            return warn!(%order_id, "operations are not notified of a rejected overpayment: the notifications service is not configured");
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return warn!(%order_id, "operations are not notified of a rejected overpayment: too many notices are in progress");
        };
        let trace = trace::current();
        tokio::spawn(async move {
            let subject = format!("a refused overpayment of order {order_id}");
            let notice = refused.notice();
            let telling = tell_patiently(notifier.as_ref(), &notice, refused.key(), &subject);
            trace::scope(trace, telling).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use async_trait::async_trait;
    use orderlog_domain::values::{Body, Recipient, Subject};

    use super::*;

    fn refused(amount: i64, reference: &str) -> Overpayment {
        Overpayment {
            order_id: OrderId(Uuid::from_u128(1)),
            amount: Money::new(amount).unwrap(),
            currency: Currency::new("EUR").unwrap(),
            reference: PaymentReference::new(reference).unwrap(),
        }
    }

    #[test]
    fn the_same_refused_payment_has_the_same_key() {
        assert_eq!(refused(5, "a").key(), refused(5, "a").key());
        assert_ne!(refused(5, "a").key(), refused(6, "a").key());
        assert_ne!(refused(5, "a").key(), refused(5, "b").key());
        assert_eq!(refused(5, "a").key().get_version_num(), 8);
    }

    #[test]
    fn the_longest_notice_is_one_that_notifications_take() {
        let Notice { recipient, subject, body } = refused(Money::MAX, &"x".repeat(100)).notice();
        assert!(subject.starts_with("Overpayment refused") && body.contains(&Uuid::from_u128(1).to_string()));
        assert!(Recipient::new(recipient).is_ok() && Subject::new(subject).is_ok() && Body::new(body).is_ok());
    }

    /// Fails the first time.
    #[derive(Default)]
    struct Reluctant(Mutex<Vec<(Notice, Uuid)>>);

    #[async_trait]
    impl Notifier<Notice> for Reluctant {
        async fn tell(&self, notice: &Notice, key: Uuid) -> Result<(), String> {
            let mut asked = self.0.lock().unwrap();
            asked.push((notice.clone(), key));
            if asked.len() == 1 { Err("not yet".to_owned()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_notice_that_could_not_be_told_is_told_again_with_the_same_key() {
        let notifier = Arc::new(Reluctant::default());
        Overpayments::new(Some(notifier.clone())).tell(refused(5, "a"));
        let told = tokio::time::timeout(Duration::from_secs(30), async {
            while notifier.0.lock().unwrap().len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        told.await.unwrap();
        let asked = notifier.0.lock().unwrap();
        assert_eq!(asked[0], asked[1]);
    }
}
