//! Options, each set by a flag or an `ORDERLOG_*` variable.

mod access;
mod limits;
mod oidc;
mod secret;
mod security;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use orderlog_http::names::ServiceName;
use orderlog_runtime::snapshots::Keeping;
use tracing_subscriber::EnvFilter;

pub use access::{KafkaAccess, RedisAccess, SaslMechanism};
pub use limits::{Limits, Rate};
pub use oidc::Oidc;
pub use secret::{Secret, SecretError, Untold};
pub use security::{Insecure, Security, Trust, host_name, token_in};

/// The hash key that `--development-hash-key` selects. It is public, so suitable only for trying things out.
pub const DEVELOPMENT_HASH_KEY: &str = "orderlog development hash key";

// The sections of `--help`. Options in none of them are usual, and the only ones in `-h`.
const STORAGE: &str = "Storage";
const HASH_KEY: &str = "Hash key";
const KAFKA: &str = "Kafka";
const LOGGING: &str = "Logs and traces";
const LIMITS: &str = "Limits";
const CALLERS: &str = "Callers and TLS";
const OIDC: &str = "OpenID Connect";
const REDIS: &str = "Redis";
/// For options about services in other processes.
pub const OTHERS: &str = "Other services";
const STOPPING: &str = "Readiness and shutdown";

/// The location of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUrl {
    /// A file in the data folder.
    Embedded,
    /// Kafka brokers, `host:port[,host:port]`.
    Kafka(String),
}

impl FromStr for LogUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it names no log: use `embedded` or `kafka://host:port[,host:port]`".to_owned();
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let brokers = text.strip_prefix("kafka://").ok_or_else(wrong)?.trim_end_matches('/');
        if brokers.split(',').all(is_host_and_port) { Ok(Self::Kafka(brokers.to_owned())) } else { Err(wrong()) }
    }
}

fn is_host_and_port(text: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(['@', '/']);
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

fn address(text: &str) -> Result<String, String> {
    if is_host_and_port(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no address: use `host:port`, such as `127.0.0.1:8080`"))
    }
}

fn url_of(text: &str, schemes: &[&str]) -> Result<String, String> {
    if schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
        Ok(text.to_owned())
    } else {
        Err(format!("it must begin with {}", schemes.join(" or ")))
    }
}

