//! At rest every order has come to an end over all services.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    history::{Fault, History, fault},
    refusals::Models,
};

const ENDS: &str = "every order reaches an end";

/// Check it.
pub fn check(history: &History, models: &Models, faults: &mut Vec<Fault>) {
    for (id, order) in &models.orders.orders {
        let reservation = models.inventory.reservations.get(&json!({ "order": id }).to_string());
        let reservation = reservation.map_or("", |reservation| reservation.state);
        let invoice = models.billing.invoices.get(id).map_or("", |invoice| invoice.state.as_str());
        let found = || {
            format!(
                "{id} is {} and {}, its reservation {reservation}, its invoice {invoice}",
                order.state, order.payment
            )
        };
        let is_ended = match order.state {
            // Nobody placed it: an older log was restored under those who had heard of it.
            "" => true,
            "confirmed" => reservation == "held" && matches!(invoice, "open" | "paid" | "refunded"),
            "fulfilled" => reservation == "committed" && matches!(invoice, "paid" | "refunded"),
            "rejected" => reservation == "rejected" && matches!(invoice, "void" | "refunded"),
            "cancelled" => matches!(reservation, "released" | "rejected") && matches!(invoice, "void" | "refunded"),
            _ => false,
        };
        if !is_ended {
            fault(faults, ENDS, found());
        }
        let is_paid_as = match invoice {
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
    }
    known_customers(history, models, faults);
}

/// What orders has copied of customers is how they are.
fn known_customers(history: &History, models: &Models, faults: &mut Vec<Fault>) {
    let Some(rows) = history.rows.get("orders") else { return };
    let known: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|row| row.doc.get("KnownCustomer"))
        .map(|known| (known["customer_id"].as_str().unwrap_or_default(), &known["active"]))
        .collect();
    for (id, customer) in &models.customers.customers {
        if known.get(id.as_str()).is_none_or(|active| **active != customer.active) {
            fault(faults, "copied facts are as their owner has them", format!("{id}: {:?}", known.get(id.as_str())));
        }
    }
}
