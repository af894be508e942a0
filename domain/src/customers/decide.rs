//! How the customers service decides. One function per command, guards first.

use uuid::Uuid;

use crate::{
    decider::{At, Decider, Kind, Millis, Ref, View},
    key::Key,
    public::Public,
    values::{CustomerId, Email, Name},
};

use super::{
    Customers,
    commands::{Command, Rejection},
    events::{Claim, CustomerCreated, CustomerDeactivated, CustomerFacts, CustomerUnchanged, CustomerUpdated, Event},
    react,
    state::{CUSTOMERS, Customer, EMAIL_CLAIMS, EmailClaim, Entity},
};

impl Decider for Customers {
    const JOURNAL: &'static str = "customers";
    const KINDS: &'static [Kind] = &[CUSTOMERS, EMAIL_CLAIMS];
    const REACTS_TO: &'static [&'static str] = &[];
    const COPIES: &'static [&'static str] = &[];

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;

    fn decide(command: &Command, view: &View<'_, Entity>, _now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Create { customer_id, name, email, email_key } => {
                create(view, *customer_id, name, email, *email_key)
            }
            Command::Update { customer_id, name, email } => update(view, *customer_id, name.as_ref(), email.as_ref()),
            Command::Deactivate { customer_id } => deactivate(view, *customer_id),
        }
    }

    fn target(command: &Command) -> Option<Ref> {
        command.target()
    }

    fn kind(event: &Event) -> &'static str {
        match event {
            Event::CustomerCreated(_) => "customer_created",
            Event::CustomerUpdated(_) => "customer_updated",
            Event::CustomerDeactivated(_) => "customer_deactivated",
            Event::CustomerUnchanged(_) => "customer_unchanged",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        let customer = Customer::aggregate(event.customer().customer_id);
        let customer = match event {
            Event::CustomerCreated(_) => Ref::minted(customer.kind, customer.key),
            Event::CustomerUpdated(_) | Event::CustomerDeactivated(_) | Event::CustomerUnchanged(_) => customer,
        };
        let claims = claims_changed(event).map(|(_, claim)| EmailClaim::aggregate(claim.email_key));
        std::iter::once(customer).chain(claims).collect()
    }

    fn evolve(entity: Option<Entity>, which: usize, event: &Event, at: &At) -> Entity {
        match which.checked_sub(1).and_then(|which_claim| claims_changed(event).nth(which_claim)) {
            Some((holder, claim)) => Entity::EmailClaim(EmailClaim { holder, version: claim.version }),
            None => Entity::Customer(customer_after(entity.as_ref().and_then(Entity::as_customer), event, at)),
        }
    }

    fn publish(event: &Event) -> Vec<Public> {
        react::publish(event)
    }

    fn react(_event: &Public) -> Option<Command> {
        None
    }

    fn copy(_event: &Public) -> Option<(Ref, u64, Entity)> {
        None
    }

    fn awaits(rejection: &Rejection) -> Option<Uuid> {
        match rejection {
            Rejection::EmailTaken | Rejection::UnknownCustomer { .. } => None,
        }
    }
}

/// The claims that `event` changes and who holds each afterwards, in the order of [`Decider::touches`].
fn claims_changed(event: &Event) -> impl Iterator<Item = (Option<CustomerId>, &Claim)> {
    let (claimed, freed) = match event {
        Event::CustomerCreated(created) => (Some(&created.claimed), None),
        Event::CustomerUpdated(updated) => (updated.claimed.as_ref(), updated.freed.as_ref()),
        Event::CustomerDeactivated(_) | Event::CustomerUnchanged(_) => (None, None),
    };
    let holder = Some(event.customer().customer_id);
    claimed.map(|claim| (holder, claim)).into_iter().chain(freed.map(|claim| (None, claim)))
}

