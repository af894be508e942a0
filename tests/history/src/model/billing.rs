//! Invoices: money is conserved at any prefix.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, At, Document, Model, counted, holds, id_key, number, optional_text, text};
use crate::ask::{Ask, Refusal};

const CONSERVED: &str = "money is conserved at any prefix";

#[derive(Clone, Debug, Default, Serialize)]
pub struct Invoice {
    /// The id of its order.
    pub order_id: String,
    /// The id of the customer who pays.
    pub customer_id: String,
    /// ISO 4217 code; `None` as long as only the order's end is known here.
    pub currency: Option<String>,
    /// `open`, `paid`, `void` or `refunded`.
    pub state: String,
    /// What is to be paid in all, in minor units.
    pub amount_due: i64,
    amount_paid: i64,
    amount_refunded: i64,
    payments: Vec<Value>,
    refunds: Vec<Value>,
    version: i64,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Billing {
    /// By the key of the order's id.
    pub invoices: BTreeMap<Key, Invoice>,
    /// All that came in, and all that was given back.
    received: i64,
    given_back: i64,
}

impl Invoice {
    /// Its figures after an event that makes it `state`, with so much paid and refunded.
    fn totals(&self, state: &str, paid: i64, refunded: i64) -> Value {
        json!({
            "state": state, "amount_due": self.amount_due, "amount_paid": paid, "amount_refunded": refunded,
            "version": self.version + 1,
        })
    }

    fn closed(&self) -> Option<Refusal> {
        let is_closed = matches!(self.state.as_str(), "void" | "refunded");
        is_closed.then(|| Refusal::new("invoice_closed", json!({ "state": self.state })))
    }

