//! The gate: authenticates callers and rejects unauthorized operations.
//!
//! It has two halves. [`Gated`] wraps all routes and authenticates the caller; [`Gate::guard`] wraps each operation
//! behind the router and authorizes. So the requirements of an operation never depend on parsing paths a second time,
//! and an endpoint that no handler declares is for operators only.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    sync::Arc,
};

use orderlog_http::{
    auth::{Caller, KeyRing, Scope, Token, TokenError, Tokens},
    json::BodyLimits,
    names::ServiceNames,
    operations::{Operation, nameless},
    params::CommandHeaders,
    peers::FromWithin,
    pool::Standing,
    problem::{ApiError, codes},
    request::tell_quietly,
    service::mounted::RouteTable,
};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    endpoint::BoxEndpoint,
    http::{HeaderValue, Method, StatusCode, header},
};

use super::{
    admission::Admission,
    forwarding::FORWARDED_BY_INSTANCE,
    heads,
    hosts::{Hosts, is_forwarded},
    observe::is_probe,
    seats::Seat,
    shares::{Share, Shares, Whose},
};
use crate::config::Limits;

/// Who may call without a key, as long as no keys exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The server listens on this machine only: every local caller is the operator, except through a proxy.
    Local,
    /// Everybody, as configured, but nobody as an operator.
    Everybody,
    Nobody,
}

/// Authenticates callers.
pub struct Gate {
    pub ring: KeyRing,
    /// Verifies the issuer's tokens, if an issuer is configured.
    pub tokens: Option<Tokens>,
    /// The key of this process and of commands that may read its data folder.
    pub process: Token,
    /// The key of this process's demo, which prints its own requests.
    pub demo: Option<Token>,
    /// The key that this deployment's services use for each other. Its calls are not limited.
    pub peer: Option<Token>,
    /// Who needs no key.
    pub open: Open,
    /// The host names under which the server accepts requests.
    pub hosts: Hosts,
    /// Whether requests from this machine count against the rate limit while there are no keys.
    pub counts_own: bool,
}

/// A request's caller, if it has one, and how it is counted.
struct Asking {
    caller: Option<Caller>,
    counted: Counted,
    /// Its standing when there is not room for all, if that does not follow from how it is counted.
    standing: Option<Standing>,
}

/// Why a request has no caller.
enum Refusal {
    /// The request is rejected altogether.
    Head(ApiError),
    /// Its key or token is invalid.
    Key(ApiError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Not,
    ByCaller,
    /// By the address it comes from.
    ByAddress,
}

impl Gate {
    fn needs_no_key(&self) -> bool {
        match self.open {
            Open::Local | Open::Everybody => !self.ring.is_there() && self.tokens.is_none(),
            Open::Nobody => false,
        }
    }

    /// Rejects requests that no caller may send: heads out of bounds, requests from other sites' pages, host names that
    /// are not the server's.
    ///
    /// # Errors
    /// 400, 403 or 431.
    fn check_head(&self, request: &Request) -> Result<(), ApiError> {
        if request.data::<FromWithin>().is_some() {
            return Ok(());
        }
        heads::check(request)?;
        self.hosts.check_origin(request)?;
        if self.needs_no_key() { self.hosts.check_name(request) } else { Ok(()) }
    }

    /// The caller, if there is one.
    ///
    /// # Errors
    /// 401 for an invalid key or token; 503 if a token can't be checked now.
    async fn asking(&self, request: &Request) -> Result<Asking, ApiError> {
        if request.data::<FromWithin>().is_some() {
            return Ok(Asking::of_process());
        }
        if self.needs_no_key() { Ok(self.without_key(request)) } else { self.with_key(request).await }
    }

    fn is_of_demo(&self, request: &Request) -> bool {
        let Some(demo) = &self.demo else { return false };
        given_token(request).is_some_and(|token| token.hash() == demo.hash())
    }

    fn without_key(&self, request: &Request) -> Asking {
        // Commands on the data folder send this process's key even where no one else needs one.
        if let Some(own) = given_token(request).and_then(|token| self.own(&token)) {
            return own;
        }
        let is_here = address(request).is_some_and(|from| from.is_loopback()) && !is_forwarded(request);
        let counted = if is_here && !self.counts_own { Counted::Not } else { Counted::ByAddress };
        let caller = match self.open {
            Open::Local => is_here.then(Caller::operator),
            Open::Everybody => Some(Caller::anybody()),
            Open::Nobody => None,
        };
        Asking { caller, counted, standing: is_here.then_some(Standing::Anyone) }
    }

