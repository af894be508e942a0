//! One story per rule, and the state machine under random commands and news.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use orderlog_core::{
    decider::Lookup,
    key::Key,
    story::{NOW, Story, given},
};

use crate::{
    customers::{self, public::CustomerChanged},
    inventory::{Shortage, ShortageReason, StockLine},
    orders::ORDERS,
    values::{Money, Quantity, Sku},
};

const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(2));
const UNKNOWN: Rejection = Rejection::UnknownOrder { order_id: ORDER };

fn line(sku: &str, quantity: u32, unit_price: i64) -> OrderLine {
    OrderLine {
        sku: Sku::new(sku).unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Money::new(unit_price).unwrap(),
    }
}

fn units(sku: &str, quantity: u32) -> StockLine {
    StockLine { sku: Sku::new(sku).unwrap(), quantity: Quantity::new(quantity).unwrap() }
}

fn some_lines() -> Vec<OrderLine> {
    vec![line("a", 1, 100), line("b", 2, 50), line("a", 3, 10)]
}

fn place(lines: Vec<OrderLine>) -> Command {
    let currency = Currency::new("EUR").unwrap();
    Command::Place { order_id: ORDER, customer_id: CUSTOMER, currency, lines, channel: None }
}

fn placed_from(channel: &str) -> Command {
    let Command::Place { order_id, customer_id, currency, lines, .. } = place(some_lines()) else { unreachable!() };
    let channel = Some(Channel::new(channel).unwrap());
    Command::Place { order_id, customer_id, currency, lines, channel }
}

const CANCEL: Command = Command::Cancel { order_id: ORDER };
const FULFIL: Command = Command::Fulfil { order_id: ORDER };
const CONFIRM: Command = Command::Confirm { order_id: ORDER };
const PAY: Command = Command::MarkPaid { order_id: ORDER, invoice_version: 2 };
const REFUND: Command = Command::MarkRefunded { order_id: ORDER, invoice_version: 3 };

fn shortage() -> Vec<Shortage> {
    vec![Shortage { sku: Sku::new("a").unwrap(), requested: 4, available: 1 }]
}

fn reject() -> Command {
    Command::Reject { order_id: ORDER, reason: ShortageReason::OutOfStock, shortages: shortage() }
}

fn customer(active: bool, version: u64) -> Heard {
    Heard::Customers(customers::Published::Updated(CustomerChanged { customer_id: CUSTOMER, active, version }))
}

fn known() -> Story<Orders> {
    given([]).heard(&customer(true, 1))
}

/// A placed order after these commands, none of which may be refused.
fn placed_then(commands: impl IntoIterator<Item = Command>) -> Story<Orders> {
    let mut story = known();
    story.play(&place(some_lines())).unwrap();
    for command in commands {
        story.play(&command).unwrap();
    }
    story
}

fn order(story: &Story<Orders>) -> &Order {
    story.entities[&Key::of(ORDER)].as_order().unwrap()
}

fn illegal(from: OrderState, action: Action) -> Rejection {
    Rejection::IllegalTransition { order_id: ORDER, from, action }
}

fn declined(reaction: Reaction, because: DeclineReason, version: u64) -> Event {
    Event::OrderReactionDeclined(OrderReactionDeclined { order_id: ORDER, reaction, because, version })
}

#[test]
fn an_active_customer_places_an_order() {
    let event = Event::OrderPlaced(OrderPlaced {
        order_id: ORDER,
        customer_id: CUSTOMER,
        currency: Currency::new("EUR").unwrap(),
        lines: some_lines(),
        total: Money::new(230).unwrap(),
        channel: None,
        version: 1,
    });
    let story = known().when(place(some_lines())).then(event.clone());
    let order = order(&story);
    assert_eq!((order.state, order.payment, order.created_ms), (OrderState::Placed, Payment::Unpaid, NOW));
    assert_eq!(Orders::touches(&event), [Ref::minted(ORDERS, Key::of(ORDER))]);
    let told = Orders::publish(&event);
    let [Published::Created(told)] = told.as_slice() else { panic!("order.created") };
    assert_eq!((told.order_id, &told.lines, told.total.minor_units()), (ORDER, &some_lines(), 230));
}

