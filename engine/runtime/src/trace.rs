//! OpenTelemetry spans: everything that a request causes, in all services, as one tree.
//!
//! A trace is propagated as the text of a W3C `traceparent`: from a request into the command's record, and from there into public
//! events, reactions and deliveries, each a child of its cause. Without a tracer the text is only passed on.
//!
//! Only live work makes spans: folding, catching up and rebuilding make none. Work long after its cause (by a relay that was stopped
//! for hours, for example) starts a trace of its own with a link to the old one, which would otherwise grow forever.
//!
//! Spans contain no ids in paths, bodies, e-mail addresses or other text from callers.

use std::{sync::OnceLock, time::SystemTime};

use opentelemetry::{
    Context, KeyValue, Value,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer,
    },
};
use orderlog_core::decider::Millis;

pub use opentelemetry::trace::SpanKind as Kind;

use crate::now_ms;

/// Work that starts later than this after its cause, in milliseconds, is not part of its trace but linked to it.
const LIVE_MS: Millis = 10 * 60 * 1_000;

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: Option<String>;
}

/// Enables spans, with the tracer registered globally with OpenTelemetry.
pub fn begin() {
    TRACER.get_or_init(|| global::tracer("orderlog"));
}

/// Returns the trace of the current task, as a `traceparent`.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Runs `work` as part of this trace.
pub fn scope<W: Future>(trace: Option<String>, work: W) -> impl Future<Output = W::Output> {
    // Not an async function, which would hold the work twice: as an argument and as the future being polled.
    CURRENT.scope(trace, work)
}

/// A running span, which ends when it is dropped.
pub struct Span {
    inner: Option<BoxedSpan>,
    trace: Option<String>,
}

impl Span {
    /// Starts a span caused by `parent`, a `traceparent`. Without one it starts a trace.
    pub fn begin(kind: SpanKind, name: impl FnOnce() -> String, parent: Option<&str>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self { inner: None, trace: parent.map(str::to_owned) } };
        let builder = SpanBuilder::from_name(name()).with_kind(kind);
        Self::of(tracer.build_with_context(builder, &context_of(parent)))
    }

    /// Starts a span that follows from something recorded at `time_ms` with this trace. Makes no span if there is no trace.
    pub fn follow(kind: SpanKind, name: impl FnOnce() -> String, (trace, time_ms): (Option<&str>, Millis)) -> Self {
        let (Some(tracer), Some(cause)) = (TRACER.get(), trace.and_then(parse)) else {
            return Self { inner: None, trace: trace.map(str::to_owned) };
        };
        if now_ms() - time_ms <= LIVE_MS {
            return Self::begin(kind, name, trace);
        }
        let builder = SpanBuilder::from_name(name()).with_kind(kind).with_links(vec![Link::with_context(cause)]);
        Self::of(tracer.build_with_context(builder, &Context::new()))
    }

    /// A span that is not recorded.
    pub const fn none() -> Self {
        Self { inner: None, trace: None }
    }

    fn of(span: BoxedSpan) -> Self {
        let trace = Some(format(span.span_context()));
        Self { inner: Some(span), trace }
    }

    /// Returns the `traceparent` to pass to work caused by this span.
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    pub fn is_recorded(&self) -> bool {
        self.inner.as_ref().is_some_and(opentelemetry::trace::Span::is_recording)
    }

    /// Sets an attribute. It must not be personal.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.inner {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = &mut self.inner {
            span.update_name(name());
        }
    }

    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(span) = &mut self.inner {
            span.set_status(Status::error(why.into()));
        }
    }

    /// Adds a finished child span.
    pub fn part(&self, name: &'static str, (from, to): (SystemTime, SystemTime)) {
        if let (Some(tracer), true) = (TRACER.get(), self.is_recorded()) {
            let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Internal).with_start_time(from);
            tracer.build_with_context(builder, &context_of(self.trace())).end_with_timestamp(to);
        }
    }
}

fn context_of(parent: Option<&str>) -> Context {
    match parent.and_then(parse) {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    }
}

/// Parses a `traceparent` of version 00.
fn parse(text: &str) -> Option<SpanContext> {
    let parts: Vec<&str> = text.split('-').collect();
    let ["00", trace, parent, flags] = parts[..] else { return None };
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_comes_back_as_it_was() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse(text).as_ref().map(format).as_deref(), Some(text));
        for wrong in ["", "00-ab", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "01-a-b-c"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn without_a_tracer_a_trace_is_only_handed_on() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let span = Span::begin(SpanKind::Internal, || unreachable!("nobody wants a name"), Some(text));
        assert_eq!((span.trace(), span.is_recorded()), (Some(text), false));
        assert_eq!(Span::begin(SpanKind::Internal, String::new, None).trace(), None);
        assert_eq!(scope(Some(text.to_owned()), async { current() }).await.as_deref(), Some(text));
        assert_eq!(current(), None);
    }
}
