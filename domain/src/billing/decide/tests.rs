//! Billing's rules as stories.

use proptest::prelude::*;

use super::*;
use orderlog_core::story::{Story, given};

use crate::{
    inventory::ShortageReason,
    orders::public::{OrderCancelled, OrderCreated, OrderRejected},
};

fn order() -> OrderId {
    OrderId(Uuid::from_u128(1))
}

fn money(minor_units: i64) -> Money {
    Money::new(minor_units).unwrap()
}

fn currency(code: &str) -> Currency {
    Currency::new(code).unwrap()
}

fn customer() -> CustomerId {
    CustomerId(Uuid::from_u128(2))
}

fn created(total: i64) -> orders::Published {
    orders::Published::Created(OrderCreated {
        order_id: order(),
        customer_id: customer(),
        currency: currency("EUR"),
        lines: Vec::new(),
        total: money(total),
        version: 1,
    })
}

fn cancelled() -> orders::Published {
    orders::Published::Cancelled(OrderCancelled { order_id: order(), customer_id: customer(), version: 2 })
}

fn rejected() -> orders::Published {
    let (reason, shortages) = (ShortageReason::OutOfStock, Vec::new());
    orders::Published::Rejected(OrderRejected {
        order_id: order(),
        customer_id: customer(),
        reason,
        shortages,
        version: 2,
    })
}

fn payment(amount: i64) -> Command {
    Command::RecordPayment {
        payment_id: PaymentId(Uuid::from_u128(3)),
        order_id: order(),
        amount: money(amount),
        currency: currency("EUR"),
        reference: PaymentReference::new("bank 1").unwrap(),
    }
}

fn refund_of(amount: Option<i64>) -> Command {
    Command::Refund { order_id: order(), amount: amount.map(money), reason: None }
}

/// An order of 10 cents was placed, and this came after it.
fn invoice_of_10(then: &[Command]) -> Story<Billing> {
    let mut story = given::<Billing>([]);
    story.play(&Billing::react(&created(10)).unwrap()).unwrap();
    for command in then {
        story.play(command).unwrap();
    }
    story
}

fn close_by(news: &orders::Published) -> Command {
    Billing::react(news).unwrap()
}

fn invoice(story: &Story<Billing>) -> Invoice {
    let Entity::Invoice(invoice) = story.entities[&Invoice::aggregate(order()).key].clone();
    invoice
}

#[test]
fn partial_payments_add_up_and_the_last_one_tells_that_the_order_is_paid() {
    let mut story = given::<Billing>([]);
    let opened = story.play(&Billing::react(&created(10)).unwrap()).unwrap();
    assert_eq!(Billing::publish(&opened), []);
    let first = story.play(&payment(4)).unwrap();
    assert_eq!(Billing::publish(&first), []);
    let second = story.play(&payment(6)).unwrap();
    let told = Billing::publish(&second);
    assert!(matches!(&told[..], [Published::OrderPaid(paid)] if paid.amount == money(10)), "{told:?}");
    assert_eq!((invoice(&story).state, invoice(&story).payments.len()), (InvoiceState::Paid, 2));
}

#[test]
fn nothing_to_pay_is_paid_at_once() {
    let mut story = given::<Billing>([]);
    let opened = story.play(&Billing::react(&created(0)).unwrap()).unwrap();
    assert!(matches!(&Billing::publish(&opened)[..], [Published::OrderPaid(_)]));
    // Nor is there anything to give back when it is cancelled.
    story.play(&close_by(&cancelled())).unwrap();
    assert_eq!(invoice(&story).state, InvoiceState::Void);
}

#[test]
fn more_than_is_open_is_refused() {
    let overpayment =
        |open_amount, given| Rejection::Overpayment { open_amount: money(open_amount), given: money(given) };
    invoice_of_10(&[]).when(payment(11)).then_rejected(overpayment(10, 11));
    invoice_of_10(&[payment(10)]).when(payment(1)).then_rejected(overpayment(0, 1));
    // What was given back is not open again.
    invoice_of_10(&[payment(10), refund_of(Some(4))]).when(payment(4)).then_rejected(overpayment(0, 4));
}