    async fn with_key(&self, request: &Request) -> Result<Asking, ApiError> {
        if !request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(Asking { caller: None, counted: Counted::ByAddress, standing: None });
        }
        let bearer = bearer(request).unwrap_or_default();
        if let Some(tokens) = self.tokens.as_ref().filter(|_| !bearer.starts_with(Token::PREFIX)) {
            let caller = tokens.caller(bearer).await.map_err(not_taken)?;
            return Ok(Asking::with_proof(caller, false));
        }
        let asking = bearer.parse::<Token>().ok().and_then(|token| self.asking_with(&token));
        // The error does not reveal which of the reasons applies.
        let detail = "the API key is invalid, expired or revoked";
        asking.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, codes::INVALID_TOKEN, detail))
    }

    /// This process itself, its demo, or a command on its data folder.
    fn own(&self, token: &Token) -> Option<Asking> {
        let is_own = |own: &Token| token.hash() == own.hash();
        let is_known = is_own(&self.process) || self.demo.as_ref().is_some_and(is_own);
        is_known.then(|| Asking::with_proof(Caller::operator(), true))
    }

    fn asking_with(&self, token: &Token) -> Option<Asking> {
        if let Some(own) = self.own(token) {
            return Some(own);
        }
        let is_peer = self.peer.as_ref().is_some_and(|peer| token.hash() == peer.hash());
        Some(Asking::with_proof(self.ring.caller(token)?, is_peer))
    }

    /// Wraps each endpoint of `table` in a guard that enforces what its operation declares. With `keys_required`, it
    /// also requires idempotency keys for operations that allow this.
    pub fn guard(
        table: RouteTable,
        declared: impl IntoIterator<Item = &'static Operation>,
        admission: &Arc<Admission>,
        keys_required: bool,
    ) -> RouteTable {
        let declared = declared.into_iter().map(|operation| ((nameless(operation.path), &operation.method), operation));
        let declared: HashMap<_, _> = declared.collect();
        let guarded = table.into_iter().map(|(path, operations)| {
            let name = nameless(&path);
            let operations = operations.into_iter().map(|(method, inner)| {
                let operation = declared.get(&(name.clone(), &method)).copied();
                let needs = operation.map_or(Needs::Scope(Scope::ADMIN_REBUILD), Needs::Operation);
                let key_required = keys_required && operation.is_some_and(|operation| operation.key_may_be_required);
                let guard = Guard { inner, needs, key_required, admission: Some(Arc::clone(admission)) };
                (method, Box::new(poem::endpoint::ToDynEndpoint(guard)) as BoxEndpoint<'static>)
            });
            (path, operations.collect())
        });
        guarded.collect()
    }

    /// Wraps an endpoint so that it requires this scope; there is no limit on concurrent requests.
    pub fn guarded(inner: BoxEndpoint<'static>, scope: Scope) -> BoxEndpoint<'static> {
        Box::new(poem::endpoint::ToDynEndpoint(Guard {
            inner,
            needs: Needs::Scope(scope),
            key_required: false,
            admission: None,
        }))
    }
}

impl Asking {
    fn of_process() -> Self {
        Self { caller: Some(Caller::operator()), counted: Counted::Not, standing: Some(Standing::Process) }
    }

    /// A caller that has authenticated, with a key of this deployment's own programs or not.
    fn with_proof(caller: Caller, is_of_deployment: bool) -> Self {
        let counted = if is_of_deployment { Counted::Not } else { Counted::ByCaller };
        let standing = (is_of_deployment || caller.is_operator()).then_some(Standing::Trusted);
        Self { caller: Some(caller), counted, standing }
    }

    /// The bucket that this request counts against; `None` if it is not counted, or its origin is unknown.
    fn whose(&self, request: &Request) -> Option<Whose<'_>> {
        match self.counted {
            Counted::Not => None,
            Counted::ByCaller => self.caller.as_ref().map(|caller| Whose::Caller(caller.id())),
            Counted::ByAddress => address(request).map(Whose::of_address),
        }
    }
}

fn not_taken(error: TokenError) -> ApiError {
    let detail = error.to_string();
    match error {
        TokenError::Refused(_) => ApiError::new(StatusCode::UNAUTHORIZED, codes::INVALID_TOKEN, detail),
        TokenError::Unknown(_) => ApiError::unavailable(codes::ISSUER_UNAVAILABLE, detail),
    }
}

