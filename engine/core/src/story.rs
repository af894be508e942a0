//! Tests of deciders in given/when/then form.

use std::{collections::HashMap, fmt::Debug};

use serde::Serialize;

use crate::{
    decider::{At, Decider, Lookup, Millis, Ref, View},
    key::Key,
};

/// The time at which stories start.
pub const NOW: Millis = 1_790_000_000_000;

/// A service's aggregates after some events.
pub struct Story<D: Decider> {
    /// The state of every aggregate.
    pub entities: HashMap<Key, D::Entity>,
    /// The events so far, in order.
    pub past: Vec<(At, D::Event)>,
    offset: u64,
    now: Millis,
}

#[track_caller]
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Story<D> {
    let mut story = Story { entities: HashMap::new(), past: Vec::new(), offset: 1, now: NOW };
    for event in events {
        story.happened(&event);
    }
    story
}

impl<D: Decider> Story<D> {
    /// Folds an event.
    pub fn happened(&mut self, event: &D::Event) {
        assert_eq!(D::kind(event), variant_of(event), "the journal calls an event as its JSON does");
        let at = At { offset: self.offset, time_ms: self.now };
        self.offset += 1;
        for (which, aggregate) in D::touches(event).into_iter().enumerate() {
            let before = self.entities.remove(&aggregate.key);
            self.entities.insert(aggregate.key, D::evolve(before, which, event, &at));
        }
        self.past.push((at, event.clone()));
    }

    /// Applies a public event of [`Decider::COPIES`].
    pub fn heard(mut self, event: &D::Heard) -> Self {
        if let Some((aggregate, _, entity)) = D::copy(event) {
            self.entities.insert(aggregate.key, entity);
        }
        self
    }

    pub fn later(mut self, ms: Millis) -> Self {
        self.now += ms;
        self
    }

    /// Decides a command without folding the event.
    pub fn decide(&self, command: &D::Command) -> Result<D::Event, D::Rejection> {
        let lookup = |it: &Ref| self.entities.get(&it.key).map_or(Lookup::Absent, Lookup::Found);
        D::decide(command, &View::new(&lookup), self.now)
    }

    /// Decides a command and folds the event, if it is accepted.
    pub fn play(&mut self, command: &D::Command) -> Result<D::Event, D::Rejection> {
        let event = self.decide(command)?;
        self.happened(&event);
        Ok(event)
    }

    /// Plays a command for [`Outcome::then`] or [`Outcome::then_rejected`].
    pub fn when(mut self, command: D::Command) -> Outcome<D> {
        let decided = self.play(&command);
        Outcome { story: self, decided }
    }
}

pub struct Outcome<D: Decider> {
    /// The aggregates afterwards.
    pub story: Story<D>,
    pub decided: Result<D::Event, D::Rejection>,
}

impl<D: Decider> Outcome<D>
where
    D::Rejection: Debug,
{
    /// Asserts that exactly this event happened.
    #[track_caller]
    pub fn then(self, event: D::Event) -> Story<D> {
        assert_eq!(self.decided, Ok(event));
        self.story
    }

    /// Asserts that the command was rejected for exactly this reason.
    #[track_caller]
    pub fn then_rejected(self, rejection: D::Rejection) -> Story<D> {
        assert_eq!(self.decided, Err(rejection));
        self.story
    }
}

/// The event's variant name in its JSON, in snake case.
fn variant_of(event: &impl Serialize) -> String {
    let json = serde_json::to_value(event).expect("events have a JSON form");
    let variant = json.as_object().and_then(|object| object.keys().next()).expect("an event is an enum with content");
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Every distinct sequence that contains `counts[i]` copies of the input `i`.
pub fn sequences(counts: &[usize]) -> Vec<Vec<usize>> {
    if counts.iter().all(|count| *count == 0) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for which in 0..counts.len() {
        let Some(fewer) = counts[which].checked_sub(1) else { continue };
        let mut counts = counts.to_vec();
        counts[which] = fewer;
        all.extend(sequences(&counts).into_iter().map(|rest| [vec![which], rest].concat()));
    }
    all
}