#[test]
fn an_order_keeps_the_channel_that_it_came_from() {
    let mut story = known();
    story.play(&placed_from("store-7")).unwrap();
    story.play(&CANCEL).unwrap();
    assert_eq!(order(&story).channel.as_ref().map(Channel::as_str), Some("store-7"));
}

#[test]
fn an_order_needs_1_to_100_lines() {
    known().when(place(vec![])).then_rejected(Rejection::NoLines);
    let too_many = Rejection::TooManyLines { given: 101, max: 100 };
    known().when(place(vec![line("a", 1, 1); 101])).then_rejected(too_many);
    assert!(known().decide(&place(vec![line("a", 1, 1); 100])).is_ok());
}

#[test]
fn a_total_that_is_no_amount_is_refused() {
    let refused = Rejection::TotalTooLarge { max: Money::MAX };
    known().when(place(vec![line("a", 1, Money::MAX), line("b", 1, 1)])).then_rejected(refused);
}

#[test]
fn too_many_units_of_one_sku_are_refused() {
    let refused = Rejection::QuantityTooLarge { sku: Sku::new("a").unwrap(), max: Quantity::MAX };
    known().when(place(vec![line("a", Quantity::MAX, 1), line("a", 1, 1)])).then_rejected(refused);
}

#[test]
fn an_unknown_customer_can_not_order_until_customers_tells_of_one() {
    let refused = Rejection::UnknownCustomer { customer_id: CUSTOMER };
    assert_eq!(Orders::rests_on(&refused), Orders::COPIES);
    given::<Orders>([]).when(place(some_lines())).then_rejected(refused);
}

#[test]
fn an_inactive_customer_can_not_order_until_customers_tells_otherwise() {
    let refused = Rejection::CustomerInactive { customer_id: CUSTOMER };
    assert_eq!(Orders::rests_on(&refused), Orders::COPIES);
    known().heard(&customer(false, 2)).when(place(some_lines())).then_rejected(refused);
}

#[test]
fn callers_name_the_version_of_the_order_that_they_cancel_or_fulfil() {
    for command in [CANCEL, FULFIL] {
        assert_eq!(Orders::target(&command), Some(Order::aggregate(ORDER)));
    }
}

#[test]
fn an_order_that_does_not_exist_is_not_waited_for() {
    assert_eq!(Orders::rests_on(&UNKNOWN), [""; 0]);
    given::<Orders>([]).when(CANCEL).then_rejected(UNKNOWN);
    given::<Orders>([]).when(FULFIL).then_rejected(UNKNOWN);
}

#[test]
fn a_placed_order_is_confirmed_or_rejected() {
    let confirmed = placed_then([CONFIRM]);
    assert_eq!((order(&confirmed).state, &order(&confirmed).rejection), (OrderState::Confirmed, &None));
    let rejected = placed_then([reject()]);
    let why = Unsupplied { reason: ShortageReason::OutOfStock, shortages: shortage() };
    assert_eq!((order(&rejected).state, &order(&rejected).rejection), (OrderState::Rejected, &Some(why)));
}

#[test]
fn stock_news_of_an_order_that_does_not_wait_for_it_is_declined() {
    use OrderState::{Cancelled, Confirmed, Fulfilled, Rejected};
    let cases: [(Vec<Command>, OrderState); 4] = [
        (vec![CONFIRM], Confirmed),
        (vec![reject()], Rejected),
        (vec![CANCEL], Cancelled),
        (vec![CONFIRM, PAY, FULFIL], Fulfilled),
    ];
    for (commands, state) in cases {
        for (command, reaction) in [(CONFIRM, Reaction::Confirm), (reject(), Reaction::Reject)] {
            let story = placed_then(commands.clone());
            let before = order(&story).clone();
            let version = before.version + 1;
            let story = story.when(command).then(declined(reaction, DeclineReason::StateIs(state), version));
            assert_eq!(order(&story), &Order { version, ..before });
        }
    }
}

