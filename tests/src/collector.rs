//! A collector of traces: takes spans by OTLP over HTTP as JSON, and keeps them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A span, as far as tests want to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace, in hex.
    pub trace: String,
    /// Its id, in hex.
    pub id: String,
    /// The span that caused it; empty if it begins the trace.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// The attributes that are texts.
    pub texts: BTreeMap<String, String>,
    /// How many links it has.
    pub n_links: usize,
    /// The whole of it.
    pub json: Value,
}

#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it takes spans: `http://host:port`.
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Start one, which goes on until the test ends.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Arc::new(Mutex::new(Vec::new()));
        let collector = Self { url, spans: Arc::clone(&spans) };
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&spans)));
            }
        });
        collector
    }

    /// The spans of a trace that came so far.
    pub fn of(&self, trace: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| span.trace == trace).cloned().collect()
    }

    /// All spans that came so far.
    pub fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Requests of one connection, until it ends.
async fn serve(connection: TcpStream, spans: Arc<Mutex<Vec<Span>>>) -> Option<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut length, mut line) = (0, String::new());
        let mut is_first = true;
        loop {
            line.clear();
            if connection.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if std::mem::take(&mut is_first) {
                assert!(line.starts_with("POST /v1/traces "), "{line}");
            }
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(given) = header.strip_prefix("content-length:") {
                length = given.trim().parse().expect("a length");
            }
            assert!(header != "content-type: application/x-protobuf", "this collector takes JSON");
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.ok()?;
        let body: Value = serde_json::from_slice(&body).expect("OTLP as JSON");
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans_of(&body));
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        connection.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn spans_of(body: &Value) -> Vec<Span> {
    let each = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let scopes = each(body, "resourceSpans").into_iter().flat_map(|resource| each(&resource, "scopeSpans"));
    let spans = scopes.flat_map(|scope| each(&scope, "spans"));
    spans
        .map(|json| {
            let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
            let texts = each(&json, "attributes").into_iter().filter_map(|attribute| {
                let value = attribute["value"]["stringValue"].as_str()?;
                Some((attribute["key"].as_str()?.to_owned(), value.to_owned()))
            });
            Span {
                trace: text("traceId"),
                id: text("spanId"),
                parent: text("parentSpanId"),
                name: text("name"),
                texts: texts.collect(),
                n_links: each(&json, "links").len(),
                json,
            }
        })
        .collect()
}