/// Parses the URL of a server.
///
/// # Errors
/// The schemes it may begin with.
pub fn http_url(text: &str) -> Result<String, String> {
    url_of(text, &["http://", "https://"])
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("`{text}` is no share: use a number from 0 to 1"))
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is no setting: use `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// How the process tells what it does, on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the log and the rows are, and how this process tells what it does: for every command that works on them.
#[derive(Args, Clone, Debug)]
pub struct Storage {
    /// The log: `embedded` (in the data folder), or `kafka://HOST:PORT,...`
    #[arg(long, env = "ORDERLOG_LOG", default_value = "embedded", value_parser = Untold(LogUrl::from_str))]
    pub log: LogUrl,

    /// The folder for read models and the embedded log; created if missing
    #[arg(short, long, env = "ORDERLOG_DATA", value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,

    /// The folder for snapshots: copies of read models, from which an instance without any starts. Can be shared by
    /// instances or copied to another machine. Default: DIR/snapshots
    #[arg(long, help_heading = STORAGE, env = "ORDERLOG_SNAPSHOTS", value_name = "DIR")]
    pub snapshots: Option<PathBuf>,

    /// The secret for hashing e-mail addresses and idempotency keys; must be identical for all processes of a
    /// deployment, and must never change. Default on the embedded log: generated at the first start and kept in
    /// DIR/hash.key. Required on Kafka
    #[arg(
        long, help_heading = HASH_KEY,
        env = "ORDERLOG_HASH_KEY",
        value_name = "SECRET",
        hide_env_values = true,
        conflicts_with = "hash_key_file"
    )]
    pub hash_key: Option<String>,

    /// A file that contains the secret
    #[arg(long, help_heading = HASH_KEY, env = "ORDERLOG_HASH_KEY_FILE", value_name = "FILE")]
    pub hash_key_file: Option<PathBuf>,

    /// Use the hash key built into the program. It is public, so use it only to try things out, never on a log that you
    /// want to keep
    #[arg(long, help_heading = HASH_KEY, env = "ORDERLOG_DEVELOPMENT_HASH_KEY", conflicts_with_all = ["hash_key", "hash_key_file"])]
    pub development_hash_key: bool,

    /// A prefix for the names of all topics and groups on Kafka, so that several deployments can share the brokers
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_TOPIC_PREFIX", value_name = "PREFIX", default_value = "")]
    pub topic_prefix: String,

    /// The URL at which other instances of the same services reach this one. Commands are then forwarded to the
    /// instance that runs the service's background tasks. No effect on the embedded log
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_ADVERTISED_URL", value_name = "URL", value_parser = http_url)]
    pub advertised_url: Option<String>,

    /// The URL under which consumers of the public topics reach `/schemas`, such as https://shop.example; must be identical
    /// for all processes. It begins `ce_dataschema`, which is `urn:orderlog:TOPIC:1` without it
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_SCHEMAS_URL", value_name = "URL", value_parser = http_url)]
    pub schemas_url: Option<String>,

    /// The number of partitions of new public topics on Kafka
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_PUBLIC_PARTITIONS", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub public_partitions: i32,

    /// The replication factor of new topics on Kafka. Default: the brokers' own. Use 3 in production
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_KAFKA_REPLICATION", value_name = "N", value_parser = clap::value_parser!(i16).range(1..=32))]
    pub kafka_replication: Option<i16>,

    /// Create no topics on Kafka. If some are missing, the start fails and names them: `topics plan` prints how to create
    /// them
    #[arg(long, help_heading = KAFKA, env = "ORDERLOG_NO_CREATE_TOPICS")]
    pub no_create_topics: bool,

    /// More settings of the Kafka client, with librdkafka's names, such as client.rack=a; may be repeated
    #[arg(long = "kafka-setting", help_heading = KAFKA, env = "ORDERLOG_KAFKA_SETTINGS", value_name = "NAME=VALUE", value_parser = Untold(setting), value_delimiter = ',', hide_env_values = true)]
    pub kafka_settings: Vec<(String, String)>,

    /// How brokers are spoken to.
    #[command(flatten)]
    pub kafka: KafkaAccess,

    /// The number of aggregates that each service keeps in memory; others are loaded on demand
    #[arg(long, help_heading = STORAGE, env = "ORDERLOG_KEYS_IN_MEMORY", value_name = "N", default_value_t = 200_000)]
    pub keys_in_memory: usize,

    /// The log format on stderr
    #[arg(long, help_heading = LOGGING, env = "ORDERLOG_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// The log level: `error`, `warn`, `info`, `debug`, or per module as in `info,orderlog_runtime=debug`
    ///
    /// Default: `info` for `serve`, `warn` for the other commands
    #[arg(long, help_heading = LOGGING, env = "ORDERLOG_LOG_FILTER", value_name = "FILTER", value_parser = filter)]
    pub log_filter: Option<String>,
}

impl Storage {
    /// The folders of read models and snapshots; no snapshots are made.
    pub fn keeping(&self) -> Keeping {
        Keeping { data: self.data.clone(), snapshots: self.snapshots.clone(), every: 0, n_kept: usize::MAX }
    }

    /// The options that select this log, for commands in messages. Options for access to the brokers are omitted.
    pub fn log_options(&self) -> String {
        let data = quoted(&self.data.display().to_string());
        match &self.log {
            LogUrl::Embedded => format!("--data {data}"),
            LogUrl::Kafka(brokers) if self.topic_prefix.is_empty() => format!("--log kafka://{brokers} --data {data}"),
            LogUrl::Kafka(brokers) => {
                format!("--log kafka://{brokers} --topic-prefix {} --data {data}", quoted(&self.topic_prefix))
            }
        }
    }
}

