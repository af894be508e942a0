//! Puts it together: the log, the services of this process, and one HTTP server for all their routes.

mod admin;
mod admission;
mod caught;
mod conditional;
mod connections;
mod docs;
mod doors;
mod failure;
mod forwarding;
mod gate;
mod hash_key;
mod heads;
mod hosts;
mod instance;
mod methods;
mod observe;
mod open_files;
mod operations;
mod paced;
mod problems;
mod running;
mod seats;
mod secured;
mod shares;
mod strict;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_domain::core::Genesis;
use orderlog_eventlog::{
    EventLog,
    embedded::EmbeddedLog,
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_projections::RedisAddress;
use orderlog_service::{
    archive, assembly,
    duty::Troubles,
    identity::{self, IdentityError},
    replica::Setup,
    snapshots::Keeping,
    surroundings::Machine,
};
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
    auth::Scope,
    billing,
    config::{Config, LogUrl, Options, Storage},
    customers, inventory,
    names::ServiceName,
    notifications, orders,
    peers::{self, Peers, Place},
    private,
    problem::{ApiError, Code, problem_of},
    service::{
        mounted::{Mounted, RouteTable},
        parts::{NotStarted, Parts},
    },
    telemetry::metrics::{HttpMeasures, Measured, Metrics},
    tls,
};

use admission::Admission;
use connections::{ConnectionLimits, Serving};
use doors::Doors;
use forwarding::{Forwarding, ForwardingSettings};
use operations::{LagLimits, Operations};
use running::Stopping;

pub use admin::{LastServer, found_at};
pub use failure::StartError;
pub use hash_key::{
    HashKeyError, given as given_hash_key, keep as keep_hash_key, refuse_another as refuse_another_hash_key,
};
pub use instance::INSTANCE;
pub use running::Running;
pub use secured::SecureError;

/// How many connections, requests and waits there are beyond the limits: connections for probes, and all of them for operators and
/// other services.
const N_RESERVED: usize = 64;
/// How long a start waits for its journals to begin before it stops comparing hash keys with processes that start beside it.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Start.
///
/// # Errors
/// [`StartError`], with what is in the way.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let Config { services, options } = config;
    // First, so that a taken port is told at once, and since services have to know where they are. Whoever connects
    // already waits until the services have been started.
    let doors = Doors::open(&options).await?;
    let (addr, own_url) = (doors.addr, doors.own_url());
    let gate = Arc::new(secured::gate(addr, &options)?);
    let storage = &options.storage;
    std::fs::create_dir_all(&storage.data).map_err(|source| StartError::Data { dir: storage.data.clone(), source })?;
    let setup = open(storage).await?;
    let stopping = Stopping::default();
    let instances = token_of_instances(&setup);
    let parts = Parts {
        setup,
        keeping: Keeping {
            every: options.snapshot_every,
            n_kept: usize::from(options.snapshots_kept),
            ..storage.keeping()
        },
        troubles: Troubles::default(),
        stopping: stopping.draining.subscribe(),
        peers: Arc::new(peers(&options)?),
        redis: redis(&options)?,
        command_timeout_ms: options.command_timeout_ms,
    };
    let forwarding = forwarding(&options, &instances)?;
    let mut mounted = Vec::with_capacity(services.len());
    for service in &services {
        mounted.push(mount(*service, &parts).await?);
    }
    agree_on_hash_key(storage, &parts.setup, &services).await?;
    let operations = operations(&mounted, &parts, &stopping, &options);
    let probes = operations.probes.values().cloned().collect();
    let projections = mounted.iter().map(|service| (service.name, Arc::clone(&service.projection))).collect();
    let admin = admin::Admin::new(projections, Arc::clone(&parts.setup.log));
    let instance = Uuid::new_v4();
    let found_at = admin::tell_where(&storage.data, &own_url, &gate.process, instance)?;
    let documented = crate::openapi::of_services(&services, crate::openapi::Form::Modern);
    let http = HttpMeasures::new();
    let metrics = metrics(&mounted, &http, &parts);
    let admission = Arc::new(Admission::new(&options.limits, stopping.draining.subscribe(), http.clone()));
    let routes = Routes {
        mounted,
        forwarding,
        operations,
        admin,
        metrics,
        services,
        admission,
        keys_required: options.require_idempotency_keys,
        documented: documented.clone(),
    };
    let api = OpenApiService::new(routes, "orderlog", env!("CARGO_PKG_VERSION"));
    let strict = strict::Strict::new(poem::IntoEndpoint::into_endpoint(api), &documented);
    let app = gate::Gated::new(strict.catch_all_error(problem_of), Arc::clone(&gate), &options.limits, instances);
    let app = instance::OfInstance::new(caught::Caught(conditional::Conditional(app)), instance);
    let app = observe::Observed::new(app, http.clone());
    let app: Arc<peers::Routes> = Arc::new(ToDynEndpoint(app));
    parts.peers.open(&app);
    let [delay, patience] = [options.stop_delay_ms, options.stop_timeout_ms].map(Duration::from_millis);
    let limits = ConnectionLimits::of(&options.limits);
    let servers = doors.serve(&Serving { app, identity: None, limits, measures: http }, &stopping.draining, patience);
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

