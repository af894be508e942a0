//! Sends traces to a collector, with OTLP over HTTP as JSON. Nothing waits for it: a separate thread sends spans in
//! batches, and spans that don't fit into its queue are dropped.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use orderlog_http::{
    names::ServiceName,
    tls::{self, TlsError},
};
use orderlog_runtime::trace;
use tokio::runtime::Handle;
use uuid::Uuid;

/// How often to send spans.
const EVERY: Duration = Duration::from_secs(1);
/// The most spans in the queue.
const N_WAITING_MAX: usize = 16_384;
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error(transparent)]
    Client(#[from] TlsError),
    #[error("traces can't be sent there: {0}")]
    Endpoint(String),
}

/// The running exporter of a process.
pub struct Traces(SdkTracerProvider);

/// Starts to record spans and send them to the collector at `endpoint`. `ratio` is the fraction of traces that are
/// sampled if they begin here; for others, the process that began them decides. `ca` names the trusted CA certificates.
pub fn begin(endpoint: &str, ca: Option<&Path>, ratio: f64, services: &[ServiceName]) -> Result<Traces, TracesError> {
    let client = tls::client(ca, [endpoint])?.timeout(PATIENCE).build().map_err(TlsError::Client)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { client, runtime: Handle::current() })
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| TracesError::Endpoint(error.to_string()))?;
    let config = BatchConfigBuilder::default().with_scheduled_delay(EVERY).with_max_queue_size(N_WAITING_MAX).build();
    let name = match services {
        [one] => format!("orderlog-{one}"),
        _ => "orderlog".to_owned(),
    };
    let about = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(Resource::builder_empty().with_service_name(name).with_attributes(about).build())
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    trace::begin();
    Ok(Traces(provider))
}

impl Traces {
    pub async fn end(self) {
        // This blocks for the collector, and this runtime has to make the request meanwhile.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(PATIENCE)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be handed over");
        }
    }
}

/// The exporter's thread has no runtime: requests run on the process's runtime.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let sending = self.runtime.spawn(async move {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
        });
        let (status, headers, body) = sending.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