/// Quotes `text` for a shell if necessary.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// How services are run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where the log and the rows are.
    #[command(flatten)]
    pub storage: Storage,

    /// Who may ask, and over what.
    #[command(flatten)]
    pub security: Security,

    /// How much may be asked at once, and how long it may take.
    #[command(flatten)]
    pub limits: Limits,

    /// How Redis is spoken to.
    #[command(flatten)]
    pub redis: RedisAccess,

    /// The number of journal records between snapshots of a service's read model; 0: never
    #[arg(long, help_heading = STORAGE, env = "ORDERLOG_SNAPSHOT_EVERY", value_name = "N", default_value_t = 1_000_000)]
    pub snapshot_every: u64,

    /// The number of snapshots to keep for each service
    #[arg(long, help_heading = STORAGE, env = "ORDERLOG_SNAPSHOTS_KEPT", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub snapshots_kept: u16,

    /// The address for HTTP requests; port 0 picks a free one
    #[arg(short, long, env = "ORDERLOG_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: String,

    /// Play a short story through the HTTP API and print it. With N: place N orders, then about one a second
    #[arg(long, env = "ORDERLOG_DEMO", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub demo: Option<Option<u32>>,

    /// The collector to send traces to, with OTLP over HTTP, such as http://127.0.0.1:4318. Without it, no traces are
    /// sent
    #[arg(long, help_heading = LOGGING, env = "ORDERLOG_OTLP_ENDPOINT", value_name = "URL", value_parser = Untold(http_url), hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// The fraction of traces started here that is sent; for other traces, the service that started them decides
    #[arg(long, help_heading = LOGGING, env = "ORDERLOG_TRACE_RATIO", value_name = "0..1", default_value_t = 1.0, value_parser = ratio)]
    pub trace_ratio: f64,

    /// A service becomes unready when its read model has lacked a record of its journal for longer than this
    #[arg(long, help_heading = STOPPING, env = "ORDERLOG_UNREADY_LAG_MS", value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub unready_lag_ms: u64,

    /// An unready service becomes ready again once the lag is down to this
    #[arg(long, help_heading = STOPPING, env = "ORDERLOG_READY_LAG_MS", value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub ready_lag_ms: u64,

    /// How long requests are still accepted after readiness is withdrawn at shutdown, so that load balancers notice
    #[arg(long, help_heading = STOPPING, env = "ORDERLOG_STOP_DELAY_MS", value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub stop_delay_ms: u64,

    /// How long requests in progress, background tasks and read models then have to finish
    #[arg(long, help_heading = STOPPING, env = "ORDERLOG_STOP_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub stop_timeout_ms: u64,

    /// How long a command may take before the response is 503 or 504
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_COMMAND_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(i64).range(1..=600_000))]
    pub command_timeout_ms: i64,

    /// Reject some commands that have no `Idempotency-Key`
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_REQUIRE_IDEMPOTENCY_KEYS")]
    pub require_idempotency_keys: bool,

    /// Where the other services are.
    #[command(flatten)]
    pub peer_urls: PeerUrls,
}

/// The URLs of services in other processes, as far as configured. The options are generated from the registry.
#[derive(Clone, Debug, Default)]
pub struct PeerUrls(BTreeMap<String, String>);

impl PeerUrls {
    /// The prefix of their option ids; the rest is the service's name.
    pub const ID: &str = "url_of_";

    pub fn of(&self, services: &[ServiceName]) -> BTreeMap<ServiceName, String> {
        services.iter().filter_map(|service| Some((*service, self.0.get(service.as_str())?.clone()))).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.0.values()
    }
}

impl Args for PeerUrls {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for PeerUrls {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let named = matches.ids().filter_map(|id| Some((id.as_str(), id.as_str().strip_prefix(Self::ID)?)));
        let url = |(id, name): (&str, &str)| Some((name.to_owned(), matches.get_one::<String>(id)?.clone()));
        Ok(Self(named.filter_map(url).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The services to run, and their options.
#[derive(Clone, Debug)]
pub struct Config {
    pub services: Vec<ServiceName>,
    pub options: Options,
}
