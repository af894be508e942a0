//! The fold: applies records in journal order and gives each a verdict.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    Accepted, Core, DISCARD, Discard, GENESIS, Genesis, Happened, Head, Outcome, Outgoing, RecordRow, Stop, Verdict,
    Wanted, accepts, chain,
    discard::parkable,
    flights::Append,
    parking::BEHIND,
    slots::{SlotId, Slots, Versioned},
};
use crate::{
    decider::{At, Decider, Kind, Millis, Ref},
    decoding::{self, DecodeError},
    header::{Expect, Header, Origin, Stored},
    key::{Key, RecordId},
    known::{Unknown, decode},
    planted::Bug,
};

/// A record that is read but not folded yet.
pub struct Queued<D: Decider> {
    pub offset: u64,
    pub header: Bytes,
    pub value: Bytes,
    pub parsed: Header,
    pub payload: Payload<D>,
    /// The aggregates that it touches.
    pub touched: Vec<Ref>,
}

/// The decoded payload of a record.
pub enum Payload<D: Decider> {
    /// Identifies the journal.
    Genesis,
    /// Cancels the effect of another record.
    Discard(Discard),
    Event(Arc<D::Event>),
    /// Written by another program, and never decoded.
    Foreign,
    /// Could not be decoded, for this reason.
    Unreadable(String),
}

impl<D: Decider> Queued<D> {
    /// Decodes a record's payload, unless `event` is given. Events of the kinds in `unknown` are unreadable.
    pub fn new(
        offset: u64,
        header: Bytes,
        value: Bytes,
        parsed: Header,
        event: Option<Arc<D::Event>>,
        unknown: Unknown,
    ) -> Self {
        let unreadable = |error: DecodeError| Payload::Unreadable(error.to_string());
        let payload = match (event, parsed.kind.as_str()) {
            (Some(event), _) => Payload::Event(event),
            (None, GENESIS) => Payload::Genesis,
            (None, DISCARD) => decoding::from_slice(&value).map_or_else(unreadable, Payload::Discard),
            (None, kind) => decode(kind, &value, unknown).map_or_else(unreadable, |it| Payload::Event(Arc::new(it))),
        };
        let touched = match &payload {
            Payload::Event(event) => D::touches(event),
            Payload::Genesis | Payload::Discard(_) | Payload::Foreign | Payload::Unreadable(_) => Vec::new(),
        };
        Self { offset, header, value, parsed, payload, touched }
    }

    /// A record of another program, which names no key.
    fn foreign(offset: u64, value: Bytes) -> Self {
        let parsed = Header {
            id: RecordId(Uuid::nil()),
            time_ms: 0,
            writer: Uuid::nil(),
            kind: String::new(),
            expects: Vec::new(),
            command: None,
            origin: Origin::default(),
        };
        Self { offset, header: Bytes::new(), value, parsed, payload: Payload::Foreign, touched: Vec::new() }
    }
}

/// The new state of every aggregate that an event touches.
pub(super) type Evolved<D> = Vec<(Ref, Versioned<<D as Decider>::Entity>)>;

/// The slots of a record's keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// Those of the expected keys, in that order.
    claimed: &'a [SlotId],
    /// Those of the touched aggregates, in that order.
    touched: &'a [SlotId],
}

impl<'a> Places<'a> {
    /// Splits the slots that [`find_places`] found.
    pub(super) fn of<D: Decider>(queued: &Queued<D>, found: &'a [SlotId]) -> Self {
        let (claimed, touched) = found.split_at(queued.parsed.expects.len());
        Self { claimed, touched }
    }
}

impl<D: Decider> Core<D> {
    /// Queues a record of the journal. Records that are already folded or queued are ignored.
    ///
    /// # Errors
    /// [`Stop::Header`] if the header can't be decoded. It can't be skipped, so nothing more can be read.
    pub fn read(&mut self, offset: u64, header: Stored<'_>, value: &Bytes) -> Result<(), Stop> {
        if Bug::SkipAnOffset.is_loose() && offset % 16 == 15 {
            return Ok(());
        }
        if offset < self.tail() && !(Bug::FoldTwice.is_loose() && offset + 1 == self.tail()) {
            return Ok(());
        }
        let parsed = header.decode().map_err(|source| Stop::Header { journal: D::JOURNAL, offset, source })?;
        let (Stored::Header(header), Some(parsed)) = (header, parsed) else {
            // A gap stays outside of the chain, like an offset without a record.
            if header == Stored::Foreign {
                self.queue.records.push_back(Queued::foreign(offset, value.clone()));
            }
            return Ok(());
        };
        let own = self.flights.get(parsed.id).filter(|flight| flight.value == *value);
        let event = own.map(|flight| Arc::clone(&flight.event));
        self.queue.records.push_back(Queued::new(
            offset,
            header.clone(),
            value.clone(),
            parsed,
            event,
            self.author.unknown,
        ));
        Ok(())
    }

