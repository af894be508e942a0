//! Checks the host name of requests and the origin of pages, and detects proxies.
//!
//! A browser sends requests from any page to any server that it can reach, even on its own machine, and a page can make
//! its own name resolve to that machine (DNS rebinding). So where no key distinguishes callers, the name in `Host` must
//! be known, and `Origin`, if a browser sends it, must always be the server's own or an allowed one.

use std::{collections::BTreeSet, net::IpAddr};

use orderlog_http::problem::{ApiError, codes};
use poem::{
    Request,
    http::{HeaderValue, StatusCode, Uri, header, uri::Scheme},
};

use crate::config::{Options, host_name};

/// The host names of this deployment.
pub struct Hosts {
    /// In lower case, without a trailing dot.
    names: BTreeSet<String>,
}

/// Host and port of a URL, a `Host` or an `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    /// An address can't be made to resolve to another machine.
    Address(IpAddr),
}

impl Authority {
    /// `None` if it is not just a host and an optional port, for example if it contains a user.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(IpAddr::V6(address.parse().ok()?).to_canonical()), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                match name.parse() {
                    Ok(address) => (Host::Address(IpAddr::V4(address)), port),
                    Err(_) => (Host::Name(host_name(name).ok()?), port),
                }
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) | None => return None,
        };
        Some(Self { host, port })
    }
}

impl Hosts {
    /// The allowed names and those in this deployment's own URLs.
    pub fn of(options: &Options) -> Self {
        let urls = options.peer_urls.all().chain(&options.storage.advertised_url);
        let own = urls.filter_map(|url| url.parse::<Uri>().ok()?.host().map(str::to_owned));
        let names = own.chain(options.security.allowed_hosts.iter().cloned());
        Self { names: names.filter_map(|name| host_name(&name).ok()).collect() }
    }

    fn knows(&self, host: &Host) -> bool {
        match host {
            Host::Address(_) => true,
            Host::Name(name) => name == "localhost" || self.names.contains(name),
        }
    }

    /// Rejects a request for a host name that is not known to be this server's.
    ///
    /// # Errors
    /// 403.
    pub fn check_name(&self, request: &Request) -> Result<(), ApiError> {
        // An absolute target overrides the header; a known name in one does not excuse the other.
        let target = request.uri().authority().map(|authority| authority.as_str());
        let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        let is_known = |name: &str| Authority::parse(name).is_some_and(|it| self.knows(&it.host));
        // HTTP/1.0 requests may have neither, and no browser uses that version.
        if target.into_iter().chain(header).all(is_known) {
            return Ok(());
        }
        let detail =
            "without keys this server answers only to `localhost`, IP addresses, and names given by --allowed-host";
        Err(ApiError::new(StatusCode::FORBIDDEN, codes::FOREIGN_HOST, detail))
    }

    /// Rejects a request from a page that is neither this server's own nor from an allowed host.
    ///
    /// # Errors
    /// 403.
    pub fn check_origin(&self, request: &Request) -> Result<(), ApiError> {
        let host = request.uri().authority().map(|authority| authority.as_str());
        let host = host.or_else(|| request.header(header::HOST)).and_then(Authority::parse);
        let is_own = |origin: &HeaderValue| {
            let (scheme, authority) = origin.to_str().ok()?.split_once("://")?;
            let default_port = match scheme.to_ascii_lowercase().as_str() {
                // A page without TLS is not from a server with TLS. Conversely, a proxy may add TLS.
                "http" if *request.scheme() != Scheme::HTTPS => 80,
                "https" => 443,
                _ => return None,
            };
            let page = Authority::parse(authority)?;
            let is_allowed = matches!(&page.host, Host::Name(name) if self.names.contains(name));
            let is_same = host.as_ref().is_some_and(|own| {
                let port = |authority: &Authority| authority.port.unwrap_or(default_port);
                own.host == page.host && port(own) == port(&page)
            });
            (is_allowed || is_same).then_some(())
        };
        if request.headers().get_all(header::ORIGIN).iter().all(|origin| is_own(origin).is_some()) {
            return Ok(());
        }
        let detail =
            "pages of other sites may not ask here: serve them from this host, or name theirs by --allowed-host";
        Err(ApiError::new(StatusCode::FORBIDDEN, codes::FOREIGN_ORIGIN, detail))
    }
}

