//! Spans, as a tracer sees them. In a process of its own, since there is one tracer for each.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use orderlog_runtime::{
    now_ms,
    trace::{self, Kind, Span},
};

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no test panicked").extend(batch);
        Ok(())
    }
}

const CAUSE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn what_follows_soon_is_a_child_and_what_follows_late_is_only_linked() {
    let kept = Kept::default();
    opentelemetry::global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build());
    trace::begin();

    let span = |cause, time_ms| Span::follow(Kind::Producer, || "publish".to_owned(), (cause, time_ms));
    let soon = span(Some(CAUSE), now_ms());
    assert!(soon.trace().is_some_and(|trace| trace.starts_with(&CAUSE[..36]) && trace != CAUSE), "{:?}", soon.trace());
    drop(soon);
    let late = span(Some(CAUSE), now_ms() - 24 * 60 * 60 * 1_000);
    assert!(late.trace().is_some_and(|trace| !trace.contains(&CAUSE[3..35])), "{:?}", late.trace());
    drop(late);
    assert!(!span(None, now_ms()).is_recorded(), "what was written without a trace makes none");

    let spans = std::mem::take(&mut *kept.0.lock().unwrap());
    let [soon, late] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((soon.parent_span_id.to_string().as_str(), soon.links.len()), ("00f067aa0ba902b7", 0));
    assert_eq!(late.parent_span_id, SpanId::INVALID);
    assert_eq!(
        late.links.iter().map(|link| link.span_context.span_id().to_string()).collect::<Vec<_>>(),
        ["00f067aa0ba902b7"]
    );

    let unsampled = format!("{}00", &CAUSE[..53]);
    let span = Span::begin(Kind::Server, || "GET".to_owned(), Some(&unsampled));
    assert!(!span.is_recorded() && span.trace().is_some_and(|trace| trace.ends_with("-00")), "{:?}", span.trace());
    drop(span);
    assert!(kept.0.lock().unwrap().is_empty(), "whoever begins a trace decides whether it is kept");
}
