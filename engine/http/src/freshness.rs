//! How new an answer has to be: `Orderlog-Min-Position`, and for how long the caller waits for that: `Prefer: wait=N`.
//!
//! A position in the service's own journal is waited for until the rows hold it. One in the journal of a service whose events this one
//! consumes is waited for until the rows hold all that follows from it here (`engine/runtime/src/replica/news.rs`). Then a "not found" is
//! the truth. If the time is up before, the answer is 504. Any other position is refused, since the wait would have no end.

use std::{fmt, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_runtime::replica::sources;
use poem::{Request, RequestBody, Result, http::HeaderMap};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef},
};

use crate::{
    names::{ServiceName, ServiceNames},
    problem::{ApiError, codes},
};

/// The header that carries positions.
pub const MIN_POSITION: &str = "Orderlog-Min-Position";
/// How long is waited if the caller does not say.
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
    /// The position that `text` is, in one of these journals.
    pub fn read(text: &str, journals: &[ServiceName]) -> Option<Self> {
        let (name, offset) = text.trim().split_once('@')?;
        let journal = *journals.iter().find(|journal| journal.as_str() == name)?;
        Some(Self { journal, offset: offset.parse().ok()? })
    }
}

/// What a caller has seen, and how it likes to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The answer has to reflect these records.
    pub seen: Vec<Position>,
    /// For how many seconds the caller likes to wait.
    pub wait: Option<Duration>,
    /// The caller likes an answer at once.
    pub respond_async: bool,
}

impl Freshness {
    /// What the headers of a request say, where there are these journals. Preferences that are not understood are ignored, as RFC 7240 wants it.
    ///
    /// # Errors
    /// 400 for positions that are none.
    pub fn read(headers: &HeaderMap, journals: &[ServiceName]) -> Result<Self, ApiError> {
        // What is no text is no position, and no preference that is understood.
        let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        let seen = text(MIN_POSITION).flat_map(|value| value.split(','));
        let seen: Option<Vec<_>> = seen.map(|position| Position::read(position, journals)).collect();
        // More positions than one for each service make no sense.
        let seen = seen.filter(|seen| seen.len() <= journals.len()).ok_or_else(|| {
            let detail = "it must be positions that answers told, such as `orders@1042`, with commas between them";
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

    /// What a request says.
    ///
    /// # Errors
    /// As [`Freshness::read`].
    pub fn of(request: &Request) -> Result<Self, ApiError> {
        let journals = request.data::<ServiceNames>().map_or(&[][..], |names| names);
        Self::read(request.headers(), journals)
    }

    /// The preference that was honoured, as the answer says it; of a caller that likes both, the waiting.
    pub fn applied(&self) -> Option<String> {
        let waited = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        waited.or_else(|| self.respond_async.then(|| "respond-async".to_owned()))
    }

    /// What was seen of `journal` by itself, and everything else.
    #[must_use]
    pub fn part(self, journal: ServiceName) -> (Self, Self) {
        let (of_it, rest) = self.seen.iter().partition(|position| position.journal == journal);
        (Self { seen: of_it, ..self.clone() }, Self { seen: rest, ..self })
    }

    /// The same, without the positions that `D` can't wait for.
    #[must_use]
    pub fn awaited_by<D: Decider>(&self) -> Self {
        let seen = self.seen.iter().filter(|position| awaited::<D>().any(|it| it == position.journal.as_str()));
        Self { seen: seen.copied().collect(), ..self.clone() }
    }

    /// Whether `D` can wait for all of them.
    ///
    /// # Errors
    /// 400 for a position that it can't wait for.
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

    /// For how long is waited.
    pub fn patience(&self) -> Duration {
        self.wait.unwrap_or(WAIT)
    }

    /// The last record of this service that the caller has seen.
    pub fn last_of<D: Decider>(&self) -> Option<u64> {
        let own = self.seen.iter().filter(|position| position.journal.as_str() == D::JOURNAL);
        own.map(|position| position.offset).max()
    }

    /// Up to which record of this service an answer must reflect all that is about its object, if there is such a record. What follows
    /// from another service's record may be any.
    pub fn must_reflect<D: Decider>(&self) -> Option<u64> {
        if self.foreign::<D>().next().is_some() { Some(u64::MAX) } else { self.last_of::<D>() }
    }

    /// What the caller has seen of other services than this. A journal's first record only says which journal it is: nothing follows
    /// from it.
    pub fn foreign<D: Decider>(&self) -> impl Iterator<Item = &Position> {
        self.seen.iter().filter(|position| position.journal.as_str() != D::JOURNAL && position.offset > 0)
    }
}

/// The journals whose positions `D` can wait for: its own first, then those whose events it consumes.
pub fn awaited<D: Decider>() -> impl Iterator<Item = &'static str> {
    std::iter::once(D::JOURNAL).chain(sources::<D>().map(|(journal, _)| journal))
}

impl<'a> ApiExtractor<'a> for Freshness {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))))
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        Ok(Self::of(request)?)
    }
}

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
