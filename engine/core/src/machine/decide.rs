//! Decisions. Acceptances may build on records in flight; rejections build on folded state only.

use std::{cell::Cell, sync::Arc};

use bytes::Bytes;

use super::{Core, Ends, Outcome, Request, Ticket, Wanted, flights::Flight, fold::evolve_all, slots::Versioned};
use crate::{
    decider::{At, Decider, Lookup, Millis, Ref, View},
    header::{Expect, Header},
    key::Key,
    planted::Bug,
};

/// The most records in flight at a time.
const N_FLIGHTS_MAX: usize = 8_192;

/// The result of looking at a command.
enum Look<D: Decider> {
    Yes(D::Event),
    Tell(Outcome<D>),
    /// Look again once something has happened.
    Wait,
}

/// What a decision encountered among the aggregates it read.
#[derive(Default)]
struct Sight {
    ahead: Cell<bool>,
    blocked: Cell<bool>,
    parked: Cell<bool>,
}

enum Refusal<D: Decider> {
    Rule(D::Rejection),
    /// Its target has this version, or does not exist.
    Version(Option<u64>),
}

impl<D: Decider> From<Refusal<D>> for Outcome<D> {
    fn from(refusal: Refusal<D>) -> Self {
        match refusal {
            Refusal::Rule(rejection) => Self::Rejected(rejection),
            Refusal::Version(version) => Self::OtherVersion(version),
        }
    }
}

/// A decision made on folded state, or also on records in flight.
struct Decision<D: Decider> {
    result: Result<D::Event, Refusal<D>>,
    missing: Vec<Ref>,
    sight: Sight,
}

impl<D: Decider> Core<D> {
    pub(super) fn decide_waiting(&mut self, now: Millis) {
        let fresh = std::mem::take(&mut self.commands.fresh);
        if self.folded.genesis.is_none() {
            // Append nothing before the journal's identity is known.
            self.commands.waiting.extend(fresh);
            return;
        }
        let stirred = std::mem::take(&mut self.commands.stirred) || now >= self.commands.wake_at;
        let again = if stirred { self.commands.waiting.iter().copied().collect() } else { Vec::new() };
        if stirred {
            self.commands.wake_at = Millis::MAX;
        }
        // Oldest first: tickets ascend.
        for ticket in again.into_iter().chain(fresh) {
            let Some(pending) = self.commands.pending.get(&ticket) else { continue };
            if pending.rests_until > now {
                self.commands.wake_at = self.commands.wake_at.min(pending.rests_until);
                continue;
            }
            let (request, ends) = (Arc::clone(&pending.request), pending.ends.clone());
            match self.look_at(&request, ends.as_deref(), now) {
                Look::Yes(event) => self.launch(ticket, &request, event, now),
                Look::Tell(outcome) => self.answer(ticket, outcome),
                Look::Wait => drop(self.commands.waiting.insert(ticket)),
            }
        }
    }

    fn look_at(&mut self, request: &Request<D>, ends: Option<&Ends>, now: Millis) -> Look<D> {
        if let Some(stamp) = request.stamp.filter(|_| !Bug::IgnoreIdempotencyKey.is_loose()) {
            let wanted = Wanted { key: stamp.key, kind: None };
            match self.slots.get(&stamp.key, None) {
                None => drop(self.missing.insert((wanted.key, wanted.kind))),
                Some(slot) => {
                    if let Some(head) = slot.head {
                        return Look::Tell(self.repeated(head.offset));
                    }
                }
            }
            if self.flights.ahead(&stamp.key).is_some() {
                return Look::Wait;
            }
        }
        if self.flights.len() >= N_FLIGHTS_MAX {
            return Look::Wait;
        }
        let Decision { result, mut missing, sight } = self.decide(request, !Bug::ForgetFlights.is_loose(), now);
        let result = match result {
            Err(refusal) if Bug::RefuseFromFlights.is_loose() => Err(refusal),
            Err(_) if missing.is_empty() && sight.ahead.get() && !sight.blocked.get() => {
                // If only records in flight cause the rejection, wait for their verdicts. The folded state may have to be
                // loaded to find out.
                let folded = self.decide(request, false, now);
                if folded.result.is_ok() && folded.missing.is_empty() {
                    return Look::Wait;
                }
                missing = folded.missing;
                folded.result
            }
            result => result,
        };
        if !missing.is_empty() {
            self.missing.extend(missing.iter().map(|aggregate| (aggregate.key, Some(aggregate.kind))));
            return Look::Wait;
        }
        if sight.parked.get() && !Bug::DecideOnParked.is_loose() {
            return Look::Tell(Outcome::Parked);
        }
        if sight.blocked.get() {
            return Look::Wait;
        }
        match result {
            Ok(event) => self.may_launch(request, event),
            Err(refusal) => self.refuse(refusal, ends),
        }
    }