#[test]
fn a_payment_grows_and_never_goes_back() {
    assert_eq!(order(&placed_then([PAY])).payment, Payment::Paid);
    assert_eq!(order(&placed_then([PAY, REFUND])).payment, Payment::Refunded);
    assert_eq!(order(&placed_then([REFUND])).payment, Payment::Refunded);
    let because = DeclineReason::PaymentIs(Payment::Refunded);
    placed_then([REFUND]).when(PAY).then(declined(Reaction::MarkPaid, because, 3));
    placed_then([REFUND]).when(REFUND).then(declined(Reaction::MarkRefunded, because, 3));
    let because = DeclineReason::PaymentIs(Payment::Paid);
    placed_then([PAY]).when(PAY).then(declined(Reaction::MarkPaid, because, 3));
}

#[test]
fn an_order_can_be_cancelled_until_it_ended() {
    for commands in [vec![], vec![CONFIRM], vec![CONFIRM, PAY]] {
        let outcome = placed_then(commands).when(CANCEL);
        assert!(matches!(outcome.decided, Ok(Event::OrderCancelled(_))));
        assert_eq!(order(&outcome.story).state, OrderState::Cancelled);
    }
    placed_then([reject()]).when(CANCEL).then_rejected(illegal(OrderState::Rejected, Action::Cancel));
    placed_then([CONFIRM, PAY, FULFIL]).when(CANCEL).then_rejected(illegal(OrderState::Fulfilled, Action::Cancel));
}

#[test]
fn a_cancelled_order_stays_paid_until_it_is_refunded() {
    let story = placed_then([CONFIRM, PAY, CANCEL]);
    assert_eq!((order(&story).state, order(&story).payment), (OrderState::Cancelled, Payment::Paid));
    let story = placed_then([CONFIRM, PAY, CANCEL, REFUND]);
    assert_eq!((order(&story).state, order(&story).payment), (OrderState::Cancelled, Payment::Refunded));
}

#[test]
fn cancelling_or_fulfilling_again_changes_nothing_and_tells_nobody() {
    let cases = [
        (placed_then([CANCEL]), CANCEL, OrderState::Cancelled, Payment::Unpaid),
        (placed_then([CONFIRM, PAY, FULFIL]), FULFIL, OrderState::Fulfilled, Payment::Paid),
    ];
    for (story, command, state, payment) in cases {
        let before = order(&story).clone();
        let version = before.version + 1;
        let (order_id, customer_id) = (ORDER, CUSTOMER);
        let event = Event::OrderUnchanged(OrderUnchanged { order_id, customer_id, state, payment, version });
        assert_eq!(Orders::publish(&event), []);
        let story = story.when(command).then(event);
        assert_eq!(order(&story), &Order { version, ..before });
    }
}

#[test]
fn fulfilling_tells_each_sku_once() {
    let event = Event::OrderFulfilled(OrderFulfilled {
        order_id: ORDER,
        customer_id: CUSTOMER,
        payment: Payment::Paid,
        lines: vec![units("a", 4), units("b", 2)],
        version: 4,
    });
    let told = Orders::publish(&event);
    let [Published::Fulfilled(told)] = told.as_slice() else { panic!("order.fulfilled") };
    assert_eq!(told.lines, [units("a", 4), units("b", 2)]);
    let story = placed_then([CONFIRM, PAY]).when(FULFIL).then(event);
    assert_eq!(order(&story).state, OrderState::Fulfilled);
}

#[test]
fn only_a_confirmed_order_can_be_fulfilled() {
    placed_then([PAY]).when(FULFIL).then_rejected(illegal(OrderState::Placed, Action::Fulfil));
    let text = illegal(OrderState::Placed, Action::Fulfil).to_string();
    assert_eq!(text, "order 00000000-0000-0000-0000-000000000002 is placed: it can't be fulfilled");
    placed_then([PAY, reject()]).when(FULFIL).then_rejected(illegal(OrderState::Rejected, Action::Fulfil));
    placed_then([PAY, CANCEL]).when(FULFIL).then_rejected(illegal(OrderState::Cancelled, Action::Fulfil));
}

