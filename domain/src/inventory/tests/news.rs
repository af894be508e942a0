//! What becomes of one order's news, in any order, as often as it comes.

use super::*;
use crate::orders::public::OrderConfirmed;

/// Every order in which `news` can come.
fn permutations(news: &[orders::Published]) -> Vec<Vec<orders::Published>> {
    if news.is_empty() {
        return vec![Vec::new()];
    }
    let each = (0..news.len()).flat_map(|first| {
        let mut rest = news.to_vec();
        let first = rest.remove(first);
        permutations(&rest).into_iter().map(move |rest| [vec![first.clone()], rest].concat())
    });
    each.collect()
}

/// How it ended, over every permutation of `news` in which each comes once or twice; what must hold always is looked at
/// after every prefix.
fn endings(stock: u32, news: &[orders::Published]) -> Vec<(StockLevel, ReservationState)> {
    let mut endings = Vec::new();
    for delivered in permutations(&[news, news].concat()).iter().chain(&permutations(news)) {
        let mut story = after(&[receive("a", stock)]);
        let mut n_moved = [0_u32; 2];
        for event in delivered {
            let command = Inventory::react(event).unwrap();
            let event = story.play(&command).expect("a reaction is never refused");
            for movement in movements(&event) {
                n_moved[usize::from(movement.cause != MovementCause::Reserved)] += 1;
            }
            let level = level_of(&story, "a");
            assert!(level.reserved <= level.on_hand, "{delivered:?}");
            assert!(n_moved[0] <= 1 && n_moved[1] <= 1, "set aside and ended at most once: {delivered:?}");
        }
        endings.push((level_of(&story, "a"), reservation(&story, &ReservationId::Order(order(1))).state));
    }
    endings.sort_by_key(|(level, state)| (level.on_hand, level.reserved, state.as_str()));
    endings.dedup();
    endings
}

const UNITS: [(&str, u32); 2] = [("a", 1), ("a", 2)];
const ONCE: [(&str, u32); 1] = [("a", 3)];

#[test]
fn an_order_is_supplied_once_however_often_it_was_created() {
    assert_eq!(endings(5, &[created(1, &UNITS)]), [(level(5, 3, 0), ReservationState::Held)]);
    assert_eq!(endings(2, &[created(1, &UNITS)]), [(level(2, 0, 0), ReservationState::Rejected)]);
}

#[test]
fn a_cancelled_order_holds_nothing_in_whatever_order_its_news_come() {
    let news = [created(1, &UNITS), cancelled(1)];
    assert_eq!(endings(5, &news), [(level(5, 0, 0), ReservationState::Released)]);
    // Where there is too little, it was either rejected first or cancelled first; the stock is the same.
    let ended = [(level(2, 0, 0), ReservationState::Rejected), (level(2, 0, 0), ReservationState::Released)];
    assert_eq!(endings(2, &news), ended);
    assert_eq!(endings(5, &[cancelled(1)]), [(level(5, 0, 0), ReservationState::Released)]);
}

#[test]
fn a_fulfilled_orders_units_leave_once_in_whatever_order_its_news_come() {
    let news = [created(1, &UNITS), fulfilled(1, &ONCE)];
    assert_eq!(endings(5, &news), [(level(2, 0, 0), ReservationState::Committed)]);
    assert_eq!(endings(5, &[fulfilled(1, &ONCE)]), [(level(2, 0, 0), ReservationState::Committed)]);
    assert_eq!(endings(2, &news), [(level(2, 0, 0), ReservationState::Rejected)]);
}

#[test]
fn contradictory_news_of_an_order_end_its_reservation_once_all_the_same() {
    let news = [created(1, &UNITS), cancelled(1), fulfilled(1, &ONCE)];
    let ended = [(level(2, 0, 0), ReservationState::Committed), (level(5, 0, 0), ReservationState::Released)];
    assert_eq!(endings(5, &news), ended);
}

#[test]
fn news_that_concern_no_stock_are_not_answered() {
    let customer_id = CustomerId(Uuid::from_u128(9));
    let confirmed = OrderConfirmed { order_id: order(1), customer_id, version: 2 };
    assert_eq!(Inventory::react(&orders::Published::Confirmed(confirmed)), None);
    let (topics, answered) = (Inventory::REACTS_TO, [created(1, &ONCE), cancelled(1), fulfilled(1, &ONCE)]);
    assert_eq!(topics, answered.each_ref().map(orders::Published::topic));
}
