//! The gate: finds out who asks, and lets nobody at an operation who may not.
//!
//! Two halves. [`Gated`] is around everything and finds the caller; [`Gate::guard`] is around each operation, behind the
//! router, and decides. So what an operation needs never depends on a second reading of paths, and an endpoint that no handler
//! declares is for operators only.

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

/// Who comes in without a key, as long as there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// This machine listens to itself only: whoever is on it is the operator, but not whom a proxy passes on.
    Local,
    /// Everybody, since that was asked for, but nobody as an operator.
    Everybody,
    Nobody,
}

/// Who comes in, and as whom.
pub struct Gate {
    pub ring: KeyRing,
    /// Whose tokens are taken, if any are.
    pub tokens: Option<Tokens>,
    /// By which this process, and commands that may read its data folder, know each other.
    pub process: Token,
    /// By which this process knows the requests of its demo, which tells of them itself.
    pub demo: Option<Token>,
    /// With which the other services of the deployment are asked, and ask. It asks as often as it has to.
    pub peer: Option<Token>,
    /// Who needs no key.
    pub open: Open,
    /// Under which names the server may be asked.
    pub hosts: Hosts,
    /// Whether requests of this machine are counted while there are no keys.
    pub counts_own: bool,
}

/// A request's caller, if it has one, and whose requests are counted with it.
struct Asking {
    caller: Option<Caller>,
    counted: Counted,
    /// Where it stands when there is no room for all, if that does not follow from how it is counted.
    standing: Option<Standing>,
}

/// Why a request has no caller.
enum Refusal {
    /// It is not let in at all.
    Head(ApiError),
    /// What it brings opens nothing.
    Key(ApiError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Not,
    ByCaller,
    /// Those from its address.
    ByAddress,
}

impl Gate {
    fn needs_no_key(&self) -> bool {
        match self.open {
            Open::Local | Open::Everybody => !self.ring.is_there() && self.tokens.is_none(),
            Open::Nobody => false,
        }
    }

    /// Refuses what no caller may send: heads out of bounds, requests of other sites' pages, names that are not the server's.
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

    /// The caller, or nobody.
    ///
    /// # Errors
    /// 401 for a key or token that opens nothing; 503 if a token can't be checked now.
    async fn asking(&self, request: &Request) -> Result<Asking, ApiError> {
        if request.data::<FromWithin>().is_some() {
            return Ok(Asking::of_process());
        }
        if self.needs_no_key() { Ok(self.without_key(request)) } else { self.with_key(request).await }
    }

    /// Whether the request is one of the demo's.
    fn is_of_demo(&self, request: &Request) -> bool {
        let Some(demo) = &self.demo else { return false };
        given_token(request).is_some_and(|token| token.hash() == demo.hash())
    }

    fn without_key(&self, request: &Request) -> Asking {
        // Commands on the data folder bring the key of this process also where nobody else needs one.
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
        // Which of all the reasons is nobody's business.
        let detail = "this key is none, has expired, or was revoked";
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

    /// Puts a guard before each endpoint of `table`, which goes by what its operation declares. It demands idempotency keys where that
    /// is the deployment's rule.
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

    /// An endpoint for whoever has this scope, however many there are.
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

    /// A caller who has proved who it is, with a key of this deployment's own programs or not.
    fn with_proof(caller: Caller, is_of_deployment: bool) -> Self {
        let counted = if is_of_deployment { Counted::Not } else { Counted::ByCaller };
        let standing = (is_of_deployment || caller.is_operator()).then_some(Standing::Trusted);
        Self { caller: Some(caller), counted, standing }
    }

    /// With whose requests this one is counted; none if it is not counted, or nobody knows where it comes from.
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
    let detail = "this process has as many connections as it serves, or as it serves to this caller";
    let mut response = ApiError::unavailable(codes::TOO_MANY_CONNECTIONS, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    poem::Error::from_response(response)
}

/// What the request brings as `Authorization: Bearer ...`.
fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The key of this program that the request brings.
fn given_token(request: &Request) -> Option<Token> {
    bearer(request)?.parse().ok()
}

/// Where a request comes from.
fn address(request: &Request) -> Option<IpAddr> {
    request.remote_addr().as_socket_addr().map(|from| from.ip())
}

/// Why what the request brings opens nothing. Only operations that need a caller say so: readiness and the documents don't.
#[derive(Clone)]
struct NotTaken(ApiError);

/// What an operation needs.
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

/// The error with what the caller has to bring (RFC 6750).
fn challenged(error: ApiError, scope: Option<Scope>) -> poem::Error {
    let mut challenge = "Bearer realm=\"orderlog\"".to_owned();
    // Without anything given, there is no error yet.
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

/// Everything behind the gate.
pub struct Gated<E> {
    inner: E,
    gate: Arc<Gate>,
    /// How often each caller may ask; none if as often as they like.
    shares: Option<Shares>,
    /// What bodies may be.
    body: BodyLimits,
    /// Whose positions there are.
    names: ServiceNames,
    /// By which instances of the deployment know each other.
    instances: HeaderValue,
    /// Makes numbers of callers, which nobody can foresee.
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
    /// `inner` behind this gate, with these limits for each caller and each request.
    pub fn new(inner: E, gate: Arc<Gate>, limits: &Limits, names: ServiceNames, instances: HeaderValue) -> Self {
        let hasher = RandomState::new();
        Self { inner, gate, shares: limits.rate().map(Shares::new), body: limits.body(), names, instances, hasher }
    }

    /// Have the request name its caller. What is left of whose share it is, or the answer to a request that is not let in.
    async fn admit(&self, request: &mut Request) -> Result<Option<Share>> {
        // Whoever looks after the process has to get an answer.
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

    /// Where the caller stands when there is no room for all; none if there is no caller.
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
