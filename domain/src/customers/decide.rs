//! Decisions of the customers service. One function per command, guards first.

use orderlog_core::{
    decider::{At, Decider, Millis, Ref, View},
    key::Key,
    public::Nothing,
};

use crate::{
    planted::Bug,
    values::{CustomerId, Name},
};

use super::{
    Customers,
    address::Address,
    commands::{Command, Rejection},
    events::{
        Claim, CustomerCreated, CustomerDeactivated, CustomerEmailKeyClaimed, CustomerFacts, CustomerUnchanged,
        CustomerUpdated, Event,
    },
    public::Published,
    react,
    state::{Customer, EmailClaim, Entity},
};

impl Decider for Customers {
    const JOURNAL: &'static str = "customers";

    type Command = Command;
    type Event = Event;
    type Entity = Entity;
    type Rejection = Rejection;
    type Published = Published;
    type Heard = Nothing;

    fn decide(command: &Command, view: &View<'_, Entity>, _now: Millis) -> Result<Event, Rejection> {
        match command {
            Command::Create { customer_id, name, address } => create(view, *customer_id, name, address),
            Command::Update { customer_id, name, address } => {
                update(view, *customer_id, name.as_ref(), address.as_ref())
            }
            Command::Deactivate { customer_id } => deactivate(view, *customer_id),
            Command::ClaimEmailKey { customer_id, address } => claim_email_key(view, *customer_id, address),
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
            Event::CustomerEmailKeyClaimed(_) => "customer_email_key_claimed",
        }
    }