    /// The outcome for an idempotency key that the record at this offset used.
    fn repeated(&self, offset: u64) -> Outcome<D> {
        if self.parking.is_discarded(offset) {
            Outcome::Discarded
        } else if self.parking.get(offset).is_some() {
            Outcome::Parked
        } else {
            Outcome::Repeated { offset }
        }
    }

    /// Launches an acceptance once every key it names is loaded, and neither parked nor blocked.
    fn may_launch(&mut self, request: &Request<D>, event: D::Event) -> Look<D> {
        if self.author.unknown.contains(&D::kind(&event)) {
            // An older program can't write an event it does not know. It would write something else, or nothing.
            return Look::Tell(Outcome::Parked);
        }
        let mut wait = false;
        for aggregate in D::touches(&event) {
            if aggregate.minted {
                self.slots.mint(aggregate.key);
            }
            let wanted = Wanted { key: aggregate.key, kind: Some(aggregate.kind) };
            if !self.slots.ready(&wanted) {
                self.missing.insert((wanted.key, wanted.kind));
                wait = true;
            }
            if self.parking.holds(&aggregate.key) && !Bug::DecideOnParked.is_loose() {
                return Look::Tell(Outcome::Parked);
            }
            wait |= self.flights.ahead(&aggregate.key).is_some_and(|ahead| ahead.blocked);
        }
        let stamp_unknown = request.stamp.is_some_and(|stamp| self.slots.peek(&stamp.key).is_none());
        if wait || stamp_unknown { Look::Wait } else { Look::Yes(event) }
    }

    /// A rejection must be based on state as new as the command: the journal, and for a copied fact its topics, read to
    /// where they ended when it was asked.
    fn refuse(&mut self, refusal: Refusal<D>, ends: Option<&Ends>) -> Look<D> {
        if Bug::RefuseFromStaleState.is_loose() {
            return Look::Tell(refusal.into());
        }
        let Some(ends) = ends else {
            self.step.wants_ends = true;
            return Look::Wait;
        };
        let rests_on = match &refusal {
            Refusal::Rule(rejection) => D::rests_on(rejection),
            Refusal::Version(_) => &[],
        };
        let is_copied = |(topic, part, end): &(String, u32, u64)| self.copying.next(topic, *part) >= *end;
        let mut awaited = ends.copied.iter().filter(|(topic, ..)| rests_on.contains(&topic.as_str()));
        let is_fresh = self.folded.next >= ends.journal && awaited.all(is_copied);
        if is_fresh { Look::Tell(refusal.into()) } else { Look::Wait }
    }