    /// Creates the record that begins a journal. Every instance that finds the journal empty appends one, and the first
    /// wins.
    pub fn genesis_record(&mut self, log_id: uuid::Uuid, now: Millis) -> Outgoing {
        let genesis = Genesis { log_id, journal: D::JOURNAL.to_owned(), hash_key: self.author.hash_key.clone() };
        let header = self.author.header(GENESIS, vec![Expect { key: Key::GENESIS, last: None }], now);
        let value = serde_json::to_vec(&genesis).expect("a genesis is plain text").into();
        Outgoing { id: header.id, ticket: None, about: Key::GENESIS, header: header.encode().into(), value }
    }

    /// The first offset that is neither folded nor queued.
    pub(super) fn tail(&self) -> u64 {
        self.queue.records.back().map_or(self.folded.next, |queued| queued.offset + 1)
    }

    pub(super) fn fold_queue(&mut self) -> Result<(), Stop> {
        // Scan the whole queue, so that everything missing is requested in one go, and fold the ready prefix.
        let mut missing = Vec::new();
        let mut n_ready = 0;
        let mut places = std::mem::take(&mut self.queue.places);
        places.clear();
        for queued in &self.queue.records {
            let id = queued.parsed.id;
            if !matches!(queued.payload, Payload::Foreign)
                && self.flights.get(id).is_none()
                && !self.slots.is_known(&id.as_key())
            {
                missing.push((id.as_key(), None));
            }
            find_places(&mut self.slots, queued, &mut places, &mut missing);
            if missing.is_empty() {
                n_ready += 1;
            }
        }
        self.missing.extend(missing);
        let mut rest = places.as_slice();
        for _ in 0..n_ready {
            // After a discard, records queued behind the discarded one are folded before anything that follows the discard.
            if self.parking.pass.is_some() || !self.knows_front() {
                break;
            }
            let Some(queued) = self.queue.records.pop_front() else { break };
            let n_places = queued.parsed.expects.len() + queued.touched.len();
            let (of_queued, others) = rest.split_at(n_places);
            rest = others;
            let of_queued = Places::of(&queued, of_queued);
            self.fold(queued, of_queued)?;
        }
        self.queue.places = places;
        if self.parking.pass.is_none() && !self.is_wanting() {
            self.fetched.clear();
        }
        Ok(())
    }

    fn knows_front(&mut self) -> bool {
        match self.queue.records.front() {
            Some(Queued { offset, payload: Payload::Discard(discard), .. }) => {
                let (by, discarded) = (*offset, discard.offset);
                self.knows_discarded(by, discarded)
            }
            Some(_) | None => true,
        }
    }

    /// Applies copied facts. The highest version of each wins, since older copies may arrive late.
    pub(super) fn fold_copies(&mut self) {
        while let Some((_, row)) = self.copying.queue.front() {
            if let Some((aggregate, _, _)) = row {
                let wanted = Wanted { key: aggregate.key, kind: Some(aggregate.kind) };
                if !self.slots.ready(&wanted) {
                    self.missing.insert((wanted.key, wanted.kind));
                    break;
                }
            }
            let Some((read, row)) = self.copying.queue.pop_front() else { break };
            if let Some((aggregate, version, state)) = row {
                let state = Arc::new(state);
                let known = self.slots.peek_aggregate(&aggregate);
                if known.is_none_or(|known| known.version < version || Bug::CopyAnyVersion.is_loose()) {
                    let place = self.slots.claim(aggregate.key);
                    self.slots.set_entity(place, Versioned { kind: aggregate.kind, version, offset: 0, state });
                }
            }
            self.copying.read.insert((read.topic.clone(), read.part), read);
            self.copying.is_changed = true;
            self.commands.stirred = true;
        }
    }