    fn pay(&self, id: &str, amount: i64, currency: &str, reference: &str) -> Answer {
        let mut refusals: Vec<_> = self.closed().into_iter().collect();
        if let Some(own) = self.currency.as_ref().filter(|own| *own != currency) {
            refusals.push(Refusal::new("wrong_currency", json!({ "invoice": own, "given": currency })));
        }
        let open = self.amount_due - self.amount_paid;
        if refusals.is_empty() && amount > open {
            refusals.push(Refusal::new("overpayment", json!({ "open_amount": open, "given": amount })));
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let state = if amount == open { "paid" } else { "open" };
        let recorded = json!({
            "payment_id": id, "order_id": self.order_id, "customer_id": self.customer_id, "amount": amount,
            "currency": currency, "reference": reference,
            "totals": self.totals(state, self.amount_paid + amount, self.amount_refunded),
        });
        Ok(("PaymentRecorded", recorded))
    }

    fn refund(&self, amount: Option<i64>, reason: Option<&String>) -> Answer {
        let left = self.amount_paid - self.amount_refunded;
        if self.state != "paid" || left == 0 {
            let not_paid = (self.state != "refunded").then(|| Refusal::new("not_paid", Value::Null));
            return Err(not_paid.into_iter().chain(self.closed()).collect());
        }
        let asked = amount.unwrap_or(left);
        if asked > left {
            return Err(vec![Refusal::new("refund_too_large", json!({ "refundable": left, "asked": asked }))]);
        }
        let state = if asked == left { "refunded" } else { "paid" };
        let refunded = json!({
            "order_id": self.order_id, "customer_id": self.customer_id, "amount": asked, "currency": self.currency,
            "cause": "requested", "reason": reason,
            "totals": self.totals(state, self.amount_paid, self.amount_refunded + asked),
        });
        Ok(("InvoiceRefunded", refunded))
    }

    /// Money came in or was given back.
    fn book(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let was = self.state.as_str();
        match name {
            "InvoiceOpened" => {
                self.amount_due = number(&event["totals"], "amount_due");
                holds(was.is_empty(), "an invoice is opened once")
            }
            "InvoiceFilledIn" => {
                self.amount_due = number(&event["totals"], "amount_due");
                holds(was == "void" && self.currency.is_none(), "a void invoice stays so")
            }
            "PaymentRecorded" => {
                let [id, reference] = ["payment_id", "reference"].map(|field| text(event, field));
                let amount = number(event, "amount");
                self.payments.push(json!({
                    "payment_id": id, "amount": amount, "reference": reference, "at_ms": at.time_ms,
                }));
                self.amount_paid += amount;
                holds(was == "open", "only an open invoice is paid")
            }
            "InvoiceRefunded" => {
                let (amount, cause) = (number(event, "amount"), text(event, "cause"));
                let left = self.amount_paid - self.amount_refunded;
                self.refunds.push(json!({
                    "amount": amount, "cause": cause, "reason": event["reason"], "at_ms": at.time_ms,
                }));
                self.amount_refunded += amount;
                holds(amount > 0, "a refund gives something back")?;
                holds(cause == "requested" || amount == left, "an order that ends is refunded as a whole")
            }
            _ => holds(matches!(was, "" | "open" | "paid"), "an invoice ends once"),
        }
    }
}

impl Billing {
    fn find(&self, order: &str) -> Result<&Invoice, Vec<Refusal>> {
        let unknown = || vec![Refusal::new("unknown_order", json!({ "order_id": order }))];
        self.invoices.get(&id_key(order)).ok_or_else(unknown)
    }
}

impl Model for Billing {
    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let id = text(event, "order_id");
        let invoice = self.invoices.entry(id_key(&id)).or_default();
        if invoice.version == 0 {
            (invoice.order_id, invoice.created_ms) = (id, at.time_ms);
            invoice.customer_id = text(event, "customer_id");
        }
        if name == "ReactionDeclined" {
            return counted(&mut invoice.version, event);
        }
        let booked = invoice.book(at, name, event);
        invoice.state = text(&event["totals"], "state");
        invoice.updated_ms = at.time_ms;
        if matches!(name, "InvoiceOpened" | "InvoiceFilledIn") {
            invoice.currency = optional_text(event, "currency");
        }
        booked?;
        holds(event["customer_id"] == *invoice.customer_id, "an invoice stays its customer's")?;
        let is_own = event["currency"].is_null() || optional_text(event, "currency") == invoice.currency;
        holds(is_own, "an invoice has one currency")?;
        let Invoice { amount_due: due, amount_paid: paid, amount_refunded: refunded, .. } = *invoice;
        holds(0 <= refunded && refunded <= paid && paid <= due, CONSERVED)?;
        let carried = ["amount_due", "amount_paid", "amount_refunded"].map(|field| number(&event["totals"], field));
        holds(carried == [due, paid, refunded], CONSERVED)?;
        counted(&mut invoice.version, &event["totals"])?;
        match name {
            "PaymentRecorded" => self.received += number(event, "amount"),
            "InvoiceRefunded" => self.given_back += number(event, "amount"),
            _ => {}
        }
        let held: i64 = self.invoices.values().map(|it| it.amount_paid - it.amount_refunded).sum();
        holds(held == self.received - self.given_back, CONSERVED)
    }

    fn answer(&self, ask: &Ask, minted: &str, _now_ms: i64) -> Answer {
        match ask {
            Ask::Pay { order, amount, currency, reference } => {
                self.find(order)?.pay(minted, *amount, currency, reference)
            }
            Ask::Refund { order, amount, reason } => self.find(order)?.refund(*amount, reason.as_ref()),
            _ => Err(Vec::new()),
        }
    }

    fn target(ask: &Ask) -> Option<Key> {
        match ask {
            Ask::Pay { order, .. } | Ask::Refund { order, .. } => Some(id_key(order)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.invoices.keys().copied().collect()
    }

    fn row(&self, key: Key) -> Option<Document> {
        Some(("invoices", json!({ "Invoice": self.invoices.get(&key)? })))
    }
}
