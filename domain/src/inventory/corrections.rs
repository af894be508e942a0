//! Notices to operations about events that are not published as such: downward corrections of a count.

use super::{Event, StockAdjusted};
use crate::notifications::{Notice, OPERATIONS};

pub fn notice_of(event: &Event) -> Option<Notice> {
    match event {
        Event::StockAdjusted(adjusted) if adjusted.delta < 0 => Some(corrected(adjusted)),
        Event::StockAdjusted(_)
        | Event::StockReceived(_)
        | Event::ThresholdSet(_)
        | Event::ThresholdUnchanged(_)
        | Event::ReservationHeld(_)
        | Event::ReservationRejected(_)
        | Event::ReservationRepeated(_)
        | Event::ReservationReleased(_)
        | Event::ReservationExpired(_)
        | Event::ReservationCommitted(_)
        | Event::ReservationCancelled(_)
        | Event::ReservationDeclined(_) => None,
    }
}

fn corrected(adjusted: &StockAdjusted) -> Notice {
    let StockAdjusted { sku, delta, reason, after, .. } = adjusted;
    Notice {
        recipient: OPERATIONS.to_owned(),
        subject: format!("Stock count corrected: {sku}"),
        body: format!(
            "The count of {sku} was corrected by {delta} to {} units on hand. Reason: {reason}",
            after.on_hand
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        inventory::StockLevel,
        values::{Body, Recipient, Sku, Subject},
    };
    use orderlog_core::reason::Reason;

    use super::*;

    fn adjusted(delta: i64, reason: &str) -> Event {
        let before = StockLevel { on_hand: 10, reserved: 0, low_stock_threshold: 0 };
        let after = StockLevel { on_hand: 10_u32.checked_add_signed(delta as i32).unwrap(), ..before };
        let (sku, reason) = (Sku::new("a".repeat(64)).unwrap(), Reason::new(reason).unwrap());
        Event::StockAdjusted(StockAdjusted { sku, delta, reason, before, after, version: 2 })
    }

    #[test]
    fn only_a_correction_downwards_is_told() {
        assert_eq!(notice_of(&adjusted(3, "found")), None);
        let told = notice_of(&adjusted(-3, "broken")).unwrap();
        assert_eq!(told.recipient, "operations");
        for part in ["-3", "7 units on hand", "broken"] {
            assert!(told.body.contains(part), "{part}: {}", told.body);
        }
    }

    #[test]
    fn the_longest_notice_is_one_that_notifications_take() {
        let told = notice_of(&adjusted(-9, &"x".repeat(200))).unwrap();
        assert!(Recipient::new(told.recipient).is_ok() && Subject::new(told.subject).is_ok());
        assert!(Body::new(told.body).is_ok());
    }
}
