//! Invoices: money is conserved at any prefix.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expected, Model, counted, holds, number, text};
use crate::history::Ask;

const CONSERVED: &str = "money is conserved at any prefix";

/// An invoice.
#[derive(Clone, Debug, Default)]
pub struct Invoice {
    /// `open`, `paid`, `void` or `refunded`.
    pub state: String,
    due: i64,
    paid: i64,
    refunded: i64,
    version: i64,
    /// How often it came to be paid in full.
    pub n_paid: u64,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Billing {
    /// By order.
    pub invoices: BTreeMap<String, Invoice>,
    /// All that came in, and all that was given back.
    received: i64,
    given_back: i64,
}

impl Model for Billing {
    const KINDS: &'static [&'static str] = &["invoices"];

    fn apply(&mut self, name: &str, event: &Value) -> Result<(), &'static str> {
        let invoice = self.invoices.entry(text(event, "order_id")).or_default();
        let was = std::mem::replace(&mut invoice.state, text(&event["totals"], "state"));
        if name == "ReactionDeclined" {
            invoice.state = was;
            return counted(&mut invoice.version, event);
        }
        let may_be_paid = was.is_empty() || was == "open";
        match name {
            "InvoiceOpened" => {
                invoice.due = number(&event["totals"], "amount_due");
                holds(was.is_empty(), "an invoice is opened once")?;
            }
            "InvoiceFilledIn" => {
                invoice.due = number(&event["totals"], "amount_due");
                holds(was == "void" && invoice.state == "void", "a void invoice stays so")?;
            }
            "PaymentRecorded" => {
                invoice.paid += number(event, "amount");
                self.received += number(event, "amount");
                holds(was == "open", "only an open invoice is paid")?;
            }
            "InvoiceRefunded" => {
                invoice.refunded += number(event, "amount");
                self.given_back += number(event, "amount");
                holds(number(event, "amount") > 0, "a refund gives something back")?;
            }
            _ => holds(may_be_paid || was == "paid", "an invoice ends once")?,
        }
        invoice.n_paid += u64::from(may_be_paid && invoice.state == "paid");
        holds(0 <= invoice.refunded && invoice.refunded <= invoice.paid && invoice.paid <= invoice.due, CONSERVED)?;
        let told = ["amount_due", "amount_paid", "amount_refunded"].map(|field| number(&event["totals"], field));
        holds(told == [invoice.due, invoice.paid, invoice.refunded], CONSERVED)?;
        counted(&mut invoice.version, &event["totals"])?;
        let held: i64 = self.invoices.values().map(|it| it.paid - it.refunded).sum();
        holds(held == self.received - self.given_back, CONSERVED)
    }

    fn refuses(&self, ask: &Ask) -> bool {
        match ask {
            Ask::Pay(order, amount) => {
                self.invoices.get(order).is_none_or(|it| it.state != "open" || *amount > it.due - it.paid)
            }
            Ask::Refund(order, amount) => self.invoices.get(order).is_none_or(|it| {
                let left = it.paid - it.refunded;
                it.state != "paid" || left == 0 || amount.is_some_and(|amount| amount > left)
            }),
            _ => false,
        }
    }

    fn rows(&self) -> BTreeMap<(&'static str, String), Expected> {
        let row = |(order, it): (&String, &Invoice)| {
            let doc = json!({
                "state": it.state, "amount_due": it.due, "amount_paid": it.paid, "amount_refunded": it.refunded,
                "version": it.version,
            });
            (("invoices", order.clone()), ("Invoice", doc))
        };
        self.invoices.iter().map(row).collect()
    }

    fn id(_kind: &str, document: &Map<String, Value>) -> Option<String> {
        Some(document["order_id"].as_str().unwrap_or_default().to_owned())
    }
}
