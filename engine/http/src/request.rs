//! The current request of a task: its id, which responses, problems and log lines contain, and its route.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use poem::http::{HeaderName, HeaderValue};
use uuid::Uuid;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of a caller's id.
const N_CHARS_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// A request being answered.
#[derive(Debug)]
pub struct Current {
    id: HeaderValue,
    route: OnceLock<Arc<str>>,
    quiet: AtomicBool,
}

impl Current {
    /// Creates a request with the id in this header. A malformed id is replaced, since it would end up in logs and headers.
    pub fn new(given: Option<&HeaderValue>) -> Arc<Self> {
        let id = given.filter(|id| is_id(id.as_bytes())).cloned().unwrap_or_else(minted);
        Arc::new(Self { id, route: OnceLock::new(), quiet: AtomicBool::new(false) })
    }

    /// Returns the id as a header.
    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    pub fn id(&self) -> &str {
        // Given and generated ids are visible ASCII.
        self.id.to_str().unwrap_or_default()
    }

    /// Returns the template of its route; `None` if there is no such route.
    pub fn route(&self) -> Option<&str> {
        self.route.get().map(AsRef::as_ref)
    }

    /// Whether to omit the request from the access log.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Runs `work` as part of this request.
    pub fn scope<W: Future>(self: Arc<Self>, work: W) -> impl Future<Output = W::Output> {
        CURRENT.scope(self, work)
    }
}

/// Returns the id of the current request, if there is one.
pub fn id() -> Option<String> {
    CURRENT.try_with(|current| current.id().to_owned()).ok()
}

/// Returns the id of the current request as a header.
pub fn header() -> Option<HeaderValue> {
    CURRENT.try_with(|current| current.header()).ok()
}

/// Sets the route of the current request by its template.
pub fn taken_by(route: &Arc<str>) {
    // Outside a request there is no route to set.
    drop(CURRENT.try_with(|current| current.route.set(Arc::clone(route))));
}

/// Omits the current request from the access log, since its caller reports it elsewhere.
pub fn tell_quietly() {
    // Outside a request there is no log line.
    let _ = CURRENT.try_with(|current| current.quiet.store(true, Ordering::Relaxed));
}

fn is_id(given: &[u8]) -> bool {
    (1..=N_CHARS_MAX).contains(&given.len()) && given.iter().all(u8::is_ascii_graphic)
}

fn minted() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_well_formed_id_is_kept_and_any_other_replaced() {
        for (given, is_kept) in [("abc-1", true), ("a", true), ("", false), ("a b", false), ("é", false)] {
            let value = HeaderValue::from_bytes(given.as_bytes()).unwrap();
            let current = Current::new(Some(&value));
            assert_eq!(current.id() == given, is_kept, "{given}");
            assert!(is_id(current.id().as_bytes()), "{given}");
        }
        let long = |n: usize| HeaderValue::from_str(&"x".repeat(n)).unwrap();
        assert_eq!(Current::new(Some(&long(N_CHARS_MAX))).id().len(), N_CHARS_MAX);
        assert_eq!(Current::new(Some(&long(N_CHARS_MAX + 1))).id().len(), 36);
    }

    #[tokio::test]
    async fn a_task_knows_its_request() {
        assert_eq!(id(), None);
        let current = Current::new(Some(&HeaderValue::from_static("abc")));
        let seen = Arc::clone(&current);
        assert_eq!(current.scope(async { (id(), taken_by(&"/orders".into())).0 }).await.as_deref(), Some("abc"));
        assert_eq!(seen.route(), Some("/orders"));
    }
}
