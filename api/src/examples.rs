//! The example of each code is the text that its rejection has.

use orderlog_core::decider::Decider;
use orderlog_domain::{
    billing, customers,
    inventory::{self, ReservationId, ReservationState, Shortage, ShortageReason},
    notifications, orders,
    values::{Currency, CustomerId, Money, NotificationId, OrderId, ReservationName, Sku},
};
use orderlog_http::{problem::Problem, service::ServiceDefinition};
use uuid::Uuid;

use crate::{
    billing::BillingService, customers::CustomersService, inventory::InventoryService,
    notifications::NotificationsService, orders::OrdersService,
};

/// Checks the example of the code of each rejection.
fn check<S: ServiceDefinition>(rejections: impl IntoIterator<Item = <S::Decider as Decider>::Rejection>) {
    for rejection in rejections {
        let problem = Problem::from(S::problem_of(rejection));
        let code = S::CODES.iter().find(|code| code.name == problem.code).expect("a code of the service");
        assert_eq!(problem.detail, code.detail, "{}", code.name);
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn beans() -> Sku {
    Sku::new("espresso-beans-1kg").unwrap()
}

#[test]
fn a_code_of_customers_and_notifications_has_the_text_of_its_rejection() {
    use customers::Rejection;
    check::<CustomersService>([Rejection::EmailTaken, Rejection::UnknownCustomer { customer_id: CustomerId(id(1)) }]);
    let notification_id = NotificationId(id(3));
    check::<NotificationsService>([notifications::Rejection::UnknownNotification { notification_id }]);
}

#[test]
fn a_code_of_orders_has_the_text_of_its_rejection() {
    use orders::{Action, OrderState, Payment, Rejection};
    let order_id = OrderId(id(2));
    check::<OrdersService>([
        Rejection::NoLines,
        Rejection::TooManyLines { given: 101, max: 100 },
        Rejection::TotalTooLarge { max: Money::MAX },
        Rejection::QuantityTooLarge { sku: beans(), max: 1_000_000 },
        Rejection::CustomerInactive { customer_id: CustomerId(id(1)) },
        Rejection::UnknownOrder { order_id },
        Rejection::IllegalTransition { order_id, from: OrderState::Fulfilled, action: Action::Cancel },
        Rejection::NotPaid { order_id, payment: Payment::Unpaid },
    ]);
}

#[test]
fn a_code_of_inventory_has_the_text_of_its_rejection() {
    use inventory::Rejection;
    let reservation = ReservationId::Caller(ReservationName::new("cart-4711").unwrap());
    let short = Shortage { sku: beans(), requested: 99, available: 8 };
    check::<InventoryService>([
        Rejection::UnknownSku { sku: beans() },
        Rejection::TooMuchStock { sku: beans(), on_hand: 999_999_999, max: inventory::MAX_ON_HAND },
        Rejection::AdjustedBelowReserved { sku: beans(), delta: -9, on_hand: 10, reserved: 2 },
        Rejection::NotEnoughStock { reason: ShortageReason::OutOfStock, shortages: vec![short] },
        Rejection::ReservationExists { reservation: reservation.clone() },
        Rejection::ReservationEnded { reservation: reservation.clone(), state: ReservationState::Expired },
        Rejection::UnknownReservation { reservation },
    ]);
}

#[test]
fn a_code_of_billing_has_the_text_of_its_rejection() {
    use billing::{InvoiceState, Rejection};
    let (less, more) = (Money::new(1890).unwrap(), Money::new(3780).unwrap());
    check::<BillingService>([
        Rejection::WrongCurrency { invoice: Currency::new("EUR").unwrap(), given: Currency::new("USD").unwrap() },
        Rejection::Overpayment { open_amount: less, given: more },
        Rejection::InvoiceClosed { state: InvoiceState::Void },
        Rejection::RefundTooLarge { refundable: less, asked: more },
    ]);
}
