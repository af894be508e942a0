//! Stories of stock and reservations: one rule each.

use std::num::NonZeroI64;

use uuid::Uuid;

use super::*;
use orderlog_core::{
    decider::{At, Decider, Millis},
    machine::Past,
    public::PublicEvent,
    reason::Reason,
    story::{NOW, Story, given},
};

use crate::{
    inventory::public::{LowStock, StockRejected, StockReserved},
    orders::{
        self, OrderLine,
        public::{OrderCancelled, OrderCreated, OrderFulfilled},
    },
    values::{Currency, CustomerId, Money, OrderId, Quantity, ReservationName, Sku, TtlSeconds},
};

pub(super) fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

pub(super) fn lines(lines: &[(&str, u32)]) -> Vec<StockLine> {
    lines.iter().map(|&(name, units)| StockLine { sku: sku(name), quantity: Quantity::new(units).unwrap() }).collect()
}

pub(super) fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n))
}

pub(super) fn level(on_hand: u32, reserved: u32, low_stock_threshold: u32) -> StockLevel {
    StockLevel { on_hand, reserved, low_stock_threshold }
}

pub(super) fn receive(name: &str, units: u32) -> Command {
    Command::Receive { sku: sku(name), quantity: Quantity::new(units).unwrap() }
}

fn adjust(name: &str, delta: i64) -> Command {
    let (delta, reason) = (NonZeroI64::new(delta).unwrap(), Reason::new("counted").unwrap());
    Command::Adjust { sku: sku(name), delta, reason }
}

fn threshold(name: &str, low_stock_threshold: u32) -> Command {
    Command::SetThreshold { sku: sku(name), low_stock_threshold }
}

pub(super) fn named(name: &str) -> ReservationName {
    ReservationName::new(name).unwrap()
}

fn caller(name: &str) -> ReservationId {
    ReservationId::Caller(named(name))
}

fn asked(name: &str, wanted: &[(&str, u32)]) -> Reserve {
    Reserve { name: named(name), lines: lines(wanted), ttl_seconds: None, order_id: None }
}

pub(super) fn reserve(name: &str, wanted: &[(&str, u32)]) -> Command {
    Command::Reserve(asked(name, wanted))
}

fn reserve_for(name: &str, wanted: &[(&str, u32)], seconds: u32) -> Command {
    Command::Reserve(Reserve { ttl_seconds: Some(TtlSeconds::new(seconds).unwrap()), ..asked(name, wanted) })
}

fn release(name: &str) -> Command {
    Command::Release { name: named(name) }
}

fn expire(name: &str) -> Command {
    Command::Expire { reservation: caller(name) }
}

fn order_reserve(n: u128, wanted: &[(&str, u32)]) -> Command {
    Command::ReserveForOrder { order_id: order(n), lines: lines(wanted) }
}

fn order_cancel(n: u128) -> Command {
    Command::CancelForOrder { order_id: order(n) }
}

fn order_commit(n: u128, wanted: &[(&str, u32)]) -> Command {
    Command::CommitForOrder { order_id: order(n), lines: lines(wanted) }
}

/// After these commands, none of which is refused.
#[track_caller]
fn after(commands: &[Command]) -> Story<Inventory> {
    let mut story = given::<Inventory>([]);
    for command in commands {
        story.play(command).unwrap();
    }
    story
}

pub(super) fn level_of(story: &Story<Inventory>, name: &str) -> StockLevel {
    let entity = story.entities.get(&StockItem::aggregate(&sku(name)).key);
    entity.and_then(Entity::as_stock).map(|item| item.level).unwrap_or_default()
}

#[track_caller]
fn reservation(story: &Story<Inventory>, id: &ReservationId) -> Reservation {
    story.entities.get(&id.aggregate().key).and_then(Entity::as_reservation).cloned().unwrap()
}

fn short(name: &str, requested: u32, available: u32) -> Shortage {
    Shortage { sku: sku(name), requested, available }
}

fn not_enough(reason: ShortageReason, shortages: &[Shortage]) -> Rejection {
    Rejection::NotEnoughStock { reason, shortages: shortages.to_vec() }
}

fn topics(event: &Event) -> Vec<&'static str> {
    Inventory::publish(event).iter().map(Published::topic).collect()
}

