//! Customers, and who holds which e-mail address.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expected, Model, counted, holds, text};
use crate::history::Ask;

/// A customer.
#[derive(Clone, Debug, Default)]
pub struct Customer {
    email_key: String,
    /// Whether they may place orders.
    pub active: bool,
    version: i64,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Customers {
    /// By id.
    pub customers: BTreeMap<String, Customer>,
    /// Holder and version, by the address's key.
    claims: BTreeMap<String, (Option<String>, i64)>,
}

impl Customers {
    fn holder(&self, email_key: &str) -> Option<&String> {
        self.claims.get(email_key).and_then(|(holder, _)| holder.as_ref())
    }

    fn claim(&mut self, claim: &Value, holder: Option<String>) -> Result<(), &'static str> {
        if claim.is_null() {
            return Ok(());
        }
        let (held_by, version) = self.claims.entry(text(claim, "email_key")).or_default();
        let is_free = held_by.is_none() || *held_by == holder || holder.is_none();
        *held_by = holder;
        holds(is_free, "an e-mail address has one holder")?;
        counted(version, claim)
    }
}

impl Model for Customers {
    const KINDS: &'static [&'static str] = &["customers", "email_claims"];

    fn apply(&mut self, _name: &str, event: &Value) -> Result<(), &'static str> {
        let facts = &event["customer"];
        let id = text(facts, "customer_id");
        let customer = self.customers.entry(id.clone()).or_default();
        customer.email_key = text(facts, "email_key");
        customer.active = facts["active"] == Value::Bool(true);
        counted(&mut customer.version, facts)?;
        for claimed in ["claimed", "claimed_canonical"] {
            self.claim(&event[claimed], Some(id.clone()))?;
        }
        for freed in ["freed", "freed_canonical"] {
            self.claim(&event[freed], None)?;
        }
        Ok(())
    }

    fn refuses(&self, ask: &Ask) -> bool {
        match ask {
            Ask::CreateCustomer(email) => self.holder(email).is_some(),
            Ask::ChangeEmail(id, email) => {
                !self.customers.contains_key(id) || self.holder(email).is_some_and(|holder| holder != id)
            }
            Ask::Deactivate(id) => !self.customers.contains_key(id),
            _ => false,
        }
    }

    fn rows(&self) -> BTreeMap<(&'static str, String), Expected> {
        let customers = self.customers.iter().map(|(id, it)| {
            let doc = json!({"email_key": it.email_key, "active": it.active, "version": it.version});
            (("customers", id.clone()), ("Customer", doc))
        });
        let claims = self.claims.iter().map(|(key, (holder, version))| {
            (("email_claims", key.clone()), ("EmailClaim", json!({"holder": holder, "version": version})))
        });
        customers.chain(claims).collect()
    }

    fn id(kind: &str, document: &Map<String, Value>) -> Option<String> {
        (kind == "customers").then(|| document["customer_id"].as_str().unwrap_or_default().to_owned())
    }
}
