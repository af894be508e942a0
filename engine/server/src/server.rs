//! Assembles the process: the log, its services, and one HTTP server for all their routes.

mod admin;
mod admission;
mod caught;
mod conditional;
mod connections;
mod docs;
mod doors;
mod failure;
mod files;
mod forwarding;
mod gate;
mod hash_key;
mod heads;
mod health;
mod hosts;
mod instance;
mod methods;
mod observe;
mod open_files;
mod opening;
mod paced;
mod problems;
mod running;
mod seats;
mod secured;
mod shares;
mod strict;

use std::{path::PathBuf, sync::Arc, time::Duration};

use orderlog_http::{
    auth::Scope,
    measures::HttpMeasures,
    names::ServiceName,
    peers::{self, Peers, Place},
    problem::{ApiError, codes, problem_of},
    service::{
        mounted::{Mounted, RouteTable},
        parts::Parts,
    },
    tls,
};
use orderlog_readmodel::RedisAddress;
use orderlog_runtime::{background::Troubles, replica::Setup, snapshots::Keeping};
use poem::{
    EndpointExt,
    endpoint::ToDynEndpoint,
    http::{HeaderValue, Method},
};
use poem_openapi::{
    OpenApi, OpenApiService,
    registry::{MetaApi, Registry},
};
use uuid::Uuid;

use crate::{
    config::{Config, Options},
    registry,
    telemetry::metrics::{Measured, Metrics, Sources},
    topics::Topics,
};

use admission::Admission;
use connections::{ConnectionLimits, Serving};
use doors::Doors;
use forwarding::{Forwarding, ForwardingSettings};
use health::{Health, LagLimits};
use running::Stopping;

pub use admin::{LastServer, found_at};
pub use failure::StartError;
pub use hash_key::{
    HashKeyError, given as given_hash_key, keep as keep_hash_key, refuse_another as refuse_another_hash_key,
};
pub use instance::INSTANCE;
pub use opening::{
    open_begun, open_begun_on, open_begun_to_read, open_embedded, open_to_check, open_to_read, open_topics,
    planned_topics,
};
pub use running::Running;
pub use secured::SecureError;

/// Connections, requests and waits beyond the limits: connections for probes, all three for operators and other
/// services.
const N_RESERVED: usize = 64;

pub async fn start(registry: &'static registry::Registry, config: Config) -> Result<Running, StartError> {
    registry.install_words();
    let Config { services, options } = config;
    // First, so that a taken port is reported immediately, and because services need their own address. Early
    // connections wait until the services have started.
    let doors = Doors::open(&options).await?;
    let (addr, own_url) = (doors.addr, doors.own_url());
    secured::create_operator_key(&options, &registry.scopes()).map_err(SecureError::from)?;
    let gate = Arc::new(secured::gate(addr, &options, &registry.scopes())?);
    let storage = &options.storage;
    std::fs::create_dir_all(&storage.data).map_err(|source| StartError::Data { dir: storage.data.clone(), source })?;
    let setup = opening::open(registry, storage).await?;
    let stopping = Stopping::default();
    let instances = token_of_instances(&setup);
    let parts = parts(registry, &services, setup, &options, &stopping)?;
    let forwarding = forwarding(&options, &instances)?;
    let mut mounted = Vec::with_capacity(services.len());
    for service in registry.those(&services) {
        mounted.push(service.start(&parts).await?);
    }
    opening::agree_on_hash_key(registry, storage, &parts.setup, &services).await?;
    let topics = Topics::watch(registry, &services, Arc::clone(&parts.setup.log), stopping.draining.subscribe());
    let health = health(&mounted, &parts, &stopping, (&options, topics.clone()));
    let probes = health.probes.iter().map(|(_, probe)| Arc::clone(probe)).collect();
    let projections = mounted.iter().map(|service| (service.name, Arc::clone(&service.projection))).collect();
    let admin = admin::Admin::new(registry, projections, Arc::clone(&parts.setup.log), parts.stopping.clone());
    let instance = Uuid::new_v4();
    let found_at = admin::tell_where(&storage.data, &own_url, &gate.process, instance)?;
    let documented = crate::openapi::of_services(registry, &services, crate::openapi::Form::Modern);
    let http = HttpMeasures::new();
    let metrics = metrics(&mounted, &http, &parts, (&health, topics, storage.data.clone()));
    let admission = Arc::new(Admission::new(&options.limits, stopping.draining.subscribe(), http.clone()));
    let routes = Routes {
        registry,
        mounted,
        forwarding,
        health,
        admin,
        metrics,
        services,
        admission,
        keys_required: options.require_idempotency_keys,
    };
    let api = OpenApiService::new(routes, "orderlog", env!("CARGO_PKG_VERSION"));
    let strict = strict::Strict::new(poem::IntoEndpoint::into_endpoint(api), &documented);
    let app = strict.catch_all_error(problem_of);
    let app = gate::Gated::new(app, Arc::clone(&gate), &options.limits, registry.names(), instances);
    let app = instance::OfInstance::new(caught::Caught(conditional::Conditional(app)), instance);
    let app = observe::Observed::new(app, http.clone());
    let app: Arc<peers::Routes> = Arc::new(ToDynEndpoint(app));
    parts.peers.open(&app);
    let [delay, patience] = [options.stop_delay_ms, options.stop_timeout_ms].map(Duration::from_millis);
    let limits = ConnectionLimits::of(&options.limits);
    let serving = Serving { app, identity: None, limits, leaving: stopping.leaving.subscribe(), measures: http };
    let servers = doors.serve(&serving, &stopping.draining, patience);
    Ok(Running {
        addr,
        own_url,
        stopping,
        patience: (delay, patience),
        servers,
        probes,
        log: parts.setup.log,
        gate,
        _found_at: found_at,
    })
}