/// Whether a proxy forwarded the request, so that the address is the proxy's.
pub fn is_forwarded(request: &Request) -> bool {
    request.headers().keys().map(|name| name.as_str()).any(|name| {
        name.starts_with("x-forwarded")
            || [header::FORWARDED.as_str(), header::VIA.as_str(), "x-real-ip"].contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        Hosts { names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn request(target: &str, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().uri_str(target);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).finish()
    }

    #[test]
    fn a_server_without_keys_answers_to_its_own_names_only() {
        let hosts = hosts(&["orders", "shop.example"]);
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "localhost.:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:8080",
            "[2001:db8::1]:80",
            "orders:8080",
            "Shop.Example.",
            "shop.example:443",
            "localhost:",
        ] {
            assert!(hosts.check_name(&request("/", &[("host", host)])).is_ok(), "{host}");
        }
        for host in [
            "",
            ":8080",
            ".",
            "elsewhere.example",
            "127.0.0.1.elsewhere.example",
            "localhost.elsewhere.example",
            "127.1",
            "2130706433",
            "0x7f.1",
            "localhost@elsewhere.example",
            "elsewhere.example@localhost",
            "localhost:80:80",
            "localhost:http",
            "localhost:99999",
            "localhost..",
            "::1",
            "[::1",
            "[localhost]",
            "[127.0.0.1]",
            "[::1]80",
            "localhost/",
            "local host",
            "localhost,elsewhere.example",
            "orders.elsewhere.example",
        ] {
            assert!(hosts.check_name(&request("/", &[("host", host)])).is_err(), "{host:?}");
        }
        assert!(hosts.check_name(&request("/", &[])).is_ok(), "HTTP/1.0");
        for (target, host, is_known) in [
            ("http://localhost/orders", "localhost", true),
            ("http://elsewhere.example/orders", "localhost", false),
            ("http://localhost/orders", "elsewhere.example", false),
            ("http://localhost:80/", "orders:8080", true),
        ] {
            assert_eq!(hosts.check_name(&request(target, &[("host", host)])).is_ok(), is_known, "{target} {host}");
        }
    }

    #[test]
    fn a_page_is_told_from_one_of_another_site() {
        let hosts = hosts(&["shop.example"]);
        let is_own =
            |host: &str, origin: &str| hosts.check_origin(&request("/", &[("host", host), ("origin", origin)])).is_ok();
        for (host, origin) in [
            ("localhost:8080", "http://localhost:8080"),
            ("localhost:8080", "HTTP://LOCALHOST:8080"),
            ("localhost", "http://localhost:80"),
            ("localhost:80", "http://localhost"),
            ("api.example", "https://api.example"),
            ("api.example:443", "https://api.example"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("[::ffff:127.0.0.1]:8080", "http://127.0.0.1:8080"),
            ("127.0.0.1:8080", "https://shop.example"),
            ("127.0.0.1:8080", "http://shop.example:3000"),
        ] {
            assert!(is_own(host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost:8080", "null"),
            ("localhost:8080", ""),
            ("localhost:8080", "localhost:8080"),
            ("localhost:8080", "http://localhost"),
            ("localhost", "http://localhost:8080"),
            ("localhost:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://localhost:8080/"),
            ("localhost:8080", "http://a@localhost:8080"),
            ("localhost:8080", "https://elsewhere.example"),
            ("localhost:8080", "chrome-extension://localhost:8080"),
            ("localhost:443", "http://localhost"),
            ("127.0.0.1:8080", "https://shop.example.elsewhere.example"),
        ] {
            assert!(!is_own(host, origin), "{host} {origin}");
        }
        assert!(hosts.check_origin(&request("/", &[("host", "localhost")])).is_ok(), "not a browser");
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "https://elsewhere.example")];
        assert!(hosts.check_origin(&request("/", &two)).is_err());
    }

    #[test]
    fn a_request_that_a_proxy_has_passed_on_is_recognised() {
        for name in ["Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Real-IP", "Via"] {
            assert!(is_forwarded(&request("/", &[(name, "")])), "{name}");
        }
        assert!(!is_forwarded(&request("/", &[("x-request-id", "forwarded")])));
    }
}
