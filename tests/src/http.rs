//! HTTP with JSON, as a caller sees it.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Its body; null if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of an answer with this status.
    ///
    /// # Panics
    /// If it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The body of a problem with this status and code.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        let content_type = self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(content_type.starts_with("application/problem+json"), "{content_type}");
        self.body
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Server-sent events as they come.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    /// The next event: its id and its data. None at the end.
    ///
    /// # Panics
    /// If it is not JSON.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                // A comment, which only keeps the connection alive, has neither.
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    return Some((id, serde_json::from_str(&data).expect("the data of an event is JSON")));
                }
                continue;
            }
            let more = self.response.chunk().await.ok()??;
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where the server is: `http://host:port`.
    pub base: String,
    client: reqwest::Client,
    key: Option<String>,
}

impl Http {
    /// A client of the server at `base`.
    pub fn new(base: impl Into<String>) -> Self {
        Self::believing(base.into(), Vec::new())
    }

    /// A client of the server at `base`, `https://host:port`, that believes certificates which stand on this one.
    ///
    /// # Panics
    /// If it is none.
    pub fn trusting(base: impl Into<String>, ca: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).expect("a certificate as PEM");
        Self::believing(base.into(), vec![ca])
    }

    fn believing(base: String, trusted: Vec<reqwest::Certificate>) -> Self {
        // Whoever was first has installed the same one.
        drop(CryptoProvider::install_default(ring::default_provider()));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().tls_certs_only(trusted);
        Self { base, client: client.build().expect("a client needs nothing of the system"), key: None }
    }

    /// The same client, with this key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same client, with connections of its own.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { key: self.key.clone(), ..Self::new(self.base.clone()) }
    }

    /// Send a request.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.keyed(request).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // A stream has no end to wait for.
        if headers.get("content-type").is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream")) {
            return Ok(Answer { status, headers, body: Value::Null });
        }
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body })
    }

    fn keyed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// What the process counts and where it stands: each series, as `/metrics` writes it, with its value.
    ///
    /// # Panics
    /// If it does not say.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let request = self.keyed(self.client.get(format!("{}/metrics", self.base)));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.expect("a text");
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    }

    /// Follow server-sent events.
    ///
    /// # Panics
    /// If they don't begin.
    pub async fn events(&self, path: &str, last_event_id: Option<&str>) -> Events {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id.as_bytes());
        }
        let sent = self.keyed(request).send().await;
        let response = sent.unwrap_or_else(|error| panic!("GET {path} was not answered: {error}"));
        assert_eq!(response.status(), StatusCode::OK, "GET {path}");
        Events { response, text: String::new() }
    }

    async fn must(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let answer = self.send(method.clone(), path, headers, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}"))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.must(Method::GET, path, &[], None).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.must(Method::POST, path, &[], Some(&body)).await
    }

    /// POST without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.must(Method::POST, path, &[], None).await
    }

    /// POST with an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, body: Value) -> Answer {
        self.must(Method::POST, path, &[("Idempotency-Key", key)], Some(&body)).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.must(Method::PUT, path, &[], Some(&body)).await
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.must(Method::PATCH, path, &[], Some(&body)).await
    }
}