/// What looks after this process.
fn operations(mounted: &[Mounted], parts: &Parts, stopping: &Stopping, options: &Options) -> Operations {
    Operations {
        probes: mounted.iter().map(|service| (service.name, Arc::clone(&service.probe))).collect(),
        dependencies: mounted.iter().flat_map(|service| service.dependencies.clone()).collect(),
        troubles: parts.troubles.clone(),
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

fn peers(options: &Options) -> Result<Peers, StartError> {
    let key = options.security.peer_key().map_err(SecureError::PeerKey)?;
    let others = options.peer_urls().into_iter().map(|(service, url)| (service, Place { url, key: key.clone() }));
    Ok(Peers::new(others.collect(), options.security.trust.ca.as_deref())?)
}

/// What all instances of this deployment know, and nobody else, as long as nobody else knows its hash key.
fn token_of_instances(setup: &Setup) -> HeaderValue {
    let token = String::from(setup.hash_key.unique("instances", "token"));
    HeaderValue::try_from(token).expect("a key is written in hexadecimal digits")
}

fn forwarding(options: &Options, instances: &HeaderValue) -> Result<Option<ForwardingSettings>, StartError> {
    let ca = options.security.trust.ca.as_deref();
    let begin = |own: &String| ForwardingSettings::new(own.clone(), instances.clone(), ca);
    Ok(options.storage.advertised_url.as_ref().map(begin).transpose()?)
}

fn metrics(mounted: &[Mounted], http: &HttpMeasures, parts: &Parts) -> Metrics {
    let measured = mounted.iter().map(|service| Measured {
        name: service.name,
        probe: Arc::clone(&service.probe),
        projection: Arc::clone(&service.projection),
    });
    Metrics::new(measured.collect(), http, Arc::clone(&parts.setup.log))
}

async fn mount(service: ServiceName, parts: &Parts) -> Result<Mounted, NotStarted> {
    match service {
        ServiceName::Customers => customers::start(parts).await,
        ServiceName::Orders => orders::start(parts).await,
        ServiceName::Inventory => inventory::start(parts).await,
        ServiceName::Billing => billing::start(parts).await,
        ServiceName::Notifications => notifications::start(parts).await,
    }
}

/// Opens the log for a server, which begins it if it is empty, and what else every replica needs.
///
/// # Errors
/// [`StartError`], with what is in the way: also that the log was begun with another hash key.
async fn open(storage: &Storage) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    let log = open_log(storage).await?;
    let begun = identity::begun(log.as_ref()).await;
    settled(storage, log, begun.map_err(StartError::from)).await
}

/// The same for a command on a stopped server: there must be a log, and it must have begun.
///
/// # Errors
/// [`StartError`], with what is in the way.
pub async fn open_begun(storage: &Storage) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    let log = open_existing(storage).await?;
    let begun = match identity::begun(log.as_ref()).await {
        Ok(begun) if begun.is_empty() => Err(no_log(storage)),
        begun => begun.map_err(StartError::from),
    };
    settled(storage, log, begun).await
}

/// Replicas work on `log` only if its journals have begun with the hash key of this deployment.
async fn settled(
    storage: &Storage,
    log: Arc<dyn EventLog>,
    begun: Result<Vec<Genesis>, StartError>,
) -> Result<Setup, StartError> {
    match begun.and_then(|begun| Ok(hash_key::find(storage, &begun)?)) {
        Ok(hash_key) => {
            let (writer, n_slots_max) = (Uuid::now_v7(), storage.keys_in_memory);
            Ok(Setup { log, hash_key, writer, n_slots_max, surroundings: Arc::new(Machine) })
        }
        Err(error) => {
            log.close().await;
            Err(error)
        }
    }
}