/// Checks options as [`start`] does, as far as that is possible without listening or opening the log.
///
/// # Errors
/// [`StartError`], for example if a file of a secret or certificate can't be read.
pub fn check(registry: &registry::Registry, options: &Options) -> Result<(), StartError> {
    hash_key::check(&options.storage)?;
    options.storage.kafka.settings()?;
    options.security.identity()?;
    secured::gate(doors::resolved(&options.listen)?, options, &registry.scopes())?;
    redis(options)?;
    peers(registry, &[], options)?;
    Ok(())
}

fn parts(
    registry: &registry::Registry,
    services: &[ServiceName],
    setup: Setup,
    options: &Options,
    stopping: &Stopping,
) -> Result<Parts, StartError> {
    let keeping = Keeping {
        every: options.snapshot_every,
        n_kept: usize::from(options.snapshots_kept),
        ..options.storage.keeping()
    };
    Ok(Parts {
        setup,
        keeping,
        troubles: Troubles::default(),
        stopping: stopping.draining.subscribe(),
        peers: Arc::new(peers(registry, services, options)?),
        redis: redis(options)?,
        command_timeout_ms: options.command_timeout_ms,
    })
}

fn health(mounted: &[Mounted], parts: &Parts, stopping: &Stopping, (options, topics): (&Options, Topics)) -> Health {
    Health {
        probes: mounted.iter().map(|service| (service.name, Arc::clone(&service.probe))).collect(),
        dependencies: mounted.iter().flat_map(|service| service.dependencies.clone()).collect(),
        troubles: parts.troubles.clone(),
        topics,
        dispensable: mounted.iter().flat_map(Mounted::dispensable_tasks).collect(),
        leaving: stopping.leaving.subscribe(),
        limits: LagLimits { unready_ms: options.unready_lag_ms, ready_ms: options.ready_lag_ms },
        too_far: Arc::default(),
    }
}

fn redis(options: &Options) -> Result<Option<RedisAddress>, StartError> {
    let access = &options.redis;
    let Some(url) = access.redis.clone() else { return Ok(None) };
    let password = access.password()?.map(|password| password.expose().to_owned());
    let ca = options.security.trust.ca.as_deref().filter(|_| url.starts_with("rediss://"));
    let ca_pem = ca.map(tls::pem).transpose()?;
    tls::prepare();
    Ok(Some(RedisAddress { url, user: access.redis_user.clone(), password, ca_pem }))
}