#[test]
fn only_a_paid_order_can_be_fulfilled() {
    let not_paid = |payment| Rejection::NotPaid { order_id: ORDER, payment };
    placed_then([CONFIRM]).when(FULFIL).then_rejected(not_paid(Payment::Unpaid));
    placed_then([CONFIRM, PAY, REFUND]).when(FULFIL).then_rejected(not_paid(Payment::Refunded));
    let text = "00000000-0000-0000-0000-000000000002 is unpaid: only a paid order can be fulfilled";
    assert_eq!(not_paid(Payment::Unpaid).to_string(), format!("order {text}"));
}

#[test]
fn news_of_an_order_that_was_never_placed_is_declined_and_makes_no_order() {
    let mut story = given::<Orders>([]);
    let news = [
        (CONFIRM, Reaction::Confirm),
        (reject(), Reaction::Reject),
        (PAY, Reaction::MarkPaid),
        (REFUND, Reaction::MarkRefunded),
    ];
    for (version, (command, reaction)) in (1..).zip(news) {
        story = story.when(command).then(declined(reaction, DeclineReason::UnknownOrder, version));
        let entity = &story.entities[&Key::of(ORDER)];
        assert_eq!(entity.as_order(), None);
        assert_eq!(entity.as_stray_order(), Some(&StrayOrder { order_id: ORDER, version }));
    }
    story.when(CANCEL).then_rejected(UNKNOWN).when(FULFIL).then_rejected(UNKNOWN);
}

#[test]
fn a_caller_is_answered_how_the_order_stands() {
    let mut story = known();
    let mut answered = |command| {
        let standing = story.play(&command).unwrap().standing();
        standing.map(|standing| {
            let order = order(&story);
            assert_eq!((standing.order_id, standing.customer_id), (order.order_id, order.customer_id));
            assert_eq!((standing.state, standing.payment), (order.state, order.payment));
            assert_eq!(standing.version, order.version);
        })
    };
    let answers = [place(some_lines()), CONFIRM, PAY, FULFIL, FULFIL].map(|command| answered(command).is_some());
    assert_eq!(answers, [true, false, false, true, true]);
}

#[test]
fn all_that_placing_needs_is_asked_for_even_if_the_lines_are_wrong() {
    let lookup = |_: &Ref| Lookup::NotLoaded;
    let view = View::new(&lookup);
    let _ = Orders::decide(&place(vec![]), &view, NOW);
    assert_eq!(view.into_missing(), [KnownCustomer::aggregate(CUSTOMER)]);
}

#[test]
fn an_order_and_a_customer_with_one_id_have_two_keys() {
    assert_ne!(Order::aggregate(OrderId(CUSTOMER.0)).key, KnownCustomer::aggregate(CUSTOMER).key);
    // Stored, in the rows of known customers.
    let key = String::from(KnownCustomer::aggregate(CUSTOMER).key);
    assert_eq!(key, "175c0565097b9c36ee7cd8612e939e18");
    let mut story = known();
    let event = Event::OrderReactionDeclined(OrderReactionDeclined {
        order_id: OrderId(CUSTOMER.0),
        reaction: Reaction::Confirm,
        because: DeclineReason::UnknownOrder,
        version: 1,
    });
    story.happened(&event);
    assert!(story.decide(&place(some_lines())).is_ok(), "news of an order with the customer's id");
}

