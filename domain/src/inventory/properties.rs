//! What holds whatever is asked of the inventory, in any order, as often as it comes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroI64,
};

use proptest::prelude::*;

use super::{
    tests::{cancelled, created, fulfilled, lines, named, order, receive, sku},
    *,
};
use orderlog_core::{
    decider::{Decider, Millis},
    key::Key,
    machine::Past,
    public::PublicEvent,
    reason::Reason,
    story::{Story, given},
};

use crate::{
    orders,
    values::{Sku, TtlSeconds},
};

type Entities = HashMap<Key, Entity>;

/// The last one is often not received.
const SKUS: [&str; 4] = ["a", "b", "c", "rare"];

#[derive(Clone, Debug)]
enum Step {
    /// Somebody, or a timer, asks.
    Asked(Command),
    /// News of an order comes, for the first time or again.
    Told(orders::Published),
    Later(Millis),
}

fn any_sku() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&SKUS[..])
}

fn any_lines() -> impl Strategy<Value = Vec<StockLine>> {
    prop::collection::vec((any_sku(), 1..4_u32), 1..4).prop_map(|wanted| lines(&wanted))
}

/// One is called as an order is.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![5 => prop::sample::select(vec!["r", "s", "t", "u", "v"]).prop_map(str::to_owned), 1 => Just(order(1).to_string())]
}

fn any_reserve() -> impl Strategy<Value = Command> {
    let ttl = prop::option::weighted(0.7, (1..4_u32).prop_map(|seconds| TtlSeconds::new(seconds).unwrap()));
    let label = prop::option::of((1..4_u128).prop_map(order));
    (any_name(), any_lines(), ttl, label).prop_map(|(name, lines, ttl_seconds, order_id)| {
        Command::Reserve(Reserve { name: named(&name), lines, ttl_seconds, order_id })
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let adjust = (any_sku(), (-4..4_i64).prop_filter_map("by nothing", NonZeroI64::new));
    let reason = || Reason::new("counted").unwrap();
    prop_oneof![
        3 => (prop::sample::select(&SKUS[..3]), 1..9_u32).prop_map(|(name, units)| receive(name, units)),
        1 => Just(receive("rare", 1)),
        2 => adjust.prop_map(move |(name, delta)| Command::Adjust { sku: sku(name), delta, reason: reason() }),
        2 => (any_sku(), 0..6_u32)
            .prop_map(|(name, low_stock_threshold)| Command::SetThreshold { sku: sku(name), low_stock_threshold }),
        5 => any_reserve(),
        3 => any_name().prop_map(|name| Command::Release { name: named(&name) }),
        5 => any_name().prop_map(|name| Command::Expire { reservation: ReservationId::Caller(named(&name)) }),
        1 => any_order().prop_map(|n| Command::Expire { reservation: ReservationId::Order(order(n)) }),
    ]
}

fn any_order() -> std::ops::Range<u128> {
    1..9
}

/// An order is what it is: all news of it speaks of the same units.
fn units_of_order(n: u128) -> &'static [(&'static str, u32)] {
    match n % 4 {
        1 => &[("a", 2), ("b", 1), ("a", 1)],
        2 => &[("b", 2), ("c", 2)],
        3 => &[("c", 3)],
        _ => &[("rare", 1), ("a", 1)],
    }
}

fn any_news() -> impl Strategy<Value = orders::Published> {
    prop_oneof![
        3 => any_order().prop_map(|n| created(n, units_of_order(n))),
        1 => any_order().prop_map(cancelled),
        1 => any_order().prop_map(|n| fulfilled(n, units_of_order(n))),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_command().prop_map(Step::Asked),
        4 => any_news().prop_map(Step::Told),
        2 => (500..3_000_i64).prop_map(Step::Later),
    ]
}

/// A house with something in it.
fn stocked() -> Story<Inventory> {
    let mut story = given::<Inventory>([]);
    for (name, units) in [("a", 9), ("b", 6), ("c", 3)] {
        story.play(&receive(name, units)).unwrap();
    }
    story
}

fn level_in(entities: &Entities, sku: &Sku) -> Option<StockLevel> {
    entities.get(&StockItem::aggregate(sku).key).and_then(Entity::as_stock).map(|item| item.level)
}

fn reservations(entities: &Entities) -> HashMap<&ReservationId, &Reservation> {
    entities.values().filter_map(Entity::as_reservation).map(|reservation| (&reservation.id, reservation)).collect()
}

/// No SKU has more set aside than there is, and what is set aside is what is held.
fn check_levels(entities: &Entities) -> Result<(), TestCaseError> {
    let mut held: BTreeMap<&Sku, u32> = BTreeMap::new();
    let all = entities.values().filter_map(Entity::as_reservation);
    for line in all.filter(|it| it.state == ReservationState::Held).flat_map(|it| &it.lines) {
        *held.entry(&line.sku).or_default() += line.quantity.get();
    }
    for name in SKUS.map(sku) {
        let level = level_in(entities, &name).unwrap_or_default();
        prop_assert!(level.reserved <= level.on_hand, "{}: {:?}", name, level);
        prop_assert_eq!(level.reserved, held.get(&name).copied().unwrap_or(0), "{}", name);
    }
    Ok(())
}