#[test]
fn the_first_receipt_creates_the_sku() {
    let quantity = Quantity::new(5).unwrap();
    let (before, after) = (level(0, 0, 0), level(5, 0, 0));
    let event = Event::StockReceived(StockReceived { sku: sku("a"), quantity, before, after, version: 1 });
    let story = given::<Inventory>([]).when(receive("a", 5)).then(event);
    assert_eq!(level_of(&story, "a"), level(5, 0, 0));
}

#[test]
fn the_house_holds_only_so_much() {
    let units = |on_hand| StockReceived {
        sku: sku("a"),
        quantity: Quantity::new(1).unwrap(),
        before: level(0, 0, 0),
        after: level(on_hand, 0, 0),
        version: 1,
    };
    let full = Rejection::TooMuchStock { sku: sku("a"), on_hand: MAX_ON_HAND, max: MAX_ON_HAND };
    let mut story = given::<Inventory>([Event::StockReceived(units(MAX_ON_HAND - 1))]);
    story.play(&receive("a", 1)).unwrap();
    let story = story.when(receive("a", 1)).then_rejected(full.clone());
    let story = story.when(adjust("a", 1)).then_rejected(full.clone());
    let story = story.when(adjust("a", i64::MAX)).then_rejected(full);
    assert_eq!(level_of(&story, "a").on_hand, MAX_ON_HAND);
}

#[test]
fn a_correction_says_why_and_counts() {
    let mut story = after(&[receive("a", 5)]);
    let event = story.play(&adjust("a", -2)).unwrap();
    let Event::StockAdjusted(adjusted) = &event else { panic!("{event:?}") };
    assert_eq!((adjusted.after, adjusted.version, adjusted.delta), (level(3, 0, 0), 2, -2));
    let movement = &movements(&event)[0];
    assert_eq!((movement.delta, movement.reason.as_ref()), (-2, Some(&Reason::new("counted").unwrap())));
}

#[test]
fn a_correction_may_not_take_what_is_set_aside() {
    let refused = |delta| Rejection::AdjustedBelowReserved { sku: sku("a"), delta, on_hand: 5, reserved: 3 };
    let story = after(&[receive("a", 5), reserve("r", &[("a", 3)])]);
    let story = story.when(adjust("a", -3)).then_rejected(refused(-3));
    let story = story.when(adjust("a", i64::MIN)).then_rejected(refused(i64::MIN));
    assert!(story.decide(&adjust("a", -2)).is_ok());
}

#[test]
fn what_nobody_received_can_be_neither_adjusted_nor_watched() {
    let unknown = Rejection::UnknownSku { sku: sku("a") };
    let story = given::<Inventory>([]).when(adjust("a", 1)).then_rejected(unknown.clone());
    story.when(threshold("a", 1)).then_rejected(unknown);
}

#[test]
fn a_new_threshold_is_told_without_a_movement() {
    let mut story = after(&[receive("a", 5)]);
    let event = story.play(&threshold("a", 5)).unwrap();
    let told = movements(&event);
    assert_eq!((told[0].cause, told[0].delta), (MovementCause::ThresholdChanged, 0));
    assert_eq!(topics(&event), ["stock.updated"], "five available units are not below five");
}

#[test]
fn the_threshold_that_already_counts_is_recorded_as_unchanged_and_told_to_nobody() {
    let mut story = after(&[receive("a", 3), threshold("a", 5)]).later(9);
    let event = story.play(&threshold("a", 5)).unwrap();
    assert_eq!((event.kind(), topics(&event), movements(&event)), ("threshold_unchanged", vec![], vec![]));
    let item = story.entities[&StockItem::aggregate(&sku("a")).key].as_stock().unwrap();
    assert_eq!((item.level, item.version, item.updated_ms), (level(3, 0, 5), 3, NOW));
    // Never watched, and asked not to be.
    assert_eq!(after(&[receive("a", 3)]).play(&threshold("a", 0)).unwrap().kind(), "threshold_unchanged");
}

