//! How fresh a response must be: `Orderlog-Min-Position`, and how long the caller waits for that: `Prefer: wait=N`.
//!
//! A request waits for a position in the service's own journal until the rows contain it, and for one in the journal of a service whose
//! events this one consumes until the rows contain all its consequences (`engine/runtime/src/replica/news.rs`). Then a "not found" is
//! reliable. If the time limit passes first, the response is 504. Any other position is rejected, since the wait would never end.

use std::{fmt, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_runtime::replica::sources;
use poem::{Request, http::HeaderMap};
use poem_openapi::registry::MetaSchema;

use crate::{
    names::{ServiceName, ServiceNames},
    problem::{ApiError, codes},
};

/// The header with positions.
pub const MIN_POSITION: &str = "Orderlog-Min-Position";
/// The time limit if the caller gives none.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A record of some service's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub journal: ServiceName,
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.journal, self.offset)
    }
}

impl Position {
    /// Parses a position in one of these journals.
    pub fn read(text: &str, journals: &[ServiceName]) -> Option<Self> {
        let (name, offset) = text.trim().split_once('@')?;
        let journal = *journals.iter().find(|journal| journal.as_str() == name)?;
        Some(Self { journal, offset: offset.parse().ok()? })
    }
}

/// What a caller has seen, and how it prefers to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The response must reflect these records.
    pub seen: Vec<Position>,
    /// How long the caller is willing to wait.
    pub wait: Option<Duration>,
    /// Whether the caller prefers an immediate response.
    pub respond_async: bool,
}

impl Freshness {
    /// Parses the headers of a request, with positions in `journals`. Unknown preferences are ignored, as RFC 7240 requires.
    ///
    /// # Errors
    /// 400 for malformed positions.
    pub fn read(headers: &HeaderMap, journals: &[ServiceName]) -> Result<Self, ApiError> {
        // A value that is not text is neither a position nor a known preference.
        let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        let seen = text(MIN_POSITION).flat_map(|value| value.split(','));
        let seen: Option<Vec<_>> = seen.map(|position| Position::read(position, journals)).collect();
        // More than one position per service is pointless.
        let seen = seen.filter(|seen| seen.len() <= journals.len()).ok_or_else(|| {
            let detail =
                "it must be positions returned by earlier responses, such as `orders@1042`, separated by commas";
            ApiError::parameter(MIN_POSITION, codes::INVALID_POSITION, detail)
        })?;
        let mut freshness = Self { seen, ..Self::default() };
        for preference in text("Prefer").flat_map(|value| value.split(',')) {
            match preference.trim().split_once('=') {
                None => freshness.respond_async |= preference.trim().eq_ignore_ascii_case("respond-async"),
                Some((name, seconds)) if name.trim().eq_ignore_ascii_case("wait") => {
                    let seconds: Option<u64> = seconds.trim().trim_matches('"').parse().ok();
                    freshness.wait = seconds.map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX));
                }
                Some(_) => {}
            }
        }
        Ok(freshness)
    }

    /// Parses the headers of a request.
    pub fn of(request: &Request) -> Result<Self, ApiError> {
        let journals = request.data::<ServiceNames>().map_or(&[][..], |names| names);
        Self::read(request.headers(), journals)
    }

    /// Returns the preference that was applied, for the response. Waiting takes precedence if the caller prefers both.
    pub fn applied(&self) -> Option<String> {
        let waited = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        waited.or_else(|| self.respond_async.then(|| "respond-async".to_owned()))
    }

    /// Splits off the positions in `journal`. Returns them and all others.
    #[must_use]
    pub fn part(self, journal: ServiceName) -> (Self, Self) {
        let (of_it, rest) = self.seen.iter().partition(|position| position.journal == journal);
        (Self { seen: of_it, ..self.clone() }, Self { seen: rest, ..self })
    }

    /// Removes the positions that `D` cannot wait for.
    #[must_use]
    pub fn awaited_by<D: Decider>(&self) -> Self {
        let seen = self.seen.iter().filter(|position| awaited::<D>().any(|it| it == position.journal.as_str()));
        Self { seen: seen.copied().collect(), ..self.clone() }
    }

    /// Checks that `D` can wait for all positions.
    ///
    /// # Errors
    /// 400 for a position that it cannot wait for.
    pub fn known<D: Decider>(&self) -> Result<(), ApiError> {
        let may_wait_for: Vec<&str> = awaited::<D>().collect();
        match self.seen.iter().find(|position| !may_wait_for.contains(&position.journal.as_str())) {
            None => Ok(()),
            Some(position) => {
                let own = D::JOURNAL;
                let detail = format!(
                    "{own} consumes no events from there, so it can't wait for {position}; it can wait for positions of: {}",
                    may_wait_for.join(", ")
                );
                Err(ApiError::parameter(MIN_POSITION, codes::JOURNAL_NOT_FOLLOWED, detail))
            }
        }
    }

    /// Returns how long to wait.
    pub fn patience(&self) -> Duration {
        self.wait.unwrap_or(WAIT)
    }

    /// Returns the last record of this service that the caller has seen.
    pub fn last_of<D: Decider>(&self) -> Option<u64> {
        let own = self.seen.iter().filter(|position| position.journal.as_str() == D::JOURNAL);
        own.map(|position| position.offset).max()
    }

    /// Returns the offset up to which a response must reflect all records about its object; `u64::MAX` if the caller has seen another
    /// service's record, from which any of them may follow.
    pub fn must_reflect<D: Decider>(&self) -> Option<u64> {
        if self.foreign::<D>().next().is_some() { Some(u64::MAX) } else { self.last_of::<D>() }
    }

    /// Returns the positions that the caller has seen in other services. A journal's first record is excluded: it is the genesis, from which
    /// nothing follows.
    pub fn foreign<D: Decider>(&self) -> impl Iterator<Item = &Position> {
        self.seen.iter().filter(|position| position.journal.as_str() != D::JOURNAL && position.offset > 0)
    }
}

