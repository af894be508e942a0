//! Customers, and who has which e-mail address.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, At, Document, Model, counted, holds, id_key, number, optional_text, text};
use crate::ask::{Address, Ask, Refusal};

const ONE_HOLDER: &str = "an e-mail address has one holder";

#[derive(Clone, Debug, Default, Serialize)]
pub struct Customer {
    pub customer_id: String,
    name: String,
    email: String,
    email_key: String,
    canonical_key: Option<String>,
    /// Whether they may place orders.
    pub active: bool,
    pub version: i64,
    created_ms: i64,
    updated_ms: i64,
    /// The version that was published last.
    #[serde(skip)]
    pub published_version: i64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Claim {
    holder: Option<String>,
    version: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Customers {
    /// By the key of the id.
    pub customers: BTreeMap<Key, Customer>,
    /// By the address's key.
    claims: BTreeMap<Key, Claim>,
}

/// One spelling for all spellings of an address, as far as clients here use several: case, composed letters, the DNS form of a domain
/// and characters that nobody sees.
fn mailbox(address: &str) -> String {
    visible(address).to_lowercase().replace("e\u{301}", "\u{e9}").replace("b\u{fc}cher", "xn--bcher-kva")
}

/// Without characters that nobody sees.
fn visible(address: &str) -> String {
    address.replace('\u{200b}', "")
}

/// A key, as it is in JSON.
fn in_json(key: Key) -> String {
    String::from(key)
}

fn from_json(key: &str) -> Key {
    Key::try_from(key.to_owned()).unwrap_or(Key::GENESIS)
}

impl Customers {
    /// Whether somebody else has this address, however it is spelled. Who gave it up has it no longer; who is inactive still has it.
    fn is_taken(&self, address: &Address, by_other_than: Option<&str>) -> bool {
        let wanted = mailbox(&address.text);
        let mut others = self.customers.values().filter(|it| Some(it.customer_id.as_str()) != by_other_than);
        others.any(|it| mailbox(&it.email) == wanted)
    }

    fn next_claim(&self, key: &str) -> Value {
        let version = self.claims.get(&from_json(key)).map_or(0, |claim| claim.version);
        json!({ "email_key": key, "version": version + 1 })
    }

    fn create(&self, id: &str, name: &str, email: &Address) -> Answer {
        if self.is_taken(email, None) {
            return Err(vec![Refusal::new("duplicate_email", Value::Null)]);
        }
        let facts = json!({
            "customer_id": id, "name": name, "email": visible(&email.text), "email_key": email.key,
            "canonical_key": email.canonical_key, "active": true, "version": 1,
        });
        let canonical = email.canonical_key.map(|key| self.next_claim(&in_json(key)));
        let claimed = self.next_claim(&in_json(email.key));
        Ok(("CustomerCreated", json!({ "customer": facts, "claimed": claimed, "claimed_canonical": canonical })))
    }

    fn find(&self, id: &str) -> Result<&Customer, Vec<Refusal>> {
        let unknown = || vec![Refusal::new("unknown_customer", json!({ "customer_id": id }))];
        self.customers.get(&id_key(id)).ok_or_else(unknown)
    }

    fn update(&self, id: &str, name: Option<&String>, email: Option<&Address>) -> Answer {
        let customer = self.find(id)?;
        if email.is_some_and(|email| self.is_taken(email, Some(id))) {
            return Err(vec![Refusal::new("duplicate_email", Value::Null)]);
        }
        // The very same text is no change.
        let email = email.filter(|email| visible(&email.text) != customer.email);
        let name = name.unwrap_or(&customer.name);
        if *name == customer.name && email.is_none() {
            return Ok(("CustomerUnchanged", json!({ "customer": facts_after(customer) })));
        }
        let mut facts = facts_after(customer);
        facts["name"] = json!(name);
        let Some(email) = email else {
            return Ok(("CustomerUpdated", json!({ "customer": facts })));
        };
        facts["email"] = json!(visible(&email.text));
        facts["email_key"] = json!(email.key);
        facts["canonical_key"] = json!(email.canonical_key);
        let new: Vec<_> = [Some(email.key), email.canonical_key].into_iter().flatten().map(in_json).collect();
        let given_up = |key: &String| (!new.contains(key)).then(|| self.next_claim(key));
        let updated = json!({
            "customer": facts,
            "claimed": self.next_claim(&new[0]),
            "claimed_canonical": new.get(1).map(|key| self.next_claim(key)),
            "freed": given_up(&customer.email_key),
            "freed_canonical": customer.canonical_key.as_ref().and_then(given_up),
        });
        Ok(("CustomerUpdated", updated))
    }

    fn deactivate(&self, id: &str) -> Answer {
        let customer = self.find(id)?;
        let mut facts = facts_after(customer);
        facts["active"] = json!(false);
        Ok((if customer.active { "CustomerDeactivated" } else { "CustomerUnchanged" }, json!({ "customer": facts })))
    }

    fn claim(&mut self, claim: &Value, holder: Option<String>) -> Result<(), &'static str> {
        if claim.is_null() {
            return Ok(());
        }
        let held = self.claims.entry(from_json(&text(claim, "email_key"))).or_default();
        let is_free = held.holder.is_none() || held.holder == holder || holder.is_none();
        held.holder = holder;
        holds(is_free, ONE_HOLDER)?;
        counted(&mut held.version, claim)
    }

    /// Every customer holds the keys of their address, and nobody holds any other key.
    fn is_held_by_owners(&self) -> bool {
        let has = |key: &Key, id: &String| {
            let customer = self.customers.get(&id_key(id));
            let keys = customer.map(|it| [Some(&it.email_key), it.canonical_key.as_ref()]);
            keys.into_iter().flatten().flatten().any(|it| from_json(it) == *key)
        };
        let held = self.claims.iter().filter_map(|(key, claim)| Some((key, claim.holder.as_ref()?)));
        let n_keys: usize = self.customers.values().map(|it| 1 + usize::from(it.canonical_key.is_some())).sum();
        held.clone().count() == n_keys && held.clone().all(|(key, id)| has(key, id))
    }
}

/// The customer in the next event about them, before that changes anything.
fn facts_after(customer: &Customer) -> Value {
    json!({
        "customer_id": customer.customer_id, "name": customer.name, "email": customer.email,
        "email_key": customer.email_key, "canonical_key": customer.canonical_key, "active": customer.active,
        "version": customer.version + 1,
    })
}

impl Model for Customers {
    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let facts = &event["customer"];
        let id = text(facts, "customer_id");
        let customer = self.customers.entry(id_key(&id)).or_default();
        let was_there = customer.version > 0;
        customer.customer_id.clone_from(&id);
        customer.name = text(facts, "name");
        customer.email = text(facts, "email");
        customer.email_key = text(facts, "email_key");
        customer.canonical_key = optional_text(facts, "canonical_key");
        customer.active = facts["active"] == Value::Bool(true);
        if !was_there {
            customer.created_ms = at.time_ms;
        }
        if matches!(name, "CustomerCreated" | "CustomerUpdated" | "CustomerDeactivated") {
            customer.updated_ms = at.time_ms;
            customer.published_version = number(facts, "version");
        }
        counted(&mut customer.version, facts)?;
        holds(was_there != (name == "CustomerCreated"), "a customer is created once")?;
        for claimed in ["claimed", "claimed_canonical"] {
            self.claim(&event[claimed], Some(id.clone()))?;
        }
        for freed in ["freed", "freed_canonical"] {
            self.claim(&event[freed], None)?;
        }
        holds(self.is_held_by_owners(), "who has an address holds its keys, and no others")
    }

    fn answer(&self, ask: &Ask, minted: &str, _now_ms: i64) -> Answer {
        match ask {
            Ask::CreateCustomer { name, email } => self.create(minted, name, email),
            Ask::UpdateCustomer { customer, name, email } => self.update(customer, name.as_ref(), email.as_ref()),
            Ask::Deactivate { customer } => self.deactivate(customer),
            _ => Err(Vec::new()),
        }
    }

    fn target(ask: &Ask) -> Option<Key> {
        match ask {
            Ask::UpdateCustomer { customer, .. } | Ask::Deactivate { customer } => Some(id_key(customer)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.customers.keys().chain(self.claims.keys()).copied().collect()
    }

    fn row(&self, key: Key) -> Option<Document> {
        let customer = self.customers.get(&key).map(|it| ("customers", json!({ "Customer": it })));
        customer.or_else(|| self.claims.get(&key).map(|it| ("email_claims", json!({ "EmailClaim": it }))))
    }
}