    fn fold(&mut self, queued: Queued<D>, places: Places<'_>) -> Result<(), Stop> {
        let Queued { offset, header, value, parsed, payload, touched } = queued;
        self.folded.digest = chain(&self.folded.digest, offset, &header, &value);
        self.folded.next = offset + 1;
        self.commands.stirred = true;
        if matches!(payload, Payload::Foreign) {
            self.fold_foreign(offset);
            return Ok(());
        }
        self.folded.time_ms = parsed.time_ms;
        let at = At { offset, time_ms: parsed.time_ms };
        let last = |key: &Key| {
            let place = parsed.expects.iter().position(|expect| expect.key == *key);
            let head = match place {
                Some(place) => self.slots.at(places.claimed[place]).head,
                None => self.slots.head_of(key),
            };
            head.map(|head| head.last)
        };
        let n_judged = if Bug::ArbitrateFirstKeyOnly.is_loose() { 1 } else { parsed.expects.len() };
        let verdict = if !accepts(parsed.id, &parsed.expects[..n_judged.min(parsed.expects.len())], last) {
            Verdict::Void
        } else if let Payload::Genesis = &payload {
            self.begin(offset, &value)?;
            self.move_heads(&parsed, places, offset);
            Verdict::Accepted
        } else {
            self.check_begun(offset)?;
            self.fold_accepted(&parsed, &payload, (touched, places), at)?
        };
        *match verdict {
            Verdict::Accepted => &mut self.folded.tally.accepted,
            Verdict::Void => &mut self.folded.tally.void,
            Verdict::Parked => &mut self.folded.tally.parked,
            Verdict::Discarded => &mut self.folded.tally.discarded,
        } += 1;
        let about = parsed.about();
        let (id, time_ms, digest) = (parsed.id, parsed.time_ms, self.folded.digest);
        self.unwritten.records.push(RecordRow { offset, id, time_ms, about, verdict, digest });
        self.settle(&parsed, verdict, at, payload);
        Ok(())
    }

    /// Another program's record is void. It has the time of the record before it, since its own could be anything.
    fn fold_foreign(&mut self, offset: u64) {
        self.folded.tally.void += 1;
        self.folded.tally.foreign += 1;
        let (id, time_ms, digest) = (RecordId(Uuid::nil()), self.folded.time_ms, self.folded.digest);
        self.unwritten.records.push(RecordRow {
            offset,
            id,
            time_ms,
            about: Key::GENESIS,
            verdict: Verdict::Void,
            digest,
        });
    }

    fn check_begun(&self, offset: u64) -> Result<(), Stop> {
        if self.folded.genesis.is_some() { Ok(()) } else { Err(Stop::NoGenesis { journal: D::JOURNAL, offset }) }
    }

    fn begin(&mut self, offset: u64, value: &[u8]) -> Result<(), Stop> {
        let genesis = serde_json::from_slice::<Genesis>(value).ok().filter(|genesis| genesis.journal == D::JOURNAL);
        let genesis = genesis.ok_or(Stop::NoGenesis { journal: D::JOURNAL, offset })?;
        if genesis.hash_key != self.author.hash_key {
            let (found, configured) = (genesis.hash_key, self.author.hash_key.clone());
            return Err(Stop::OtherHashKey { journal: D::JOURNAL, found, configured });
        }
        self.folded.genesis = Some(genesis);
        Ok(())
    }

    fn move_heads(&mut self, parsed: &Header, places: Places<'_>, offset: u64) {
        for place in places.claimed {
            self.slots.set_head(*place, Head { last: parsed.id, offset });
        }
    }

