//! Spans, as OpenTelemetry has them: what a request set in motion, over all services, as one tree.
//!
//! A trace goes along as the text of a W3C `traceparent`: from a request into the command's record, from there into public events,
//! reactions and deliveries, each the child of what caused it. Without a tracer the text is only handed on, and nothing else is done.
//!
//! Only live work makes spans: folding, catching up and rebuilding make none. Work that comes long after its cause (a relay that
//! was stopped for hours, say) begins a trace of its own, with a link to the old one, which else would grow for ever.
//!
//! Deliberately absent from spans: ids in paths, bodies, e-mail addresses, whatever callers write.

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

/// What happens later than this after its cause is no part of its trace, but linked to it.
const LIVE_MS: Millis = 10 * 60 * 1_000;

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: Option<String>;
}

/// Make spans from now on, by the tracer that was made known to OpenTelemetry.
pub fn begin() {
    TRACER.get_or_init(|| global::tracer("orderlog"));
}

/// The trace that this task's work belongs to, as a `traceparent`.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// What `work` comes to, which belongs to this trace.
pub fn scope<W: Future>(trace: Option<String>, work: W) -> impl Future<Output = W::Output> {
    // Not an async function: that would hold the work twice, once as it was handed over and once as it is done.
    CURRENT.scope(trace, work)
}

/// Something that takes time, until this is dropped.
pub struct Span {
    inner: Option<BoxedSpan>,
    trace: Option<String>,
}

impl Span {
    /// It begins now, caused by `parent`, a `traceparent`; without one it begins a trace.
    pub fn begin(kind: SpanKind, name: impl FnOnce() -> String, parent: Option<&str>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self { inner: None, trace: parent.map(str::to_owned) } };
        let builder = SpanBuilder::from_name(name()).with_kind(kind);
        Self::of(tracer.build_with_context(builder, &context_of(parent)))
    }

    /// It begins now, and follows from something that was written down at `time_ms` with this trace. What has none makes no span.
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

    /// Nothing that anybody would want to see.
    pub const fn none() -> Self {
        Self { inner: None, trace: None }
    }

    fn of(span: BoxedSpan) -> Self {
        let trace = Some(format(span.span_context()));
        Self { inner: Some(span), trace }
    }

    /// What follows from it is to have this as its `traceparent`.
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Whether somebody will see it.
    pub fn is_recorded(&self) -> bool {
        self.inner.as_ref().is_some_and(opentelemetry::trace::Span::is_recording)
    }

    /// What it is about. Nothing personal.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.inner {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// It turns out to be called so.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = &mut self.inner {
            span.update_name(name());
        }
    }

    /// It did not work.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(span) = &mut self.inner {
            span.set_status(Status::error(why.into()));
        }
    }

    /// A part of it, which is over.
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

/// The span that a `traceparent` of version 00 names.
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
