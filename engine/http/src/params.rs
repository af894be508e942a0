//! The parts of a request outside its body: ids in the path, the idempotency key, the trace.

use orderlog_core::{machine::Versions, path::PathValue};
use poem::{
    Request, RequestBody, Result,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    param::Query,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef},
};

use crate::{
    auth::Caller,
    freshness::Freshness,
    problem::{ApiError, codes},
};

/// The maximum number of digits of a version in an entity tag.
const N_VERSION_DIGITS: usize = 18;

/// Makes a type a parameter of operations: its place, its schema, and how it is read from a request.
#[macro_export]
macro_rules! request_parameter {
    ($type:ty, $place:ident, $schema:expr, $read:expr $(,)?) => {
        impl<'a> poem_openapi::ApiExtractor<'a> for $type {
            const TYPES: &'static [poem_openapi::ApiExtractorType] = &[poem_openapi::ApiExtractorType::Parameter];

            type ParamType = ();
            type ParamRawType = ();

            fn param_in() -> Option<poem_openapi::registry::MetaParamIn> {
                Some(poem_openapi::registry::MetaParamIn::$place)
            }

            fn param_schema_ref() -> Option<poem_openapi::registry::MetaSchemaRef> {
                Some(poem_openapi::registry::MetaSchemaRef::Inline(Box::new($schema)))
            }

            async fn from_request(
                request: &'a poem::Request,
                _: &mut poem::RequestBody,
                _: poem_openapi::ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let read: fn(&poem::Request) -> Result<Self, $crate::problem::ApiError> = $read;
                Ok(read(request)?)
            }
        }
    };
}

/// A moment in the past, as the caller wrote it: a position or a time.
pub type AsOf = Query<Option<String>>;

/// A path parameter. The framework's own extractor would not name it in an error.
pub struct Path<T>(pub T);

impl<'a, T: PathValue> ApiExtractor<'a> for Path<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let (pattern, example) = (T::PATTERN.map(str::to_owned), Some(T::example().into()));
        let (format, description) = (T::FORMAT, Some(T::ABOUT));
        let schema = MetaSchema { format, pattern, example, description, ..MetaSchema::new("string") };
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, options: ExtractParamOptions<()>) -> Result<Self> {
        // The raw parameters of operations are named by their index.
        let text = request.raw_path_param(options.name).unwrap_or_default();
        T::parse(text).map(Self).map_err(|detail| ApiError::parameter(T::NAME, codes::INVALID_PARAMETER, detail).into())
    }
}

/// The raw parameters of a query, each with its name.
pub fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| (pair.split('=').next().unwrap_or_default(), pair))
}

/// Everything in the head of a command's request: the caller, its idempotency key, its trace, and what the caller has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHeaders {
    pub caller: Caller,
    /// The idempotency key, without quotes.
    pub key: Option<String>,
    /// A well-formed W3C `traceparent`.
    pub trace: Option<String>,
    /// What the caller has seen, and how it prefers to wait.
    pub freshness: Freshness,
    /// The target of the command must have one of these versions.
    pub versions: Option<Versions>,
}

impl CommandHeaders {
    /// The header with the idempotency key.
    pub const KEY: &'static str = "Idempotency-Key";
    /// The header with the trace.
    pub const TRACE: &'static str = "traceparent";

    fn read(request: &Request) -> Result<Self, ApiError> {
        let (caller, headers) = (Caller::of(request)?, request.headers());
        let trace = trace_of(headers).map(str::to_owned);
        Ok(Self { caller, key: key(headers)?, trace, freshness: Freshness::of(request)?, versions: versions(headers)? })
    }
}

/// Returns the trace of a request. A malformed one is ignored, as the specification requires.
pub fn trace_of(headers: &HeaderMap) -> Option<&str> {
    let trace = headers.get(CommandHeaders::TRACE).and_then(|trace| trace.to_str().ok());
    trace.filter(|trace| is_traceparent(trace))
}

/// Parses `If-Match`. Tags are compared strongly (RFC 9110, section 13.1.1): a weak one never matches.
fn versions(headers: &HeaderMap) -> Result<Option<Versions>, ApiError> {
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let list = value.to_str().map_err(|_| not_a_tag())?;
        // Empty list elements are ignored.
        tags.extend(list.split(',').map(str::trim).filter(|tag| !tag.is_empty()));
    }
    match tags[..] {
        [] if headers.contains_key(header::IF_MATCH) => Err(not_a_tag()),
        [] => Ok(None),
        ["*"] => Ok(Some(Versions::Any)),
        _ => {
            let versions = tags.iter().map(|tag| version(tag)).collect::<Option<Vec<_>>>().ok_or_else(not_a_tag)?;
            Ok(Some(Versions::OneOf(versions.into_iter().flatten().collect())))
        }
    }
}

