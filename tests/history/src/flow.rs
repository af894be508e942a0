//! At rest every order has come to an end over all services.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde_json::json;

use crate::{
    history::{Fault, History, fault},
    model::{
        billing::Invoice,
        customers::Customer,
        inventory::{Reservation, reservation_key},
        orders::{Order, added_up},
    },
    replay::Models,
};

const ENDS: &str = "every order reaches an end";

pub fn check(history: &History, models: &Models, faults: &mut Vec<Fault>) {
    for (key, order) in &models.orders.orders {
        let id = &order.order_id;
        let reservation = models.inventory.reservations.get(&reservation_key(&json!({ "order": id })));
        let invoice = models.billing.invoices.get(key);
        let (of_reservation, of_invoice) =
            (reservation.map_or("", |it| it.state), invoice.map_or("", |invoice| invoice.state.as_str()));
        let found = || {
            format!(
                "{id} is {} and {}, its reservation {of_reservation}, its invoice {of_invoice}",
                order.state, order.payment
            )
        };
        let is_ended = match order.state {
            // Nobody placed it: an older log was restored under those who had heard of it.
            "" => true,
            "confirmed" => of_reservation == "held" && matches!(of_invoice, "open" | "paid" | "refunded"),
            "fulfilled" => of_reservation == "committed" && matches!(of_invoice, "paid" | "refunded"),
            "rejected" => of_reservation == "rejected" && matches!(of_invoice, "void" | "refunded"),
            "cancelled" => {
                matches!(of_reservation, "released" | "rejected") && matches!(of_invoice, "void" | "refunded")
            }
            _ => false,
        };
        if !is_ended {
            fault(faults, ENDS, found());
        }
        let is_paid_as = match of_invoice {
            "paid" => order.payment == "paid",
            "refunded" => order.payment == "refunded" || order.payment == "unpaid" && order.state == "rejected",
            // Nothing was due, which is paid from the beginning.
            "void" => order.payment == "unpaid" || order.total == 0 && order.payment == "paid",
            _ => order.payment == "unpaid",
        };
        // Given back in part before it was ever paid in full, an order was never paid; then billing tells of the refund only.
        if !order.state.is_empty() && !is_paid_as {
            fault(faults, ENDS, found());
        }
        if !order.state.is_empty() {
            is_as_ordered(order, reservation, invoice, faults);
        }
    }
    known_customers(history, models, faults);
}

/// Reservation and invoice are of what was ordered, and the order was rejected for what its reservation says.
fn is_as_ordered(order: &Order, reservation: Option<&Reservation>, invoice: Option<&Invoice>, faults: &mut Vec<Fault>) {
    let mut wanted = added_up(&order.lines);
    wanted.sort_by(|one, other| one.sku.cmp(&other.sku));
    let is_reserved = reservation.is_none_or(|it| it.lines.is_empty() || it.lines == wanted);
    let is_refused = order.rejection.is_none() || reservation.is_some_and(|it| it.rejection == order.rejection);
    let is_due = invoice.is_none_or(|invoice| {
        let due = (&invoice.customer_id, invoice.currency.as_ref(), invoice.amount_due);
        due == (&order.customer_id, Some(&order.currency), order.total)
    });
    if !(is_reserved && is_refused && is_due) {
        let detail = format!("{order:?}: {reservation:?}, {invoice:?}");
        fault(faults, "reservation and invoice are of what was ordered", detail);
    }
}

/// What orders has copied of customers is what was published of each last, and nothing else.
fn known_customers(history: &History, models: &Models, faults: &mut Vec<Fault>) {
    let Some(rows) = history.rows.get("orders") else { return };
    let known: BTreeMap<_, _> =
        rows.iter().filter(|row| row.kind == "known_customers").map(|row| (row.key, row.doc.clone())).collect();
    let is_as_published = |it: &Customer| {
        let published = json!({ "customer_id": it.customer_id, "active": it.active, "version": it.published_version });
        (Key::named("known_customer", &it.customer_id), json!({ "KnownCustomer": published }))
    };
    let wanted: BTreeMap<_, _> = models.customers.customers.values().map(is_as_published).collect();
    for key in known.keys().chain(wanted.keys()).filter(|key| known.get(key) != wanted.get(key)) {
        let detail = format!("{:?}, not {:?}", known.get(key), wanted.get(key));
        fault(faults, "copied facts are as their owner has them", detail);
    }
}