#[test]
fn low_stock_is_told_once_and_again_only_after_it_recovered() {
    let mut story = after(&[receive("a", 10), threshold("a", 5)]);
    let mut low = |command: &Command| topics(&story.play(command).unwrap()).contains(&"low.stock");
    assert!(!low(&reserve("r", &[("a", 5)])));
    assert!(low(&reserve("s", &[("a", 1)])), "it falls to 4");
    assert!(!low(&adjust("a", -1)), "it is low already");
    assert!(!low(&release("s")), "it is 4 again, and still low");
    assert!(!low(&receive("a", 1)), "it recovers to 5");
    assert!(low(&adjust("a", -1)), "it falls again");
    assert!(!low(&threshold("a", 1)), "now 4 is enough");
    assert!(low(&threshold("a", 9)), "now it is not");
}

#[test]
fn equal_skus_of_a_reservation_are_added_up_and_sorted() {
    let mut story = after(&[receive("a", 5), receive("b", 5)]);
    let event = story.play(&reserve("r", &[("b", 1), ("a", 2), ("b", 3)])).unwrap();
    assert_eq!(event.reservation().unwrap().lines, lines(&[("a", 2), ("b", 4)]));
    assert_eq!((level_of(&story, "a"), level_of(&story, "b")), (level(5, 2, 0), level(5, 4, 0)));
    assert_eq!(topics(&event), ["stock.updated", "stock.updated", "stock.reserved"]);
}

#[test]
fn a_reservation_takes_all_lines_or_names_everything_that_is_short() {
    let shortages = [short("b", 9, 5), short("x", 1, 0)];
    let story = after(&[receive("a", 5), receive("b", 5)]);
    let story = story
        .when(reserve("r", &[("a", 1), ("b", 9), ("x", 1)]))
        .then_rejected(not_enough(ShortageReason::UnknownSku, &shortages));
    let story = story
        .when(reserve("r", &[("a", 1), ("b", 9)]))
        .then_rejected(not_enough(ShortageReason::OutOfStock, &shortages[..1]));
    assert_eq!(level_of(&story, "a"), level(5, 0, 0));
}

