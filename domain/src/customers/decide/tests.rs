//! One story per rule, and the uniqueness of addresses under random commands.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    decider::Lookup,
    key::HashKey,
    public::CustomerChanged,
    story::{NOW, Story, given},
};

fn id(n: u128) -> CustomerId {
    CustomerId(Uuid::from_u128(n))
}

fn address(text: &str) -> (Email, Key) {
    let email = Email::new(text).unwrap();
    let key = HashKey::from_secret("test").unique("email", &email.folded());
    (email, key)
}

fn named(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn create(n: u128, email: &str) -> Command {
    let (email, email_key) = address(email);
    Command::Create { customer_id: id(n), name: named("Ada"), email, email_key }
}

fn update(n: u128, name: Option<&str>, email: Option<&str>) -> Command {
    Command::Update { customer_id: id(n), name: name.map(named), email: email.map(address) }
}

fn deactivate(n: u128) -> Command {
    Command::Deactivate { customer_id: id(n) }
}

fn facts(n: u128, email: &str, version: u64) -> CustomerFacts {
    let (email, email_key) = address(email);
    CustomerFacts { customer_id: id(n), name: named("Ada"), email, email_key, active: true, version }
}

fn claim(email: &str, version: u64) -> Claim {
    Claim { email_key: address(email).1, version }
}

fn created(n: u128, email: &str) -> Event {
    Event::CustomerCreated(CustomerCreated { customer: facts(n, email, 1), claimed: claim(email, 1) })
}

fn deactivated(n: u128, email: &str, version: u64) -> Event {
    let customer = CustomerFacts { active: false, ..facts(n, email, version) };
    Event::CustomerDeactivated(CustomerDeactivated { customer })
}

fn holder(story: &Story<Customers>, email: &str) -> Option<CustomerId> {
    story.entities.get(&address(email).1).and_then(Entity::as_email_claim).and_then(|claim| claim.holder)
}

#[test]
fn a_new_customer_holds_the_address_and_is_active() {
    let story = given::<Customers>([]).when(create(1, "ada@example.com")).then(created(1, "ada@example.com"));
    assert_eq!(holder(&story, "ada@example.com"), Some(id(1)));
    let customer = story.entities[&Key::of(id(1))].as_customer().unwrap();
    assert!(customer.active && customer.version == 1 && customer.created_ms == NOW);
}

#[test]
fn an_address_is_taken_whatever_its_case() {
    given::<Customers>([created(1, "ada@example.com")])
        .when(create(2, "ADA@Example.com"))
        .then_rejected(Rejection::EmailTaken);
}

#[test]
fn an_inactive_customer_keeps_the_address() {
    given::<Customers>([created(1, "ada@example.com"), deactivated(1, "ada@example.com", 2)])
        .when(create(2, "ada@example.com"))
        .then_rejected(Rejection::EmailTaken);
}

#[test]
fn another_address_claims_the_new_one_and_frees_the_old() {
    let story = given::<Customers>([created(1, "old@example.com")]).when(update(1, None, Some("new@example.com")));
    let event = story.decided.clone().unwrap();
    let touched = [Key::of(id(1)), address("new@example.com").1, address("old@example.com").1];
    assert_eq!(Customers::touches(&event).iter().map(|aggregate| aggregate.key).collect::<Vec<_>>(), touched);
    let story = story.then(Event::CustomerUpdated(CustomerUpdated {
        customer: facts(1, "new@example.com", 2),
        claimed: Some(claim("new@example.com", 1)),
        freed: Some(claim("old@example.com", 2)),
    }));
    assert_eq!((holder(&story, "new@example.com"), holder(&story, "old@example.com")), (Some(id(1)), None));
    let story = story.when(create(2, "old@example.com")).then(Event::CustomerCreated(CustomerCreated {
        customer: facts(2, "old@example.com", 1),
        claimed: claim("old@example.com", 3),
    }));
    assert_eq!(holder(&story, "old@example.com"), Some(id(2)));
}

#[test]
fn the_same_address_in_another_case_is_touched_once_and_frees_nothing() {
    let outcome = given::<Customers>([created(1, "ada@example.com")]).when(update(1, None, Some("Ada@Example.com")));
    let event = outcome.decided.clone().unwrap();
    assert_eq!(Customers::touches(&event).len(), 2);
    let story = outcome.then(Event::CustomerUpdated(CustomerUpdated {
        customer: facts(1, "Ada@Example.com", 2),
        claimed: Some(claim("ada@example.com", 2)),
        freed: None,
    }));
    assert_eq!(holder(&story, "ada@example.com"), Some(id(1)));
}

#[test]
fn another_customers_address_can_not_be_taken_by_an_update() {
    given::<Customers>([created(1, "ada@example.com"), created(2, "bob@example.com")])
        .when(update(2, Some("Bob"), Some("Ada@example.com")))
        .then_rejected(Rejection::EmailTaken);
}

#[test]
fn a_new_name_touches_no_address() {
    let outcome = given::<Customers>([created(1, "ada@example.com")]).when(update(1, Some("Ada L."), None));
    assert_eq!(Customers::touches(&outcome.decided.clone().unwrap()), [Customer::aggregate(id(1))]);
    outcome.then(Event::CustomerUpdated(CustomerUpdated {
        customer: CustomerFacts { name: named("Ada L."), ..facts(1, "ada@example.com", 2) },
        claimed: None,
        freed: None,
    }));
}

#[test]
fn an_update_to_what_already_is_changes_nothing_and_tells_nobody() {
    let unchanged = Event::CustomerUnchanged(CustomerUnchanged { customer: facts(1, "ada@example.com", 2) });
    assert_eq!(Customers::publish(&unchanged), []);
    given::<Customers>([created(1, "ada@example.com")])
        .when(update(1, Some("Ada"), Some("ada@example.com")))
        .then(unchanged);
}

#[test]
fn an_inactive_customer_can_be_updated_and_stays_inactive() {
    let outcome = given::<Customers>([created(1, "a@example.com"), deactivated(1, "a@example.com", 2)]).when(update(
        1,
        Some("A"),
        None,
    ));
    let event = outcome.decided.unwrap();
    assert!(!event.customer().active && event.customer().version == 3);
}

#[test]
fn deactivating_twice_is_told_once() {
    let told = |active, version| vec![Public::CustomerUpdated(CustomerChanged { customer_id: id(1), active, version })];
    let story = given::<Customers>([created(1, "ada@example.com")]).when(deactivate(1)).then(deactivated(
        1,
        "ada@example.com",
        2,
    ));
    assert_eq!(Customers::publish(&deactivated(1, "ada@example.com", 2)), told(false, 2));
    let customer = CustomerFacts { active: false, ..facts(1, "ada@example.com", 3) };
    let again = Event::CustomerUnchanged(CustomerUnchanged { customer });
    assert_eq!(Customers::publish(&again), []);
    story.when(deactivate(1)).then(again);
}

#[test]
fn an_unknown_customer_is_neither_updated_nor_deactivated() {
    let unknown = Rejection::UnknownCustomer { customer_id: id(9) };
    given::<Customers>([created(1, "ada@example.com")])
        .when(update(9, None, Some("ada@example.com")))
        .then_rejected(unknown.clone());
    given::<Customers>([]).when(deactivate(9)).then_rejected(unknown);
}

#[test]
fn others_are_told_of_a_new_customer_without_personal_data() {
    let told = Customers::publish(&created(1, "ada@example.com"));
    let expected = CustomerChanged { customer_id: id(1), active: true, version: 1 };
    assert_eq!(told, [Public::CustomerCreated(expected)]);
    assert!(!String::from_utf8(told[0].to_json()).unwrap().contains("ada"));
}

#[test]
fn all_that_an_update_needs_is_asked_for_at_once() {
    let lookup = |_: &Ref| Lookup::NotLoaded;
    let view = View::new(&lookup);
    let _ = Customers::decide(&update(1, None, Some("new@example.com")), &view, NOW);
    let missing = [Customer::aggregate(id(1)), EmailClaim::aggregate(address("new@example.com").1)];
    assert_eq!(view.into_missing(), missing);
}

#[test]
fn fingerprints_differ_by_what_was_asked_and_not_by_the_minted_id() {
    assert_eq!(create(1, "a@b.cd").fingerprint_text(), create(2, "a@b.cd").fingerprint_text());
    let texts = [
        create(1, "a@b.cd"),
        create(1, "b@b.cd"),
        update(1, Some("A"), None),
        update(1, None, Some("a@b.cd")),
        update(2, Some("A"), None),
        deactivate(1),
        deactivate(2),
    ]
    .map(|command| command.fingerprint_text());
    assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), texts.len());
}