fn customer_after(before: Option<&Customer>, event: &Event, at: &At) -> Customer {
    let facts = event.customer();
    let changed_ms = match event {
        Event::CustomerCreated(_) | Event::CustomerUpdated(_) | Event::CustomerDeactivated(_) => None,
        Event::CustomerUnchanged(_) => before.map(|customer| customer.updated_ms),
    };
    Customer {
        customer_id: facts.customer_id,
        name: facts.name.clone(),
        email: facts.email.clone(),
        email_key: facts.email_key,
        active: facts.active,
        version: facts.version,
        created_ms: before.map_or(at.time_ms, |customer| customer.created_ms),
        updated_ms: changed_ms.unwrap_or(at.time_ms),
    }
}

fn create(
    view: &View<'_, Entity>,
    customer_id: CustomerId,
    name: &Name,
    email: &Email,
    email_key: Key,
) -> Result<Event, Rejection> {
    let claim = claim_in(view, email_key);
    if claim.is_some_and(|claim| claim.holder.is_some()) {
        return Err(Rejection::EmailTaken);
    }
    Ok(Event::CustomerCreated(CustomerCreated {
        customer: CustomerFacts {
            customer_id,
            name: name.clone(),
            email: email.clone(),
            email_key,
            active: true,
            version: 1,
        },
        claimed: next_claim(email_key, claim),
    }))
}

fn update(
    view: &View<'_, Entity>,
    customer_id: CustomerId,
    name: Option<&Name>,
    email: Option<&(Email, Key)>,
) -> Result<Event, Rejection> {
    let customer = customer_in(view, customer_id);
    let wanted = email.map(|(_, key)| (*key, claim_in(view, *key)));
    // The old claim is known only once the customer is: the core asks again when it has loaded that.
    let old_key = customer.map(|customer| customer.email_key).filter(|old| wanted.is_some_and(|(new, _)| new != *old));
    let old = old_key.map(|key| (key, claim_in(view, key)));

    let customer = customer.ok_or(Rejection::UnknownCustomer { customer_id })?;
    if wanted.and_then(|(_, claim)| claim?.holder).is_some_and(|holder| holder != customer_id) {
        return Err(Rejection::EmailTaken);
    }
    let mut facts = next_facts(customer);
    if let Some(name) = name {
        facts.name = name.clone();
    }
    if let Some((email, email_key)) = email {
        facts.email = email.clone();
        facts.email_key = *email_key;
    }
    if facts.name == customer.name && facts.email == customer.email {
        return Ok(Event::CustomerUnchanged(CustomerUnchanged { customer: facts }));
    }
    Ok(Event::CustomerUpdated(CustomerUpdated {
        customer: facts,
        claimed: wanted.map(|(key, claim)| next_claim(key, claim)),
        freed: old.map(|(key, claim)| next_claim(key, claim)),
    }))
}

fn deactivate(view: &View<'_, Entity>, customer_id: CustomerId) -> Result<Event, Rejection> {
    let customer = customer_in(view, customer_id).ok_or(Rejection::UnknownCustomer { customer_id })?;
    let facts = next_facts(customer);
    if !customer.active {
        return Ok(Event::CustomerUnchanged(CustomerUnchanged { customer: facts }));
    }
    Ok(Event::CustomerDeactivated(CustomerDeactivated { customer: CustomerFacts { active: false, ..facts } }))
}

fn customer_in<'a>(view: &View<'a, Entity>, customer_id: CustomerId) -> Option<&'a Customer> {
    view.get(&Customer::aggregate(customer_id)).and_then(Entity::as_customer)
}

fn claim_in<'a>(view: &View<'a, Entity>, email_key: Key) -> Option<&'a EmailClaim> {
    view.get(&EmailClaim::aggregate(email_key)).and_then(Entity::as_email_claim)
}

fn next_facts(customer: &Customer) -> CustomerFacts {
    CustomerFacts {
        customer_id: customer.customer_id,
        name: customer.name.clone(),
        email: customer.email.clone(),
        email_key: customer.email_key,
        active: customer.active,
        version: customer.version + 1,
    }
}

fn next_claim(email_key: Key, claim: Option<&EmailClaim>) -> Claim {
    Claim { email_key, version: claim.map_or(0, |claim| claim.version) + 1 }
}

#[cfg(test)]
mod tests;
