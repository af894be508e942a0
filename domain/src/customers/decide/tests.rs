//! One story per rule, and the uniqueness of addresses under random commands.

use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use orderlog_core::{
    decider::Lookup,
    key::HashKey,
    public::PublicEvent,
    story::{NOW, Story, given},
};

use crate::{customers::public::CustomerChanged, values::Email};

fn id(n: u128) -> CustomerId {
    CustomerId(Uuid::from_u128(n))
}

fn address(text: &str) -> Address {
    Address::new(Email::new(text).unwrap(), &HashKey::from_secret("test"))
}

/// The event as an earlier version recorded it, which knew only addresses in lower case.
fn before(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::CustomerCreated(created) = &mut event {
        (created.customer.canonical_key, created.claimed_canonical) = (None, None);
    }
    event
}

fn claim_email_key(n: u128, email: &str) -> Command {
    Command::ClaimEmailKey { customer_id: id(n), address: address(email) }
}

fn email_key_claimed(n: u128, email: &str, version: u64, claim_version: u64) -> Event {
    Event::CustomerEmailKeyClaimed(CustomerEmailKeyClaimed {
        customer: facts(n, email, version),
        claimed: canonical_claim(email, claim_version).unwrap(),
    })
}

fn named(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn create(n: u128, email: &str) -> Command {
    Command::Create { customer_id: id(n), name: named("Ada"), address: address(email) }
}

fn update(n: u128, name: Option<&str>, email: Option<&str>) -> Command {
    Command::Update { customer_id: id(n), name: name.map(named), address: email.map(address) }
}

fn deactivate(n: u128) -> Command {
    Command::Deactivate { customer_id: id(n) }
}

fn facts(n: u128, email: &str, version: u64) -> CustomerFacts {
    let Address { email, email_key, canonical_key } = address(email);
    CustomerFacts { customer_id: id(n), name: named("Ada"), email, email_key, canonical_key, active: true, version }
}

fn claim(email: &str, version: u64) -> Claim {
    Claim { email_key: address(email).email_key, version }
}

fn canonical_claim(email: &str, version: u64) -> Option<Claim> {
    address(email).canonical_key.map(|email_key| Claim { email_key, version })
}

fn created(n: u128, email: &str) -> Event {
    let (claimed, claimed_canonical) = (claim(email, 1), canonical_claim(email, 1));
    Event::CustomerCreated(CustomerCreated { customer: facts(n, email, 1), claimed, claimed_canonical })
}

fn deactivated(n: u128, email: &str, version: u64) -> Event {
    let customer = CustomerFacts { active: false, ..facts(n, email, version) };
    Event::CustomerDeactivated(CustomerDeactivated { customer })
}

fn holder(story: &Story<Customers>, email: &str) -> Option<CustomerId> {
    let keys = address(email);
    story
        .entities
        .get(&keys.canonical_key.unwrap_or(keys.email_key))
        .and_then(Entity::as_email_claim)
        .and_then(|claim| claim.holder)
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
    let touched = [Key::of(id(1)), address("new@example.com").email_key, address("old@example.com").email_key];
    assert_eq!(Customers::touches(&event).iter().map(|aggregate| aggregate.key).collect::<Vec<_>>(), touched);
    let story = story.then(Event::CustomerUpdated(CustomerUpdated {
        customer: facts(1, "new@example.com", 2),
        claimed: Some(claim("new@example.com", 1)),
        freed: Some(claim("old@example.com", 2)),
        claimed_canonical: None,
        freed_canonical: None,
    }));
    assert_eq!((holder(&story, "new@example.com"), holder(&story, "old@example.com")), (Some(id(1)), None));
    let story = story.when(create(2, "old@example.com")).then(Event::CustomerCreated(CustomerCreated {
        customer: facts(2, "old@example.com", 1),
        claimed: claim("old@example.com", 3),
        claimed_canonical: None,
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
        claimed_canonical: None,
        freed_canonical: None,
    }));
    assert_eq!(holder(&story, "ada@example.com"), Some(id(1)));
}

#[test]
fn another_customers_address_can_not_be_taken_by_an_update() {
    given::<Customers>([created(1, "ada@example.com"), created(2, "bob@example.com")])
        .when(update(2, Some("Bob"), Some("Ada@example.com")))
        .then_rejected(Rejection::EmailTaken);
}

const COMPOSED: &str = "ren\u{e9}e@b\u{fc}cher.example";
const DECOMPOSED: &str = "rene\u{301}e@xn--bcher-kva.example";

#[test]
fn an_address_is_taken_however_it_is_spelled() {
    let story =
        given::<Customers>([created(1, COMPOSED), created(2, "oδοσ@example.com"), created(3, "ada@example.com")]);
    for taken in [
        DECOMPOSED,
        "REN\u{c9}E@B\u{dc}CHER.example",
        "oΔΟΣ@example.com",
        "a\u{200b}da@example.com",
        "\u{ff21}da@example.com",
    ] {
        assert_eq!(story.decide(&create(4, taken)), Err(Rejection::EmailTaken), "{taken:?}");
    }
    assert!(story.decide(&create(4, "adam@example.com")).is_ok());
}

#[test]
fn an_address_is_kept_without_what_nobody_sees() {
    let outcome = given::<Customers>([]).when(create(1, "a\u{200b}da@example.com"));
    assert_eq!(outcome.decided.unwrap().customer().email.as_str(), "ada@example.com");
}

#[test]
fn another_address_frees_both_spellings_of_the_old_one() {
    let changed = given::<Customers>([created(1, COMPOSED)]).when(update(1, None, Some("a@example.com"))).story;
    for spelling in [COMPOSED, DECOMPOSED] {
        assert!(changed.decide(&create(2, spelling)).is_ok(), "{spelling:?}");
    }
    // From one spelling to another: what both have in common is freed in between by nobody.
    let respelled = given::<Customers>([created(1, COMPOSED)]).when(update(1, None, Some(DECOMPOSED))).story;
    assert_eq!(holder(&respelled, COMPOSED), Some(id(1)));
    assert_eq!(respelled.decide(&create(2, COMPOSED)), Err(Rejection::EmailTaken));
    let plain =
        given::<Customers>([created(1, "\u{ff41}@example.com")]).when(update(1, None, Some("a@example.com"))).story;
    assert_eq!(holder(&plain, "a@example.com"), Some(id(1)));
}

#[test]
fn the_service_claims_the_canonical_spelling_of_an_address_from_before_once() {
    let story = given::<Customers>([before(&created(1, COMPOSED))]);
    assert!(story.entities[&Key::of(id(1))].as_customer().unwrap().lacks_canonical_key());
    let event = email_key_claimed(1, COMPOSED, 2, 1);
    assert_eq!(Customers::publish(&event), []);
    let story = story.when(claim_email_key(1, COMPOSED)).then(event);
    assert_eq!(holder(&story, COMPOSED), Some(id(1)));
    assert!(!story.entities[&Key::of(id(1))].as_customer().unwrap().lacks_canonical_key());
    let nothing = Rejection::NothingToClaim { customer_id: id(1) };
    let story = story.when(claim_email_key(1, COMPOSED)).then_rejected(nothing.clone());
    let story = story.when(update(1, None, Some("a@example.com"))).story;
    story.when(claim_email_key(1, COMPOSED)).then_rejected(nothing);
}

#[test]
fn of_two_customers_with_one_address_from_before_the_other_can_change_everything_else() {
    let story = given::<Customers>([before(&created(1, COMPOSED)), before(&created(2, DECOMPOSED))]);
    let story = story.when(claim_email_key(1, COMPOSED)).story;
    let taken = Rejection::EmailKeyTaken { customer_id: id(2), held_by: id(1) };
    let story = story.when(claim_email_key(2, DECOMPOSED)).then_rejected(taken);
    for change in [update(2, Some("Bob"), None), update(2, Some("Bob"), Some(DECOMPOSED)), deactivate(2)] {
        assert!(story.decide(&change).is_ok(), "{change:?}");
    }
    // Once one of them has another address, the other holds both spellings.
    let story = story.when(update(1, None, Some("a@example.com"))).story;
    let story = story.when(claim_email_key(2, DECOMPOSED)).story;
    assert_eq!(holder(&story, COMPOSED), Some(id(2)));
}

#[test]
fn a_new_name_touches_no_address() {
    let outcome = given::<Customers>([created(1, "ada@example.com")]).when(update(1, Some("Ada L."), None));
    assert_eq!(Customers::touches(&outcome.decided.clone().unwrap()), [Customer::aggregate(id(1))]);
    outcome.then(Event::CustomerUpdated(CustomerUpdated {
        customer: CustomerFacts { name: named("Ada L."), ..facts(1, "ada@example.com", 2) },
        claimed: None,
        freed: None,
        claimed_canonical: None,
        freed_canonical: None,
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
    let told = |active, version| vec![Published::Updated(CustomerChanged { customer_id: id(1), active, version })];
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
    assert_eq!(told, [Published::Created(expected)]);
    assert!(!String::from_utf8(told[0].to_json()).unwrap().contains("ada"));
}

#[test]
fn callers_name_the_version_of_the_customer_that_they_change() {
    for command in [update(1, Some("Ada"), None), deactivate(1)] {
        assert_eq!(Customers::target(&command), Some(Customer::aggregate(id(1))));
    }
}

#[test]
fn all_that_an_update_needs_is_asked_for_at_once() {
    let lookup = |_: &Ref| Lookup::NotLoaded;
    let view = View::new(&lookup);
    let _ = Customers::decide(&update(1, None, Some("new@example.com")), &view, NOW);
    let missing = [Customer::aggregate(id(1)), EmailClaim::aggregate(address("new@example.com").email_key)];
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
    let email = || {
        prop::sample::select(vec![
            "a@x.de",
            "A@x.de",
            "\u{ff41}@x.de",
            "b@x.de",
            "B@X.de",
            "\u{e9}@x.de",
            "e\u{301}@x.de",
            "c@x\u{fc}.de",
        ])
    };
    let name = || prop::sample::select(vec!["Ada", "Bob"]);
    prop_oneof![
        (1..5u128, email()).prop_map(|(n, email)| create(n, email)),
        (1..5u128, prop::option::of(name()), prop::option::of(email()))
            .prop_map(|(n, name, email)| update(n, name, email)),
        (1..5u128).prop_map(deactivate),
        (1..5u128, email()).prop_map(|(n, email)| claim_email_key(n, email)),
    ]
}

/// Every customer holds exactly the claims to the own address, and no claim is held otherwise.
fn check_claims(story: &Story<Customers>) -> Result<(), TestCaseError> {
    let mut held = HashMap::new();
    for (key, entity) in &story.entities {
        if let Some(customer_id) = entity.as_email_claim().and_then(|claim| claim.holder) {
            held.insert(*key, customer_id);
        }
    }
    for customer in story.entities.values().filter_map(Entity::as_customer) {
        let keys = address(customer.email.as_str());
        prop_assert_eq!((customer.email_key, customer.canonical_key), (keys.email_key, keys.canonical_key));
        for key in keys.keys() {
            prop_assert_eq!(held.remove(&key), Some(customer.customer_id));
        }
    }
    prop_assert!(held.is_empty(), "a claim outlives its address: {held:?}");
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