    fn decide(&mut self, request: &Request<D>, look_ahead: bool, now: Millis) -> Decision<D> {
        let sight = Sight::default();
        let (slots, flights, parking) = (&self.slots, &self.flights, &self.parking);
        let versioned = |aggregate: &Ref| {
            let ahead = flights.ahead(&aggregate.key);
            sight.ahead.set(sight.ahead.get() || ahead.is_some());
            sight.blocked.set(sight.blocked.get() || ahead.is_some_and(|ahead| ahead.blocked));
            sight.parked.set(sight.parked.get() || parking.holds(&aggregate.key));
            if let Some(entity) = ahead.filter(|_| look_ahead).and_then(|ahead| ahead.entity_of(aggregate.kind)) {
                return Lookup::Found(entity);
            }
            slots.peek(&aggregate.key).map_or(Lookup::NotLoaded, |slot| slot.aggregate.of(aggregate.kind))
        };
        let lookup = |aggregate: &Ref| match versioned(aggregate) {
            Lookup::Found(entity) => Lookup::Found(&*entity.state),
            Lookup::Absent => Lookup::Absent,
            Lookup::NotLoaded => Lookup::NotLoaded,
        };
        let view = View::new(&lookup);
        let result = D::decide(&request.command, &view, now).map_err(Refusal::Rule);
        let mut missing = view.into_missing();
        let is_shown = |entity: &Versioned<D::Entity>| D::is_shown(&entity.state) || Bug::MatchTheHidden.is_loose();
        // Compute the target only for the few commands that require a version.
        let versions = request.versions.as_ref().filter(|_| !Bug::IgnoreVersions.is_loose());
        let seen = versions.and_then(|versions| Some((versions, D::target(&request.command)?)));
        let result = match seen.map(|(versions, target)| (versions, target, versioned(&target))) {
            None => result,
            Some((versions, _, Lookup::Found(entity))) if is_shown(entity) => {
                let version = Some(entity.version);
                if versions.have(version) { result } else { Err(Refusal::Version(version)) }
            }
            // The rules have a better error for a missing aggregate, so theirs takes precedence.
            Some((_, _, Lookup::Found(_) | Lookup::Absent)) => result.and(Err(Refusal::Version(None))),
            Some((_, target, Lookup::NotLoaded)) => {
                // Like a read through the view: if it has to be loaded the decision is discarded, otherwise it does not
                // exist.
                missing.push(target);
                result.and(Err(Refusal::Version(None)))
            }
        };
        // A key that is certainly new needs no loading.
        let missing: Vec<_> =
            missing.into_iter().filter(|it| !self.slots.ready(&Wanted { key: it.key, kind: Some(it.kind) })).collect();
        Decision { result, missing, sight }
    }

    fn launch(&mut self, ticket: Ticket, request: &Request<D>, event: D::Event, now: Millis) {
        let touched = D::touches(&event);
        let n_named = if Bug::NameFirstOnly.is_loose() { 1 } else { touched.len() };
        let keys =
            touched.iter().take(n_named).map(|aggregate| aggregate.key).chain(request.stamp.map(|stamp| stamp.key));
        let last = |key: &Key| match self.flights.ahead(key) {
            Some(ahead) => Some(ahead.last),
            None => self.slots.peek(key).and_then(|slot| slot.head).map(|head| head.last),
        };
        let expects: Vec<_> = keys.map(|key| Expect { key, last: last(&key) }).collect();
        // Only the fold knows the offset, and no decision depends on it.
        let at = At { offset: self.folded.next, time_ms: now };
        let entities = evolve_all::<D>(&event, &touched, at, |_, aggregate| self.entity_ahead(aggregate));
        let time_ms = if Bug::WrongTime.is_loose() { now + 3_600_000 } else { now };
        let header = self.author.header(D::kind(&event), expects, time_ms);
        let header = Header { command: request.stamp, origin: request.origin.clone(), ..header };
        let id = header.id;
        if Bug::AnswerBeforeAppend.is_loose() {
            let event = serde_json::to_vec(&event).ok().and_then(|json| serde_json::from_slice(&json).ok());
            let event = Arc::new(event.expect("what can be written can be read"));
            self.answer(ticket, Outcome::Accepted(super::Accepted { at, id, event }));
        }
        let value: Bytes =
            serde_json::to_vec(&event).expect("events have string keys and no failing serialiser").into();
        self.flights.launch(ticket, header, Arc::new(event), value, entities);
        self.step.appends.extend(self.flights.get(id).map(Flight::outgoing));
        self.commands.take_off(ticket, id);
    }

    fn entity_ahead(&self, aggregate: &Ref) -> Option<&Versioned<D::Entity>> {
        let ahead = self.flights.ahead(&aggregate.key).and_then(|ahead| ahead.entity_of(aggregate.kind));
        ahead.or_else(|| self.slots.peek_aggregate(aggregate))
    }
}