/// Returns the journals whose positions `D` can wait for: its own, then those whose events it consumes.
pub fn awaited<D: Decider>() -> impl Iterator<Item = &'static str> {
    std::iter::once(D::JOURNAL).chain(sources::<D>().map(|(journal, _)| journal))
}

crate::request_parameter!(Freshness, Header, MetaSchema::new("string"), Freshness::of);

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: ServiceName = ServiceName::named("orders");
    const BILLING: ServiceName = ServiceName::named("billing");

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Freshness, ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Freshness::read(&map, &[ORDERS, BILLING])
    }

    #[test]
    fn positions_and_preferences_are_read() {
        let position = |journal, offset| Position { journal, offset };
        let given = [("orderlog-min-position", "orders@7, billing@0"), ("prefer", "respond-async, wait=10")];
        let freshness = read(&given).unwrap();
        assert_eq!(freshness.seen, [position(ORDERS, 7), position(BILLING, 0)]);
        assert_eq!((freshness.wait, freshness.respond_async), (Some(Duration::from_secs(10)), true));
        assert_eq!(read(&[]), Ok(Freshness::default()));
    }

    #[test]
    fn what_is_no_preference_of_ours_is_ignored_and_nobody_waits_for_ever() {
        let read = |prefer| read(&[("prefer", prefer)]).unwrap();
        assert_eq!(read("wait=86400").wait, Some(WAIT_MAX));
        assert_eq!(read("WAIT=\"3\"").wait, Some(Duration::from_secs(3)));
        assert_eq!(read("return=minimal, handling=strict, wait=soon"), Freshness::default());
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let no_text = "orders@1\u{e4}";
        for wrong in ["", "7", "orders", "orders@", "shipping@1", "orders@1;billing@2", "orders@-1", no_text] {
            assert!(read(&[("orderlog-min-position", wrong)]).is_err(), "{wrong}");
        }
        assert!(read(&[("orderlog-min-position", "orders@1,orders@2,billing@1")]).is_err(), "more than services");
    }
}