/// Processes that begin an empty log on Kafka together may have different hash keys, and none of them sees what the others are about to
/// write. So each looks again once its own journals have begun: the last one sees all.
async fn agree_on_hash_key(storage: &Storage, setup: &Setup, services: &[ServiceName]) -> Result<(), StartError> {
    if storage.log == LogUrl::Embedded {
        // One process.
        return Ok(());
    }
    let is_of = |genesis: &Genesis, service: &ServiceName| genesis.journal == service.as_str();
    let deadline = Instant::now() + BEGIN_WITHIN;
    loop {
        match identity::begun(setup.log.as_ref()).await {
            Ok(begun) if services.iter().all(|service| begun.iter().any(|genesis| is_of(genesis, service))) => {
                return Ok(hash_key::find(storage, &begun).map(drop)?);
            }
            Ok(_) | Err(IdentityError::Read(_)) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Ok(_) | Err(IdentityError::Read(_)) => {
                tracing::warn!(
                    "the journals have not begun yet: the next start compares hash keys with other processes"
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a log that must be there already, with a whole history.
///
/// # Errors
/// [`StartError`], with what is in the way.
pub async fn open_existing(storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    match &storage.log {
        LogUrl::Embedded if !EmbeddedLog::is_in(&storage.data) => Err(no_log(storage)),
        LogUrl::Embedded | LogUrl::Kafka(_) => open_log(storage).await,
    }
}

fn no_log(storage: &Storage) -> StartError {
    StartError::NoLog {
        place: match &storage.log {
            LogUrl::Embedded => storage.data.display().to_string(),
            LogUrl::Kafka(brokers) => format!("Kafka at {brokers}, under the topic prefix `{}`", storage.topic_prefix),
        },
    }
}

/// Open the log, which must hold a whole history.
///
/// # Errors
/// [`StartError`], with what is in the way.
async fn open_log(storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    let log = open_topics(storage).await?;
    match archive::unfinished(log.as_ref()).await {
        Ok(None) => {}
        Ok(Some(export_id)) => {
            return Err(StartError::HalfImport { export_id, log: storage.log_options() });
        }
        Err(error) => tracing::warn!("whether an import was interrupted is not known: {error}"),
    }
    Ok(log)
}

/// Open the log, whatever it holds, and prepare its topics.
///
/// # Errors
/// [`StartError`], with what is in the way.
pub async fn open_topics(storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    private::tighten(&storage.data);
    let log: Arc<dyn EventLog> = match &storage.log {
        LogUrl::Embedded => EmbeddedLog::open(&storage.data).await?,
        LogUrl::Kafka(brokers) => {
            let defaults = KafkaConfig::new(brokers.clone());
            let mut extra = storage.kafka.settings()?;
            extra.extend(storage.kafka_settings.iter().cloned());
            KafkaLog::connect(KafkaConfig {
                topic_prefix: storage.topic_prefix.clone(),
                public_partitions: storage.public_partitions,
                reached_at: storage.advertised_url.clone(),
                replication: storage.kafka_replication.unwrap_or(defaults.replication),
                extra,
                ..defaults
            })?
        }
    };
    for warning in log.prepare(&assembly::topics()).await? {
        tracing::warn!("{warning}");
    }
    Ok(log)
}

/// The routes of all services of this process in one table: nested tables would rebuild every request's URI.
struct Routes {
    mounted: Vec<Mounted>,
    /// How commands are forwarded to other instances, if they are.
    forwarding: Option<ForwardingSettings>,
    operations: Operations,
    admin: admin::Admin,
    metrics: Metrics,
    services: Vec<ServiceName>,
    admission: Arc<Admission>,
    /// Whether some commands need an idempotency key.
    keys_required: bool,
    /// Their OpenAPI document.
    documented: serde_json::Value,
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
        table.extend(gate::Gate::guard(of_services, &self.documented, &self.admission, self.keys_required));
        self.operations.add_routes(table);
        self.admin.add_routes(table);
        let metrics = gate::Gate::guarded(self.metrics.endpoint(), Scope::AdminRead);
        table.entry("/metrics".to_owned()).or_default().insert(Method::GET, metrics);
        docs::add_routes(&self.services, table);
        problems::add_routes(table);
        methods::refuse_others(table);
        observe::name_routes(table, &self.documented);
    }
}

/// An answer that is no operation's: never cached, JSON.
fn json_answer(status: poem::http::StatusCode, body: &serde_json::Value) -> poem::Response {
    poem::Response::builder()
        .status(status)
        .content_type("application/json")
        .header("cache-control", "no-store")
        .body(body.to_string())
}

/// The 404 for a document that is not there.
fn not_here(what: &str) -> ApiError {
    ApiError::not_found(Code::NoSuchResource, format!("{what} is not served by this process"))
}
