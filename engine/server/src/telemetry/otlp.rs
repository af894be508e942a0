//! Sends traces to a collector, by OTLP over HTTP as JSON. Nothing waits for it: spans are handed over in batches by a thread of their
//! own, and those for which there is no room are dropped.

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

/// How often spans are handed over.
const EVERY: Duration = Duration::from_secs(1);
/// More spans than this do not wait.
const N_WAITING_MAX: usize = 16_384;
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] TlsError),
    #[error("traces can't be sent there: {0}")]
    Endpoint(String),
}

/// The traces of a process, on their way to the collector.
pub struct Traces(SdkTracerProvider);

/// Make spans of this share of the traces that begin here, and send them to the collector at `endpoint`. Of traces that begin elsewhere
/// whoever began them has decided. `ca` has the certificates that are believed.
///
/// # Errors
/// [`TracesError`], where that can't be.
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
    /// Hand over what is left.
    pub async fn end(self) {
        // It waits for the collector, on which this runtime has to work meanwhile.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(PATIENCE)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be handed over");
        }
    }
}

/// The exporter's thread has no runtime of its own: requests are made on the one of the process.
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