#[test]
fn another_currency_and_an_unknown_order_are_refused() {
    let dollars = Command::RecordPayment {
        payment_id: PaymentId(Uuid::nil()),
        order_id: order(),
        amount: money(1),
        currency: currency("USD"),
        reference: PaymentReference::new("x").unwrap(),
    };
    let wrong = Rejection::WrongCurrency { invoice: currency("EUR"), given: currency("USD") };
    invoice_of_10(&[]).when(dollars).then_rejected(wrong);
    let unknown = Rejection::UnknownOrder { order_id: order() };
    assert_eq!(Billing::rests_on(&unknown), ["order.created"], "its event may be on the way");
    given::<Billing>([]).when(payment(1)).then_rejected(unknown.clone());
    given::<Billing>([]).when(refund_of(None)).then_rejected(unknown);
}

#[test]
fn refunds_never_exceed_payments() {
    let not_paid = Rejection::NotPaid { order_id: order() };
    invoice_of_10(&[]).when(refund_of(None)).then_rejected(not_paid.clone());
    invoice_of_10(&[payment(9)]).when(refund_of(None)).then_rejected(not_paid);
    let too_large = Rejection::RefundTooLarge { refundable: money(7), asked: money(8) };
    invoice_of_10(&[payment(10), refund_of(Some(3))]).when(refund_of(Some(8))).then_rejected(too_large);
    let closed = Rejection::InvoiceClosed { state: InvoiceState::Refunded };
    invoice_of_10(&[payment(10), refund_of(None)]).when(refund_of(None)).then_rejected(closed);
}

#[test]
fn a_part_given_back_leaves_the_invoice_paid_and_all_of_it_ends_it() {
    let mut story = invoice_of_10(&[payment(10), refund_of(Some(3))]);
    assert_eq!(invoice(&story).state, InvoiceState::Paid);
    let rest = story.play(&refund_of(None)).unwrap();
    let told = Billing::publish(&rest);
    assert!(
        matches!(&told[..], [Published::PaymentRefunded(it)] if it.amount == money(7) && it.amount_refunded == money(10))
    );
    assert_eq!(invoice(&story).state, InvoiceState::Refunded);
}

#[test]
fn of_a_payment_and_a_cancellation_the_first_one_settles_it() {
    for news in [cancelled(), rejected()] {
        let paid_first = invoice_of_10(&[payment(10), close_by(&news)]);
        assert_eq!(
            (invoice(&paid_first).state, invoice(&paid_first).amount_refunded),
            (InvoiceState::Refunded, money(10))
        );
        let part_paid = invoice_of_10(&[payment(4), close_by(&news)]);
        assert_eq!(
            (invoice(&part_paid).state, invoice(&part_paid).amount_refunded),
            (InvoiceState::Refunded, money(4))
        );
        let closed = Rejection::InvoiceClosed { state: InvoiceState::Void };
        invoice_of_10(&[close_by(&news)]).when(payment(10)).then_rejected(closed);
    }
}

#[test]
fn callers_name_the_version_of_the_invoice_that_they_pay_or_refund() {
    for command in [payment(4), refund_of(None)] {
        assert_eq!(Billing::target(&command), Some(Invoice::aggregate(order())));
    }
}