/// A reservation that is held may end; one that ended stays as it is. None is forgotten.
fn check_endings(before: &Entities, after: &Entities) -> Result<(), TestCaseError> {
    let after = reservations(after);
    for (id, was) in reservations(before) {
        let Some(is) = after.get(id) else { return Err(TestCaseError::fail("a reservation is gone")) };
        let legal = match (was.state, is.state) {
            (ReservationState::Held, ReservationState::Rejected) => false,
            (ReservationState::Held, _) => true,
            (was, is) => was == is,
        };
        prop_assert!(legal, "{} -> {}", was.state, is.state);
        prop_assert_eq!(&was.lines, &is.lines);
    }
    Ok(())
}

/// Others are told of exactly what changed, and of low stock exactly when it becomes low.
fn check_told(before: &Entities, after: &Entities, event: &Event) -> Result<(), TestCaseError> {
    let told = Inventory::publish(event);
    for name in SKUS.map(sku) {
        let [before, after] = [before, after].map(|entities| level_in(entities, &name).unwrap_or_default());
        let of_it = |event: &&Published| event.subject() == name.as_str();
        let updates: Vec<_> = told.iter().filter(of_it).filter(|event| event.topic() == "stock.updated").collect();
        prop_assert_eq!(updates.len(), usize::from(before != after));
        if let [Published::StockUpdated(updated)] = updates[..] {
            prop_assert_eq!((updated.before, updated.after), (before, after));
            prop_assert_eq!(updated.delta, i64::from(after.available()) - i64::from(before.available()));
        }
        let is_low = |level: StockLevel| level.on_hand - level.reserved < level.low_stock_threshold;
        let fell = !is_low(before) && is_low(after);
        let lows = told.iter().filter(of_it).filter(|event| event.topic() == "low.stock").count();
        prop_assert_eq!(lows, usize::from(fell), "{}: {:?} -> {:?}", name, before, after);
    }
    Ok(())
}

/// Every aggregate that the record names counts it, once; no other changes.
fn check_versions(before: &Entities, after: &Entities, event: &Event) -> Result<(), TestCaseError> {
    let touched: HashSet<Key> = Inventory::touches(event).iter().map(|aggregate| aggregate.key).collect();
    prop_assert_eq!(touched.len(), Inventory::touches(event).len());
    for (key, entity) in after {
        let was = before.get(key);
        if touched.contains(key) {
            prop_assert_eq!(entity.version(), was.map_or(0, Entity::version) + 1);
        } else {
            prop_assert_eq!(Some(entity), was);
        }
    }
    Ok(())
}

/// What each SKU is short of, for these lines.
fn shortages(entities: &Entities, lines: &[StockLine]) -> Vec<Shortage> {
    let mut wanted: BTreeMap<&Sku, u32> = BTreeMap::new();
    for line in lines {
        *wanted.entry(&line.sku).or_default() += line.quantity.get();
    }
    let short = wanted.into_iter().filter_map(|(sku, requested)| {
        let available = level_in(entities, sku).map_or(0, |level| level.available());
        (requested > available).then(|| Shortage { sku: sku.clone(), requested, available })
    });
    short.collect()
}