#[test]
fn fingerprints_differ_by_what_was_asked_and_not_by_the_minted_id() {
    let currency = Currency::new("EUR").unwrap();
    let other_id = Command::Place {
        order_id: OrderId(Uuid::from_u128(9)),
        customer_id: CUSTOMER,
        currency,
        lines: some_lines(),
        channel: None,
    };
    assert_eq!(place(some_lines()).fingerprint_text(), other_id.fingerprint_text());
    let texts = [
        place(some_lines()),
        placed_from("web"),
        placed_from("store-7"),
        place(vec![line("a", 1, 1)]),
        CANCEL,
        FULFIL,
        CONFIRM,
        PAY,
        REFUND,
        reject(),
    ]
    .map(|command| command.fingerprint_text());
    assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), texts.len());
}

#[test]
fn the_fingerprints_of_what_callers_ask_are_stable() {
    let order = ORDER.to_string();
    let placed = r#"["place","CUSTOMER","EUR",[["a",1,100],["b",2,50],["a",3,10]]]"#;
    assert_eq!(place(some_lines()).fingerprint_text(), placed.replace("CUSTOMER", &CUSTOMER.to_string()));
    let with_channel = r#"["place","CUSTOMER","EUR",[["a",1,100],["b",2,50],["a",3,10]],"web"]"#;
    let of_web = placed_from("web").fingerprint_text();
    assert_eq!(of_web, with_channel.replace("CUSTOMER", &CUSTOMER.to_string()));
    assert_eq!(CANCEL.fingerprint_text(), r#"["cancel","ORDER"]"#.replace("ORDER", &order));
    assert_eq!(FULFIL.fingerprint_text(), r#"["fulfil","ORDER"]"#.replace("ORDER", &order));
}

fn any_command() -> impl Strategy<Value = Command> {
    prop::sample::select(vec![CANCEL, FULFIL, CONFIRM, reject(), PAY, REFUND])
}

proptest! {
    #[test]
    fn an_order_follows_its_state_machine(commands in prop::collection::vec(any_command(), 0..30)) {
        let mut story = placed_then([]);
        for command in commands {
            let before = order(&story).clone();
            let decided = story.play(&command);
            let after = order(&story);
            prop_assert_eq!(after.version, before.version + u64::from(decided.is_ok()));
            if let Ok(event) = &decided {
                prop_assert_eq!(event.version(), after.version);
            } else {
                prop_assert!(matches!(command, Command::Cancel { .. } | Command::Fulfil { .. }), "news is never refused");
            }
            check_step(&before, after)?;
        }
    }

    #[test]
    fn a_total_is_the_sum_of_its_lines(numbers in prop::collection::vec((1..1000u32, 0..100_000i64), 1..50)) {
        let lines: Vec<_> = numbers.iter().map(|(quantity, price)| line("a", *quantity, *price)).collect();
        let total: i64 = numbers.iter().map(|(quantity, price)| i64::from(*quantity) * price).sum();
        let Ok(Event::OrderPlaced(placed)) = known().decide(&place(lines)) else { panic!("placed") };
        prop_assert_eq!(placed.total.minor_units(), total);
    }
}

/// One step of the state machine is legal.
pub(in crate::orders) fn check_step(before: &Order, after: &Order) -> Result<(), TestCaseError> {
    use OrderState::{Cancelled, Confirmed, Fulfilled, Placed, Rejected};
    prop_assert!(after.payment >= before.payment, "a payment never goes back");
    prop_assert_eq!(after.rejection.is_some(), after.state == Rejected);
    prop_assert_eq!((&after.lines, after.total), (&before.lines, before.total));
    let legal = match (before.state, after.state) {
        (Placed, Placed | Confirmed | Rejected | Cancelled) => true,
        (Confirmed, Fulfilled) => before.payment == Payment::Paid,
        (Confirmed, Confirmed | Cancelled) => true,
        (Rejected, Rejected) | (Fulfilled, Fulfilled) | (Cancelled, Cancelled) => true,
        (Placed, Fulfilled)
        | (Confirmed, Placed | Rejected)
        | (Rejected | Fulfilled | Cancelled, Placed | Confirmed | Rejected | Fulfilled | Cancelled) => false,
    };
    prop_assert!(legal, "{:?} -> {:?}", before, after);
    prop_assert_eq!(before.state.is_ended() && before.state != after.state, false);
    Ok(())
}