fn too_many_connections() -> poem::Error {
    let detail = "the process has its maximum number of connections, in total or for this caller";
    let mut response = ApiError::unavailable(codes::TOO_MANY_CONNECTIONS, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    poem::Error::from_response(response)
}

/// The credentials in `Authorization: Bearer ...`.
fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The request's key, if it has the form of this program's keys.
fn given_token(request: &Request) -> Option<Token> {
    bearer(request)?.parse().ok()
}

fn address(request: &Request) -> Option<IpAddr> {
    request.remote_addr().as_socket_addr().map(|from| from.ip())
}

/// Why the credentials are invalid. Only operations that need a caller report it; readiness and the documents don't.
#[derive(Clone)]
struct NotTaken(ApiError);

#[derive(Clone, Copy)]
enum Needs {
    Operation(&'static Operation),
    Scope(Scope),
}

struct Guard {
    inner: BoxEndpoint<'static>,
    needs: Needs,
    key_required: bool,
    admission: Option<Arc<Admission>>,
}

impl Endpoint for Guard {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(caller) = request.data::<Caller>() else {
            if let Some(NotTaken(error)) = request.data::<NotTaken>() {
                return Err(challenged(error.clone(), None));
            }
            let detail = "this needs a key or a token: send `Authorization: Bearer ...`";
            return Err(challenged(ApiError::new(StatusCode::UNAUTHORIZED, codes::UNAUTHENTICATED, detail), None));
        };
        let (may, scope) = match self.needs {
            Needs::Operation(operation) => (operation.admit(caller), operation.scope),
            Needs::Scope(scope) => (caller.require(scope), scope),
        };
        may.map_err(|error| challenged(error, Some(scope)))?;
        if self.key_required && !request.headers().contains_key(CommandHeaders::KEY) {
            let detail = "this needs an `Idempotency-Key`: a UUID, for example";
            return Err(ApiError::invalid(codes::IDEMPOTENCY_KEY_REQUIRED, detail).into());
        }
        match &self.admission {
            Some(admission) => {
                let standing = request.data::<Standing>().copied().unwrap_or(Standing::Anyone);
                admission.work(standing, request.method() == Method::GET, self.inner.call(request)).await
            }
            None => self.inner.call(request).await,
        }
    }
}

/// Adds the authentication challenge to the error (RFC 6750).
fn challenged(error: ApiError, scope: Option<Scope>) -> poem::Error {
    let mut challenge = "Bearer realm=\"orderlog\"".to_owned();
    // If no credentials were sent, the challenge has no error code.
    if let Some(code) = [codes::INVALID_TOKEN, codes::INSUFFICIENT_SCOPE].into_iter().find(|code| error.is(*code)) {
        challenge.push_str(&format!(", error=\"{}\"", code.name));
    }
    if let Some(scope) = scope {
        challenge.push_str(&format!(", scope=\"{scope}\""));
    }
    let mut response = error.into_response();
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    poem::Error::from_response(response)
}

/// All routes, behind the gate.
pub struct Gated<E> {
    inner: E,
    gate: Arc<Gate>,
    /// The rate limit for each caller; `None` if there is none.
    shares: Option<Shares>,
    body: BodyLimits,
    /// The services whose positions are valid.
    names: ServiceNames,
    /// The token that instances of the deployment share.
    instances: HeaderValue,
    /// Hashes callers unpredictably.
    hasher: RandomState,
}

impl<E: Endpoint<Output = Response>> Endpoint for Gated<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let share = match self.admit(&mut request).await {
            Ok(share) => share,
            Err(refusal) => return Ok(refusal.into_response()),
        };
        let mut response = self.inner.get_response(request).await;
        if let Some(share) = share {
            share.tell(response.headers_mut());
        }
        Ok(response)
    }
}

impl<E> Gated<E> {
    /// Wraps `inner` in this gate, with these limits for each caller and each request.
    pub fn new(inner: E, gate: Arc<Gate>, limits: &Limits, names: ServiceNames, instances: HeaderValue) -> Self {
        let hasher = RandomState::new();
        Self { inner, gate, shares: limits.rate().map(Shares::new), body: limits.body(), names, instances, hasher }
    }

    /// Attaches the caller to the request. Returns what is left of its rate limit, or the response if the request is
    /// rejected.
    async fn admit(&self, request: &mut Request) -> Result<Option<Share>> {
        // Probes must always get an answer.
        let is_probe = is_probe(request.uri().path());
        if self.gate.is_of_demo(request) {
            tell_quietly();
        }
        let asking = match self.gate.check_head(request) {
            Ok(()) => self.gate.asking(request).await.map_err(Refusal::Key),
            Err(error) => Err(Refusal::Head(error)),
        };
        let is_counted_elsewhere = request.headers().get(&FORWARDED_BY_INSTANCE) == Some(&self.instances);
        if !is_counted_elsewhere {
            request.headers_mut().remove(&FORWARDED_BY_INSTANCE);
        }
        let share = if is_probe || is_counted_elsewhere {
            None
        } else {
            self.share(&asking, request).map(Share::granted).transpose()?
        };
        let standing = asking.as_ref().ok().and_then(|asking| self.standing(asking, request));
        if !is_probe
            && let Some(seat) = request.data::<Seat>()
            && !seat.claim(standing)
        {
            return Err(too_many_connections());
        }
        if let Some(standing) = standing {
            request.set_data(standing);
        }
        match asking {
            Ok(asking) => drop(asking.caller.map(|caller| request.set_data(caller))),
            Err(Refusal::Key(error)) => request.set_data(NotTaken(error)),
            Err(Refusal::Head(error)) => return Err(error.into()),
        }
        request.set_data(self.body);
        request.set_data(ServiceNames::clone(&self.names));
        Ok(share)
    }

    /// The caller's standing when there is not room for all; `None` if there is no caller.
    fn standing(&self, asking: &Asking, request: &Request) -> Option<Standing> {
        let number = |whose| Standing::Caller(self.hasher.hash_one(whose));
        asking.caller.as_ref()?;
        Some(asking.standing.or_else(|| asking.whose(request).map(number)).unwrap_or(Standing::Anyone))
    }

    fn share(&self, asking: &Result<Asking, Refusal>, request: &Request) -> Option<Share> {
        let shares = self.shares.as_ref()?;
        let whose = match asking {
            Ok(asking) => asking.whose(request),
            Err(_) => address(request).map(Whose::of_address),
        };
        whose.map(|whose| shares.take(whose))
    }
}