/// A reservation that is new takes all its lines, or is told everything that is short.
fn check_supply(before: &Entities, command: &Command, decided: &Result<Event, Rejection>) -> Result<(), TestCaseError> {
    let (id, lines) = match command {
        Command::Reserve(asked) => (ReservationId::Caller(asked.name.clone()), &asked.lines),
        Command::ReserveForOrder { order_id, lines } => (ReservationId::Order(*order_id), lines),
        _ => return Ok(()),
    };
    if reservations(before).contains_key(&id) {
        return Ok(());
    }
    let expected = shortages(before, lines);
    match decided {
        Ok(Event::ReservationHeld(_)) => prop_assert_eq!(expected, []),
        Ok(Event::ReservationRejected(rejected)) => prop_assert_eq!(&rejected.shortages, &expected),
        Err(Rejection::NotEnoughStock { shortages, .. }) => prop_assert_eq!(shortages, &expected),
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

/// The inventory, and what has been seen of it.
struct Seen {
    story: Story<Inventory>,
    /// Which SKU a reservation has set aside (false) and ended for (true).
    moved: HashSet<(ReservationId, Sku, bool)>,
}

impl Seen {
    fn play(&mut self, command: &Command) -> Result<Option<Event>, TestCaseError> {
        let before = self.story.entities.clone();
        let decided = self.story.play(command);
        let after = &self.story.entities;
        check_supply(&before, command, &decided)?;
        check_levels(after)?;
        check_endings(&before, after)?;
        let Ok(event) = decided else {
            prop_assert_eq!(after, &before, "a refusal changes nothing");
            return Ok(None);
        };
        check_told(&before, after, &event)?;
        check_versions(&before, after, &event)?;
        let json = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), &event);
        self.check_once(&event)?;
        Ok(Some(event))
    }

    /// Each SKU of a reservation is set aside at most once, and given back or taken out at most once.
    fn check_once(&mut self, event: &Event) -> Result<(), TestCaseError> {
        for movement in movements(event) {
            if let Some(id) = movement.reservation {
                let is_end = movement.cause != MovementCause::Reserved;
                prop_assert!(self.moved.insert((id, movement.sku, is_end)), "twice: {:?}", event);
            }
        }
        Ok(())
    }

    /// Somebody asks; who reserves or releases asks twice.
    fn ask(&mut self, command: &Command) -> Result<(), TestCaseError> {
        let is_accepted = self.play(command)?.is_some();
        let repeatable = matches!(command, Command::Reserve(_) | Command::Release { .. });
        if is_accepted && repeatable { self.repeat(command) } else { Ok(()) }
    }

    /// News comes, twice.
    fn hear(&mut self, news: &orders::Published) -> Result<(), TestCaseError> {
        let Some(command) = Inventory::react(news) else { return Err(TestCaseError::fail("all of it is answered")) };
        prop_assert!(self.play(&command)?.is_some(), "a reaction is never refused");
        self.repeat(&command)
    }

    /// The same once more: only the count of the reservation changes, and nobody is told.
    fn repeat(&mut self, command: &Command) -> Result<(), TestCaseError> {
        let mut before = self.story.entities.clone();
        let Some(again) = self.play(command)? else { return Err(TestCaseError::fail("refused the second time")) };
        let changes_nothing = matches!(again, Event::ReservationDeclined(_) | Event::ReservationRepeated(_));
        prop_assert!(changes_nothing, "{:?}", again);
        prop_assert_eq!(Inventory::publish(&again), []);
        for aggregate in Inventory::touches(&again) {
            if let Some(Entity::Reservation(reservation)) = before.get_mut(&aggregate.key) {
                reservation.version += 1;
            }
        }
        prop_assert_eq!(&self.story.entities, &before);
        Ok(())
    }
}

/// The story when a step begins, and the command that it leads to; none if only time passes.
fn command_of(story: Story<Inventory>, step: Step) -> (Story<Inventory>, Option<Command>) {
    match step {
        Step::Asked(command) => (story, Some(command)),
        Step::Told(news) => (story, Some(Inventory::react(&news).unwrap())),
        Step::Later(ms) => (story.later(ms), None),
    }
}

proptest! {
    #[test]
    fn stock_is_never_oversold_doubled_or_lost(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut seen = Seen { story: stocked(), moved: HashSet::new() };
        for step in steps {
            match step {
                Step::Asked(command) => seen.ask(&command)?,
                Step::Told(news) => seen.hear(&news)?,
                Step::Later(ms) => seen.story = seen.story.later(ms),
            }
        }
    }

    #[test]
    fn the_past_read_backwards_is_the_state_as_it_was(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut story = stocked();
        let mut states = vec![story.entities.clone()];
        for step in steps {
            let (now, command) = command_of(story, step);
            story = now;
            let Some(command) = command else { continue };
            if story.play(&command).is_ok() {
                states.push(story.entities.clone());
            }
        }
        let n_before = story.past.len() + 1 - states.len();
        for (n, state) in (n_before..).zip(states) {
            for (key, entity) in &state {
                let touched = story.past.iter().flat_map(|(_, event)| Inventory::touches(event));
                let aggregate = touched.into_iter().find(|it| it.key == *key).unwrap();
                let mut past = Past::<Inventory>::of(aggregate);
                for (at, event) in story.past[..n].iter().rev().filter(|(_, event)| Inventory::touches(event).contains(&aggregate)) {
                    past.push(*at, event.clone());
                }
                let folded = past.fold();
                prop_assert_eq!(folded.as_ref(), Some(entity));
            }
        }
    }

    #[test]
    fn units_are_neither_made_nor_lost(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut story = stocked();
        let mut on_hand = BTreeMap::from([(sku("a"), 9), (sku("b"), 6), (sku("c"), 3)]);
        for step in steps {
            let (now, command) = command_of(story, step);
            story = now;
            let Some(command) = command else { continue };
            match story.play(&command) {
                Ok(Event::StockReceived(it)) => *on_hand.entry(it.sku).or_default() += i64::from(it.quantity.get()),
                Ok(Event::StockAdjusted(it)) => *on_hand.entry(it.sku).or_default() += it.delta,
                Ok(Event::ReservationCommitted(it)) => {
                    for line in it.lines {
                        *on_hand.entry(line.sku).or_default() -= i64::from(line.quantity.get());
                    }
                }
                Ok(_) | Err(_) => {}
            }
            for name in SKUS.map(sku) {
                let level = level_in(&story.entities, &name).unwrap_or_default();
                prop_assert_eq!(i64::from(level.on_hand), on_hand.get(&name).copied().unwrap_or(0));
            }
        }
    }
}