/// Returns the version in an entity tag; `Some(None)` if no response ever had this tag, `None` if it is not a tag.
fn version(tag: &str) -> Option<Option<u64>> {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let digits = strong.strip_prefix('"')?.strip_suffix('"')?;
    if !(1..=N_VERSION_DIGITS).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_ours = tag == strong && (digits == "0" || !digits.starts_with('0'));
    Some(digits.parse().ok().filter(|_| is_ours))
}

fn not_a_tag() -> ApiError {
    let detail = "it must be a value of `ETag`, such as `\"3\"`, or `*`";
    ApiError::parameter("If-Match", codes::INVALID_IF_MATCH, detail)
}

/// Returns the idempotency key. Rejects two, since ignoring one could repeat what it has already done.
fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(CommandHeaders::KEY).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => parse_key(key.as_bytes()).map(Some),
        (Some(_), Some(_)) => {
            Err(ApiError::parameter(CommandHeaders::KEY, codes::INVALID_IDEMPOTENCY_KEY, "it must be given once"))
        }
    }
}

fn parse_key(given: &[u8]) -> Result<String, ApiError> {
    let wrong = || {
        let detail = "it must have 1 to 255 visible ASCII characters, in double quotes or bare";
        ApiError::parameter(CommandHeaders::KEY, codes::INVALID_IDEMPOTENCY_KEY, detail)
    };
    let bare = given.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(given);
    if !(1..=255).contains(&bare.len()) || !bare.iter().all(u8::is_ascii_graphic) || bare.contains(&b'"') {
        return Err(wrong());
    }
    String::from_utf8(bare.to_vec()).map_err(|_| wrong())
}

/// Whether this is a `traceparent` of version 00.
fn is_traceparent(text: &str) -> bool {
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], ["00", trace, parent, flags] if is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2))
}

request_parameter!(
    CommandHeaders,
    Header,
    MetaSchema { min_length: Some(1), max_length: Some(255), ..MetaSchema::new("string") },
    CommandHeaders::read
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_may_be_quoted_or_bare() {
        for (given, key) in [("abc", Some("abc")), ("\"abc\"", Some("abc")), ("", None), ("\"\"", None), ("a b", None)]
        {
            assert_eq!(parse_key(given.as_bytes()).ok().as_deref(), key, "{given}");
        }
        assert!(parse_key(&[b'a'; 255]).is_ok());
        assert!(parse_key(&[b'a'; 256]).is_err());
        assert!(parse_key("ä".as_bytes()).is_err());
    }

    #[test]
    fn a_request_has_one_idempotency_key_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers), Ok(None));
        headers.append(CommandHeaders::KEY, "one".parse().unwrap());
        assert_eq!(key(&headers), Ok(Some("one".to_owned())));
        headers.append(CommandHeaders::KEY, "two".parse().unwrap());
        assert!(key(&headers).is_err());
    }

    #[test]
    fn a_version_is_what_an_answer_said() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            versions(&headers).ok().flatten()
        };
        let one_of = |versions: &[u64]| Some(Versions::OneOf(versions.to_vec()));
        assert_eq!(read(&["\"3\""]), one_of(&[3]));
        assert_eq!(read(&["\"3\", \"4\""]), one_of(&[3, 4]));
        assert_eq!(read(&["\"3\",, ", "\"4\""]), one_of(&[3, 4]));
        assert_eq!(read(&["*"]), Some(Versions::Any));
        for wrong in [
            "",
            ",",
            "3",
            "\"x\"",
            "\"+3\"",
            "\"\"",
            "*, \"3\"",
            "w/\"3\"",
            "W/3",
            "W/\"x\"",
            "\"3",
            "\"9999999999999999999\"",
        ] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(versions(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn a_tag_that_no_answer_had_never_matches() {
        for (given, expected) in
            [("W/\"3\"", vec![]), ("W/\"3\", \"3\"", vec![3]), ("\"03\"", vec![]), ("W/\"3\",\"4\"", vec![4])]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, given.parse().unwrap());
            assert_eq!(versions(&headers), Ok(Some(Versions::OneOf(expected))), "{given}");
        }
    }

    #[test]
    fn only_well_formed_traces_are_taken() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }
}
