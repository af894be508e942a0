//! The request that a task is about: its id, which answers, problems and log lines tell, and the route that takes it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use poem::http::{HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries the id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// More characters than this has no caller's id.
const N_CHARS_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// A request while it is answered.
#[derive(Debug)]
pub struct Current {
    id: HeaderValue,
    route: OnceLock<Arc<str>>,
    quiet: AtomicBool,
}

impl Current {
    /// A request that brings this header. What is no id is not taken: it would end up in logs and headers.
    pub fn new(given: Option<&HeaderValue>) -> Arc<Self> {
        let id = given.filter(|id| is_id(id.as_bytes())).cloned().unwrap_or_else(minted);
        Arc::new(Self { id, route: OnceLock::new(), quiet: AtomicBool::new(false) })
    }

    /// The id as a header.
    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    pub fn id(&self) -> &str {
        // Both kinds consist of visible ASCII.
        self.id.to_str().unwrap_or_default()
    }

    /// The template of the route that takes it; none if there is no such route.
    pub fn route(&self) -> Option<&str> {
        self.route.get().map(AsRef::as_ref)
    }

    /// Whether nobody needs a line about it in the access log.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// What `work` comes to, which is about this request.
    pub fn scope<W: Future>(self: Arc<Self>, work: W) -> impl Future<Output = W::Output> {
        CURRENT.scope(self, work)
    }
}

/// The id of the request that this task is about, if it is about one.
pub fn id() -> Option<String> {
    CURRENT.try_with(|current| current.id().to_owned()).ok()
}

/// The same as a header.
pub fn header() -> Option<HeaderValue> {
    CURRENT.try_with(|current| current.header()).ok()
}

/// The request of this task is taken by the route with this template.
pub fn taken_by(route: &Arc<str>) {
    // What answers outside of a request has no route.
    drop(CURRENT.try_with(|current| current.route.set(Arc::clone(route))));
}

/// Nobody needs a line in the access log about the request of this task: whoever asks tells of it elsewhere.
pub fn tell_quietly() {
    // Outside of a request there is no line.
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
