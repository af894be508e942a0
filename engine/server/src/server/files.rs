//! Files that never change while the process runs. Each is made, hashed and compressed once, when it is first requested.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use poem::{
    EndpointExt, Request, Response,
    endpoint::{BoxEndpoint, make},
    error::InternalServerError,
    http::{HeaderMap, HeaderName, header},
};

/// The query parameter by which pages name the version of a file: such a URL has the same content forever.
const VERSION: &str = "v";
/// A year, for URLs that name a version.
const FOREVER: &str = "public, max-age=31536000, immutable";

type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;

/// A file that is made on demand.
pub struct File {
    content_type: &'static str,
    policy: &'static str,
    plain: Arc<Lazy<Plain>>,
    gzip: Lazy<Bytes>,
}

struct Plain {
    text: Bytes,
    /// A hash of the text.
    version: String,
}

impl File {
    /// `policy` is the Content-Security-Policy.
    pub fn new<T: Into<String>>(
        content_type: &'static str,
        policy: &'static str,
        text: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<Self> {
        let plain: Arc<Lazy<Plain>> = Arc::new(LazyLock::new(Box::new(|| Plain::new(text().into()))));
        let whole = Arc::clone(&plain);
        let gzip: Lazy<Bytes> = LazyLock::new(Box::new(move || compressed(&whole.text)));
        Arc::new(Self { content_type, policy, plain, gzip })
    }

    /// The version to name in a URL.
    pub fn version(&self) -> &str {
        &self.plain.version
    }

    fn answer(&self, request: &Request) -> Response {
        let version = self.version();
        let query = request.uri().query().and_then(|query| query.strip_prefix(VERSION)?.strip_prefix('='));
        let response = Response::builder()
            .content_type(self.content_type)
            .header(header::CACHE_CONTROL, if query == Some(version) { FOREVER } else { "no-cache" })
            .header(header::VARY, "Accept-Encoding")
            .header(header::CONTENT_SECURITY_POLICY, self.policy)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        // A strong tag belongs to one encoding.
        if accepts_gzip(request.headers()) {
            let response = response.header(header::CONTENT_ENCODING, "gzip");
            response.header(header::ETAG, format!("\"{version}-gzip\"")).body(self.gzip.clone())
        } else {
            response.header(header::ETAG, format!("\"{version}\"")).body(self.plain.text.clone())
        }
    }

    pub fn endpoint(self: Arc<Self>) -> BoxEndpoint<'static> {
        make(move |request| Arc::clone(&self).respond(request)).map_to_response().boxed()
    }

    /// Answers on another thread, because making and compressing a large file takes a while.
    pub async fn respond(self: Arc<Self>, request: Request) -> poem::Result<Response> {
        tokio::task::spawn_blocking(move || self.answer(&request)).await.map_err(InternalServerError)
    }
}

impl Plain {
    fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { version: format!("{:016x}", hasher.finish()), text: text.into() }
    }
}

/// `path` with the version of its file.
pub fn versioned(path: &str, file: &File) -> String {
    format!("{path}?{VERSION}={}", file.version())
}

fn compressed(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("a `Vec` takes everything").into()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let quality = |coding| quality(headers, &header::ACCEPT_ENCODING, coding);
    quality("gzip").or_else(|| quality("*")).is_some_and(|quality| quality > 0.0)
}

/// The quality that the caller's header gives to `name`, if it lists that; 0 if the quality is not a number.
pub fn quality(headers: &HeaderMap, header: &HeaderName, name: &str) -> Option<f32> {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|part| {
        let mut part = part.split(';').map(str::trim);
        part.next().filter(|it| it.eq_ignore_ascii_case(name))?;
        let quality = part.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
        Some(quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use poem::{Endpoint, IntoResponse};

    use super::*;

    async fn asked(file: &Arc<File>, query: &str, encodings: &str) -> (HeaderMap, Vec<u8>) {
        let uri = format!("/file?{query}").parse().unwrap();
        let request = Request::builder().uri(uri).header(header::ACCEPT_ENCODING, encodings).finish();
        let response = Arc::clone(file).endpoint().call(request).await.unwrap().into_response();
        let headers = response.headers().clone();
        (headers, response.into_body().into_vec().await.unwrap())
    }

    #[tokio::test]
    async fn a_file_is_compressed_for_callers_that_take_gzip_only() {
        let file = File::new("text/css", "default-src 'none'", || "a".repeat(1_000));
        let (plain, text) = asked(&file, "", "identity").await;
        let (packed, bytes) = asked(&file, "", "br, gzip").await;
        assert_eq!((text.len(), plain.get(header::CONTENT_ENCODING)), (1_000, None));
        assert_eq!(packed[header::CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        GzDecoder::new(&*bytes).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        assert_ne!(plain[header::ETAG], packed[header::ETAG], "each encoding has a tag");
        for headers in [plain, packed] {
            assert_eq!(headers[header::VARY], "Accept-Encoding");
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        }
    }

    #[test]
    fn a_coding_is_refused_by_its_quality() {
        for (given, accepts) in [
            ("gzip", true),
            ("GZIP;q=0.2, br", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("xgzip", false),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("gzip;q=much", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, given.parse().unwrap())].into_iter().collect();
            assert_eq!(accepts_gzip(&headers), accepts, "{given}");
        }
    }

    #[tokio::test]
    async fn only_a_url_with_the_right_version_may_be_kept() {
        let file = File::new("text/css", "default-src 'none'", || "a");
        let right = format!("v={}", file.version());
        for (query, is_kept) in [(right.as_str(), true), ("", false), ("v=", false), ("v=0123456789abcdef", false)] {
            let (headers, _) = asked(&file, query, "gzip").await;
            assert_eq!(headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"), is_kept, "{query}");
        }
    }
}