fn peers(registry: &registry::Registry, here: &[ServiceName], options: &Options) -> Result<Peers, StartError> {
    let key = options.security.peer_key().map_err(SecureError::PeerKey)?;
    let others = options.peer_urls.of(&registry.names());
    let others = others.into_iter().map(|(service, url)| (service, Place { url, key: key.clone() }));
    Ok(Peers::new(others.collect(), here, options.security.trust.ca.as_deref())?)
}

/// A token that only instances of this deployment know, as long as its hash key is secret.
fn token_of_instances(setup: &Setup) -> HeaderValue {
    let token = String::from(setup.hash_key.unique("instances", "token"));
    HeaderValue::try_from(token).expect("a key is written in hexadecimal digits")
}

fn forwarding(options: &Options, instances: &HeaderValue) -> Result<Option<ForwardingSettings>, StartError> {
    let ca = options.security.trust.ca.as_deref();
    let begin = |own: &String| ForwardingSettings::new(own.clone(), instances.clone(), ca);
    Ok(options.storage.advertised_url.as_ref().map(begin).transpose()?)
}

fn metrics(
    mounted: &[Mounted],
    http: &HttpMeasures,
    parts: &Parts,
    (health, topics, data): (&Health, Topics, PathBuf),
) -> Metrics {
    let measured = mounted.iter().map(|service| Measured {
        name: service.name,
        probe: Arc::clone(&service.probe),
        projection: Arc::clone(&service.projection),
        lease: Arc::clone(&service.lease),
    });
    let sources = Sources {
        services: measured.collect(),
        dependencies: health.dependencies.clone(),
        troubles: parts.troubles.clone(),
        log: Arc::clone(&parts.setup.log),
        topics,
        data,
    };
    Metrics::new(sources, http)
}

/// The routes of all services of this process in one table: nested tables would rebuild every request's URI.
struct Routes {
    registry: &'static registry::Registry,
    mounted: Vec<Mounted>,
    /// How commands are forwarded to other instances, if an advertised URL is set.
    forwarding: Option<ForwardingSettings>,
    health: Health,
    admin: admin::Admin,
    metrics: Metrics,
    services: Vec<ServiceName>,
    admission: Arc<Admission>,
    /// Whether some commands require an idempotency key.
    keys_required: bool,
}

impl OpenApi for Routes {
    fn meta() -> Vec<MetaApi> {
        // The documents are made by `crate::openapi`.
        Vec::new()
    }

    fn register(_: &mut Registry) {}

    fn add_routes(self, table: &mut RouteTable) {
        let mut of_services = RouteTable::new();
        for service in self.mounted {
            let mut of_service = RouteTable::new();
            (service.routes)(&mut of_service);
            of_services.extend(match self.forwarding.clone() {
                Some(forwarding) => Forwarding::begin(forwarding, service.lease, service.probe).before(of_service),
                None => of_service,
            });
        }
        table.extend(gate::Gate::guard(of_services, self.registry.operations(), &self.admission, self.keys_required));
        self.health.add_routes(table);
        self.admin.add_routes(table);
        let metrics = gate::Gate::guarded(self.metrics.endpoint(), Scope::ADMIN_READ);
        table.entry("/metrics".to_owned()).or_default().insert(Method::GET, metrics);
        docs::add_routes(self.registry, &self.services, table);
        problems::add_routes(self.registry, table);
        methods::refuse_others(table);
        observe::name_routes(table, self.registry.operations());
    }
}

/// A JSON response outside the operations; never cached.
fn json_answer(status: poem::http::StatusCode, body: &serde_json::Value) -> poem::Response {
    poem::Response::builder()
        .status(status)
        .content_type("application/json")
        .header("cache-control", "no-store")
        .body(body.to_string())
}

/// How the detail of [`not_here`] ends.
pub const NOT_HERE: &str = "is not served by this process";

/// The 404 for a document that this process does not serve.
fn not_here(what: &str) -> ApiError {
    ApiError::not_found(codes::NO_SUCH_RESOURCE, format!("{what} {NOT_HERE}"))
}