#[test]
fn the_fingerprints_of_what_callers_ask_are_stable() {
    let id = order().to_string();
    let paid = r#"["pay","ORDER",4,"EUR","bank \"1\""]"#.replace("ORDER", &id);
    let Command::RecordPayment { order_id, amount, currency, .. } = payment(4) else { panic!("a payment") };
    let (payment_id, reference) = (PaymentId(Uuid::from_u128(9)), PaymentReference::new("bank \"1\"").unwrap());
    let quoted = Command::RecordPayment { payment_id, order_id, amount, currency, reference };
    assert_eq!(quoted.fingerprint_text(), paid);
    let reason = Some(Reason::new("torn").unwrap());
    let part = Command::Refund { order_id, amount: Some(amount), reason };
    assert_eq!(part.fingerprint_text(), r#"["refund","ORDER",4,"torn"]"#.replace("ORDER", &id));
    assert_eq!(refund_of(None).fingerprint_text(), r#"["refund","ORDER",null,null]"#.replace("ORDER", &id));
}

/// Every way to deliver some of the news, each at most twice, in any order.
fn deliveries(news: &[orders::Published], left: usize) -> Vec<Vec<orders::Published>> {
    let mut all = vec![Vec::new()];
    if left > 0 {
        for rest in deliveries(news, left - 1) {
            all.extend(news.iter().map(|first| [std::slice::from_ref(first), &rest].concat()));
        }
    }
    all
}

/// The invoice that this news leaves, apart from how often and when it was changed.
fn left_by(told: &[orders::Published]) -> Option<Invoice> {
    let mut story = given::<Billing>([]);
    for news in told {
        story = story.later(1);
        story.play(&Billing::react(news).unwrap()).unwrap();
    }
    let entity = story.entities.get(&Invoice::aggregate(order()).key)?;
    entity.as_invoice().map(|invoice| Invoice { version: 0, created_ms: 0, updated_ms: 0, ..invoice.clone() })
}

#[test]
fn news_in_any_order_and_number_leaves_the_same_invoice() {
    for total in [10, 0] {
        for end in [cancelled(), rejected()] {
            let both = [created(total), end.clone()];
            for told in deliveries(&both, 5) {
                // Each once, in the order in which it happened.
                let in_order: Vec<_> = both.iter().filter(|news| told.contains(news)).cloned().collect();
                assert_eq!(left_by(&told), left_by(&in_order), "{told:?}");
            }
            let Some(Invoice { state, amount_due, currency: of, .. }) = left_by(&both) else { panic!("an invoice") };
            assert_eq!((state, amount_due, of), (InvoiceState::Void, money(total), Some(currency("EUR"))));
        }
    }
}

#[test]
fn late_news_of_a_cancelled_order_fills_in_the_figures_once_and_opens_nothing() {
    let mut story = given::<Billing>([]);
    story.play(&close_by(&cancelled())).unwrap();
    let open = Billing::react(&created(10)).unwrap();
    let filled_in = story.play(&open).unwrap();
    assert_eq!((Billing::kind(&filled_in), Billing::publish(&filled_in)), ("invoice_filled_in", Vec::new()));
    let again = story.play(&open).unwrap();
    assert!(matches!(again, Event::ReactionDeclined(it) if it.because == DeclineReason::InvoiceExists));
    let closed = Rejection::InvoiceClosed { state: InvoiceState::Void };
    story.when(payment(10)).then_rejected(closed);
}

#[test]
fn news_that_changes_nothing_leaves_the_time_of_the_last_change() {
    let mut story = invoice_of_10(&[]);
    let updated_ms = invoice(&story).updated_ms;
    story = story.later(5);
    story.play(&Billing::react(&created(10)).unwrap()).unwrap();
    assert_eq!((invoice(&story).updated_ms, invoice(&story).version), (updated_ms, 2));
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (1..8i64).prop_map(payment),
        2 => proptest::option::of(1..8i64).prop_map(refund_of),
        1 => Just(Billing::react(&created(10)).unwrap()),
        1 => prop_oneof![Just(close_by(&cancelled())), Just(close_by(&rejected()))],
    ]
}

proptest! {
    #[test]
    fn refunds_are_at_most_payments_and_payments_at_most_what_is_due(commands in proptest::collection::vec(any_command(), 0..30)) {
        let mut story = given::<Billing>([]);
        let (mut paid, mut returned, mut version) = (0, 0, 0);
        for command in commands {
            let before = story.entities.get(&Invoice::aggregate(order()).key).cloned();
            let Ok(event) = story.play(&command) else { continue };
            version += 1;
            match &event {
                Event::PaymentRecorded(it) => paid += it.amount.minor_units(),
                Event::InvoiceRefunded(it) => returned += it.amount.minor_units(),
                Event::InvoiceOpened(_)
                | Event::InvoiceVoided(_)
                | Event::InvoiceFilledIn(_)
                | Event::ReactionDeclined(_) => {}
            }
            let after = invoice(&story);
            prop_assert_eq!((after.amount_paid.minor_units(), after.amount_refunded.minor_units()), (paid, returned));
            prop_assert!(after.amount_refunded <= after.amount_paid && after.amount_paid <= after.amount_due);
            prop_assert_eq!(after.version, version);
            let Some(Entity::Invoice(before)) = before else { continue };
            if matches!(before.state, InvoiceState::Void | InvoiceState::Refunded) {
                prop_assert_eq!(after.state, before.state, "an ended invoice changed: {:?}", event);
                let fills_in = before.currency.is_none() && matches!(event, Event::InvoiceFilledIn(_));
                prop_assert!(fills_in || matches!(event, Event::ReactionDeclined(_)), "an ended invoice changed");
            }
            if matches!(event, Event::ReactionDeclined(_)) {
                prop_assert_eq!(after, Invoice { version, ..before }, "nothing changes but the count");
            }
        }
    }
}