#[test]
fn the_fingerprints_of_what_callers_ask_are_stable() {
    let golden = |command: Command, json: &str| {
        assert_eq!(command.fingerprint_text(), json.replace("ID", "00000000-0000-0000-0000-000000000001"));
    };
    golden(create(1, "Ada@b.cd"), r#"["create","Ada","Ada@b.cd"]"#);
    golden(update(1, Some("A \"B\""), Some("a@b.cd")), r#"["update","ID","A \"B\"","a@b.cd"]"#);
    golden(update(1, None, Some("a@b.cd")), r#"["update","ID",null,"a@b.cd"]"#);
    golden(deactivate(1), r#"["deactivate","ID"]"#);
}

fn any_command() -> impl Strategy<Value = Command> {
    let email = || prop::sample::select(vec!["a@x.de", "A@x.de", "b@x.de", "B@X.de", "c@x.de"]);
    let name = || prop::sample::select(vec!["Ada", "Bob"]);
    prop_oneof![
        (1..5u128, email()).prop_map(|(n, email)| create(n, email)),
        (1..5u128, prop::option::of(name()), prop::option::of(email()))
            .prop_map(|(n, name, email)| update(n, name, email)),
        (1..5u128).prop_map(deactivate),
    ]
}

/// Every customer holds exactly the claim to the own address, and no claim is held otherwise.
fn check_claims(story: &Story<Customers>) -> Result<(), TestCaseError> {
    let mut held = HashMap::new();
    for (key, entity) in &story.entities {
        if let Some(customer_id) = entity.as_email_claim().and_then(|claim| claim.holder) {
            prop_assert!(held.insert(customer_id, *key).is_none(), "a customer holds two addresses");
        }
    }
    let customers: Vec<_> = story.entities.values().filter_map(Entity::as_customer).collect();
    prop_assert_eq!(held.len(), customers.len());
    for customer in customers {
        prop_assert_eq!(held.get(&customer.customer_id), Some(&customer.email_key));
        prop_assert_eq!(address(customer.email.as_str()).1, customer.email_key);
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_address_never_belongs_to_two_customers(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut story = given::<Customers>([]);
        for command in commands {
            // An id is minted for one command only.
            if matches!(&command, Command::Create { customer_id, .. } if story.entities.contains_key(&Key::of(*customer_id))) {
                continue;
            }
            let versions: HashMap<_, _> = story.entities.iter().map(|(key, entity)| (*key, version(entity))).collect();
            let Ok(event) = story.play(&command) else { continue };
            let touched = Customers::touches(&event);
            for aggregate in &touched {
                let before = versions.get(&aggregate.key).copied().unwrap_or(0);
                prop_assert_eq!(version(&story.entities[&aggregate.key]), before + 1);
            }
            let distinct: std::collections::HashSet<_> = touched.iter().map(|aggregate| aggregate.key).collect();
            prop_assert_eq!(distinct.len(), touched.len());
            check_claims(&story)?;
        }
    }
}

fn version(entity: &Entity) -> u64 {
    match entity {
        Entity::Customer(customer) => customer.version,
        Entity::EmailClaim(claim) => claim.version,
    }
}
