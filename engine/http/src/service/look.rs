//! `as_of`: past states of an object.

use std::time::Duration;

use orderlog_core::decider::{Decider, Ref};
use orderlog_runtime::past::{Moment, PastError};
use uuid::Uuid;

use crate::{
    answer::position,
    auth::Caller,
    freshness::Freshness,
    point::Point,
    problem::{ApiError, codes},
    service::{Entity, Service, ServiceDefinition},
    waiting::aside_if_possible,
};

const AS_OF: &str = "as_of";

/// Which callers may see an object.
#[derive(Clone, Copy)]
pub enum Visibility<'a, E> {
    /// Every authorized caller.
    ToAll,
    /// Of the callers bound to an owner, only those bound to the object's owner.
    ToItsOwner(&'a Caller, fn(Uuid, &E) -> bool),
}

impl<E> Visibility<'_, E> {
    fn hides(&self, entity: &E) -> bool {
        match self {
            Self::ToAll => false,
            Self::ToItsOwner(caller, is_its) => caller.owner().is_some_and(|owner| !is_its(owner, entity)),
        }
    }

    /// Whether the caller may see every object.
    fn is_to_all(&self) -> bool {
        match self {
            Self::ToAll => true,
            Self::ToItsOwner(caller, _) => caller.owner().is_none(),
        }
    }
}

/// The current or a past state of an object.
pub struct Lookup<E> {
    /// Its state; `None` if it does not or did not exist.
    pub entity: Option<E>,
    /// The position of the last record that the answer reflects, such as `orders@1042`; `None` for the current state.
    pub position: Option<String>,
    /// The position of its first record, if it was created later.
    later: Option<String>,
}

impl<E> Lookup<E> {
    /// Returns the object as one of a kind, and the position of a past state.
    ///
    /// # Errors
    /// `absent`, with the position that was searched, if there is no object of that kind.
    pub fn found<T>(
        self,
        of_kind: impl FnOnce(E) -> Option<T>,
        absent: impl FnOnce() -> ApiError,
    ) -> Result<(T, Option<String>), ApiError> {
        let Self { entity, position, later } = self;
        entity.and_then(of_kind).map(|found| (found, position.clone())).ok_or_else(|| {
            let mut error = absent();
            if let Some(position) = &position {
                error.append(&format!(" as of {position}"));
            }
            if let Some(later) = &later {
                error.append(&format!("; its first record is {later}"));
            }
            error
        })
    }
}

impl<S: ServiceDefinition> Service<S> {
    /// Waits for what the caller has seen, and returns an aggregate as visible to the caller: with every command that this instance has
    /// answered, or as it was at `as_of`. A hidden aggregate is reported as missing, whatever else is known about it.
    ///
    /// While the very first record of an aggregate is parked, its owner is unknown. That is reported to every caller, so that the owner
    /// does not get a wrong "not found".
    ///
    /// # Errors
    /// As [`Service::reached`]; 400 if `as_of` is malformed or outside this journal; 503 if the rows are behind, or lack what the caller has
    /// seen.
    pub async fn look(
        &self,
        aggregate: Ref,
        as_of: Option<&str>,
        seen: &Freshness,
        visible: Visibility<'_, Entity<S>>,
    ) -> Result<Lookup<Entity<S>>, ApiError> {
        let rows = self.fresh_rows(seen).await?;
        let offset = match as_of {
            Some(as_of) => Some(self.located(as_of).await?),
            None => None,
        };
        let as_of = offset.map(position::<S::Decider>);
        let now = rows.get(aggregate.kind, &aggregate.key).await?.map(|(_, _, entity)| entity);
        if now.as_ref().is_some_and(|entity| visible.hides(entity)) {
            return Ok(Lookup { entity: None, position: as_of, later: None });
        }
        if let Some(up_to) = offset.or_else(|| seen.must_reflect::<S::Decider>()) {
            self.reflects(&rows, &aggregate.key, up_to).await?;
        }
        let Some(offset) = offset else {
            return Ok(Lookup { entity: now, position: None, later: None });
        };
        let entity = self.replica.as_of(aggregate, offset).await?.filter(|entity| !visible.hides(entity));
        let later = match &entity {
            None if visible.is_to_all() => rows.first_touching(&aggregate.key).await?.map(position::<S::Decider>),
            None | Some(_) => None,
        };
        Ok(Lookup { entity, position: as_of, later })
    }

    /// Returns the offset of the last record at or before `as_of`.
    async fn located(&self, as_of: &str) -> Result<u64, ApiError> {
        let moment = moment(as_of, S::Decider::JOURNAL)?;
        let wait = Duration::from_millis(self.command_timeout_ms.unsigned_abs());
        let located =
            aside_if_possible(tokio::time::timeout(wait, self.replica.locate(moment))).await.map_err(|_| {
                ApiError::unavailable(
                    codes::ROWS_BEHIND,
                    format!("the rows of {} do not reach {as_of} yet", S::Decider::JOURNAL),
                )
            })?;
        Ok(located?)
    }
}

fn moment(text: &str, journal: &str) -> Result<Moment, ApiError> {
    let wrong = || {
        let detail = format!(
            "it must be a position in this journal, such as {journal}@1042, or an RFC 3339 time, such as \
             2026-01-31T12:00:00Z"
        );
        ApiError::parameter(AS_OF, codes::INVALID_AS_OF, detail)
    };
    match unplussed(text).parse().map_err(|_| wrong())? {
        Point::Position(topic, offset) if topic == journal => Ok(Moment::Offset(offset)),
        Point::Time(time) => Ok(Moment::Time(time)),
        Point::Position(..) | Point::Offset(_) | Point::Beginning | Point::End => Err(wrong()),
    }
}

/// Restores an unescaped `+`, which a query decodes as a blank: `12:00:00 01:00` had an offset east of UTC.
fn unplussed(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((time, offset)) if time.contains(['T', 't']) => format!("{time}+{offset}"),
        Some(_) | None => text.to_owned(),
    }
}

impl From<PastError> for ApiError {
    fn from(error: PastError) -> Self {
        let detail = error.to_string();
        match error {
            PastError::OutOfRange { .. } => Self::parameter(AS_OF, codes::OUT_OF_RANGE, detail),
            PastError::TooLong(_) => Self::parameter(AS_OF, codes::TOO_LONG, detail),
            PastError::Unreadable { .. } => Self::unavailable(codes::PARKED, detail),
            PastError::Log(_) => Self::unavailable(codes::LOG_UNAVAILABLE, detail),
            PastError::Rows(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_in_the_journal_or_a_time() {
        let moment = |text| moment(text, "orders").map_err(|error| error.faults()[0].code.clone());
        assert_eq!(moment("orders@7"), Ok(Moment::Offset(7)));
        assert_eq!(moment("1970-01-01T01:00:01+01:00"), Ok(Moment::Time(1_000)));
        assert_eq!(moment("1970-01-01T01:00:01 01:00"), Ok(Moment::Time(1_000)), "a plus that was not escaped");
        for wrong in ["", "7", "end", "billing@7", "yesterday", "orders@-1", "orders@7 8"] {
            assert_eq!(moment(wrong), Err("invalid_as_of".to_owned()), "{wrong}");
        }
    }
}