#[test]
fn a_reservation_has_lines_but_not_too_many_of_too_much() {
    let story = given::<Inventory>([]).when(reserve("r", &[])).then_rejected(Rejection::NoLines);
    let names: Vec<_> = (0..=MAX_LINES).map(|n| format!("s{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let story = story.when(reserve("r", &many)).then_rejected(Rejection::TooManyLines { lines: 101, max: MAX_LINES });
    let all_but_one = story.decide(&reserve("r", &many[1..]));
    assert!(matches!(all_but_one, Err(Rejection::NotEnoughStock { shortages, .. }) if shortages.len() == MAX_LINES));
    let too_much = Rejection::TooManyUnits { sku: sku("a"), requested: Quantity::MAX + 1, max: Quantity::MAX };
    let mut story = story.when(reserve("r", &[("a", Quantity::MAX), ("a", 1)])).then_rejected(too_much);
    story.play(&receive("a", Quantity::MAX)).unwrap();
    story.play(&reserve("r", &[("a", Quantity::MAX - 1), ("a", 1)])).unwrap();
}

#[test]
fn the_same_reservation_again_is_a_success_that_changes_only_its_version() {
    let mut story = after(&[receive("a", 5), reserve("r", &[("a", 2), ("a", 1)])]);
    let event = story.play(&reserve("r", &[("a", 3)])).unwrap();
    let answer = event.reservation().unwrap();
    assert_eq!((answer.state, answer.version), (ReservationState::Held, 2));
    assert_eq!(Inventory::publish(&event), []);
    assert_eq!(level_of(&story, "a"), level(5, 3, 0));
    assert_eq!(reservation(&story, &caller("r")).version, 2);
}

#[test]
fn the_same_name_with_anything_else_is_another_reservation() {
    let exists = Rejection::ReservationExists { reservation: caller("r") };
    let mut story = after(&[receive("a", 5), reserve("r", &[("a", 3)])]);
    let labelled = Command::Reserve(Reserve { order_id: Some(order(1)), ..asked("r", &[("a", 3)]) });
    // Also where the other one could not be supplied at all.
    for other in [reserve("r", &[("a", 2)]), reserve("r", &[("x", 3)]), reserve_for("r", &[("a", 3)], 9), labelled] {
        story = story.when(other).then_rejected(exists.clone());
    }
}

#[test]
fn a_name_is_used_once() {
    let ended = |state| Rejection::ReservationEnded { reservation: caller("r"), state };
    let story = after(&[receive("a", 5), reserve_for("r", &[("a", 3)], 10), release("r")]);
    story.when(reserve_for("r", &[("a", 3)], 10)).then_rejected(ended(ReservationState::Released));
    assert_eq!(ended(ReservationState::Released).to_string(), "reservation r has ended: released");
    let mut story = after(&[receive("a", 5), reserve_for("r", &[("a", 3)], 10)]).later(10_000);
    story.play(&expire("r")).unwrap();
    let story = story.when(reserve("r", &[("a", 1)])).then_rejected(ended(ReservationState::Expired));
    story.when(release("r")).then_rejected(ended(ReservationState::Expired));
}

#[test]
fn callers_name_the_version_of_the_stock_that_they_change_and_of_the_reservation_that_they_release() {
    for command in [receive("a", 1), adjust("a", 1), threshold("a", 1)] {
        assert_eq!(Inventory::target(&command), Some(StockItem::aggregate(&sku("a"))));
    }
    assert_eq!(Inventory::target(&release("r")), Some(caller("r").aggregate()));
}

#[test]
fn the_past_of_stock_is_complete_with_its_last_movement() {
    let mut story = after(&[receive("a", 5)]);
    let mut is_complete_after = |command: Command| {
        let event = story.play(&command).unwrap();
        let mut past = Past::<Inventory>::of(StockItem::aggregate(&sku("a")));
        past.push(At { offset: 2, time_ms: NOW }, event);
        past.is_complete()
    };
    assert!(is_complete_after(receive("a", 1)));
    assert!(is_complete_after(reserve("r", &[("a", 1)])));
    assert!(!is_complete_after(threshold("a", 0)), "that the threshold stays as it is says nothing of the time before");
}

#[test]
fn a_release_gives_everything_back_once() {
    let mut story = after(&[receive("a", 5), reserve("r", &[("a", 3)])]);
    let event = story.play(&release("r")).unwrap();
    assert_eq!(event.reservation().unwrap().state, ReservationState::Released);
    assert_eq!(topics(&event), ["stock.updated"]);
    let again = story.play(&release("r")).unwrap();
    assert_eq!(again.kind(), "reservation_repeated");
    assert_eq!(level_of(&story, "a"), level(5, 0, 0));
    assert_eq!(reservation(&story, &caller("r")).version, 3);
}

#[test]
fn only_what_was_reserved_can_be_released_or_expire() {
    let unknown = Rejection::UnknownReservation { reservation: caller("r") };
    let story = given::<Inventory>([]).when(release("r")).then_rejected(unknown.clone());
    story.when(expire("r")).then_rejected(unknown);
}

#[test]
fn a_callers_reservation_can_not_reach_an_orders_own() {
    let id = order(7).to_string();
    let mut story = after(&[receive("a", 5), order_reserve(7, &[("a", 3)])]);
    let unknown = Rejection::UnknownReservation { reservation: caller(&id) };
    assert_eq!(story.play(&release(&id)), Err(unknown));
    story.play(&reserve(&id, &[("a", 1)])).unwrap();
    assert_eq!(level_of(&story, "a"), level(5, 4, 0));
}

#[test]
fn a_reservation_expires_when_its_time_is_up_and_not_before() {
    let story = after(&[receive("a", 5), reserve_for("r", &[("a", 3)], 10), reserve("s", &[("a", 1)])]);
    let declined = |story: &Story<Inventory>, name: &str| match story.decide(&expire(name)) {
        Ok(Event::ReservationDeclined(declined)) => declined.because,
        other => panic!("{other:?}"),
    };
    assert_eq!(reservation(&story, &caller("r")).expires_at_ms, Some(NOW + 10_000));
    let mut story = story.later(9_999);
    assert_eq!(declined(&story, "r"), Because::NotDue);
    assert_eq!(declined(&story, "s"), Because::NotDue);
    story = story.later(1);
    let event = story.play(&expire("r")).unwrap();
    assert_eq!(movements(&event)[0].cause, MovementCause::Expired);
    assert_eq!(level_of(&story, "a"), level(5, 1, 0));
    assert_eq!(declined(&story, "r"), Because::Already(ReservationState::Expired));
}

#[test]
fn others_are_told_for_whom_stock_was_set_aside() {
    let mut story = after(&[receive("a", 9)]);
    let mut told = |command: &Command| Inventory::publish(&story.play(command).unwrap()).pop().unwrap();
    let labelled = Command::Reserve(Reserve { order_id: Some(order(1)), ..asked("r", &[("a", 3)]) });
    let expected = |reservation_id: &str, reserved_for| {
        let (order_id, lines) = (Some(order(1)), lines(&[("a", 3)]));
        Published::StockReserved(StockReserved {
            reservation_id: reservation_id.into(),
            reserved_for,
            order_id,
            lines,
            version: 1,
        })
    };
    assert_eq!(told(&labelled), expected("r", ReservedFor::Caller));
    assert_eq!(told(&order_reserve(1, &[("a", 3)])), expected(&order(1).to_string(), ReservedFor::Order));
}

#[test]
fn others_are_told_for_whom_stock_moved() {
    let id = order(1).to_string();
    let mut story = after(&[receive("a", 9)]);
    let mut told = |command: &Command| match Inventory::publish(&story.play(command).unwrap()).swap_remove(0) {
        Published::StockUpdated(updated) => (updated.reservation_id, updated.reserved_for),
        other => panic!("{other:?}"),
    };
    // A caller may call a reservation as an order is called.
    assert_eq!(told(&reserve(&id, &[("a", 1)])), (Some(id.clone()), Some(ReservedFor::Caller)));
    assert_eq!(told(&order_reserve(1, &[("a", 1)])), (Some(id.clone()), Some(ReservedFor::Order)));
    assert_eq!(told(&release(&id)), (Some(id.clone()), Some(ReservedFor::Caller)));
    assert_eq!(told(&order_commit(1, &[("a", 1)])), (Some(id), Some(ReservedFor::Order)));
    assert_eq!(told(&receive("a", 1)), (None, None));
}

#[test]
fn an_order_that_can_not_be_supplied_is_rejected_by_a_record_that_names_what_it_saw() {
    let mut story = after(&[receive("a", 5), receive("b", 1)]);
    let event = story.play(&order_reserve(1, &[("a", 1), ("b", 2), ("x", 1)])).unwrap();
    let shortages = vec![short("b", 2, 1), short("x", 1, 0)];
    let rejected = StockRejected { order_id: order(1), reason: ShortageReason::UnknownSku, shortages, version: 1 };
    assert_eq!(Inventory::publish(&event), [Published::StockRejected(rejected)]);
    let touched: Vec<_> = ["a", "b", "x"].map(|name| StockItem::aggregate(&sku(name))).into();
    assert_eq!(Inventory::touches(&event)[1..], touched);
    assert_eq!(level_of(&story, "a"), level(5, 0, 0));
    assert_eq!(reservation(&story, &ReservationId::Order(order(1))).state, ReservationState::Rejected);
}

#[test]
fn a_sku_that_only_a_rejected_order_named_still_does_not_exist() {
    let mut story = after(&[order_reserve(1, &[("x", 1)])]);
    let unknown = Rejection::UnknownSku { sku: sku("x") };
    assert_eq!(story.play(&threshold("x", 1)), Err(unknown));
    assert_eq!(story.entities.values().filter_map(Entity::as_stock).count(), 0);
    let event = story.play(&receive("x", 2)).unwrap();
    let Event::StockReceived(received) = event else { panic!("{event:?}") };
    assert_eq!((received.before, received.after, received.version), (level(0, 0, 0), level(2, 0, 0), 2));
}

#[test]
fn an_order_for_more_than_can_be_moved_at_once_is_out_of_stock() {
    let full = StockReceived {
        sku: sku("a"),
        quantity: Quantity::new(1).unwrap(),
        before: level(0, 0, 0),
        after: level(MAX_ON_HAND, 0, 0),
        version: 1,
    };
    let mut story = given::<Inventory>([Event::StockReceived(full)]);
    for command in
        [order_reserve(1, &[("a", Quantity::MAX), ("a", 1)]), order_commit(2, &[("a", Quantity::MAX), ("a", 1)])]
    {
        let event = story.play(&command).unwrap();
        let Event::ReservationRejected(rejected) = event else { panic!("{event:?}") };
        assert_eq!(rejected.shortages, [short("a", Quantity::MAX + 1, Quantity::MAX)]);
    }
    let names: Vec<_> = (0..300).map(|n| format!("s{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let event = story.play(&order_reserve(3, &many)).unwrap();
    assert_eq!(Inventory::touches(&event).len(), 1, "a record names only so many keys");
}

#[test]
fn a_cancelled_orders_units_are_given_back_and_a_fulfilled_orders_leave() {
    let mut story = after(&[receive("a", 5), order_reserve(1, &[("a", 3)]), order_reserve(2, &[("a", 2)])]);
    story.play(&order_cancel(1)).unwrap();
    assert_eq!(level_of(&story, "a"), level(5, 2, 0));
    let event = story.play(&order_commit(2, &[("a", 2)])).unwrap();
    assert_eq!(level_of(&story, "a"), level(3, 0, 0));
    assert_eq!((movements(&event)[0].cause, movements(&event)[0].delta), (MovementCause::Committed, 0));
}

#[test]
fn a_public_low_stock_says_what_is_left() {
    let mut story = after(&[receive("a", 5), threshold("a", 4)]);
    let event = story.play(&reserve("r", &[("a", 3)])).unwrap();
    let low = LowStock { sku: sku("a"), available: 2, low_stock_threshold: 4, version: 3 };
    assert_eq!(Inventory::publish(&event)[1], Published::LowStock(low));
    assert_eq!(topics(&event), ["stock.updated", "low.stock", "stock.reserved"]);
}

#[test]
fn commands_are_told_apart_by_what_they_ask_not_by_how() {
    let text = |command: Command| command.fingerprint_text();
    assert_eq!(text(receive("a", 5)), "receive a 5");
    assert_eq!(text(adjust("a", -5)), "adjust a -5 counted");
    assert_eq!(text(threshold("a", 5)), "threshold a 5");
    assert_eq!(text(reserve_for("r", &[("b", 1), ("a", 1), ("b", 2)], 60)), "reserve r 60 - a=1 b=3");
    assert_eq!(text(release("r")), "release r");
    assert_eq!(text(expire("r")), "expire caller r");
    let id = order(1);
    assert_eq!(text(order_reserve(1, &[("a", 1)])), format!("reserve for order {id} a=1"));
    assert_eq!(text(order_cancel(1)), format!("cancel for order {id}"));
    assert_eq!(text(order_commit(1, &[("a", 1)])), format!("commit for order {id} a=1"));
    assert_eq!(text(Command::Expire { reservation: ReservationId::Order(id) }), format!("expire order {id}"));
}

pub(super) fn created(n: u128, wanted: &[(&str, u32)]) -> orders::Published {
    let order_line = |line: StockLine| OrderLine { sku: line.sku, quantity: line.quantity, unit_price: Money::ZERO };
    orders::Published::Created(OrderCreated {
        order_id: order(n),
        customer_id: CustomerId(Uuid::from_u128(9)),
        currency: Currency::new("EUR").unwrap(),
        lines: lines(wanted).into_iter().map(order_line).collect(),
        total: Money::ZERO,
        version: 1,
    })
}

pub(super) fn cancelled(n: u128) -> orders::Published {
    let customer_id = CustomerId(Uuid::from_u128(9));
    orders::Published::Cancelled(OrderCancelled { order_id: order(n), customer_id, version: 2 })
}

pub(super) fn fulfilled(n: u128, wanted: &[(&str, u32)]) -> orders::Published {
    let customer_id = CustomerId(Uuid::from_u128(9));
    orders::Published::Fulfilled(OrderFulfilled { order_id: order(n), customer_id, lines: lines(wanted), version: 3 })
}

#[test]
fn times_are_those_of_the_records() {
    let mut story = after(&[receive("a", 5), reserve("r", &[("a", 3)])]).later(5);
    story.play(&release("r")).unwrap();
    let found = reservation(&story, &caller("r"));
    assert_eq!((found.created_ms, found.updated_ms), (NOW, NOW + 5 as Millis));
}