    /// Folds a record that won. Its heads move whether or not its payload can be folded.
    fn fold_accepted(
        &mut self,
        parsed: &Header,
        payload: &Payload<D>,
        (touched, places): (Vec<Ref>, Places<'_>),
        at: At,
    ) -> Result<Verdict, Stop> {
        self.move_heads(parsed, places, at.offset);
        if self.parking.is_discarded(at.offset) {
            return Ok(Verdict::Discarded);
        }
        let is_parked = |key: &Key| self.parking.holds(key) && !Bug::FoldBehindParked.is_loose();
        let is_behind = parsed.expects.iter().any(|expect| is_parked(&expect.key));
        let reason = match payload {
            // A discard names parked keys by design.
            Payload::Discard(discard) => {
                self.discard(parsed, discard, at)?;
                return Ok(Verdict::Accepted);
            }
            // Folded at the journal's start. A second one is void.
            Payload::Genesis | Payload::Foreign => return Ok(Verdict::Accepted),
            Payload::Event(_) | Payload::Unreadable(_) if is_behind => BEHIND.to_owned(),
            Payload::Unreadable(_) if Bug::SkipUnreadable.is_loose() => return Ok(Verdict::Accepted),
            Payload::Unreadable(reason) => reason.clone(),
            Payload::Event(event) => match self.fold_event(event, (touched, places), at) {
                Ok(()) => return Ok(Verdict::Accepted),
                Err(reason) => reason,
            },
        };
        self.parking.park(at.offset, parsed.id, parkable(parsed), reason);
        Ok(Verdict::Parked)
    }

    /// Applies the event to the aggregates it touches.
    ///
    /// # Errors
    /// The reason if folding panicked. Nothing is changed then.
    pub(super) fn fold_event(
        &mut self,
        event: &Arc<D::Event>,
        (touched, places): (Vec<Ref>, Places<'_>),
        at: At,
    ) -> Result<(), String> {
        for (place, (_, entity)) in places.touched.iter().zip(self.evolve(event, (&touched, places), at)?) {
            self.slots.set_entity(*place, entity);
        }
        self.unwritten.happened.push(Happened { at, event: Arc::clone(event), touched });
        Ok(())
    }

    fn evolve(&self, event: &D::Event, (touched, places): (&[Ref], Places<'_>), at: At) -> Result<Evolved<D>, String> {
        let before = |which: usize, aggregate: &Ref| self.slots.at(places.touched[which]).aggregate_of(aggregate.kind);
        catch_unwind(AssertUnwindSafe(|| evolve_all::<D>(event, touched, at, before)))
            .map_err(|_| "folding it panicked".to_owned())
    }

    fn settle(&mut self, parsed: &Header, verdict: Verdict, at: At, payload: Payload<D>) {
        if verdict == Verdict::Void {
            if !Bug::ForgetVoidIds.is_loose() {
                let place = self.slots.claim(parsed.id.as_key());
                self.slots.set_head(place, Head { last: parsed.id, offset: at.offset });
            }
            if let Some(flight) = self.flights.bury(parsed.id) {
                self.folded.tally.lost_races += 1;
                // The log took the record, but it lost a race. Another attempt may win right away.
                self.commands.wait_again(flight.ticket, Millis::MIN);
            }
            return;
        }
        let Some(flight) = self.flights.settle(parsed.id) else {
            return self.flights.doom_naming(parsed.expects.iter().map(|expect| expect.key));
        };
        match payload {
            Payload::Event(event) if verdict == Verdict::Accepted => {
                let accepted = Accepted { at, id: parsed.id, event };
                match flight.append {
                    Append::Sent => drop(self.flights.unacknowledged.insert(parsed.id, (flight.ticket, accepted))),
                    // Reading the record back from the log settles any doubt: an acknowledgement promises no more.
                    Append::Acknowledged | Append::Unknown { .. } => {
                        self.answer(flight.ticket, Outcome::Accepted(accepted));
                    }
                }
            }
            Payload::Event(_) | Payload::Unreadable(_) | Payload::Discard(_) | Payload::Foreign | Payload::Genesis => {
                self.answer(flight.ticket, Outcome::Parked);
            }
        }
    }
}

/// Appends the slots of the record's keys to `places`, in the order that [`Places`] expects. Unusable if any key is
/// missing.
pub(super) fn find_places<D: Decider>(
    slots: &mut Slots<D::Entity>,
    queued: &Queued<D>,
    places: &mut Vec<SlotId>,
    missing: &mut Vec<(Key, Option<Kind>)>,
) {
    let (expects, first) = (&queued.parsed.expects, places.len());
    for expect in expects {
        match slots.find(&expect.key) {
            Some(place) => places.push(place),
            None => missing.push((expect.key, None)),
        }
    }
    let all_found = places.len() == first + expects.len();
    for aggregate in &queued.touched {
        // A record names what it touches, so one look-up serves both.
        let named = expects.iter().position(|expect| expect.key == aggregate.key);
        let place = named.filter(|_| all_found).map(|named| places[first + named]);
        match place.or_else(|| slots.find(&aggregate.key)) {
            Some(place) if slots.at(place).aggregate.is_known(aggregate.kind) => places.push(place),
            Some(_) | None => missing.push((aggregate.key, Some(aggregate.kind))),
        }
    }
}

/// The new state of every aggregate that an event touches.
pub(super) fn evolve_all<'a, D: Decider>(
    event: &D::Event,
    touched: &[Ref],
    at: At,
    before: impl Fn(usize, &Ref) -> Option<&'a Versioned<D::Entity>>,
) -> Evolved<D> {
    let evolved = touched.iter().enumerate().map(|(which, &aggregate)| {
        let before = before(which, &aggregate);
        let version = before.map_or(0, |it| it.version) + 1;
        let state = D::evolve(before.map(|it| D::Entity::clone(&it.state)), which, event, &at);
        (aggregate, Versioned { kind: aggregate.kind, version, offset: at.offset, state: Arc::new(state) })
    });
    evolved.collect()
}