    fn touches(event: &Event) -> Vec<Ref> {
        let customer = Customer::aggregate(event.customer().customer_id);
        let customer = match event {
            Event::CustomerCreated(_) => Ref::minted(customer.kind, customer.key),
            Event::CustomerUpdated(_)
            | Event::CustomerDeactivated(_)
            | Event::CustomerUnchanged(_)
            | Event::CustomerEmailKeyClaimed(_) => customer,
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

    fn publish(event: &Event) -> Vec<Published> {
        react::publish(event)
    }
}

/// The claims that `event` changes, each with its new holder, in the order of [`Decider::touches`].
fn claims_changed(event: &Event) -> impl Iterator<Item = (Option<CustomerId>, &Claim)> {
    let (claimed, freed) = match event {
        Event::CustomerCreated(created) => ([Some(&created.claimed), created.claimed_canonical.as_ref()], [None, None]),
        Event::CustomerUpdated(updated) => (
            [updated.claimed.as_ref(), updated.claimed_canonical.as_ref()],
            [updated.freed.as_ref(), updated.freed_canonical.as_ref()],
        ),
        Event::CustomerEmailKeyClaimed(also) => ([Some(&also.claimed), None], [None, None]),
        Event::CustomerDeactivated(_) | Event::CustomerUnchanged(_) => ([None, None], [None, None]),
    };
    let holder = Some(event.customer().customer_id);
    let claimed = claimed.into_iter().flatten().map(move |claim| (holder, claim));
    claimed.chain(freed.into_iter().flatten().map(|claim| (None, claim)))
}

fn customer_after(before: Option<&Customer>, event: &Event, at: &At) -> Customer {
    let facts = event.customer();
    let changed_ms = match event {
        Event::CustomerCreated(_) | Event::CustomerUpdated(_) | Event::CustomerDeactivated(_) => None,
        Event::CustomerUnchanged(_) | Event::CustomerEmailKeyClaimed(_) => before.map(|customer| customer.updated_ms),
    };
    Customer {
        customer_id: facts.customer_id,
        name: facts.name.clone(),
        email: facts.email.clone(),
        email_key: facts.email_key,
        canonical_key: facts.canonical_key,
        active: facts.active,
        version: facts.version,
        created_ms: before
            .filter(|_| !Bug::ForgetCreation.is_loose())
            .map_or(at.time_ms, |customer| customer.created_ms),
        updated_ms: changed_ms.unwrap_or(at.time_ms),
    }
}

fn create(
    view: &View<'_, Entity>,
    customer_id: CustomerId,
    name: &Name,
    address: &Address,
) -> Result<Event, Rejection> {
    let claimed = claim_in(view, address.email_key);
    let canonical = address.canonical_key.map(|key| (key, claim_in(view, key)));
    if claimed.into_iter().chain(canonical.and_then(|(_, claim)| claim)).any(|claim| claim.holder.is_some()) {
        return Err(Rejection::EmailTaken);
    }
    Ok(Event::CustomerCreated(CustomerCreated {
        customer: CustomerFacts {
            customer_id,
            name: name.clone(),
            email: address.email.visible(),
            email_key: address.email_key,
            canonical_key: address.canonical_key,
            active: true,
            version: 1,
        },
        claimed: next_claim(address.email_key, claimed),
        claimed_canonical: canonical.map(|(key, claim)| next_claim(key, claim)),
    }))
}

fn update(
    view: &View<'_, Entity>,
    customer_id: CustomerId,
    name: Option<&Name>,
    address: Option<&Address>,
) -> Result<Event, Rejection> {
    let customer = customer_in(view, customer_id);
    // An unchanged address needs no claim. Two customers may share an address in different spellings since an earlier
    // version, and each can still be sent back unchanged.
    let is_other = |address: &&Address| {
        customer.is_none_or(|customer| ![&address.email, &address.email.visible()].contains(&&customer.email))
    };
    let wanted = address.filter(is_other);
    let next = |key: Option<Key>| key.map(|key| (key, claim_in(view, key)));
    let (claimed, claimed_canonical) =
        (next(wanted.map(|address| address.email_key)), next(wanted.and_then(|address| address.canonical_key)));
    // The old claims are known only once the customer is. The core decides again after loading them.
    let freed =
        |key: Option<Key>| next(key.filter(|key| wanted.is_some_and(|address| address.keys().all(|it| it != *key))));
    let (freed, freed_canonical) = (
        freed(customer.map(|customer| customer.email_key)),
        freed(customer.and_then(|customer| customer.canonical_key)),
    );

    let customer = customer.ok_or(Rejection::UnknownCustomer { customer_id })?;
    let mut holders = [claimed, claimed_canonical].into_iter().flatten().filter_map(|(_, claim)| claim?.holder);
    if holders.any(|holder| holder != customer_id) {
        return Err(Rejection::EmailTaken);
    }
    let mut facts = next_facts(customer);
    if let Some(name) = name {
        facts.name = name.clone();
    }
    if let Some(address) = wanted {
        facts.email = address.email.visible();
        (facts.email_key, facts.canonical_key) = (address.email_key, address.canonical_key);
    }
    if facts.name == customer.name && facts.email == customer.email {
        return Ok(Event::CustomerUnchanged(CustomerUnchanged { customer: facts }));
    }
    let changed = |claim: Option<(Key, Option<&EmailClaim>)>| claim.map(|(key, claim)| next_claim(key, claim));
    Ok(Event::CustomerUpdated(CustomerUpdated {
        customer: facts,
        claimed: changed(claimed),
        freed: changed(freed.filter(|_| !Bug::KeepGivenUp.is_loose())),
        claimed_canonical: changed(claimed_canonical),
        freed_canonical: changed(freed_canonical),
    }))
}

fn claim_email_key(view: &View<'_, Entity>, customer_id: CustomerId, address: &Address) -> Result<Event, Rejection> {
    let customer = customer_in(view, customer_id);
    let canonical = address.canonical_key.map(|key| (key, claim_in(view, key)));
    let customer = customer.ok_or(Rejection::UnknownCustomer { customer_id })?;
    let is_due = customer.email == address.email && customer.canonical_key.is_none();
    let (key, claim) = canonical.filter(|_| is_due).ok_or(Rejection::NothingToClaim { customer_id })?;
    if let Some(held_by) = claim.and_then(|claim| claim.holder).filter(|holder| *holder != customer_id) {
        return Err(Rejection::EmailKeyTaken { customer_id, held_by });
    }
    Ok(Event::CustomerEmailKeyClaimed(CustomerEmailKeyClaimed {
        customer: CustomerFacts { canonical_key: Some(key), ..next_facts(customer) },
        claimed: next_claim(key, claim),
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
        canonical_key: customer.canonical_key,
        active: customer.active,
        version: customer.version + 1,
    }
}

fn next_claim(email_key: Key, claim: Option<&EmailClaim>) -> Claim {
    Claim { email_key, version: claim.map_or(0, |claim| claim.version) + 1 }
}

#[cfg(test)]
mod tests;
